"""Runs the tests of a built tree and says how it went; started by tools/test.

A test is a program. Those that hold many cases say so (cmocka's report, or a last line
`N passed, N failed`) and are counted by case. Output is shown only of what failed.
"""
import argparse
import glob
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SHOWN_LINES = 120
SOAK_S = 20  # only whether it works; the long one is started by hand
# Those that wait for no clock of a server of their own, or hardly; some of the others measure.
COMPUTING = ("unit/", "torture/", "fuzz/", "sim/", "clients/",
             "e2e/test_cron_parser", "e2e/test_jobs_local", "e2e/test_lint", "e2e/test_quickstart", "e2e/test_run_tests", "e2e/test_valgrind")
# Under --threaded: what shows the server's threads to a race detector; the others say the same to it again.
THREADED_E2E = ("push", "ingress", "hostile", "lifecycle", "server", "scheduler", "tasks")
CLIENT_PROGRAMS = {"pubsub.mjs": {"TRANSPORT": "rest"}, "tasks.mjs": {"TRANSPORT": "rest"}, "push.mjs": {}, "auth.mjs": {}, "scheduler.mjs": {"TRANSPORT": "rest"},
                   "run.mjs": {"TRANSPORT": "rest"}}


class Test:
    """One program to run: `count` reads (passed, failed) from its output, None: by its exit code."""

    def __init__(self, name, argv, timeout_s, count=None, env=None):
        self.name, self.argv, self.timeout_s, self.count = name, argv, timeout_s, count
        self.env = dict(os.environ, **(env or {}))


def count_cmocka(text):
    passed = re.findall(r"^\[  PASSED  \] (\d+) test", text, re.M)
    failed = re.findall(r"^\[  FAILED  \] .*?(\d+) test", text, re.M)
    if not passed and not failed:
        return None
    return sum(map(int, passed)), sum(map(int, failed))


def count_last_line(text):
    found = re.findall(r"^(\d+) passed, (\d+) failed", text, re.M)
    return (int(found[-1][0]), int(found[-1][1])) if found else None


def c_tests(build):
    """The cmocka programs: tests/unit, and tests/torture, whose names say so."""
    programs = [p for p in sorted(glob.glob(build + "/tests/test_*")) if os.access(p, os.X_OK) and os.path.isfile(p)]
    kind = lambda p: "torture/" if os.path.basename(p).startswith("test_torture_") else "unit/"
    # The torture tests make thousands of databases and keep account of their syncs by themselves.
    memory = {"TMPDIR": "/dev/shm"} if os.access("/dev/shm", os.W_OK) and "TMPDIR" not in os.environ else {}
    env = {"torture/": memory, "unit/": {}}
    return [Test(kind(p) + os.path.basename(p), [p], 300, count_cmocka, env[kind(p)]) for p in sorted(programs, key=kind, reverse=True)]


def fuzz_tests(build):
    """The corpora of tests/fuzz, each run once by its target."""
    return [Test("fuzz/" + os.path.basename(p)[len("fuzz_"):], [p], 300)
            for p in sorted(glob.glob(build + "/tests/fuzz_*")) if os.access(p, os.X_OK) and os.path.isfile(p)]


def sim_tests(build, seeds):
    program = build + "/tests/runnel-sim"
    if not os.path.exists(program):
        return []
    return [Test(f"sim/{seeds}-seeds", [program, "--seeds", str(seeds)], 1500)]


def e2e_tests(build, rounds):
    env = {"RUNNEL_BUILD": build, "PYTHONDONTWRITEBYTECODE": "1"}
    tests = [Test("e2e/" + os.path.basename(p)[:-3], [sys.executable, p], 600, count_last_line, env)
             for p in sorted(glob.glob(ROOT + "/tests/e2e/test_*.py"))]
    tests.append(Test(f"crash/{rounds}-rounds", [sys.executable, ROOT + "/tests/e2e/crash.py", "--rounds", str(rounds)], 1200, None, env))
    tests.append(Test(f"soak/{SOAK_S}-seconds", [sys.executable, ROOT + "/tests/e2e/soak.py", "--minutes", str(SOAK_S / 60)], 300, None, env))
    return tests


def prepare_clients(build):
    """The folder with the client programs and their packages, or why there is none."""
    source = os.environ.get("RUNNEL_CLIENTS") or os.path.join(ROOT, "..", "shared", "clients")
    if not os.path.isdir(source):
        return None, f"{os.path.normpath(source)} is not there (RUNNEL_CLIENTS names another folder)"
    for program in ("node", "npm"):
        if not shutil.which(program):
            return None, f"{program} is not installed"
    folder = os.path.join(build, "clients")
    os.makedirs(folder, exist_ok=True)
    for name in list(CLIENT_PROGRAMS) + ["package.json"]:
        shutil.copyfile(os.path.join(source, name), os.path.join(folder, name))
    if not os.path.isdir(os.path.join(folder, "node_modules", "jose")):
        print("fetching the client programs' packages (npm)", flush=True)
        done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
        if done.returncode:
            return None, "npm install failed: " + (done.stdout.strip().splitlines() or ["no message"])[-1]
    return folder, None


def is_threaded(test):
    """More than one thread: a C program that can make some, or one of the server's tests that work all of its threads. Of the torture
    tests only that of the io threads: the others' failures are the same with any order of threads, and there are thousands."""
    if test.name.startswith(("unit/", "torture/test_torture_dispatcher")):
        with open(test.argv[0], "rb") as program:
            return b"\0pthread_create" in program.read()
    return test.name.startswith("crash/") or any(test.name.startswith("e2e/test_" + t) for t in THREADED_E2E)


