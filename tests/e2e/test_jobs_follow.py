"""The command line of jobs against a server that plays a script: what is asked of it, and what is made of its answers.

Here the test decides how an execution goes on from one look to the next, which no real one lets it."""
import http.server
import json
import os
import pty
import re
import signal
import subprocess
import threading
from urllib.parse import parse_qs, urlsplit

from harness import PATIENCE_S, RUNNEL, SLOW, case, cleanups, equal, run, temp_dir, wait_for

LOCATION = "projects/local-project/locations/europe-west1"
JOB = f"{LOCATION}/jobs/nightly"
EXECUTION = f"{JOB}/executions/nightly-a1b2c"


def execution(state="running", total=10, name=EXECUTION, message="", reason=None, **counts):
    """As Google's API has it: zeros are left out."""
    states = {"pending": "CONDITION_PENDING", "running": "CONDITION_RECONCILING", "succeeded": "CONDITION_SUCCEEDED", "failed": "CONDITION_FAILED",
              "cancelled": "CONDITION_FAILED", "queued": "CONDITION_PENDING"}
    condition = {"type": "Completed", "state": states[state], "message": message}
    reason = reason or {"cancelled": "CANCELLED", "queued": "DELAYED_START_PENDING"}.get(state)
    if reason:
        condition["executionReason"] = reason
    body = {"name": name, "job": JOB, "taskCount": total, "conditions": [condition], **{f"{k}Count": v for k, v in counts.items() if v}}
    if state not in ("pending", "queued"):
        body["startTime"] = "2026-01-01T00:00:00Z"
    return body


def entry(number, text, task=0, stream="stdout"):
    return {"insertId": f"{number:020d}", "logName": f"projects/local-project/logs/run.googleapis.com%2F{stream}", "textPayload": text,
            "labels": {"run.googleapis.com/execution_name": "nightly-a1b2c", "run.googleapis.com/task_index": str(task)}}


class Script:
    """Answers looks at the execution with `looks`, one after the other, the last one for ever."""

    def __init__(self, looks=(), job=None):
        self.looks, self.job, self.asked, self.lock = list(looks), job, [], threading.Lock()
        self.entries, self.page, self.undone = [], 1000, 0  # undone: so many looks find the operation not ended
        script = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with script.lock:
                    status, value = script.answer(self.command, self.path, json.loads(body) if body else None)
                text = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PATCH = do_DELETE = answer

            def log_message(self, *args):
                pass

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.env = dict(os.environ, RUNNEL_URL=f"http://127.0.0.1:{self.httpd.server_address[1]}")
        threading.Thread(target=self.httpd.serve_forever, daemon=True).start()
        cleanups.append(self.httpd.server_close)
        cleanups.append(self.httpd.shutdown)

    def answer(self, method, path, body):
        self.asked.append((method, path, body))
        plain = urlsplit(path).path
        if plain == "/v2/entries:list":
            return 200, self.logs(body)
        if method == "GET" and plain == "/v2/" + EXECUTION and self.looks:
            look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
            return look if isinstance(look, tuple) else (200, look)
        if method == "GET" and plain == f"/v2/{LOCATION}/operations/1" and self.undone >= 0:
            self.undone -= 1
            return 200, {"name": f"{LOCATION}/operations/1", "done": self.undone < 0}
        if method == "GET" and plain == "/v2/" + JOB and self.job:
            return 200, self.job
        if method == "POST" and (":run" in plain or plain.endswith(":retryFailed")):
            return 200, {"name": f"{LOCATION}/operations/1", "metadata": execution("pending")}
        if method in ("POST", "PATCH") and "/jobs" in plain:
            return 200, {"name": f"{LOCATION}/operations/2", "done": True, "response": dict(body or {}, name=JOB)}
        return 404, {"error": {"code": 404, "message": "there is no " + plain, "status": "NOT_FOUND"}}

    def logs(self, body):
        after = re.search(r'insertId > "(\d+)"', body["filter"])
        left = [e for e in self.entries if not after or e["insertId"] > after.group(1)]
        return {"entries": left[:self.page], **({"nextPageToken": "more"} if len(left) > self.page else {})}

    def cli(self, *args, want=0, text=None):
        done = subprocess.run([RUNNEL, "run", "jobs", *args], env=self.env, input=text, timeout=120 * SLOW, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              stdin=None if text is not None else subprocess.DEVNULL)
        equal(done.returncode, want, f"exit code of {args}; stderr: {done.stderr}")
        return done

    def bodies(self, method, part):
        return [b for m, p, b in self.asked if m == method and part in p]


