"""tools/run_tests.py itself: no result is lost or made up, whatever a test does, and nothing runs on when it is interrupted."""
import os
import signal
import subprocess
import sys
import time

from harness import ROOT, alive, case, equal, run, temp_dir, wait_for

sys.path.insert(0, os.path.join(ROOT, "tools"))
import run_tests  # noqa: E402
from run_tests import Test, count_cmocka, count_last_line  # noqa: E402


def python(text, name="unit/x", timeout_s=60, count=None):
    return Test(name, [sys.executable, "-c", text], timeout_s, count)


def results_of(*tests):
    """{name: (passed, failed)}, and what each said."""
    out = {test.name: result for test, result in run_tests.run_all(list(tests))}
    equal(len(out), len(tests), "results")
    return {name: r[:2] for name, r in out.items()}, {name: r[2] for name, r in out.items()}


@case("each test has one result; what crashes, cannot be started, or does not count its cases has failed")
def _():
    rows = [("passes", "pass", None, (1, 0)), ("fails", "exit(3)", None, (0, 1)),
            ("counts", "print('7 passed, 0 failed')", count_last_line, (7, 0)),
            ("counts a failure", "print('7 passed, 2 failed'); exit(1)", count_last_line, (7, 2)),
            ("counts nothing", "print('fine')", count_last_line, (0, 1)),
            ("counts no failure and exits with one", "print('7 passed, 0 failed'); exit(1)", count_last_line, (7, 1)),
            ("is left out", "print('skip: why'); print('0 passed, 0 failed')", count_last_line, (0, 0)),
            ("crashes behind its count", "print('7 passed, 0 failed', flush=True); import os; os.kill(os.getpid(), 11)", count_last_line, (7, 1)),
            ("crashes before it", "import os; os.kill(os.getpid(), 11)", count_cmocka, (0, 1)),
            ("cmocka", "print('[  PASSED  ] 4 test(s).')", count_cmocka, (4, 0)),
            ("no text", "import sys; sys.stdout.buffer.write(b'\\xff\\n1 passed, 0 failed\\n')", count_last_line, (1, 0))]
    kinds = ("unit/", "e2e/")
    tests = [python(text, kinds[i % 2] + name, count=count) for i, (name, text, count, _) in enumerate(rows)]
    got, said = results_of(*tests, Test("unit/not there", ["/no/such/program"], 60))
    equal(got, {**{kinds[i % 2] + row[0]: row[3] for i, row in enumerate(rows)}, "unit/not there": (0, 1)})
    assert "/no/such/program" in said["unit/not there"], said


@case("what computes runs beside what waits, and two that wait do not meet")
def _():
    folder = temp_dir()
    meet = "import os, time\nopen({0!r} + '/{1}', 'w')\nwhile not os.path.exists({0!r} + '/{2}'): time.sleep(0.01)"
    alone = "import os\nfd = os.open({0!r} + '/one', os.O_CREAT | os.O_EXCL)\nimport time\ntime.sleep(0.2)\nos.remove({0!r} + '/one')".format(folder)
    tests = [python(meet.format(folder, "a", "b")), python(meet.format(folder, "b", "a"), "e2e/x"), python(alone, "e2e/y"), python(alone, "crash/z")]
    equal(set(results_of(*tests)[0].values()), {(1, 0)}, "results")


@case("a test that hangs is ended in time, though what it left behind holds its output open")
def _():
    hangs = "import subprocess, time\np = subprocess.Popen(['sleep', '1000'], start_new_session=True)\nprint('left', p.pid, flush=True)\ntime.sleep(1000)"
    began = time.monotonic()
    got, said = results_of(python(hangs, timeout_s=2, count=count_last_line))
    os.kill(int(said["unit/x"].split()[1]), signal.SIGKILL)
    equal(got, {"unit/x": (0, 1)})
    assert "ended after 2 s" in said["unit/x"] and time.monotonic() - began < 30, (said, time.monotonic() - began)


@case("Ctrl-C and SIGTERM end what is under way")
def _():
    for sig in (signal.SIGINT, signal.SIGTERM):
        folder = temp_dir()
        waits = "import os, sys, time\nopen(sys.argv[1] + '.new', 'w').write(str(os.getpid()))\nos.rename(sys.argv[1] + '.new', sys.argv[1])\ntime.sleep(1000)"
        # Who was started in the background by a shell ignores SIGINT; who sits at a terminal does not.
        program = f"""import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {os.path.join(ROOT, "tools")!r})
import run_tests
tests = [run_tests.Test(name, [sys.executable, "-c", {waits!r}, {folder!r} + "/" + name[:3]], 60) for name in ("unit/x", "e2e/y")]
run_tests.choose = lambda options: tests
run_tests.start()
"""
        child = subprocess.Popen([sys.executable, "-c", program, "--quick"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        pids = []
        for name in ("uni", "e2e"):
            wait_for(lambda: os.path.exists(os.path.join(folder, name)), f"{name} to be under way")
            with open(os.path.join(folder, name), encoding="ascii") as f:
                pids.append(int(f.read()))
        child.send_signal(sig)
        said, _ = child.communicate(timeout=30)
        assert child.returncode == 1 and "interrupted" in said and "passed" not in said, (child.returncode, said)
        wait_for(lambda: not any(alive(pid) for pid in pids), "both to be gone")


run()
