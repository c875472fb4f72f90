"""Executions of jobs that something starts by itself: schedules, tasks, pushed messages; each event starts one, whatever is lost or killed."""
import http.server
import json
import os
import re
import shlex
import threading
import time
import urllib.error
import urllib.request

from harness import PROJECT, REGION, ROOT, SLOW, Receiver, Server, b64, case, equal, run, temp_dir, wait_for

server = Server()
LOCATION = f"projects/{PROJECT}/locations/{REGION}"
EVERY_SECOND = "* * * * * *"
NEVER_SOON = "0 0 29 2 *"
DEFAULT_ACCOUNT = f"default@{PROJECT}.iam.gserviceaccount.com"


class Job:
    """A job whose tasks write a line into a file as they begin, then do what `script` says."""

    def __init__(self, name, script="exit 0", at=None, annotations=None, count=1):
        self.at, self.name, self.full = at or server, name, f"{LOCATION}/jobs/{name}"
        self.file = os.path.join(temp_dir(), "lines")
        container = {"image": "exec:///", "command": ["/bin/sh"], "args": ["-c", f'echo "$CLOUD_RUN_EXECUTION $K $RUNNEL_TASK_INPUT" >> {self.file}; {script}']}
        self.at.api("POST", f"/v2/{LOCATION}/jobs?jobId={name}", {"annotations": annotations or {}, "template": {
            "taskCount": count, "template": {"containers": [container], "maxRetries": 0}}})

    def lines(self):
        if not os.path.exists(self.file):
            return []
        with open(self.file, encoding="utf-8") as f:
            return [line.strip() for line in f.readlines()]

    def executions(self):
        return self.at.api("GET", f"/v2/{self.full}/executions?pageSize=1000").get("executions", [])

    def ended(self, n=1):
        """The executions, oldest first, when there are n and all have ended."""
        def look():
            found = self.executions()
            return found if len(found) >= n and all(not e.get("reconciling") for e in found) else None
        found = wait_for(look, f"{n} ended executions of {self.name}")
        equal(len(found), n, f"executions of {self.name}")
        return found[::-1]

    def delete(self):
        self.at.api("DELETE", f"/v2/{self.full}")


def event_of(execution):
    return execution.get("annotations", {}).get("runnel.dev/event-id")


def schedule(name, job, body=None, at=None, when=NEVER_SOON, want=200, target=None, **fields):
    target = dict({"uri": f"run:///{job}"}, **(target or {}))
    if body is not None:
        target["body"] = b64(body if isinstance(body, str) else json.dumps(body))
    return (at or server).api("POST", f"/v1/{LOCATION}/jobs", dict(fields, name=f"{LOCATION}/jobs/{name}", schedule=when, httpTarget=target), want=want)


def verb(name, what, at=None, want=200):
    return (at or server).api("POST", f"/v1/{LOCATION}/jobs/{name}:{what}", {}, want=want)


def status(name, at=None):
    return (at or server).api("GET", f"/v1/{LOCATION}/jobs/{name}").get("status")


def drop(name, at=None):
    (at or server).api("DELETE", f"/v1/{LOCATION}/jobs/{name}")


def policy(name, at=None, **fields):
    (at or server).api("PATCH", f"/runnel/v1/{LOCATION}/jobs/{name}", fields)


# ---- schedules of ours


@case("a schedule starts executions with overrides, each firing one; the execution says which")
def _():
    job = Job("plain", "test $K = v")
    schedule("plain-tick", job.full, {"overrides": {"containerOverrides": [{"env": [{"name": "K", "value": "v"}]}], "taskCount": 2}}, when=EVERY_SECOND)
    wait_for(lambda: len(job.executions()) >= 3, "three executions")
    drop("plain-tick")
    found = job.ended(len(job.executions()))
    events = [event_of(e) for e in found]
    equal(len(set(events)), len(events), "events")
    for e in found:
        assert event_of(e).startswith(f"//cloudscheduler.googleapis.com/{LOCATION}/jobs/plain-tick@20"), event_of(e)
        equal((e["taskCount"], e["succeededCount"]), (2, 2))
    equal(len(job.lines()), 2 * len(found))


