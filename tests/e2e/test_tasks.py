"""Tasks as calls: what a target sees, whose token it gets, when it is called, and that none is lost."""
import json
import os
import subprocess
import threading
import time
import urllib.parse

from harness import PATIENCE_S, PROJECT, REGION, RUNNEL, SLOW, Receiver, Server, b64, case, claims_of, equal, run, temp_dir, verify_token, wait_for

server = Server()
PARENT = f"projects/{PROJECT}/locations/{REGION}"
ACCOUNT = f"caller@{PROJECT}.iam.gserviceaccount.com"
DEFAULT_ACCOUNT = f"default@{PROJECT}.iam.gserviceaccount.com"
QUICK = {"minBackoff": "0.05s", "maxBackoff": "0.1s"}


def make_queue(name, at=None, **fields):
    fields.setdefault("retryConfig", QUICK)
    (at or server).api("POST", f"/v2/{PARENT}/queues", dict(fields, name=f"{PARENT}/queues/{name}"))
    return f"{PARENT}/queues/{name}"


def make_task(queue, url, at=None, name=None, want=200, task=None, **request):
    body = dict(task or {}, httpRequest=dict(request, url=url))
    if name:
        body["name"] = f"{queue}/tasks/{name}"
    return (at or server).api("POST", f"/v2/{queue}/tasks", {"task": body}, want=want)


def rfc3339(wall):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(wall)) + f".{int(wall % 1 * 1e6):06d}Z"


def gone(task, at=None):
    return (at or server).api("GET", f"/v2/{task['name']}", want=None).get("error", {}).get("code") == 404


@case("a task is called with the headers of Cloud Tasks, and is gone after a 2xx")
def _():
    receiver = Receiver()
    queue = make_queue("plain")
    began = time.time()
    task = make_task(queue, receiver.url, name="first", body=b64("hello"), headers={"X-Mine": "yes", "Host": "elsewhere", "X-Google-Fake": "1"})
    got = receiver.wait(1)[0]
    headers = got["headers"]
    equal(got["method"], "POST")
    equal(got["path"], "/push?x=1")
    equal(got["body"], b"hello")
    equal(headers["User-Agent"], "Google-Cloud-Tasks")
    equal(headers["X-CloudTasks-QueueName"], "plain")
    equal(headers["X-CloudTasks-TaskName"], "first")
    equal(headers["X-CloudTasks-TaskRetryCount"], "0")
    equal(headers["X-CloudTasks-TaskExecutionCount"], "0")
    equal(headers["X-Mine"], "yes")
    for absent in ("X-CloudTasks-TaskPreviousResponse", "X-CloudTasks-TaskRetryReason", "Content-Type", "Authorization", "X-Google-Fake"):
        equal(headers[absent], None, absent)
    equal(headers["Host"], urllib.parse.urlsplit(receiver.url).netloc)
    seconds, fraction = headers["X-CloudTasks-TaskETA"].split(".")
    equal(len(fraction), 6, "digits of the ETA")
    assert began - 2 <= float(headers["X-CloudTasks-TaskETA"]) <= time.time(), seconds
    wait_for(lambda: gone(task), "the task is gone")
    equal(len(receiver.got), 1)


@case("each method reaches its target, with a body where it has one")
def _():
    receiver = Receiver(200)
    queue = make_queue("methods")
    for method in ("POST", "GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"):
        receiver.got.clear()
        body = {"body": b64("content")} if method in ("POST", "PUT", "PATCH") else {}
        make_task(queue, receiver.url, httpMethod=method, **body)
        got = receiver.wait(1)[0]
        equal(got["method"], method)
        equal(got["body"], b"content" if body else b"", method)


@case("the counts around failures are those that were recorded from the real service")
def _():
    receiver = Receiver()
    receiver.statuses = [503, 404, 429, 500, 302]
    receiver.status = 200
    make_task(make_queue("counts"), receiver.url)
    got = receiver.wait(6, 60 * SLOW)
    rows = [(g["headers"]["X-CloudTasks-TaskRetryCount"], g["headers"]["X-CloudTasks-TaskExecutionCount"],
             g["headers"]["X-CloudTasks-TaskPreviousResponse"], g["headers"]["X-CloudTasks-TaskRetryReason"]) for g in got]
    equal(rows, [("0", "0", None, None), ("1", "0", "503", ""), ("2", "1", "404", ""), ("3", "2", "429", ""), ("4", "2", "500", ""),
                 ("5", "3", "302", "")])


