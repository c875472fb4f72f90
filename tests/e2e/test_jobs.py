"""Jobs from outside: real programs as tasks: exit codes, signals, time limits, retries, logs, results, kill -9, queues of executions."""
import os
import struct

from harness import *

LOCATION = f"/v2/projects/{PROJECT}/locations/{REGION}"
server = Server()


def create(name, script, at=None, count=1, parallelism=0, retries=0, annotations=None, want=200, **template):
    """A job whose tasks are `sh -c script`."""
    container = {"image": "exec:///", "command": ["/bin/sh"], "args": ["-c", script]}
    container.update(template.pop("container", {}))
    body = {"annotations": annotations or {}, "template": {"taskCount": count, "parallelism": parallelism,
                                                           "template": dict(template, containers=[container], maxRetries=retries)}}
    return (at or server).api("POST", f"{LOCATION}/jobs?jobId={name}", body, want=want)


def start(name, at=None, **body):
    """The operation of a new execution."""
    return (at or server).api("POST", f"{LOCATION}/jobs/{name}:run", body)


def ended(operation, at=None, seconds=None):
    def look():
        now = (at or server).api("GET", "/v2/" + operation["name"])
        return now if now.get("done") else None
    return wait_for(look, "the end of " + operation["metadata"]["name"], seconds)


def run_job(name, **body):
    return ended(start(name, **body))


def execution(operation, at=None):
    return (at or server).api("GET", "/v2/" + operation["metadata"]["name"])


def tasks(operation, at=None):
    found, token = [], ""
    while True:
        page = (at or server).api("GET", f"/v2/{operation['metadata']['name']}/tasks?pageSize=1000&pageToken={token}")
        found += page["tasks"]
        token = page.get("nextPageToken", "")
        if not token:
            return found


def attempts(task, at=None):
    return (at or server).api("GET", f"/runnel/v1/{task['name']}:attempts")


def logs(name, more="", at=None):
    body = {"resourceNames": ["projects/" + PROJECT], "pageSize": 1000,
            "filter": f"resource.type = cloud_run_job \n AND resource.labels.job_name = {name} {more}"}
    return (at or server).api("POST", "/v2/entries:list", body).get("entries", [])


def completed(run):
    return [c for c in run["conditions"] if c["type"] == "Completed"][0]


@case("each task is a program that is told which one it is")
def _():
    create("env", "echo $CLOUD_RUN_JOB $CLOUD_RUN_TASK_INDEX/$CLOUD_RUN_TASK_COUNT $CLOUD_RUN_TASK_ATTEMPT $CLOUD_RUN_EXECUTION $K $1", count=3)
    override = {"args": ["-c", "echo $CLOUD_RUN_JOB $CLOUD_RUN_TASK_INDEX/$CLOUD_RUN_TASK_COUNT $CLOUD_RUN_TASK_ATTEMPT $CLOUD_RUN_EXECUTION $K $1", "x", "y"],
                "env": [{"name": "K", "value": "v"}]}
    done = run_job("env", overrides={"containerOverrides": [override], "taskCount": 4})
    run = done["response"]
    equal((run["succeededCount"], run["taskCount"]), (4, 4))
    name = run["name"].split("/")[-1]
    assert re.fullmatch(r"env-[a-z0-9]{5}", name), name
    lines = sorted(e["textPayload"] for e in logs("env", "AND logName:stdout"))
    equal(lines, [f"env {i}/4 0 {name} v y" for i in range(4)])
    def linked(shown):
        path = shown["logUri"].split(f"localhost:{server.port}", 1)[1]
        return sorted(e["textPayload"] for e in server.api("GET", path)["entries"])
    equal(linked(run), sorted([*lines, *(e["textPayload"] for e in logs("env") if e["textPayload"] not in lines)]), "behind the execution's logUri")
    equal(linked(tasks(done)[3]), [x for x in lines if " 3/4 " in x], "behind a task's logUri")
    about = [e for e in logs("env") if "completed successfully" in e["textPayload"]]
    equal([sorted(e["labels"]) for e in about], [["run.googleapis.com/execution_name"]], "labels of a line about the execution")
    one = logs("env", 'AND labels."run.googleapis.com/task_index" = 2')
    equal([e["labels"]["run.googleapis.com/execution_name"] for e in one], [name])
    equal(server.api("GET", f"{LOCATION}/jobs/env")["latestCreatedExecution"]["completionStatus"], "EXECUTION_SUCCEEDED")