@case("inputs in the body; the status is that of the execution, which is not started anew when it fails")
def _():
    job = Job("inputs", "test $RUNNEL_TASK_INPUT != bad")
    schedule("inputs-good", job.full, {"inputs": ["a", "b"]})
    verb("inputs-good", "run")
    wait_for(lambda: status("inputs-good") == {}, "success")
    equal(sorted(line.split()[1] for line in job.lines()), ["a", "b"])
    schedule("inputs-bad", job.full, {"inputs": ["bad"]}, retryConfig={"retryCount": 3, "minBackoffDuration": "0.1s"})
    verb("inputs-bad", "run")
    said = wait_for(lambda: status("inputs-bad"), "failure")
    equal(said["code"], 10)
    assert "failed with exit code: 1" in said["message"], said
    equal(len(job.ended(2)), 2)


@case("a job that is not there is NOT_FOUND in the status, also by the command line")
def _():
    job = Job("leaving")
    schedule("to-nobody", job.full)
    job.delete()
    verb("to-nobody", "run")
    said = wait_for(lambda: status("to-nobody"), "the status")
    equal(said["code"], 5)
    assert "leaving' does not exist" in said["message"], said
    text = server.cli("scheduler", "jobs", "describe", "to-nobody").stdout
    assert "does not exist" in text and "run:///" in text, text
    assert "run:///" in server.cli("scheduler", "jobs", "list").stdout


@case("overlap: forbid waits for the execution's end, allow runs beside, replace cancels it")
def _():
    def running(job):
        return [e for e in job.executions() if e.get("reconciling")]
    for overlap in ("FORBID", "ALLOW", "REPLACE"):
        gate = os.path.join(temp_dir(), "gate")
        job = Job("lap-" + overlap.lower(), f"while [ ! -e {gate} ]; do sleep 0.05; done")
        name = "lap-tick-" + overlap.lower()
        schedule(name, job.full)
        policy(name, overlap=overlap)
        server.api("PATCH", f"/v1/{LOCATION}/jobs/{name}?updateMask=schedule", {"schedule": EVERY_SECOND})
        if overlap == "FORBID":
            wait_for(lambda: job.lines(), "the first")
            other = Receiver()  # three more seconds, by somebody else's ticks
            server.api("POST", f"/v1/{LOCATION}/jobs", {"name": f"{LOCATION}/jobs/clock", "schedule": EVERY_SECOND, "httpTarget": {"uri": other.url}})
            other.wait(3)
            drop("clock")
            equal(len(job.executions()), 1)
            open(gate, "w").close()
            wait_for(lambda: len(job.executions()) >= 2, "the next")
        elif overlap == "ALLOW":
            wait_for(lambda: len(running(job)) >= 3, "three beside each other")
        else:
            wait_for(lambda: len(job.executions()) >= 3, "the third")
        drop(name)
        open(gate, "w").close()
        found = job.ended(len(job.executions()))
        cancelled = [e for e in found if e.get("cancelledCount")]
        equal(len(cancelled), len(found) - 1 if overlap == "REPLACE" else 0, f"cancelled with {overlap}")


@case("who is refused by the job's own limit is tried again by the retry config")
def _():
    gate = os.path.join(temp_dir(), "gate")
    job = Job("full", f"while [ ! -e {gate} ]; do sleep 0.05; done",
              annotations={"runnel.dev/max-concurrent-executions": "1", "runnel.dev/concurrency-policy": "refuse"})
    server.api("POST", f"/v2/{job.full}:run", {})
    schedule("full-once", job.full)
    verb("full-once", "run")
    said = wait_for(lambda: status("full-once"), "the refusal")
    equal(said["code"], 8)
    assert "max-concurrent-executions" in said["message"], said
    schedule("full-again", job.full, retryConfig={"retryCount": 5, "minBackoffDuration": "0.2s", "maxBackoffDuration": "30s"})
    verb("full-again", "run")
    wait_for(lambda: status("full-again"), "the first refusal")
    open(gate, "w").close()
    wait_for(lambda: status("full-again") == {}, "the retry")
    equal(len(job.ended(2)), 2)