@case("an attempt without an answer by its deadline is a 504")
def _():
    receiver = Receiver()
    receiver.free.clear()
    make_task(make_queue("late"), receiver.url, task={"dispatchDeadline": "15s"})
    receiver.wait(1)
    wait_for(lambda: len(receiver.got) >= 2, "the second attempt", 40 * SLOW)
    receiver.free.set()
    first, second = receiver.got[:2]
    assert 14.5 <= second["at"] - first["at"], second["at"] - first["at"]
    equal(second["headers"]["X-CloudTasks-TaskPreviousResponse"], "504")
    equal(second["headers"]["X-CloudTasks-TaskExecutionCount"], "0")


@case("an OIDC token is signed, names the account, and is for the URL unless the task says otherwise")
def _():
    receiver = Receiver()
    queue = make_queue("oidc")
    keys = server.http("GET", "/oauth2/v3/certs").json
    make_task(queue, receiver.url, oidcToken={"serviceAccountEmail": ACCOUNT}, headers={"Authorization": "Basic mine"})
    make_task(queue, receiver.url, oidcToken={"serviceAccountEmail": ACCOUNT, "audience": "my-aud"})
    audiences = set()
    for got in receiver.wait(2):
        claims = verify_token(got["headers"]["Authorization"].removeprefix("Bearer "), keys)
        equal(claims["email"], ACCOUNT)
        equal(claims["iss"], server.url)
        audiences.add(claims["aud"])
    equal(audiences, {receiver.url, "my-aud"})
    receiver.got.clear()
    make_task(queue, receiver.url, headers={"Authorization": "Basic mine"})
    equal(receiver.wait(1)[0]["headers"]["Authorization"], "Basic mine")


@case("an OAuth token of the default account opens this server's own API; others do not")
def _():
    token = "admin-token-0123456789"
    path = os.path.join(temp_dir(), "tokens")
    with open(path, "w", encoding="ascii") as f:
        f.write(token + "\n")
    closed = Server(f"--auth=token:{path}")

    def api(method, path, body=None):
        text = None if body is None else json.dumps(body)
        return closed.http(method, path, text, {"Authorization": f"Bearer {token}", "Content-Type": "application/json"})

    equal(api("POST", f"/v2/{PARENT}/queues", {"name": f"{PARENT}/queues/q", "retryConfig": dict(QUICK, maxAttempts=1)}).status, 200)
    receiver = Receiver()
    wants = [("of-default", {"oauthToken": {"serviceAccountEmail": DEFAULT_ACCOUNT}}, 200),
             ("of-another", {"oauthToken": {"serviceAccountEmail": ACCOUNT}}, 403),
             ("less-scope", {"oauthToken": {"serviceAccountEmail": DEFAULT_ACCOUNT, "scope": "https://www.googleapis.com/auth/pubsub"}}, 403),
             ("identity", {"oidcToken": {"serviceAccountEmail": DEFAULT_ACCOUNT}}, 401),
             ("nothing", {}, 401)]
    for name, auth, want in wants:
        request = dict(auth, url=f"{closed.url}/v1/projects/{PROJECT}/topics/{name}", httpMethod="PUT", body=b64("{}"),
                       headers={"Content-Type": "application/json"})
        made = api("POST", f"/v2/{PARENT}/queues/q/tasks", {"task": {"httpRequest": request}})
        equal(made.status, 200, made.text)
        wait_for(lambda: api("GET", f"/v2/{made.json['name']}").status == 404, f"{name} has run")
        equal(api("GET", f"/v1/projects/{PROJECT}/topics/{name}").status, 200 if want == 200 else 404, name)
    made = api("POST", f"/v2/{PARENT}/queues/q/tasks", {"task": {"httpRequest": dict(wants[0][1], url=receiver.url)}})
    equal(made.status, 200)
    bearer = receiver.wait(1)[0]["headers"]["Authorization"].removeprefix("Bearer ")
    claims = claims_of(bearer)
    equal((claims["email"], claims["scope"]), (DEFAULT_ACCOUNT, "https://www.googleapis.com/auth/cloud-platform"))
    equal(closed.http("GET", f"/v1/projects/{PROJECT}/topics", headers={"Authorization": f"Bearer {bearer}"}).status, 200)
    equal(closed.http("GET", f"/v1/projects/{PROJECT}/topics", headers={"Authorization": f"Bearer {bearer}x"}).status, 401)
    metadata = closed.http("GET", "/computeMetadata/v1/instance/service-accounts/default/token", headers={"Metadata-Flavor": "Google"}).json
    equal(closed.http("GET", f"/v1/projects/{PROJECT}/topics", headers={"Authorization": f"Bearer {metadata['access_token']}"}).status, 401)