def client_tests(build):
    folder, reason = prepare_clients(build)
    if reason:
        print(f"skip clients: {reason}", flush=True)
        return []
    runner = [sys.executable, ROOT + "/tests/e2e/with_server.py", "--"]
    return [Test("clients/" + name, runner + ["node", os.path.join(folder, name)], 300, count_last_line,
                 dict(env, RUNNEL_BUILD=build, IMAGE="exec://" + os.path.join(build, "runnel-sample")))
            for name, env in CLIENT_PROGRAMS.items()]


class Running:
    """The tests under way. Each has a session of its own, so Ctrl-C does not reach them: whoever is interrupted ends them by `end`."""

    def __init__(self):
        self.lock, self.children, self.over = threading.Lock(), set(), False

    def start(self, test, output):
        with self.lock:
            if self.over:
                raise RuntimeError("interrupted")
            child = subprocess.Popen(test.argv, env=test.env, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT,
                                     stdin=subprocess.DEVNULL, start_new_session=True)
            self.children.add(child)
            return child

    def wait(self, child, timeout_s):
        """Its exit code; None: it was ended, since time was up."""
        try:
            return child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            kill(child)
            child.wait()
            return None
        finally:
            with self.lock:
                self.children.discard(child)

    def end(self):
        with self.lock:
            self.over = True
            for child in self.children:
                kill(child)


def kill(child):
    """It, and what it started; servers among that take their own programs along."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run(test, running):
    """(passed, failed, output, seconds); a test that hangs is ended with everything it started."""
    began = time.monotonic()
    # A file, and no pipe: what outlives a test that was ended could hold that open, and nobody would read on.
    with tempfile.TemporaryFile() as told:
        code = running.wait(running.start(test, told), test.timeout_s)
        told.seek(0)
        output = told.read().decode("utf-8", "replace")
    passed, failed = result(test, code, output)
    return passed, failed, output + (f"\nended after {test.timeout_s} s\n" if code is None else ""), time.monotonic() - began


def result(test, code, output):
    """(passed, failed). What should have counted its cases and did not has failed, whatever its exit code."""
    if not test.count:
        return (1, 0) if code == 0 else (0, 1)
    passed, failed = test.count(output) or (0, 1)
    return passed, failed or int(code != 0)


def run_all(tests):
    """Each test with its result, as they end. What computes runs beside what waits for servers and clocks; two that wait never meet,
    since some measure."""
    results, running = queue.SimpleQueue(), Running()

    def lane(chosen):
        for test in chosen:
            try:
                results.put((test, run(test, running)))
            except Exception as error:  # the lane goes on, and the test has failed
                results.put((test, (0, 1, f"cannot be run: {error}", 0.0)))

    computing = [t for t in tests if t.name.startswith(COMPUTING)]
    for chosen in (computing, [t for t in tests if not t.name.startswith(COMPUTING)]):
        threading.Thread(target=lane, args=(chosen,), daemon=True).start()
    try:
        for _ in tests:
            yield results.get()
    finally:
        running.end()


def choose(options):
    build = os.environ.get("RUNNEL_BUILD") or os.path.join(ROOT, "build" if options.preset == "release" else "build-" + options.preset)
    seeds = 50 if options.quick else 100 if options.preset == "tsan" else 1000
    rounds = 3 if options.quick or options.threaded else 10 if options.preset == "tsan" else 50
    tests = c_tests(build) + fuzz_tests(build) + sim_tests(build, seeds) + e2e_tests(build, rounds)
    wanted = lambda name: not options.filter or any(f in name for f in options.filter)
    if options.valgrind:
        tests = [t for t in tests if t.name == "e2e/test_valgrind"]
    elif options.threaded:
        tests = [t for t in tests if is_threaded(t)]
    elif not options.quick and any(wanted("clients/" + n) for n in CLIENT_PROGRAMS):
        tests += client_tests(build)
    return [t for t in tests if wanted(t.name)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--preset", default="release")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threaded", action="store_true")
    parser.add_argument("--valgrind", action="store_true")
    parser.add_argument("--coverage", action="store_true")
    parser.add_argument("filter", nargs="*")
    options = parser.parse_args()
    if options.coverage:
        options.preset, options.quick = "coverage", True
    os.environ.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0")
    os.environ.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    tests = choose(options)
    if not tests:
        print("no test has such a name: " + " ".join(options.filter))
    passed, failed, began = 0, 0 if tests else 1, time.monotonic()
    for i, (test, (ok, bad, output, seconds)) in enumerate(run_all(tests)):
        passed, failed = passed + ok, failed + bad
        print(f"[{i + 1}/{len(tests)}] {test.name:<34} {'FAIL' if bad else 'ok':<5}{ok:>4} passed  {seconds:7.1f} s", flush=True)
        for reason in re.findall(r"^skip.*", output, re.M):
            print("    " + reason, flush=True)
        if bad:
            lines = output.rstrip().splitlines()
            if len(lines) > SHOWN_LINES:
                print(f"    ... {len(lines) - SHOWN_LINES} lines before")
            print("\n".join("    " + line for line in lines[-SHOWN_LINES:]), flush=True)
    if options.coverage:
        failed += subprocess.run([sys.executable, ROOT + "/tools/coverage.py"], check=False).returncode != 0
    print(f"{options.preset}: {len(tests)} programs in {time.monotonic() - began:.0f} s")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def on_terminate(*_):
    raise KeyboardInterrupt


def start():
    signal.signal(signal.SIGTERM, on_terminate)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted: what was under way has been ended")


if __name__ == "__main__":
    start()