@case("bad targets, each with its reason")
def _():
    good = f"{LOCATION}/jobs/j"
    for what, fields in {
        "is not of the form run:///": {"uri": "run:///jobs/j"},
        "is not of the form": {"uri": f"run:///{LOCATION}/services/j"},
        "started by POST": {"httpMethod": "GET"},
        "has no headers": {"headers": {"X-Mine": "1"}},
        "takes no token": {"oidcToken": {"serviceAccountEmail": "a@b.c"}},
        "http_target.body": {"body": b64("[")},
        "overrides": {"body": b64('{"overides":{}}')},
        "http_target.body: overrides": {"body": b64('{"overrides":7}')},
    }.items():
        said = schedule("bad", good, target=fields, want=400)["error"]["message"]
        assert what in said, (what, said)
    said = server.api("POST", f"/v1/{LOCATION}/jobs", {"schedule": EVERY_SECOND, "httpTarget": {"uri": "run:///" + good, "body": b64('{"x":1}')}}, want=400)
    assert "neither" in said["error"]["message"], said


@case("killed at and around a firing: each time one execution, none twice, and the one that runs is found again")
def _():
    own = Server()
    port = own.port
    job = Job("killed", "sleep 0.3", at=own)
    googles = Job("killed-call", at=own)  # Google's way, under the same kills
    schedule("killed-call", None, at=own, when=EVERY_SECOND, target={"uri": f"{own.url}/v2/{googles.full}:run", "oauthToken": {"serviceAccountEmail": DEFAULT_ACCOUNT}})
    schedule("killed-tick", job.full, at=own, when=EVERY_SECOND)
    policy("killed-tick", at=own, missed="ALL")
    policy("killed-call", at=own, missed="ALL")
    began = time.time()
    for round_ in range(8):
        n = len(job.executions())
        wait_for(lambda: len(job.executions()) > n, "a firing")
        wait_for(lambda: time.time() % 1 >= round_ * 0.12, "another moment of the second each time")
        own.kill()
        own.start(port)
    seconds = time.time() - began
    verb("killed-tick", "pause", at=own)
    verb("killed-call", "pause", at=own)
    for each in (job, googles):
        found = each.ended(len(each.executions()))
        events = [event_of(e) for e in found]
        equal(len(set(events)), len(events), "no event twice")
        ticks = sorted(time.mktime(time.strptime(e.split("@")[1], "%Y-%m-%dT%H:%M:%SZ")) for e in events)
        gaps = [b - a for a, b in zip(ticks, ticks[1:])]
        equal([g for g in gaps if g != 1], [], f"{each.name}: every second has one, in {seconds:.0f} s")
        equal(sorted({line.split()[0] for line in each.lines()}), sorted(e["name"].split("/")[-1] for e in found))
        equal([e["name"] for e in found if e.get("succeededCount") != 1], [], "all of them end well")


@case("a stop does not wait for the execution, and the next start follows it on")
def _():
    own = Server()
    gate = os.path.join(temp_dir(), "gate")
    job = Job("stopped", f"while [ ! -e {gate} ]; do sleep 0.05; done", at=own)
    schedule("stopped-once", job.full, at=own)
    verb("stopped-once", "run", at=own)
    wait_for(job.lines, "the task")
    began = time.monotonic()
    own.stop()
    assert time.monotonic() - began < 8 * SLOW, time.monotonic() - began
    own.start()
    wait_for(lambda: len(job.lines()) == 2, "the task's next attempt")
    open(gate, "w").close()
    wait_for(lambda: status("stopped-once", own) == {}, "its end in the schedule's status")
    equal(len(job.ended(1)), 1)