@case("a task starts a service of ours from zero, and its policy holds")
def _():
    server.deploy("worker", public=False)
    queue = make_queue("to-worker", retryConfig=dict(QUICK, maxAttempts=3))
    url = f"http://worker.localhost:{server.port}/tasks/1"
    refused = make_task(queue, url, body=b64("x"))
    wait_for(lambda: gone(refused), "a task without a token is refused until its attempts are used up")
    policy = {"policy": {"bindings": [{"role": "roles/run.invoker", "members": [f"serviceAccount:{ACCOUNT}"]}]}}
    server.api("POST", f"/v2/{PARENT}/services/worker:setIamPolicy", policy)
    task = make_task(queue, url, body=b64("x"), oidcToken={"serviceAccountEmail": ACCOUNT})
    wait_for(lambda: gone(task), "the service has taken the task")
    assert server.metric("runnel_instances", state="ready") >= 1, "nothing was started"


@case("a task's account decides who may come in, whatever token is among its headers")
def _():
    server.deploy("guarded", public=False)
    policy = {"policy": {"bindings": [{"role": "roles/run.invoker", "members": [f"serviceAccount:{DEFAULT_ACCOUNT}"]}]}}
    server.api("POST", f"/v2/{PARENT}/services/guarded:setIamPolicy", policy)
    queue = make_queue("to-guarded", retryConfig=dict(QUICK, maxAttempts=2))
    url = f"http://guarded.localhost:{server.port}/"
    token = server.http("GET", f"/computeMetadata/v1/instance/service-accounts/default/identity?audience={urllib.parse.quote(url, safe='')}",
                        headers={"Metadata-Flavor": "Google"}).text
    headers = {"X-Serverless-Authorization": f"Bearer {token}"}
    for name, auth, statuses in (("own", {}, []), ("account", {"oidcToken": {"serviceAccountEmail": ACCOUNT}}, [403, 403])):
        task = make_task(queue, url, name=name, headers=headers, **auth)
        wait_for(lambda: gone(task), f"{name} has ended")
        dead = [d for d in server.api("GET", f"/runnel/v1/{queue}/deadTasks").get("deadTasks", []) if d["task"]["name"] == task["name"]]
        events = server.api("GET", f"/runnel/v1/{task['name']}:timeline")["events"] if dead else []
        equal([e["httpStatus"] for e in events if e["type"] == "ATTEMPT"], statuses, name)


@case("the backlog of queues makes instances of a service, as many as it may have")
def _():
    server.deploy("crowd", "--concurrency=1", "--max-instances=3")
    queue = make_queue("to-crowd")
    before = server.metric("runnel_instances", state="ready")
    tasks = [make_task(queue, f"http://crowd.localhost:{server.port}/sleep?ms=400") for _ in range(12)]
    wait_for(lambda: server.metric("runnel_instances", state="ready") >= before + 2, "more than one instance")
    wait_for(lambda: all(gone(t) for t in tasks), "all tasks have run", 60 * SLOW)


@case("a task is not called before its time, and soon after")
def _():
    receiver = Receiver()
    queue = make_queue("timed")
    due = time.time() + 2.5
    make_task(queue, receiver.url, name="later", task={"scheduleTime": rfc3339(due)})
    make_task(queue, receiver.url, name="now")
    got = receiver.wait(2)
    equal([g["headers"]["X-CloudTasks-TaskName"] for g in got], ["now", "later"])
    assert due - 0.001 <= got[1]["wall"] <= due + 1 * SLOW, got[1]["wall"] - due
    equal(abs(float(got[1]["headers"]["X-CloudTasks-TaskETA"]) - due) < 0.001, True, "the ETA")


@case("Retry-After holds the whole queue back")
def _():
    receiver = Receiver(200)
    receiver.extra = {429: {"Retry-After": "3"}}
    receiver.statuses = [429]
    queue = make_queue("slowed")
    refused = make_task(queue, receiver.url, name="refused")
    first = receiver.wait(1)[0]["at"]
    wait_for(lambda: "responseStatus" in server.api("GET", f"/v2/{refused['name']}").get("lastAttempt", {}), "the answer is on record")
    for i in range(3):
        make_task(queue, receiver.url, name=f"other-{i}")
    got = receiver.wait(4)
    waits = [g["at"] - first for g in got[1:]]
    assert min(waits) >= 2.9, waits