@case("exit codes and signals: what failed says how, after its retries")
def _():
    create("codes", "case $CLOUD_RUN_TASK_INDEX in 0) exit 7;; 1) kill -11 $$;; 2) [ $CLOUD_RUN_TASK_ATTEMPT = 2 ];; esac", count=4, retries=2)
    operation = start("codes")
    done = ended(operation)
    equal(done["error"]["code"], 10)
    assert re.search(r"Task codes-\w+-task[01] failed", done["error"]["message"]), done["error"]
    run = execution(operation)
    equal((run["succeededCount"], run["failedCount"], run["retriedCount"]), (2, 2, 3))
    equal((completed(run)["state"], completed(run)["executionReason"]), ("CONDITION_FAILED", "NON_ZERO_EXIT_CODE"))
    code, sig, third, fine = tasks(operation)
    equal((code["lastAttemptResult"]["exitCode"], code["retried"]), (7, 2))
    equal((sig["lastAttemptResult"]["termSignal"], sig["retried"]), (11, 2))
    equal((third["retried"], third["conditions"][0]["state"]), (2, "CONDITION_SUCCEEDED"))
    assert "retried" not in fine
    equal([a["outcome"] for a in attempts(third)["attempts"]], ["FAILED", "FAILED", "SUCCEEDED"])


@case("the message of a failed task is Google's")
def _():
    create("message", "exit 3")
    done = run_job("message")
    name = done["metadata"]["name"].split("/")[-1]
    equal(done["error"], {"code": 10, "message": f"Task {name}-task0 failed with exit code: 3 and message: The container exited with an error."})


@case("a time limit is SIGTERM; who ignores it is killed 10 s later")
def _():
    create("slow", "[ $CLOUD_RUN_TASK_INDEX = 0 ] && trap '' TERM; echo up; while :; do sleep 0.1; done", count=2, timeout="1s")
    began = time.monotonic()
    operation = start("slow")
    done = ended(operation, seconds=60 * SLOW)
    equal(done["error"], {"code": 4, "message": "The configured timeout was reached."})
    assert 10.5 < time.monotonic() - began < 25 * SLOW, time.monotonic() - began
    deaf, good = tasks(operation)
    equal((deaf["lastAttemptResult"]["status"]["code"], deaf["lastAttemptResult"]["termSignal"]), (4, 9))
    equal((good["lastAttemptResult"]["status"]["code"], good["lastAttemptResult"]["termSignal"]), (4, 15))


@case("what a task leaves behind is ended with it, also in a session of its own")
def _():
    create("leaver", "setsid sleep 12345 & sleep 23456 & exit 0")
    equal(run_job("leaver")["response"]["succeededCount"], 1)
    left = subprocess.run(["pgrep", "-f", "sleep (12345|23456)$"], stdout=subprocess.PIPE).stdout
    equal(left, b"", "what is left")


@case("a task that floods its output ends, and its logs stay within bounds")
def _():
    create("flood", "yes 0123456789012345678901234567890123456789 | head -c 30000000; exit 0")
    ended(start("flood"), seconds=90 * SLOW)
    lines = logs("flood", "AND logName:stdout")
    equal(len(lines), 1000, "a page of lines")


@case("what cannot be started fails with the reason")
def _():
    path = os.path.join(temp_dir(), "broken")
    with open(path, "w", encoding="utf-8") as f:
        f.write("#!/no/such/interpreter\n")
    os.chmod(path, 0o755)
    create("broken", "", container={"image": "exec://" + path, "command": [], "args": []})
    operation = start("broken")
    assert "could not be started" in ended(operation)["error"]["message"]
    os.unlink(path)
    assert "no such directory or file" in ended(start("broken"))["error"]["message"]
    equal([a["outcome"] for a in attempts(tasks(operation)[0])["attempts"]], ["NOT_STARTED"])


