"""`runnel run jobs execute --local`: an array of tasks on this machine, without a server."""
import os
import pty
import re
import signal
import subprocess

from harness import RUNNEL, SLOW, alive, case, equal, run, temp_dir, wait_for

NO_SERVER = dict(os.environ, RUNNEL_URL="http://127.0.0.1:9")  # nobody listens there


def execute(*args, want=0, text=None, timeout=60 * SLOW, env=None):
    done = subprocess.run([RUNNEL, "run", "jobs", "execute", "--local", *args], env=dict(NO_SERVER, **(env or {})), input=text, timeout=timeout,
                          stdin=None if text is not None else subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    equal(done.returncode, want, f"exit code of {args}; stderr: {done.stderr}")
    return done


def begin(*args):
    return subprocess.Popen([RUNNEL, "run", "jobs", "execute", "--local", *args], env=NO_SERVER, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def shell(script):
    return ["--", "/bin/sh", "-c", script]


def pids_in(folder, count):
    """The numbers that `count` tasks wrote, one file each, once all are there."""
    def read():
        texts = []
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name), encoding="ascii") as f:
                texts.append(f.read().strip())
        return texts if len([t for t in texts if t]) >= count else None
    return [int(t) for t in wait_for(read, f"{count} tasks to begin")]


@case("each task gets its index, its attempt, the count, names, and what this shell has")
def _():
    done = execute("--tasks=3", "--update-env-vars=OURS=a b,HOME=/tmp", *shell(
        'echo "$CLOUD_RUN_TASK_INDEX $CLOUD_RUN_TASK_ATTEMPT $CLOUD_RUN_TASK_COUNT $CLOUD_RUN_JOB $CLOUD_RUN_EXECUTION $OURS $HOME $KEPT"'),
        env={"KEPT": "kept", "CLOUD_RUN_TASK_INDEX": "77"})
    lines = sorted(done.stdout.splitlines())
    name = re.match(r"\[0\] 0 0 3 local (local-[a-z0-9]{5}) a b /tmp kept$", lines[0]).group(1)
    equal(lines, [f"[{i}] {i} 0 3 local {name} a b /tmp kept" for i in range(3)], "lines")
    assert "3 tasks: 3 succeeded, 0 failed, 0 retried" in done.stderr, done.stderr


@case("a task alone writes as it is, may have empty arguments, and its exit code decides")
def _():
    done = execute("--", "/bin/sh", "-c", 'printf "%s|" "$@"; echo err >&2', "name", "", "a b", "--tasks=7")
    equal((done.stdout, done.stderr), ("|a b|--tasks=7|", "err\n"), "output")
    done = execute("--max-retries=0", *shell("exit 7"), want=1)
    assert "task 0: exit code 7\n" in done.stderr, done.stderr
    done = execute("--max-retries=0", *shell("kill -SEGV $$"), want=1)
    assert "task 0: ended by signal 11" in done.stderr, done.stderr


@case("lines stay whole, keep their stream, and the last one needs no end")
def _():
    done = execute("--tasks=4", "--parallelism=4", *shell(
        'i=0; while [ $i -lt 200 ]; do printf "out-"; printf "$CLOUD_RUN_TASK_INDEX-$i\\n"; echo "err-$CLOUD_RUN_TASK_INDEX" >&2; i=$((i+1)); done; printf end'))
    out = done.stdout.splitlines()
    equal(len(out), 4 * 201, "lines")
    for task in range(4):
        equal([x for x in out if x.startswith(f"[{task}]")], [f"[{task}] out-{task}-{i}" for i in range(200)] + [f"[{task}] end"], f"task {task}")
    equal(sum(x == f"[{x[1]}] err-{x[1]}" for x in done.stderr.splitlines()), 4 * 200, "stderr")