@case("the command line: create, update and describe a schedule that runs a job")
def _():
    job = Job("by-cli", "test $K = w")
    server.cli("scheduler", "jobs", "create", "run", "cli-tick", f"--schedule={NEVER_SOON}", "--job=by-cli", "--update-env-vars=K=v", "--tasks=3",
               "--task-timeout=1m")
    made = server.api("GET", f"/v1/{LOCATION}/jobs/cli-tick")
    equal(made["httpTarget"]["uri"], "run:///" + job.full)
    server.cli("scheduler", "jobs", "update", "run", "cli-tick", "--update-env-vars=K=w", "--tasks=2", "--max-retry-attempts=2")
    server.cli("scheduler", "jobs", "run", "cli-tick")
    wait_for(lambda: status("cli-tick") == {}, "the execution's end")
    equal(job.ended(1)[0]["taskCount"], 2)
    said = server.cli("scheduler", "jobs", "create", "run", "cli-none", "--schedule=x y", "--job=by-cli", want=1).stderr
    assert "schedule" in said, said
    said = server.cli("scheduler", "jobs", "create", "run", "cli-none", f"--schedule={NEVER_SOON}", want=2).stderr
    assert "--job" in said, said


# ---- Google's own call


@case("Google's way: an HTTP target with an OAuth token that calls jobs/J:run, once for each firing, with --auth and without")
def _():
    secret = "admin-token-0123456789"
    path = os.path.join(temp_dir(), "tokens")
    with open(path, "w", encoding="utf-8") as f:
        f.write(secret + "\n")
    for own in (server, Server(f"--auth=token:{path}")):
        auth = {} if own is server else {"Authorization": "Bearer " + secret}

        def api(method, path, body=None, want=200):
            answer = own.http(method, path, None if body is None else json.dumps(body), dict(auth, **{"Content-Type": "application/json"}))
            equal(answer.status, want, answer.text)
            return answer.json
        container = {"image": "exec:///", "command": ["/bin/true"]}
        api("POST", f"/v2/{LOCATION}/jobs?jobId=googles", {"template": {"template": {"containers": [container]}}})
        url = f"{own.url}/v2/{LOCATION}/jobs/googles:run"
        body = b64(json.dumps({"overrides": {"taskCount": 2}}))
        for name, account, code in (("good", DEFAULT_ACCOUNT, 0), ("other", f"other@{PROJECT}.iam.gserviceaccount.com", 7 if auth else 0)):
            api("POST", f"/v1/{LOCATION}/jobs", {"name": f"{LOCATION}/jobs/{name}", "schedule": NEVER_SOON, "httpTarget": {
                "uri": url, "httpMethod": "POST", "body": body, "headers": {"Content-Type": "application/json"},
                "oauthToken": {"serviceAccountEmail": account, "scope": "https://www.googleapis.com/auth/cloud-platform"}}})
            api("POST", f"/v1/{LOCATION}/jobs/{name}:run", {})
            said = wait_for(lambda: [api("GET", f"/v1/{LOCATION}/jobs/{name}").get("status")] if "status" in api("GET", f"/v1/{LOCATION}/jobs/{name}") else None,
                            "the attempt")[0]
            equal(said.get("code", 0), code, f"{name}: {said}")
        found = api("GET", f"/v2/{LOCATION}/jobs/googles/executions")["executions"]
        equal(len(found), 1 if auth else 2)
        equal(found[-1]["taskCount"], 2)
        assert event_of(found[-1]).startswith(f"//cloudscheduler.googleapis.com/{LOCATION}/jobs/good@"), found[-1]


# ---- tasks


class Lossy:
    """Stands between the dispatcher and the server: passes each request on, and loses the first `lost` answers."""

    def __init__(self, to, lost):
        self.calls, self.lost = 0, lost
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "content-length", "connection")}
                proxy.calls += 1
                request = urllib.request.Request(to.url + self.path, body, headers, method="POST")
                try:
                    with urllib.request.urlopen(request) as answer:
                        status, text = answer.status, answer.read()
                except urllib.error.HTTPError as e:
                    status, text = e.code, e.read()
                if proxy.lost > 0:
                    proxy.lost -= 1
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


def queue(name, at=None, **retry):
    full = f"{LOCATION}/queues/{name}"
    (at or server).api("POST", f"/v2/{LOCATION}/queues", {"name": full, "retryConfig": dict({"minBackoff": "0.1s", "maxBackoff": "0.2s"}, **retry)})
    return full