@case("inputs, one a task; results are shown with the task, cut at 64 KiB")
def _():
    create("inputs", "case $RUNNEL_TASK_INPUT in big) head -c 70000 /dev/zero | tr '\\0' x > $RUNNEL_RESULT;; *) echo \"<$RUNNEL_TASK_INPUT>\" > $RUNNEL_RESULT;; esac")
    operation = server.api("POST", f"/runnel/v1/projects/{PROJECT}/locations/{REGION}/jobs/inputs:runWithInputs",
                           {"inputs": ["one", '{"n": 2}', "big", ""]})
    equal(ended(operation)["response"]["succeededCount"], 4)
    got = [attempts(t) for t in tasks(operation)]
    equal([g.get("input", "") for g in got], ["one", '{"n": 2}', "big", ""])
    equal([g["result"] for g in got[:2]], ["<one>\n", '<{"n": 2}>\n'])
    equal((len(got[2]["result"]), got[2]["resultCut"]), (65536, True))
    equal(os.listdir(server.data + "/results"), [], "files that are left")


@case("cancelling 300 running tasks takes no longer than they do")
def _():
    create("many", "trap 'exit 0' TERM; echo $CLOUD_RUN_TASK_INDEX; while :; do sleep 5 & wait $!; done", count=1000, parallelism=300)
    operation = start("many")
    wait_for(lambda: execution(operation).get("runningCount", 0) == 300, "300 running tasks", 60 * SLOW)
    began = time.monotonic()
    cancel = server.api("POST", f"/v2/{operation['metadata']['name']}:cancel", {})
    done = ended(cancel, seconds=60 * SLOW)
    took = time.monotonic() - began
    equal(ended(operation)["error"]["code"], 1)
    run = done["response"]
    equal((run["cancelledCount"], run.get("runningCount", 0)), (1000, 0))
    equal(completed(run)["executionReason"], "CANCELLED")
    assert took < 10 * SLOW, took
    equal(server.api("POST", f"/v2/{operation['metadata']['name']}:cancel", {}, want=400)["error"]["status"], "FAILED_PRECONDITION")
    every = tasks(operation)
    equal([t["index"] if "index" in t else 0 for t in every], list(range(1000)))
    equal({t["conditions"][0]["state"] for t in every}, {"CONDITION_FAILED"})


@case("executions of a job queue, or are refused, above what may run at once")
def _():
    folder = temp_dir()
    create("queued", f"while [ ! -e {folder}/go ]; do sleep 0.05; done", annotations={"runnel.dev/max-concurrent-executions": "1"})
    first, second = start("queued"), start("queued")
    wait_for(lambda: execution(first).get("runningCount"), "the first to run")
    waiting = execution(second)
    equal((completed(waiting)["state"], completed(waiting)["executionReason"]), ("CONDITION_PENDING", "DELAYED_START_PENDING"))
    open(folder + "/go", "w").close()
    ended(first)
    equal(ended(second)["response"]["succeededCount"], 1)
    create("refused", "sleep 60", annotations={"runnel.dev/max-concurrent-executions": "1", "runnel.dev/concurrency-policy": "refuse"})
    one = start("refused")
    error = server.api("POST", f"{LOCATION}/jobs/refused:run", {}, want=400)["error"]
    assert "max-concurrent-executions" in error["message"], error
    server.api("POST", f"/v2/{one['metadata']['name']}:cancel", {})
    ended(one)


@case("only the failed tasks of an execution are taken up again")
def _():
    folder = temp_dir()
    create("again", f"echo x >> {folder}/$CLOUD_RUN_TASK_INDEX; [ $CLOUD_RUN_TASK_INDEX -lt 7 ] || [ -e {folder}/mended ]", count=10)
    operation = start("again")
    assert "error" in ended(operation)
    equal(execution(operation)["failedCount"], 3)
    open(folder + "/mended", "w").close()
    more = server.api("POST", f"/runnel/v1/{operation['metadata']['name']}:retryFailed", {})
    run = ended(more)["response"]
    equal((run["succeededCount"], run.get("failedCount", 0), run["retriedCount"]), (10, 0, 3))
    for i in range(10):
        with open(f"{folder}/{i}", encoding="utf-8") as f:
            equal(len(f.readlines()), 1 if i < 7 else 2, f"runs of task {i}")
    equal([a["outcome"] for a in attempts(tasks(operation)[8])["attempts"]], ["FAILED", "SUCCEEDED"])