@case("a line longer than 64 KiB is cut, and nothing of it is lost")
def _():
    done = execute("--tasks=2", *shell("head -c 200000 /dev/zero | tr '\\0' x; echo; echo after"))
    for task in range(2):
        mine = [x[4:] for x in done.stdout.splitlines() if x.startswith(f"[{task}] ")]
        equal(("".join(mine[:-1]), mine[-1]), ("x" * 200000, "after"), f"task {task}")
        assert max(len(x) for x in mine) <= 65536, "the length of a piece"


@case("a task that failed is tried again, so many times and no more")
def _():
    folder = temp_dir()
    done = execute("--tasks=3", "--max-retries=2", *shell(
        f'echo x >> {folder}/$CLOUD_RUN_TASK_INDEX; case $CLOUD_RUN_TASK_INDEX in 1) test $CLOUD_RUN_TASK_ATTEMPT = 2;; 2) exit 5;; esac'), want=1)
    counts = []
    for i in range(3):
        with open(f"{folder}/{i}", encoding="ascii") as f:
            counts.append(len(f.readlines()))
    equal(counts, [1, 3, 3], "attempts")
    assert "3 tasks: 2 succeeded, 1 failed, 2 retried" in done.stderr and "task 2: exit code 5, 3 attempts" in done.stderr, done.stderr


@case("each task has a file for its result, new for each attempt; kept where one wants them")
def _():
    folder = temp_dir()
    script = 'test ! -e "$RUNNEL_RESULT" || exit 9; echo "$CLOUD_RUN_TASK_INDEX of $CLOUD_RUN_TASK_ATTEMPT" > "$RUNNEL_RESULT"; echo "$RUNNEL_RESULT"; [ $CLOUD_RUN_TASK_ATTEMPT = 1 ]'
    execute("--tasks=3", "--max-retries=1", f"--results={folder}/new", *shell(script))
    got = {}
    for name in os.listdir(folder + "/new"):
        with open(f"{folder}/new/{name}", encoding="ascii") as f:
            got[name] = f.read()
    equal(got, {str(i): f"{i} of 1\n" for i in range(3)}, "results")
    done = execute("--tasks=2", "--max-retries=1", *shell(script), env={"TMPDIR": folder, "RUNNEL_RESULT": "/not/this"})
    paths = {line.split()[1] for line in done.stdout.splitlines()}
    equal(len(paths), 2, "files")
    equal(os.listdir(folder), ["new"], "what is left of results that nobody wanted")
    said = execute("--results=/no/such/folder", *shell("true"), want=1).stderr
    assert "/no/such/folder" in said, said


@case("between attempts the backoff passes, and doubles")
def _():
    done = execute("--tasks=2", "--max-retries=2", "--backoff=200ms", "--max-backoff=300ms", *shell("date +%s.%N; exit 1"), want=1)
    for task in range(2):
        at = [float(x.split()[1]) for x in done.stdout.splitlines() if x.startswith(f"[{task}]")]
        assert len(at) == 3 and at[1] - at[0] >= 0.2 and at[2] - at[1] >= 0.3, at


@case("lines of a file, one a task")
def _():
    folder = temp_dir()
    with open(f"{folder}/list", "w", encoding="utf-8", newline="") as f:
        f.write("\ufeffone two\r\n\n  three='$x'\nvier ä")
    done = execute(f"--tasks-from={folder}/list", *shell('echo "$CLOUD_RUN_TASK_COUNT $RUNNEL_TASK_INPUT"'))
    equal(sorted(done.stdout.splitlines()), ["[0] 3 one two", "[1] 3   three='$x'", "[2] 3 vier ä"], "inputs")


@case("JSON objects from standard input, one a task, on as many lines as they like")
def _():
    done = execute("--tasks-from=-", *shell('echo "$RUNNEL_TASK_INPUT"'), text='{"a": 1}\n{\n "b": {"c": "}\\"{"}\n}\n\n{"n":12345678901234567890},\n')
    equal(sorted(done.stdout.splitlines()), ['[0] {"a": 1}', '[1] {  "b": {"c": "}\\"{"} }', '[2] {"n":12345678901234567890}'], "inputs")