def task(full, url, body=None, name=None, at=None):
    fields = {"httpRequest": {"url": url, "headers": {"Content-Type": "application/json"}, "body": b64(json.dumps(body or {})),
                              "oauthToken": {"serviceAccountEmail": DEFAULT_ACCOUNT}}}
    if name:
        fields["name"] = f"{full}/tasks/{name}"
    return (at or server).api("POST", f"/v2/{full}/tasks", {"task": fields})["name"]


@case("a task runs a job with overrides; an answer that is lost starts no second execution; another task does")
def _():
    job = Job("tasked")
    full = queue("tasked")
    proxy = Lossy(server, 3)
    body = {"overrides": {"containerOverrides": [{"env": [{"name": "K", "value": "from-a-task"}]}]}}
    first = task(full, f"{proxy.url}/v2/{job.full}:run", body, "one")
    wait_for(lambda: not server.api("GET", f"/v2/{full}/tasks").get("tasks"), "the task's end")
    equal(proxy.calls, 4, "three answers were lost")
    found = job.ended(1)
    assert event_of(found[0]).startswith(f"//cloudtasks.googleapis.com/{first}@"), event_of(found[0])
    equal(job.lines(), [f"{found[0]['name'].split('/')[-1]} from-a-task"])
    task(full, f"{server.url}/v2/{job.full}:run", body)
    job.ended(2)
    inputs = task(full, f"{server.url}/runnel/v1/{job.full}:runWithInputs", {"inputs": ["x", "y"]})
    equal(event_of(job.ended(3)[2]).split("@")[0], "//cloudtasks.googleapis.com/" + inputs)


@case("tasks go on over kill -9 of the server: each starts its one execution")
def _():
    own = Server()
    job = Job("tasks-killed", at=own)
    full = queue("killed", at=own)
    own.port_before = own.port
    names = [task(full, f"http://127.0.0.1:{own.port}/v2/{job.full}:run", {}, f"t{i}", at=own) for i in range(12)]
    for _ in range(3):
        own.kill()
        own.start(own.port_before)
    wait_for(lambda: not own.api("GET", f"/v2/{full}/tasks").get("tasks"), "the end of all tasks")
    found = job.ended(12)
    equal(sorted(event_of(e).split("@")[0] for e in found), sorted("//cloudtasks.googleapis.com/" + n for n in names))


@case("a job that is full slows the queue down with 429, and the task goes through later")
def _():
    gate = os.path.join(temp_dir(), "gate")
    job = Job("task-full", f"while [ ! -e {gate} ]; do sleep 0.05; done",
              annotations={"runnel.dev/max-concurrent-executions": "1", "runnel.dev/concurrency-policy": "refuse"})
    server.api("POST", f"/v2/{job.full}:run", {})
    full = queue("task-full")
    name = task(full, f"{server.url}/v2/{job.full}:run")

    def refused():
        return server.api("GET", f"/v2/{name}").get("lastAttempt", {}).get("responseStatus")
    equal(wait_for(refused, "the refusal")["code"], 8)
    open(gate, "w").close()
    job.ended(2)


@case("the same event id from anybody finds the execution that it started; a bad one is refused")
def _():
    job = Job("by-id")
    def start(event, want=200, path="/v2/", **body):
        answer = server.http("POST", f"{path}{job.full}:run", json.dumps(body), {"Content-Type": "application/json", "Runnel-Event-Id": event})
        equal(answer.status, want, answer.text)
        return answer.json
    first = start("order-7")
    again = start("order-7", overrides={"taskCount": 5})
    equal(again["metadata"]["name"], first["metadata"]["name"])
    other = start("order-8")
    assert other["metadata"]["name"] != first["metadata"]["name"]
    job.ended(2)
    done = start("order-7")
    equal((done["done"], done["response"]["name"]), (True, first["metadata"]["name"]))
    equal(done["response"]["annotations"]["runnel.dev/event-id"], "order-7")
    for bad in ("two words", "", "x" * 1025):
        assert "id of the event" in start(bad, want=400)["error"]["message"]
    said = server.api("PATCH", f"/v2/{job.full}", {"annotations": {"runnel.dev/event-id": "mine"}, "template": {"template": {"containers": [{"image": "exec:///bin/true"}]}}}, want=400)
    assert "runnel.dev/event-id" in said["error"]["message"], said