@case("the flags of create become the job of Google's API, and ours its annotations")
def _():
    script = Script()
    done = script.cli("create", "nightly", "--image=exec:///opt", "--command=./a,b", "--args=c,d", "--set-env-vars=K=v", "--cpu=2", "--memory=1Gi", "--tasks=7",
                      "--parallelism=3", "--max-retries=0", "--task-timeout=90m", "--labels=team=x", "--service-account=me@x", "--max-concurrent-executions=2",
                      "--concurrency-policy=refuse", "--depends-on=one,two", "--backoff=500ms", "--max-backoff=1m", "--stop-after-failures=9", "--priority=-5", "--weight=400")
    method, path, body = script.asked[0]
    equal((method, urlsplit(path).path, parse_qs(urlsplit(path).query)), ("POST", f"/v2/{LOCATION}/jobs", {"jobId": ["nightly"]}), "request")
    client = (body.pop("client"), bool(body.pop("clientVersion")))
    equal(client, ("runnel", True), "client")
    container = {"image": "exec:///opt", "command": ["./a", "b"], "args": ["c", "d"], "env": [{"name": "K", "value": "v"}], "resources": {"limits": {"cpu": "2", "memory": "1Gi"}}}
    equal(body, {"labels": {"team": "x"},
                 "annotations": {"runnel.dev/max-concurrent-executions": "2", "runnel.dev/concurrency-policy": "refuse", "runnel.dev/depends-on": "one,two",
                                 "runnel.dev/backoff-min": "0.500s", "runnel.dev/backoff-max": "60s", "runnel.dev/stop-after-failures": "9", "runnel.dev/priority": "-5",
                                 "runnel.dev/weight": "400"},
                 "template": {"taskCount": 7, "parallelism": 3, "template": {"containers": [container], "maxRetries": 0, "timeout": "5400s", "serviceAccount": "me@x"}}}, "job")
    assert "Job [nightly] has successfully been created." in done.stderr and "runnel run jobs execute nightly" in done.stderr, done.stderr


@case("an update sends back what was read, changed, with its etag, and takes away what is given as none")
def _():
    script = Script(job={"name": JOB, "uid": "u", "etag": "e", "createTime": "2026-01-01T00:00:00Z", "labels": {"a": "b"}, "executionCount": 3,
                         "annotations": {"runnel.dev/depends-on": "x", "runnel.dev/max-concurrent-executions": "1", "runnel.dev/weight": "7", "theirs": "kept"},
                         "template": {"taskCount": 4, "template": {"containers": [{"image": "i", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}]}}})
    script.cli("update", "nightly", "--update-env-vars=A=9", "--remove-env-vars=B", "--depends-on=", "--max-concurrent-executions=0", "--weight=0", "--max-retries=2")
    body = script.bodies("PATCH", "/jobs/nightly")[0]
    equal((body["etag"], body["labels"], body["annotations"], "uid" in body or "executionCount" in body), ("e", {"a": "b"}, {"theirs": "kept"}, False), "job")
    equal(body["template"], {"taskCount": 4, "template": {"containers": [{"image": "i", "env": [{"name": "A", "value": "9"}]}], "maxRetries": 2}}, "template")


@case("overrides of an execution, and none when nothing is otherwise")
def _():
    script = Script([execution()])
    script.cli("execute", "nightly", "--tasks=3", "--task-timeout=5m", "--args=x,y", "--update-env-vars=K=v")
    script.cli("execute", "nightly", "--args=")
    script.cli("execute", "nightly")
    equal(script.bodies("POST", ":run"), [
        {"overrides": {"taskCount": 3, "timeout": "300s", "containerOverrides": [{"args": ["x", "y"], "env": [{"name": "K", "value": "v"}]}]}},
        {"overrides": {"containerOverrides": [{"clearArgs": True}]}}, {}], "bodies")


@case("without --wait it ends when the execution has started; --async asks nothing more")
def _():
    script = Script([execution("queued"), execution("pending"), execution(running=3)])
    done = script.cli("execute", "nightly")
    assert "has successfully started running" in done.stderr and "executions wait nightly-a1b2c" in done.stderr, done.stderr
    assert re.search(r"nightly-a1b2c\] queued: .*\n.*nightly-a1b2c\] pending: ", done.stderr), done.stderr
    equal(script.looks, [execution(running=3)], "looks that are left")
    script = Script()
    assert "nightly-a1b2c" in script.cli("execute", "nightly", "--async").stderr
    equal(len(script.asked), 1, "requests")