@case("what is wrong with a list of tasks is said with its line")
def _():
    for text, words in (("", "empty"), ("\n\r\n", "empty"), ("a\nb\0c\n", "line 2: a byte of value 0"), ("{\"a\":1}\n{\"b\":\n", "line 2: this JSON object has no end"),
                        ("{\"a\":1}\nplain\n", "line 2: a JSON object was expected"), ("{\n\"a\" 1}\n", "line 1: this is not JSON"),
                        ("x" * 65537, "line 1: an input of 65537 bytes; one may have 65536")):
        done = execute("--tasks-from=-", "--", "/bin/true", text=text, want=1)
        assert words in done.stderr and "--tasks-from: standard input" in done.stderr, (text[:20], done.stderr)
    assert "cannot read /no/such/list: No such file" in execute("--tasks-from=/no/such/list", "--", "/bin/true", want=1).stderr


@case("so many at once and no more")
def _():
    folder = temp_dir()
    done = execute("--tasks=12", "--parallelism=3", *shell(f'mkdir {folder}/$CLOUD_RUN_TASK_INDEX; ls {folder} | wc -l; sleep 0.05; rmdir {folder}/$CLOUD_RUN_TASK_INDEX'))
    seen = [int(x.split()[1]) for x in done.stdout.splitlines()]
    equal((len(seen), max(seen)), (12, 3), "at once")


@case("a task that takes too long gets SIGTERM, and may clean up")
def _():
    done = execute("--tasks=2", "--task-timeout=300ms", "--max-retries=1", *shell('trap "echo cleaned; exit 0" TERM; while :; do sleep 0.02; done'), want=1)
    equal(sorted(done.stdout.splitlines()), ["[0] cleaned"] * 2 + ["[1] cleaned"] * 2, "output")
    assert "task 1: timed out after 0.3s, 2 attempts" in done.stderr, done.stderr


@case("one that ignores SIGTERM is killed 10 s later")
def _():
    done = execute("--task-timeout=100ms", "--max-retries=0", *shell('trap "" TERM; while :; do sleep 0.1; done'), want=1)
    assert "timed out after 0.1s" in done.stderr, done.stderr


@case("what a task leaves behind ends with it")
def _():
    folder = temp_dir()
    execute("--tasks=2", *shell(f"sleep 600 & echo $! > {folder}/$CLOUD_RUN_TASK_INDEX"))
    for pid in pids_in(folder, 2):
        wait_for(lambda pid=pid: not alive(pid), "the background process to end")


@case("Ctrl-C ends all children, and says what was not run")
def _():
    folder = temp_dir()
    running = begin("--tasks=5", "--parallelism=2", *shell(f"echo $$ > {folder}/$CLOUD_RUN_TASK_INDEX; sleep 600"))
    pids = pids_in(folder, 2)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30 * SLOW)
    equal(running.returncode, 130, "exit code")
    assert "0 succeeded, 0 failed, 2 cancelled, 3 not run" in err, err
    equal([alive(p) for p in pids], [False] * 2, "children")


@case("Ctrl-C twice ends them at once, whatever they do about it")
def _():
    folder = temp_dir()
    running = begin("--tasks=2", "--parallelism=2", *shell(f'trap "" TERM; echo $$ > {folder}/$CLOUD_RUN_TASK_INDEX; while :; do sleep 0.1; done'))
    pids = pids_in(folder, 2)
    running.send_signal(signal.SIGINT)
    equal("Stopping 2 running tasks" in running.stderr.readline(), True, "what is said")
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=8 * SLOW)
    equal((running.returncode, [alive(p) for p in pids]), (130, [False] * 2), "exit code, children")


@case("after so many failures the rest is left")
def _():
    done = execute("--tasks=100", "--parallelism=1", "--max-retries=0", "--stop-after-failures=3", *shell("exit 1"), want=1)
    assert "100 tasks: 0 succeeded, 3 failed, 97 not run" in done.stderr, done.stderr