@case("a redirect is not followed: it is a failed attempt")
def _():
    receiver = Receiver(302)
    receiver.extra = {302: {"Location": receiver.url + "&elsewhere"}}
    task = make_task(make_queue("redirected", retryConfig=dict(QUICK, maxAttempts=2)), receiver.url)
    wait_for(lambda: gone(task), "its attempts are used up")
    equal({g["path"] for g in receiver.got}, {"/push?x=1"})
    equal(len(receiver.got), 2)


def names(receiver):
    return {g["headers"]["X-CloudTasks-TaskName"] for g in list(receiver.got)}


@case("SIGTERM waits for what runs, and a restart runs the rest")
def _():
    own = Server("--grace=20s")
    receiver = Receiver()
    receiver.free.clear()
    queue = make_queue("restarted", own, rateLimits={"maxConcurrentDispatches": 2})
    for i in range(6):
        make_task(queue, receiver.url, own, name=f"t{i}")
    receiver.wait(2)
    threading.Timer(0.5, receiver.free.set).start()
    own.stop()
    equal(len(receiver.got), 2, "deliveries before the restart: none begins while it stops")
    done = names(receiver)
    own.start()
    wait_for(lambda: len(names(receiver)) == 6, "all tasks have run")
    equal(len(receiver.got), 6, "what was answered while it stopped is not repeated")
    equal(len(done), 2)


@case("a stop whose grace is too short loses nothing: what ran is repeated, and does not count as an attempt")
def _():
    own = Server("--grace=0s")
    receiver = Receiver()
    receiver.free.clear()
    queue = make_queue("cut-short", own)
    make_task(queue, receiver.url, own, name="cut")
    receiver.wait(1)
    own.stop()
    receiver.free.set()
    own.start()
    got = receiver.wait(2)
    equal(got[1]["headers"]["X-CloudTasks-TaskName"], "cut")
    equal(got[1]["headers"]["X-CloudTasks-TaskRetryCount"], "0")


@case("kill -9 loses no task that was accepted")
def _():
    own = Server()
    receiver = Receiver()
    queue = make_queue("killed", own, rateLimits={"maxDispatchesPerSecond": 200})
    accepted = set()
    for round_ in range(3):
        for i in range(40):
            name = f"r{round_}-{i}"
            make_task(queue, receiver.url, own, name=name, task={"scheduleTime": rfc3339(time.time() + 0.3)} if i % 3 == 0 else None)
            accepted.add(name)
        own.kill()
        own.start()
    wait_for(lambda: names(receiver) == accepted, "every accepted task has run", 60 * SLOW)


@case("options say what is wrong with them")
def _():
    for flag, says in (("--max-schedule=soon", "--max-schedule"), ("--max-schedule=0s", "--max-schedule"), ("--queue-name-hold=-1s", "--queue-name-hold"),
                       ("--queue-name-hold=99999h", "--queue-name-hold")):
        done = subprocess.run([RUNNEL, "serve", flag, f"--data={temp_dir()}", "--listen=127.0.0.1:0"], capture_output=True, text=True, timeout=PATIENCE_S,
                              check=False)
        equal(done.returncode, 2, flag)
        assert says in done.stderr, done.stderr


@case("--max-schedule and --queue-name-hold do what they say")
def _():
    receiver = Receiver()
    far = rfc3339(time.time() + 40 * 86400)
    make_task(make_queue("far"), receiver.url, want=400, task={"scheduleTime": far})
    any_time = Server("--max-schedule=none", "--queue-name-hold=1h")
    task = make_task(make_queue("far", any_time), receiver.url, any_time, task={"scheduleTime": far})
    equal(task["scheduleTime"][:10], far[:10])
    any_time.api("DELETE", f"/v2/{PARENT}/queues/far")
    refused = any_time.api("POST", f"/v2/{PARENT}/queues", {"name": f"{PARENT}/queues/far"}, want=400)
    assert "existed too recently" in refused["error"]["message"], refused
    server.api("DELETE", f"/v2/{PARENT}/queues/far")
    make_queue("far")


run()
