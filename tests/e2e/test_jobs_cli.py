"""The command line of jobs against a running server: real programs as tasks, from creation to deletion."""
import json
import re
import signal
import subprocess

from harness import PATIENCE_S, RUNNEL, Server, case, equal, os, run, temp_dir, wait_for

server = Server()


def jobs(*args, want=0):
    return server.cli("run", "jobs", *args, want=want)


def create(name, script, *flags):
    return jobs("create", name, "--image=exec:///", "--command=/bin/sh", f"--args=^@^-c@{script}", *flags)


def values(*args):
    return jobs(*args[:-1], f"--format=value({args[-1]})").stdout.split()


def newest(job):
    return values("executions", "list", f"--job={job}", "--limit=1", "name.basename()")[0]


def described(*args):
    return json.loads(jobs(*args, "--format=json").stdout)


@case("a job from creation to deletion")
def _():
    done = create("life", 'echo "$CLOUD_RUN_TASK_INDEX $MODE"', "--tasks=3", "--set-env-vars=MODE=first", "--labels=team=x", "--max-retries=0", "--task-timeout=30s")
    assert "Job [life] has successfully been created." in done.stderr, done.stderr
    assert "ALREADY_EXISTS" in jobs("create", "life", "--image=exec:///", "--command=/bin/true", want=1).stderr
    equal(sorted(jobs("execute", "life", "--tail").stdout.splitlines()), [f"[{i}] {i} first" for i in range(3)], "output")
    jobs("update", "life", "--update-env-vars=MODE=second", "--priority=7")
    job = described("describe", "life")
    equal((job["labels"], job["annotations"], job["template"]["taskCount"], job["template"]["template"]["timeout"]), ({"team": "x"}, {"runnel.dev/priority": "7"}, 3, "30s"), "job")
    equal(jobs("execute", "life", "--tail", "--tasks=1").stdout, "0 second\n", "after the update")
    assert re.search(r"^life +life-[a-z0-9]{5} +succeeded .* 2 ", jobs("list").stdout, re.M), jobs("list").stdout
    assert re.search(r"^life-[a-z0-9]{5} +life +succeeded +1 / 1 ", jobs("executions", "list").stdout, re.M), jobs("executions", "list").stdout
    jobs("deploy", "life", "--update-env-vars=MODE=third", "--wait", "--tasks=2")
    log = jobs("logs", "read", "life").stdout
    assert all(f"{newest('life')}[{i}]  {i} third" in log for i in range(2)), log
    equal([x.split("  ")[-1] for x in jobs("logs", "read", f"--execution={newest('life')}", "--task=1").stdout.splitlines() if "third" in x], ["1 third"], "one task's lines")
    lines = jobs("executions", "logs", newest("life")).stdout
    assert all(f"{newest('life')}[{i}]  {i} third" in lines for i in range(2)) and "second" not in lines, lines
    equal([x.split("  ")[-1] for x in jobs("executions", "logs", newest("life"), "--task=0").stdout.splitlines() if "third" in x], ["0 third"], "one task's lines")
    equal(len(jobs("executions", "logs", newest("life"), "--log-filter=textPayload:third AND textPayload:1").stdout.splitlines()), 1, "a filter")
    equal(jobs("logs", "read", "life", "--log-filter=severity>=ERROR").stdout, "", "another")
    jobs("executions", "delete", newest("life"), "--quiet")
    equal(len(values("executions", "list", "--job=life", "name")), 2, "executions")
    jobs("delete", "life", "--quiet")
    assert "NOT_FOUND" in jobs("describe", "life", want=1).stderr
    assert "NOT_FOUND" in jobs("executions", "describe", "life-abcde", want=1).stderr


@case("the exit code is that of the execution, and the failed tasks run again when they are asked to")
def _():
    folder = temp_dir()
    create("flaky", f'echo x >> {folder}/$CLOUD_RUN_TASK_INDEX; test $CLOUD_RUN_TASK_INDEX != 2 || test -e {folder}/mended || exit 7', "--tasks=4", "--max-retries=1")
    done = jobs("execute", "flaky", "--wait", want=1)
    assert "-task2 failed with exit code: 7" in done.stderr and "0 running, 3 succeeded, 1 failed, 1 retried of 4" in done.stderr, done.stderr
    execution = newest("flaky")
    table = jobs("executions", "tasks", "list", f"--execution={execution}", "--failed").stdout.splitlines()
    equal((len(table), table[1].split()[:6]), (2, [f"{execution}-task2", "2", "failed", "1", "exit", "7"]), "failed tasks")
    equal(sorted(values("executions", "tasks", "list", f"--execution={execution}", "--succeeded", "name.basename()")), [f"{execution}-task{i}" for i in (0, 1, 3)], "succeeded tasks")
    equal([a["outcome"] for a in described("executions", "tasks", "describe", f"{execution}-task2")["attempts"]], ["FAILED", "FAILED"], "attempts")
    with open(f"{folder}/mended", "w", encoding="ascii"):
        pass
    done = jobs("executions", "retry-failed", execution, "--wait")
    assert "0 running, 4 succeeded, 0 failed" in done.stderr, done.stderr
    with open(f"{folder}/0", encoding="ascii") as f:
        equal(f.read(), "x\n", "what had succeeded")
    jobs("executions", "wait", execution)