# ---- messages


def trigger_url(job, query="", at=None):
    return f"{(at or server).url}/runnel/v1/{job.full}:trigger{query}"


def push_to(job, name, query="", at=None, **fields):
    topic = (at or server).topic(name)
    push = {"pushEndpoint": trigger_url(job, query, at)}
    push.update(fields.pop("push", {}))
    return topic, (at or server).subscription(name + "-sub", topic, pushConfig=push, **fields)


@case("a message starts an execution: overrides and inputs from its data, attributes as variables")
def _():
    job = Job("pushed", "env | grep ^RUNNEL_MESSAGE | sort")
    topic, sub = push_to(job, "pushed")
    server.publish(topic, json.dumps({"overrides": {"containerOverrides": [{"env": [{"name": "K", "value": "v"}]}]}, "inputs": ["a", "b"]}),
                   attributes={"trace-id": "abc", "Kind": "x y"})
    found = job.ended(1)[0]
    name = found["name"].split("/")[-1]
    equal(sorted(job.lines()), [f"{name} v a", f"{name} v b"])
    assert event_of(found).startswith(f"//pubsub.googleapis.com/{sub}@"), event_of(found)
    env = {v["name"]: v["value"] for v in found["template"]["containers"][0]["env"]}
    equal((env["RUNNEL_MESSAGE_ATTRIBUTE_TRACE_ID"], env["RUNNEL_MESSAGE_ATTRIBUTE_KIND"]), ("abc", "x y"))
    equal((env["RUNNEL_MESSAGE_ID"], env["RUNNEL_MESSAGE_SUBSCRIPTION"]), (event_of(found).split("@")[1], sub))
    assert env["RUNNEL_MESSAGE_PUBLISH_TIME"].startswith("20"), env
    body = {"resourceNames": ["projects/" + PROJECT], "filter": "resource.type = cloud_run_job AND resource.labels.job_name = pushed AND logName:stdout"}
    lines = {e["textPayload"] for e in server.api("POST", "/v2/entries:list", body)["entries"]}
    assert "RUNNEL_MESSAGE_ATTRIBUTE_TRACE_ID=abc" in lines, lines
    server.api("POST", f"/v1/{topic}:publish", {"messages": [{"attributes": {"only": "attributes"}}]})
    job.ended(2)


@case("with ?dataAs=INPUT the message itself is the task's input, whatever it says")
def _():
    job = Job("as-input")
    topic, _ = push_to(job, "as-input", "?dataAs=INPUT")
    server.publish(topic, "kind=storage#object;7")
    job.ended(1)
    assert job.lines()[0].endswith(" kind=storage#object;7"), job.lines()


@case("a message that is delivered again starts nothing again, also after kill -9")
def _():
    own = Server()
    job = Job("pushed-twice", at=own)
    proxy = Lossy(own, 3)
    topic = own.topic("pushed-twice")
    own.subscription("pushed-twice-sub", topic, pushConfig={"pushEndpoint": f"{proxy.url}/runnel/v1/{job.full}:trigger"})
    own.publish(topic, "{}", "{}")
    wait_for(lambda: proxy.calls >= 5, "the deliveries")
    job.ended(2)
    body = {"message": {"messageId": event_of(job.executions()[0]).split("@")[1]}, "subscription": f"projects/{PROJECT}/subscriptions/pushed-twice-sub"}
    own.kill()
    own.start()
    again = own.api("POST", f"/runnel/v1/{job.full}:trigger", body)
    equal(again["name"], job.executions()[0]["name"])
    equal(len(job.ended(2)), 2)