@case("when nobody reads any more, it stops")
def _():
    folder = temp_dir()
    running = begin("--tasks=1000", "--parallelism=2", *shell(f"echo line; echo x >> {folder}/begun; sleep 0.02"))
    running.stdout.readline()
    running.stdout.close()
    equal(running.wait(30 * SLOW), 1, "exit code")
    running.stderr.close()
    with open(f"{folder}/begun", encoding="ascii") as f:
        assert len(f.readlines()) < 1000, "it went on to the end"


@case("only the first failed tasks are told, with their inputs")
def _():
    done = execute("--tasks-from=-", "--max-retries=0", "--", "/bin/false", text="".join(f"item-{i}\n" for i in range(50)), want=1)
    assert "task 0: exit code 1; its input: item-0" in done.stderr and "  and 30 more" in done.stderr and "item-20" not in done.stderr, done.stderr


@case("a program that is not there, or cannot be started, is said at once")
def _():
    assert "there is no program 'no-such-program' in PATH" in execute("--tasks=3", "--", "no-such-program", want=1).stderr
    folder = temp_dir()
    with open(f"{folder}/nothing", "w", encoding="ascii") as f:
        f.write("\0")
    os.chmod(f"{folder}/nothing", 0o755)
    done = execute("--max-retries=0", "--", f"{folder}/nothing", want=1)
    assert "task 0: could not be started: Exec format error" in done.stderr, done.stderr


@case("wrong usage ends with 2")
def _():
    for args, word in ((["--tasks=3"], "COMMAND"), (["--tasks=0", "--", "x"], "outside 1"), (["--wait", "--", "x"], "--local"), (["--tasks=2", "--tasks-from=-", "--", "x"], "--tasks-from"),
                       (["--parallelism=1001", "--", "x"], "1000"), (["--task-timeout=soon", "--", "x"], "duration"), (["--paralelism=2", "--", "x"], "did you mean --parallelism?")):
        done = execute(*args, want=2)
        assert word in done.stderr and not done.stdout, (args, done.stderr)
    assert "--parallelism" in subprocess.run([RUNNEL, "run", "jobs", "execute", "j", "--parallelism=2"], stderr=subprocess.PIPE, text=True, env=NO_SERVER).stderr


@case("too few open files are said before anything is run")
def _():
    done = subprocess.run(["/bin/sh", "-c", f"ulimit -n 50; exec {RUNNEL} run jobs execute --local --tasks=100 --parallelism=100 -- /bin/true"],
                          stderr=subprocess.PIPE, text=True, env=NO_SERVER)
    assert done.returncode == 1 and "ulimit -n" in done.stderr, done.stderr


@case("on a terminal one line tells the counts, and is not in the way of the output")
def _():
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(RUNNEL, [RUNNEL, "run", "jobs", "execute", "--local", "--tasks=4", "--parallelism=2", *shell("echo hello; sleep 0.7")], NO_SERVER)
    seen = b""
    try:
        while piece := os.read(terminal, 4096):
            seen += piece
    except OSError:  # what Linux says when the other side has gone
        pass
    os.close(terminal)
    equal(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0, "exit code")
    text = seen.decode()
    assert re.search(r"\r\x1b\[K2 running, 2 succeeded, 0 failed, 0 retried of 4; \d\.\d/s, \ds left", text), text
    assert all(x.startswith("[") for x in re.findall(r"[^\n\r]*hello", text.replace("\x1b[K", "\r"))), text
    assert "4 tasks: 4 succeeded" in text


@case("ten thousand tasks, none lost, none twice")
def _():
    done = execute("--tasks=10000", "--parallelism=8", "--", "/bin/echo", "done", timeout=300 * SLOW)
    equal(sorted(int(x[1:x.index("]")]) for x in done.stdout.splitlines()), list(range(10000)), "tasks")


run()