@case("backoff between attempts, and an early stop after so many failures")
def _():
    create("backoff", "[ $CLOUD_RUN_TASK_ATTEMPT = 2 ]", retries=3, annotations={"runnel.dev/backoff-min": "0.3s", "runnel.dev/backoff-max": "0.5s"})
    began = time.monotonic()
    equal(run_job("backoff")["response"]["succeededCount"], 1)
    assert time.monotonic() - began >= 0.8, time.monotonic() - began
    create("early", "[ $CLOUD_RUN_TASK_INDEX -lt 3 ] && exit 1; sleep 60", count=100, parallelism=5, annotations={"runnel.dev/stop-after-failures": "3"})
    operation = start("early")
    error = ended(operation)["error"]
    assert "Stopped after 3 failed tasks" in error["message"], error
    run = execution(operation)
    equal((run["failedCount"], run["cancelledCount"]), (3, 97))


@case("a job runs when those that it depends on have succeeded")
def _():
    create("first", "exit $E", container={"env": [{"name": "E", "value": "1"}]})
    create("second", "exit 0")
    create("after", "echo ran", annotations={"runnel.dev/depends-on": "first,second"})
    runs = lambda: server.api("GET", f"{LOCATION}/jobs/after/executions").get("executions", [])
    run_job("second")
    run_job("first")
    equal(runs(), [], "after a failure")
    run_job("first", overrides={"containerOverrides": [{"env": [{"name": "E", "value": "0"}]}]})
    wait_for(lambda: [r for r in runs() if r.get("succeededCount") == 1], "the job after them")
    run_job("second")
    equal(len(runs()), 1, "not again before the first has run again")


@case("priority: what matters more goes first")
def _():
    folder = temp_dir()
    hold = f"while [ ! -e {folder}/go ]; do sleep 0.02; done"
    create("low", hold, count=30, parallelism=30)
    create("high", "exit 0", count=3, annotations={"runnel.dev/priority": "10"})
    low = start("low")
    wait_for(lambda: execution(low).get("runningCount") == 30, "the low one to run")
    equal(run_job("high")["response"]["succeededCount"], 3)
    open(folder + "/go", "w").close()
    ended(low)


@case("a job of many tasks does not keep a service from starting")
def _():
    create("crowd", "sleep 600", count=400, parallelism=200)
    operation = start("crowd")
    wait_for(lambda: execution(operation).get("runningCount", 0) > 100, "a crowd", 60 * SLOW)
    server.deploy("beside")
    equal(server.call("beside").status, 200)
    server.api("DELETE", f"{LOCATION}/jobs/crowd")
    server.api("GET", f"{LOCATION}/jobs/crowd", want=404)
    server.api("GET", "/v2/" + operation["metadata"]["name"], want=404)
    wait_for(lambda: not subprocess.run(["pgrep", "-f", "sleep 600$"], stdout=subprocess.PIPE).stdout, "the end of what ran", 30 * SLOW)


@case("SIGTERM: what ran is lost, not failed, and runs again after the restart")
def _():
    own = Server()
    folder = temp_dir()
    create("stopped", f"echo $CLOUD_RUN_TASK_ATTEMPT >> {folder}/$CLOUD_RUN_TASK_INDEX; [ -e {folder}/go ] || exec sleep 600", at=own, count=5)
    operation = start("stopped", at=own)
    wait_for(lambda: len(os.listdir(folder)) == 5, "5 tasks")
    own.stop()
    open(folder + "/go", "w").close()
    own.start()
    run = wait_for(lambda: (lambda r: r if "completionTime" in r else None)(execution(operation, own)), "the end")
    equal((run["succeededCount"], run.get("failedCount", 0)), (5, 0))
    equal([[a["outcome"] for a in attempts(t, own)["attempts"]] for t in tasks(operation, own)], [["LOST", "SUCCEEDED"]] * 5)
    own.stop()


def journaled(path):
    """The exits in the warden's journal: {(list, index, attempt): code}."""
    found = {}
    with open(path, "rb") as f:
        data = f.read()
    for at in range(0, len(data) - 47, 48):
        _, seq, entries, ticket, code, _, _, _ = struct.unpack_from("=QQQQiiii", data, at)
        if seq:
            found[(ticket >> 32, ticket & 0xffffffff)] = code
    return found