@case("what cannot be understood is refused with the reason, and goes to the dead letters")
def _():
    job = Job("picky")
    envelope = {"message": {"messageId": "1", "data": b64("{}")}, "subscription": "projects/p/subscriptions/s"}

    def refused(what, message=None, query="", **fields):
        body = dict(envelope, **fields)
        body["message"] = dict(envelope["message"], **(message or {})) if message is not None else body["message"]
        said = server.api("POST", f"/runnel/v1/{job.full}:trigger{query}", body, want=400)["error"]["message"]
        assert what in said, (what, said)
    refused("message.data", {"data": b64("hello")})
    refused("neither", {"data": b64('{"overides": {}}')})
    refused("message.data: overrides.taskCount", {"data": b64('{"overrides": {"taskCount": "x"}}')})
    refused("overrides.taskCount", {"data": b64('{"overrides": {"taskCount": 1000001}}')})
    refused("CLOUD_RUN_JOB", {"data": b64('{"overrides": {"containerOverrides": [{"env": [{"name": "CLOUD_RUN_JOB", "value": "x"}]}]}}')})
    refused("would both be", {"attributes": {"a-b": "1", "a.b": "2"}})
    refused("not base64", {"data": "?"})
    refused("message.messageId", {"messageId": ""})
    refused("subscription", subscription="")
    refused("UTF-8", {"data": b64(b"\xff\xfe")}, "?dataAs=INPUT")
    refused("dataAs", query="?dataAs=BODY")
    refused("more than 65536 bytes", {"data": b64("x" * 65537)}, "?dataAs=INPUT")
    said = server.api("POST", f"/runnel/v1/{job.full}:trigger", {"overrides": {}}, want=400)["error"]["message"]
    assert "wrapped" in said, said
    equal(server.api("POST", f"/runnel/v1/{LOCATION}/jobs/nobody:trigger", envelope, want=404)["error"]["status"], "NOT_FOUND")
    equal(job.executions(), [])
    dead = server.topic("picky-dead")
    grave = server.subscription("picky-dead-sub", dead)
    topic, _ = push_to(job, "picky", deadLetterPolicy={"deadLetterTopic": dead, "maxDeliveryAttempts": 5})
    server.publish(topic, "not JSON")
    pulled = wait_for(lambda: server.api("POST", f"/v1/{grave}:pull", {"maxMessages": 1}).get("receivedMessages"), "the dead letter")
    equal(pulled[0]["message"]["data"], b64("not JSON"))
    equal(job.executions(), [])


@case("a job that refuses more answers 429, and the message is delivered when there is room")
def _():
    gate = os.path.join(temp_dir(), "gate")
    job = Job("push-full", f"while [ ! -e {gate} ]; do sleep 0.05; done",
              annotations={"runnel.dev/max-concurrent-executions": "1", "runnel.dev/concurrency-policy": "refuse"})
    topic, sub = push_to(job, "push-full")
    server.publish(topic, "{}")
    wait_for(job.lines, "the first")
    body = {"message": {"messageId": "none"}, "subscription": sub}
    assert "max-concurrent" in server.api("POST", f"/runnel/v1/{job.full}:trigger", body, want=429)["error"]["message"]
    server.publish(topic, "{}")
    wait_for(lambda: server.metric("runnel_push_requests_total", subscription=sub, code_class="4xx") >= 1, "a refusal")
    open(gate, "w").close()
    job.ended(2)