@case("--wait tells the counts at changes, and the exit code is the result's")
def _():
    script = Script([execution("pending"), execution(running=2), execution(running=2), execution(running=4, succeeded=5, failed=1, retried=3), execution("succeeded", succeeded=10)])
    done = script.cli("execute", "nightly", "--wait")
    lines = [x for x in done.stderr.splitlines() if " of 10" in x]
    equal(lines[:2] + lines[-1:], ["Execution [nightly-a1b2c] pending: 0 running, 0 succeeded, 0 failed, 0 retried of 10",
                                   "Execution [nightly-a1b2c] running: 2 running, 0 succeeded, 0 failed, 0 retried of 10",
                                   "Execution [nightly-a1b2c] succeeded: 0 running, 10 succeeded, 0 failed, 0 retried of 10"], done.stderr)
    assert done.stderr.endswith("has successfully completed.\n") and "\r" not in done.stderr and len(lines) <= 4, done.stderr
    script = Script([execution("failed", succeeded=8, failed=2, message="Task 3 failed with exit code: 7")])
    done = script.cli("execute", "nightly", "--wait", want=1)
    assert "(runnel.run.jobs.execute) ABORTED: execution [nightly-a1b2c] failed: Task 3 failed with exit code: 7" in done.stderr, done.stderr
    assert "retry-failed nightly-a1b2c" in done.stderr, done.stderr
    script = Script([execution("cancelled", cancelled=10, message="It was cancelled.")])
    assert "CANCELLED" in script.cli("execute", "nightly", "--wait", want=1).stderr
    equal(Script([execution("failed", message="m")]).cli("execute", "nightly", "--wait", "--verbosity=none", want=1).stderr, "", "with --verbosity=none")


@case("a terminal sees one line that is rewritten, with rate and time left")
def _():
    script = Script([execution(total=1000, running=8, succeeded=20 * i, failed=1) for i in range(8)] + [execution("succeeded", total=1000, succeeded=1000)])
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(RUNNEL, [RUNNEL, "run", "jobs", "execute", "nightly", "--wait"], script.env)
    seen = b""
    try:
        while piece := os.read(terminal, 4096):
            seen += piece
    except OSError:  # what Linux says when the other side has gone
        pass
    os.close(terminal)
    equal(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0, "exit code")
    text = seen.decode()
    assert re.search(r"\r\x1b\[K8 running, \d+ succeeded, 1 failed, 0 retried of 1000; [\d.]+/s, \d+s left", text), text
    assert text.count("\n") == 3 and text.count("\r\x1b[K") >= 5, text


@case("--tail prints each line once, in order, to its stream, also those that come with the end")
def _():
    script = Script()
    script.page = 7
    looks = iter(range(1000))

    def growing(body, logs=script.logs):
        first = len(script.entries)
        if first < 60:
            script.entries += [entry(first + i, f"line {first + i}", task=i % 3, stream="stdout") for i in range(20)]
            script.entries[-1]["logName"] = script.entries[-1]["logName"].replace("stdout", "stderr")
        next(looks)
        return logs(body)
    script.logs = growing
    script.entries = []
    script.looks = [execution(total=3, running=3)] * 2 + [execution("succeeded", total=3, succeeded=3)]
    done = script.cli("execute", "nightly", "--tail")
    equal(done.stdout.splitlines(), [f"[{i % 20 % 3}] line {i}" for i in range(60) if i % 20 != 19], "stdout")
    equal([x for x in done.stderr.splitlines() if "line" in x], [f"[1] line {i}" for i in (19, 39, 59)], "stderr")
    filters = script.bodies("POST", "entries:list")
    assert all('labels."run.googleapis.com/execution_name" = "nightly-a1b2c"' in b["filter"] and "resource.type = cloud_run_job" in b["filter"] for b in filters), filters[0]
    equal({(b["orderBy"], b["resourceNames"][0]) for b in filters}, {("timestamp asc", "projects/local-project")}, "requests")


@case("of one task the lines are as it wrote them; the server's own go to stderr")
def _():
    script = Script([execution("succeeded", total=1, succeeded=1)])
    script.entries = [entry(1, "mine"), entry(2, "Task 0, attempt 0: exit code 1", stream="varlog%2Fsystem")]
    done = script.cli("execute", "nightly", "--tail")
    equal(done.stdout, "mine\n", "stdout")
    assert "\nTask 0, attempt 0: exit code 1\n" in "\n" + done.stderr, done.stderr


@case("Ctrl-C ends the looking and nothing else")
def _():
    script = Script([execution(running=1)])
    waiting = subprocess.Popen([RUNNEL, "run", "jobs", "execute", "nightly", "--wait"], env=script.env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: script.bodies("GET", "/executions/"), "the first look")
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=PATIENCE_S)
    equal(waiting.returncode, 130, "exit code")
    assert "goes on" in err and "executions wait nightly-a1b2c" in err and "executions cancel nightly-a1b2c" in err, err
    equal([p for m, p, _ in script.asked if m == "POST" and ":run" not in p], [], "what else was asked")