@case("kill -9 in the middle of 1,000 tasks: none that had succeeded runs again, the execution is done once")
def _():
    own = Server()
    folder = temp_dir()
    count = 1000 if SLOW == 1 else 300
    # Every third ends soon, the others wait for the file.
    create("killed", f"i=$CLOUD_RUN_TASK_INDEX; [ $((i % 3)) = 0 ] && exit 0; [ -e {folder}/go ] || exec sleep 600", at=own, count=count,
           parallelism=count, retries=0)
    operation = start("killed", at=own)
    wait_for(lambda: execution(operation, own).get("runningCount", 0) > count // 2, "more than half of them to run", 120 * SLOW)
    own.kill()
    before = journaled(own.data + "/exits.journal")
    open(folder + "/go", "w").close()
    own.start()
    run = wait_for(lambda: (lambda r: r if "completionTime" in r else None)(execution(operation, own)), "the end", 120 * SLOW)
    equal((run["succeededCount"], run.get("failedCount", 0), run["conditions"][0]["state"]), (count, 0, "CONDITION_SUCCEEDED"))
    for task in tasks(operation, own):
        shown = attempts(task, own)["attempts"]
        index = task.get("index", 0)
        for a in shown:
            if before.get((index, a.get("attempt", 0))) == 0:
                equal((len(shown), a["outcome"]), (a.get("attempt", 0) + 1, "SUCCEEDED"), f"task {index}, which had ended before the kill")
        equal(set(a["outcome"] for a in shown[:-1]) <= {"LOST"}, True, f"what came before in task {index}")
    assert len(before) > 10, len(before)
    # Again, now that it has ended: nothing changes.
    own.kill()
    own.start()
    equal(execution(operation, own)["completionTime"], run["completionTime"])
    own.stop()


@case("kill -9 at random moments of short tasks: each succeeds, and the journal's exits are believed")
def _():
    own = Server()
    create("short", "sleep 0.0$((CLOUD_RUN_TASK_INDEX % 10))", at=own, count=600, parallelism=20, retries=0)
    operation = start("short", at=own)
    ends = {}
    for n in range(4):
        wait_for(lambda: execution(operation, own).get("succeededCount", 0) >= 100 * (n + 1), "some more", 60 * SLOW)
        own.kill()
        for key, code in journaled(own.data + "/exits.journal").items():
            ends.setdefault(key, code)
        own.start()
    run = wait_for(lambda: (lambda r: r if "completionTime" in r else None)(execution(operation, own)), "the end", 120 * SLOW)
    equal((run["succeededCount"], run.get("failedCount", 0)), (600, 0))
    for task in tasks(operation, own):
        shown = attempts(task, own)["attempts"]
        good = [k for k, code in ends.items() if k[0] == task.get("index", 0) and code == 0]
        if good:
            equal([len(shown) - 1], [k[1] for k in good], f"task {task.get('index', 0)} ended once, with its last attempt")
    own.stop()


@case("tokens: a job with one runs at once, and is ready when its execution has started or ended")
def _():
    body = {"runExecutionToken": "one", "template": {"template": {"containers": [{"image": "exec:///", "command": ["/bin/true"]}]}}}
    done = ended(server.api("POST", f"{LOCATION}/jobs?jobId=token", body) | {"metadata": {"name": "token"}})
    equal(done["response"]["terminalCondition"]["state"], "CONDITION_SUCCEEDED")
    equal(server.api("GET", f"{LOCATION}/jobs/token/executions/token-one")["succeededCount"], 1)
    ended(server.api("PATCH", f"{LOCATION}/jobs/token", body) | {"metadata": {"name": "token"}})
    equal(len(server.api("GET", f"{LOCATION}/jobs/token/executions")["executions"]), 1, "the same token again")


@case("IAM policies of jobs")
def _():
    create("guarded", "exit 0")
    policy = {"bindings": [{"role": "roles/run.invoker", "members": ["allUsers"]}]}
    server.api("POST", f"{LOCATION}/jobs/guarded:setIamPolicy", {"policy": policy})
    equal(server.api("GET", f"{LOCATION}/jobs/guarded:getIamPolicy")["bindings"], policy["bindings"])
    server.api("DELETE", f"{LOCATION}/jobs/guarded")
    server.api("GET", f"{LOCATION}/jobs/guarded:getIamPolicy", want=404)


run()