@case("with --auth a push needs the token of an invoker of the job, made for this server; it opens nothing else")
def _():
    secret = "admin-token-0123456789"
    path = os.path.join(temp_dir(), "tokens")
    with open(path, "w", encoding="utf-8") as f:
        f.write(secret + "\n")
    own = Server(f"--auth=token:{path}")
    env = {"RUNNEL_TOKEN": secret}

    def api(method, where, body=None, want=200, token=secret):
        answer = own.http(method, where, None if body is None else json.dumps(body), {"Content-Type": "application/json", **({"Authorization": "Bearer " + token} if token else {})})
        equal(answer.status, want, f"{method} {where}: {answer.text}")
        return answer.json
    api("POST", f"/v2/{LOCATION}/jobs?jobId=private", {"template": {"template": {"containers": [{"image": "exec:///", "command": ["/bin/true"]}]}}})
    full = f"{LOCATION}/jobs/private"
    url = f"{own.url}/runnel/v1/{full}:trigger"
    account = f"pusher@{PROJECT}.iam.gserviceaccount.com"
    stranger = Receiver()

    def subscribe(name, endpoint=url, **token):
        own.cli("pubsub", "topics", "create", name, env=env)
        config = {"pushEndpoint": endpoint}
        if token:
            config["oidcToken"] = token
        api("PUT", f"/v1/projects/{PROJECT}/subscriptions/{name}", {"topic": f"projects/{PROJECT}/topics/{name}", "pushConfig": config})
        own.cli("pubsub", "topics", "publish", name, "--message={}", env=env)

    def count():
        return len(api("GET", f"/v2/{full}/executions").get("executions", []))

    def refusals(name):
        text = own.http("GET", "/metrics", headers={"Authorization": "Bearer " + secret}).text
        return any(f'subscriptions/{name}"' in line and 'code_class="4xx"' in line and not line.endswith(" 0")
                   for line in text.splitlines() if line.startswith("runnel_push_requests_total"))
    subscribe("no-token")
    subscribe("no-role", serviceAccountEmail=account)
    wait_for(lambda: refusals("no-token") and refusals("no-role"), "both refused")
    equal(count(), 0)
    api("POST", f"/v2/{full}:setIamPolicy", {"policy": {"bindings": [{"role": "roles/run.invoker", "members": ["serviceAccount:" + account]}]}})
    wait_for(lambda: count() == 1, "the same message, delivered again to an invoker")
    subscribe("by-server", serviceAccountEmail=account, audience=own.url)
    wait_for(lambda: count() == 2, "a token for the server")
    subscribe("with-query", url + "?dataAs=START", serviceAccountEmail=account)
    wait_for(lambda: count() == 3, "a token for the endpoint with its query")
    subscribe("elsewhere", serviceAccountEmail=account, audience="https://elsewhere.example/")
    wait_for(lambda: refusals("elsewhere"), "another audience")
    subscribe("stranger", stranger.url, serviceAccountEmail=account)
    stolen = stranger.wait(1)[0]["headers"]["Authorization"].split()[1]
    body = {"message": {"messageId": "stolen"}, "subscription": f"projects/{PROJECT}/subscriptions/stranger"}
    said = api("POST", f"/runnel/v1/{full}:trigger", body, want=401, token=stolen)["error"]["message"]
    assert "the token is for " + stranger.url in said, said
    api("POST", f"/runnel/v1/{full}:trigger", body, want=401, token=None)
    subscribe("seen", stranger.url, serviceAccountEmail=account, audience=url)
    stranger.wait(2)
    fit = stranger.got[1]["headers"]["Authorization"].split()[1]
    api("POST", f"/runnel/v1/{full}:trigger", body, token=fit)
    equal(count(), 4)
    for method, where in (("POST", f"/v2/{full}:run"), ("POST", f"/runnel/v1/{full}:runWithInputs"), ("DELETE", f"/v2/{full}"), ("GET", f"/v2/{full}")):
        api(method, where, {} if method == "POST" else None, want=401, token=fit)
    api("POST", f"/v2/{LOCATION}/jobs?jobId=another", {"template": {"template": {"containers": [{"image": "exec:///", "command": ["/bin/true"]}]}}})
    api("POST", f"/runnel/v1/{LOCATION}/jobs/another:trigger", body, want=401, token=fit)


@case("the two commands of executor/README.md, as they are printed there")
def _():
    with open(os.path.join(ROOT, "executor", "README.md"), encoding="utf-8") as f:
        commands = re.findall(r"^      runnel (.*)$", f.read().replace("\\\n", ""), re.M)
    equal(len(commands), 2)
    commands = [shlex.split(c.replace("http://127.0.0.1:8080", server.url)) for c in commands]
    job = Job("thumbs")
    server.cli("pubsub", "topics", "create", "uploads")
    server.cli(*commands[0])
    server.cli("pubsub", "topics", "publish", "uploads", "--message=cat.png")
    job.ended(1)
    assert job.lines()[0].endswith("cat.png"), job.lines()
    server.cli("tasks", "queues", "create", "mails")
    server.cli(*commands[1])
    job.ended(2)


run()