@case("a server that is away for a moment does not end the waiting; an error does")
def _():
    away = (503, {"error": {"code": 503, "message": "starting", "status": "UNAVAILABLE"}})
    script = Script([execution(running=1), away, away, execution("succeeded", succeeded=10)])
    done = script.cli("execute", "nightly", "--wait")
    equal(done.stderr.count("The server does not answer (starting)"), 1, done.stderr)
    script = Script([execution(running=1), (404, {"error": {"code": 404, "message": "deleted", "status": "NOT_FOUND"}})])
    assert "NOT_FOUND: deleted" in script.cli("execute", "nightly", "--wait", want=1).stderr


@case("an execution taken up again has not ended while its operation has not")
def _():
    failed, running = execution("failed", succeeded=9, failed=1, message="old"), execution(succeeded=9, running=1)
    script = Script([failed, failed, failed, running, execution("succeeded", succeeded=10)])
    script.undone = 2
    done = script.cli("executions", "retry-failed", "nightly-a1b2c", "--wait")
    assert "old" not in done.stderr and "successfully completed" in done.stderr, done.stderr
    script = Script([failed])
    script.undone = -1  # the server does not know it any more
    assert "old" in script.cli("executions", "retry-failed", "nightly-a1b2c", "--wait", want=1).stderr


@case("--tasks-from goes along as the inputs, within stated limits")
def _():
    script = Script([execution("succeeded", succeeded=2)])
    script.cli("execute", "nightly", "--tasks-from=-", "--update-env-vars=K=v", "--wait", text='a "quoted" one\n\nä two\n')
    equal([(p, b) for m, p, b in script.asked if m == "POST"],
          [(f"/runnel/v1/{JOB}:runWithInputs", {"inputs": ['a "quoted" one', "ä two"], "overrides": {"containerOverrides": [{"env": [{"name": "K", "value": "v"}]}]}})], "request")
    for text, words in (("x\n" * 400001, "400001 tasks; one execution takes 400000"), (("y" * 60000 + "\n") * 250, "one execution takes 14 MiB"), ("", "is empty")):
        script = Script()
        assert words in script.cli("execute", "nightly", "--tasks-from=-", text=text, want=1).stderr
        equal(script.asked, [], "requests")


@case("create and deploy may execute at once")
def _():
    folder = temp_dir()
    with open(f"{folder}/list", "w", encoding="ascii") as f:
        f.write("one\ntwo\n")
    for flags, part in ((["--execute-now"], ":run"), (["--wait"], ":run"), ([f"--tasks-from={folder}/list", "--wait"], ":runWithInputs")):
        script = Script([execution("succeeded", succeeded=10)])
        script.cli("deploy", "nightly", "--image=exec:///opt", *flags)
        equal([bool(script.bodies("POST", "/jobs?jobId")), len(script.bodies("POST", part))], [True, 1], flags)


@case("an execution is found by its short name, also when there are dashes after the job's")
def _():
    script = Script([execution()])
    script.cli("executions", "describe", "nightly-a1b2c")
    equal([p for _, p, _ in script.asked], ["/v2/" + EXECUTION], "requests")
    script = Script()
    done = script.cli("executions", "describe", "a-b-c", want=1)
    equal([p for _, p, _ in script.asked], [f"/v2/{LOCATION}/jobs/a-b/executions/a-b-c", f"/v2/{LOCATION}/jobs/a/executions/a-b-c"], "requests")
    assert "NOT_FOUND: no job in region europe-west1 has an execution 'a-b-c'" in done.stderr, done.stderr


@case("wrong usage ends with 2, before anything is asked")
def _():
    script = Script()
    for args, word in ((["execute"], "JOB is missing"), (["execute", "a", "b"], "--local"), (["execute", "a", "--async", "--wait"], "--async or --wait"),
                       (["create", "a"], "--image"), (["create", "a", "--image=i", "--async", "--tasks-from=f"], "--async or --tasks-from"), (["execute", "a/b"], "neither"),
                       (["create", "a", "--image=i", "--tasks=0"], "outside 1"), (["executions", "tasks", "list"], "--execution is missing"),
                       (["executions", "cancle", "x"], "cancel"), (["create", "a", "--image=i", "--max-retry=1"], "--max-retries"), (["logs", "read"], "--execution"),
                       (["create", "a", "--image=i", "--concurrency-policy=drop"], "queue|refuse")):
        done = script.cli(*args, want=2)
        assert word in done.stderr, (args, done.stderr)
    equal(script.asked, [], "requests")


run()