@case("each line of a file is a task, with its input and its result")
def _():
    folder = temp_dir()
    create("lines", 'printf "got $RUNNEL_TASK_INPUT" > $RUNNEL_RESULT; echo "$RUNNEL_TASK_INPUT"')
    with open(f"{folder}/list", "w", encoding="utf-8") as f:
        f.write("".join(f"item {i}\n" for i in range(20)))
    done = jobs("execute", "lines", f"--tasks-from={folder}/list", "--tail")
    equal(sorted(done.stdout.splitlines()), sorted(f"[{i}] item {i}" for i in range(20)), "output")
    task = described("executions", "tasks", "describe", f"{newest('lines')}-task13")
    equal((task["input"], task["result"]), ("item 13", "got item 13"), "task")


@case("cancelling, a queue of executions, and Ctrl-C that leaves one running")
def _():
    folder = temp_dir()
    create("slow", f"echo x > {folder}/begun; sleep 600", "--max-concurrent-executions=1")
    waiting = subprocess.Popen([RUNNEL, "run", "jobs", "execute", "slow", "--wait"], env=dict(os.environ, RUNNEL_URL=server.url), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: os.path.exists(f"{folder}/begun"), "the task to begin")
    jobs("execute", "slow", "--async")
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=PATIENCE_S)
    first = re.search(r"executions cancel (\S+)", err).group(1)
    equal((waiting.returncode, described("executions", "describe", first)["runningCount"]), (130, 1), "exit code, still running")
    second = newest("slow")
    assert re.search(rf"^{second} +slow +queued ", jobs("executions", "list", "--job=slow").stdout, re.M)
    jobs("update", "slow", "--concurrency-policy=refuse")
    assert "FAILED_PRECONDITION" in jobs("execute", "slow", want=1).stderr
    jobs("executions", "cancel", second)
    assert f"Cancelled execution [{first}]." in jobs("executions", "cancel", first).stderr
    assert "was cancelled" in jobs("executions", "wait", first, want=1).stderr
    assert "FAILED_PRECONDITION" in jobs("executions", "cancel", first, want=1).stderr
    assert re.search(rf"^{first} +slow +cancelled ", jobs("executions", "list", "--job=slow").stdout, re.M)


@case("--depends-on runs a job after another, --stop-after-failures ends one early")
def _():
    create("after", "true", "--depends-on=before")
    create("before", "true", "--execute-now", "--wait")
    wait_for(lambda: values("executions", "list", "--job=after", "name"), "the execution that follows")
    create("hopeless", "exit 1", "--tasks=1000", "--parallelism=2", "--max-retries=0", "--stop-after-failures=3")
    jobs("execute", "hopeless", "--wait", want=1)
    execution = described("executions", "describe", newest("hopeless"))
    assert 3 <= execution["failedCount"] < 100, execution  # a few were begun already


@case("--wait goes on over a restart of the server")
def _():
    folder = temp_dir()
    create("over", f"echo x >> {folder}/begun; while ! test -e {folder}/go; do sleep 0.05; done")
    waiting = subprocess.Popen([RUNNEL, "run", "jobs", "execute", "over", "--wait"], env=dict(os.environ, RUNNEL_URL=server.url), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: os.path.exists(f"{folder}/begun"), "the task to begin")
    port = server.port
    server.kill()
    server.start(port)
    with open(f"{folder}/go", "w", encoding="ascii"):
        pass
    _, err = waiting.communicate(timeout=PATIENCE_S)
    equal(waiting.returncode, 0, err)


@case("errors say what was wrong with the job")
def _():
    assert "INVALID_ARGUMENT" in jobs("create", "Bad_Name", "--image=exec:///", "--command=/bin/true", want=1).stderr
    done = jobs("create", "missing", "--image=exec:///", "--command=/no/such/program", want=1)
    assert "/no/such/program" in done.stderr, done.stderr
    assert "depends-on" in jobs("create", "self", "--image=exec:///", "--command=/bin/true", "--depends-on=self", want=1).stderr


run()
