"""Cloud Tasks from outside: queues, tasks, pages, views and errors over REST, dead letters, batches, and the command line; see test_tasks for delivery."""
import base64
import json
import os
import shutil
import subprocess

from harness import PROJECT, REGION, Receiver, Server, b64, case, equal, run, wait_for

server = Server("--idle=60s")
L = f"projects/{PROJECT}/locations/{REGION}"
QUEUE_MISSING = "Queue does not exist. If you just created the queue, wait at least a minute for the queue to initialize."


def make_queue(name, **fields):
    server.api("POST", f"/v2/{L}/queues", {"name": f"{L}/queues/{name}", **fields})
    return f"{L}/queues/{name}"


def make_task(queue, url="http://127.0.0.1:9/", name=None, want=200, task=None, **http):
    body = {"httpRequest": {"url": url, **http}, **(task or {})}
    if name:
        body["name"] = f"{queue}/tasks/{name}"
    return server.api("POST", f"/v2/{queue}/tasks", {"task": body}, want=want)


def refused(method, path, body, status, text):
    answer = server.http(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
    error = answer.json["error"]
    equal((answer.status, error["code"], error["status"]), (status[0], status[0], status[1]), f"{method} {path}: {error}")
    assert text in error["message"], f"{method} {path}: {error['message']}"


def dead_letters(queue):
    return server.api("GET", f"/runnel/v1/{queue}/deadTasks").get("deadTasks", [])


@case("a queue from creation to deletion, in JSON as Google writes it")
def _():
    queue = make_queue("life")
    equal(server.api("GET", f"/v2/{queue}"),
          {"name": queue, "rateLimits": {"maxDispatchesPerSecond": 500, "maxBurstSize": 100, "maxConcurrentDispatches": 1000},
           "retryConfig": {"maxAttempts": 100, "minBackoff": "0.100s", "maxBackoff": "3600s", "maxDoublings": 16}, "state": "RUNNING"}, "defaults")
    refused("POST", f"/v2/{L}/queues", {"name": queue}, (409, "ALREADY_EXISTS"), "Requested entity already exists")
    for mask in ("rate_limits.max_dispatches_per_second", "rateLimits.maxDispatchesPerSecond"):
        rate = len(mask)
        changed = server.api("PATCH", f"/v2/{queue}?updateMask={mask}", {"rateLimits": {"maxDispatchesPerSecond": rate, "maxConcurrentDispatches": 2}})
        equal((changed["rateLimits"]["maxDispatchesPerSecond"], changed["rateLimits"]["maxConcurrentDispatches"]), (rate, 1000), mask)
    equal(server.api("POST", f"/v2/{queue}:pause", {})["state"], "PAUSED", "paused")
    equal([q["name"] for q in server.api("GET", f"/v2/{L}/queues?filter=state:PAUSED")["queues"]], [queue], "filter")
    equal(server.api("POST", f"/v2/{queue}:resume", {})["state"], "RUNNING", "resumed")
    assert server.api("POST", f"/v2/{queue}:purge", {})["purgeTime"].endswith("Z")
    equal(server.api("PATCH", f"/v2/{L}/queues/upserted", {"retryConfig": {"maxAttempts": 7}})["retryConfig"]["maxAttempts"], 7, "upsert")
    equal(server.api("DELETE", f"/v2/{queue}"), {}, "deleted")
    refused("GET", f"/v2/{queue}", None, (404, "NOT_FOUND"), QUEUE_MISSING)
    equal([x["locationId"] for x in server.api("GET", f"/v2/projects/{PROJECT}/locations")["locations"]], [REGION], "locations")


@case("IAM of a queue: get by POST, set, test; its policy goes with it")
def _():
    queue = make_queue("iam")
    policy = server.api("POST", f"/v2/{queue}:getIamPolicy", {})
    bindings = [{"role": "roles/cloudtasks.enqueuer", "members": ["user:a@example.com"]}]
    server.api("POST", f"/v2/{queue}:setIamPolicy", {"policy": {"bindings": bindings, "etag": policy["etag"]}})
    equal(server.api("POST", f"/v2/{queue}:getIamPolicy", {})["bindings"], bindings, "bindings")
    equal(server.api("POST", f"/v2/{queue}:testIamPermissions", {"permissions": ["cloudtasks.tasks.create"]})["permissions"],
          ["cloudtasks.tasks.create"], "permissions")
    refused("POST", f"/v2/{queue}x:getIamPolicy", {}, (404, "NOT_FOUND"), "not found")
    server.api("DELETE", f"/v2/{queue}")
    make_queue("iam")
    assert "bindings" not in server.api("POST", f"/v2/{queue}:getIamPolicy", {})


@case("a task is shown without its body, unless it is asked for whole")
def _():
    queue = make_queue("views")
    server.api("POST", f"/v2/{queue}:pause", {})
    task = make_task(queue, name="one", body=b64("hello"), headers={"X-Mixed-Case": "yes", "Host": "evil", "x-google-a": "b"})
    equal(task["httpRequest"], {"url": "http://127.0.0.1:9/", "httpMethod": "POST",
                                "headers": {"X-Mixed-Case": "yes", "User-Agent": "Google-Cloud-Tasks"}}, "as it was made")
    equal((task["view"], task["dispatchDeadline"]), ("BASIC", "600s"), "defaults")
    assert "body" not in server.api("GET", f"/v2/{queue}/tasks/one")["httpRequest"]
    for view in ("FULL", "2"):
        equal(base64.b64decode(server.api("GET", f"/v2/{queue}/tasks/one?responseView={view}")["httpRequest"]["body"]), b"hello", view)
    auto = make_task(queue)["name"].rsplit("/", 1)[1]
    assert auto.isdigit() and len(auto) > 17, auto
    refused("POST", f"/v2/{queue}/tasks", {"task": {"name": f"{queue}/tasks/one", "httpRequest": {"url": "http://127.0.0.1:9/"}}},
            (409, "ALREADY_EXISTS"), "Requested entity already exists")
    refused("POST", f"/v2/{queue}/tasks", {"task": {"appEngineHttpRequest": {}}}, (501, "UNIMPLEMENTED"), "use http_request")
    refused("POST", f"/v2/{queue}/tasks", {"task": {"httpRequest": {"url": "http://127.0.0.1:9/"}, "scheduleTime": "2100-01-01T00:00:00Z"}},
            (400, "INVALID_ARGUMENT"), "too far in the future. Schedule time must be no more than 720h in the future.")
    equal(server.api("DELETE", f"/v2/{queue}/tasks/one"), {}, "deleted")
    refused("GET", f"/v2/{queue}/tasks/one", None, (404, "NOT_FOUND"), "Task does not exist")


@case("pages of tasks hold each once, and a foreign token none")
def _():
    queue = make_queue("pages")
    server.api("POST", f"/v2/{queue}:pause", {})
    names = sorted(make_task(queue, name=f"t{i}")["name"] for i in range(7))
    seen, token = [], ""
    while True:
        page = server.api("GET", f"/v2/{queue}/tasks?pageSize=3&pageToken={token}")
        seen += [t["name"] for t in page["tasks"]]
        assert len(page["tasks"]) <= 3
        last, token = token, page.get("nextPageToken", "")
        if not token:
            break
    equal(sorted(seen), names, "tasks")
    refused("GET", f"/v2/{make_queue('pages2')}/tasks?pageToken={last}", None, (400, "INVALID_ARGUMENT"), "pageToken")


@case("a paused queue sends nothing but what is run by hand, and all when it is resumed")
def _():
    stranger = Receiver()
    queue = make_queue("paused")
    server.api("POST", f"/v2/{queue}:pause", {})
    for name in ("a", "b"):
        make_task(queue, stranger.url, name=name)
    equal(server.api("POST", f"/v2/{queue}/tasks/b:run", {})["name"], f"{queue}/tasks/b", "the task that was run")
    equal(stranger.wait(1)[0]["headers"]["X-CloudTasks-TaskName"], "b", "what was run")
    wait_for(lambda: [t["name"] for t in server.api("GET", f"/v2/{queue}/tasks").get("tasks", [])] == [f"{queue}/tasks/a"], "b to be gone")
    server.api("POST", f"/v2/{queue}:resume", {})
    equal(stranger.wait(2)[1]["headers"]["X-CloudTasks-TaskName"], "a", "what came then")
    wait_for(lambda: server.api("GET", f"/v2/{queue}/tasks") == {}, "the queue to be empty")
    refused("POST", f"/v2/{queue}/tasks/b:run", {}, (404, "NOT_FOUND"), "Task does not exist")


@case("a purge takes what was there and leaves what comes after")
def _():
    stranger = Receiver()
    queue = make_queue("purged")
    server.api("POST", f"/v2/{queue}:pause", {})
    make_task(queue, stranger.url, name="old")
    server.api("POST", f"/v2/{queue}:purge", {})
    make_task(queue, stranger.url, name="fresh")
    server.api("POST", f"/v2/{queue}:resume", {})
    equal(stranger.wait(1)[0]["headers"]["X-CloudTasks-TaskName"], "fresh", "what came")
    wait_for(lambda: server.api("GET", f"/v2/{queue}/tasks") == {}, "the queue to be empty")
    equal(len(stranger.got), 1, "deliveries")


@case("a task out of attempts is a dead letter with its story, goes back by a redrive, and is forgotten by a deletion")
def _():
    stranger = Receiver(503)
    queue = make_queue("dying", retryConfig={"maxAttempts": 2, "minBackoff": "0.1s"})
    make_task(queue, stranger.url, name="patient", body=b64("x"))
    make_task(queue, stranger.url, name="other")
    wait_for(lambda: len(dead_letters(queue)) == 2, "two dead letters", 60)
    patient = [d for d in dead_letters(queue) if d["task"]["name"].endswith("/patient")][0]
    equal((patient["task"]["httpRequest"]["body"], patient["task"]["dispatchCount"]), (b64("x"), 2), "the dead letter")
    story = server.api("GET", f"/runnel/v1/{queue}/tasks/patient:timeline")
    equal(story["dead"], True, "dead")
    equal([e["type"] for e in story["events"]], ["CREATED", "ATTEMPT", "ATTEMPT", "DEAD"], "the story")
    equal([e["httpStatus"] for e in story["events"][1:3]], [503, 503], "answers")
    equal(server.api("GET", f"/runnel/v1/{queue}:stats")["deadCount"], "2", "figures")
    before = len(stranger.got)
    stranger.status = 200
    equal(server.api("POST", f"/runnel/v1/{queue}/deadTasks:redrive", {"ids": ["patient"]}), {"redrivenCount": "1"}, "redriven")
    again = stranger.wait(before + 1, 120)[before]
    equal((again["headers"]["X-CloudTasks-TaskName"], again["headers"]["X-CloudTasks-TaskRetryCount"]), ("patient", "0"), "counts begin anew")
    equal(server.api("POST", f"/runnel/v1/{queue}/deadTasks:delete", {"all": True}), {"deletedCount": "1"}, "deleted")
    equal(dead_letters(queue), [], "none is left")


@case("a batch is answered one by one, and arrives")
def _():
    stranger = Receiver()
    queue = make_queue("batched")
    tasks = [{"httpRequest": {"url": stranger.url}} for _ in range(100)]
    tasks[50] = {"httpRequest": {"url": "ftp://x"}}
    results = server.api("POST", f"/runnel/v1/{queue}/tasks:batchCreate", {"tasks": tasks})["results"]
    equal([i for i, r in enumerate(results) if "error" in r], [50], "refused")
    assert results[50]["error"]["code"] == 3 and "url" in results[50]["error"]["message"], results[50]
    got = stranger.wait(99)
    equal({g["headers"]["X-CloudTasks-TaskName"] for g in got}, {r["task"]["name"].rsplit("/", 1)[1] for r in results if "task" in r}, "tasks")


@case("settings are kept over a restart, as are queues, tasks and dead letters")
def _():
    stranger = Receiver(400)
    queue = make_queue("kept", retryConfig={"maxAttempts": 1})
    equal(server.api("PATCH", f"/runnel/v1/{queue}/settings?updateMask=keyConcurrent,deadKeep", {"keyConcurrent": 3, "deadKeep": "3600s"}),
          {"name": f"{queue}/settings", "keyConcurrent": 3, "deadKeep": "3600s", "deadMax": 10000}, "settings")
    make_task(queue, stranger.url, name="dead")
    wait_for(lambda: len(dead_letters(queue)) == 1, "a dead letter")
    server.api("POST", f"/v2/{queue}:pause", {})
    make_task(queue, stranger.url, name="alive")
    server.stop()
    server.start()
    equal(server.api("GET", f"/v2/{queue}")["state"], "PAUSED", "state")
    equal(server.api("GET", f"/runnel/v1/{queue}/settings")["keyConcurrent"], 3, "settings")
    equal([t["name"] for t in server.api("GET", f"/v2/{queue}/tasks")["tasks"]], [f"{queue}/tasks/alive"], "tasks")
    equal([d["task"]["name"] for d in dead_letters(queue)], [f"{queue}/tasks/dead"], "dead letters")


@case("the command line: queues and tasks in gcloud's words")
def _():
    stranger = Receiver()
    said = server.cli("tasks", "queues", "create", "cli", "--max-attempts=3", "--max-dispatches-per-second=5", "--dead-keep=1d").stderr.strip()
    equal(said, f"Created queue [{L}/queues/cli].", "what is said")
    server.cli("tasks", "queues", "pause", "cli")
    listed = server.cli("tasks", "queues", "list").stdout.splitlines()
    assert "MAX_RATE" in listed[0] and any(line.split()[:2] == ["cli", "PAUSED"] for line in listed), listed
    server.cli("tasks", "queues", "update", "cli", "--max-attempts=1", "--clear-max-dispatches-per-second")
    shown = json.loads(server.cli("tasks", "queues", "describe", "cli", "--format=json").stdout)
    equal((shown["retryConfig"]["maxAttempts"], shown["rateLimits"]["maxDispatchesPerSecond"]), (1, 500), "updated")
    equal(json.loads(server.cli("tasks", "queues", "settings", "cli", "--format=json").stdout)["deadKeep"], "86400s", "settings")
    server.cli("tasks", "create-http-task", "one", "--queue=cli", f"--url={stranger.url}", "--body-content={}", "--header=X-A: b, c")
    equal(server.cli("tasks", "list", "--queue=cli", "--format=value(name)").stdout.split(), [f"{L}/queues/cli/tasks/one"], "listed")
    http = json.loads(server.cli("tasks", "describe", "one", "--queue=cli", "--response-view=full", "--format=json").stdout)["httpRequest"]
    equal((http["headers"]["X-A"], http["body"]), ("b, c", b64("{}")), "described")
    server.cli("tasks", "run", "one", "--queue=cli")
    equal(stranger.wait(1)[0]["headers"]["X-A"], "b, c", "delivered")
    stranger.status = 500
    server.cli("tasks", "queues", "resume", "cli")
    server.cli("tasks", "create-http-task", "two", "--queue=cli", f"--url={stranger.url}")
    wait_for(lambda: "two" in server.cli("tasks", "queues", "dead-letters", "list", "cli").stdout, "a dead letter")
    assert "DEAD" in server.cli("tasks", "timeline", "two", "--queue=cli").stdout
    assert "deadCount" in server.cli("tasks", "queues", "stats", "cli").stdout
    stranger.status = 200
    assert "Put back 1" in server.cli("tasks", "queues", "dead-letters", "redrive", "cli", "two").stderr
    wait_for(lambda: server.cli("tasks", "list", "--queue=cli", "--format=value(name)").stdout == "", "the queue to be empty")
    server.cli("tasks", "queues", "dead-letters", "delete", "cli", "--all", "--quiet")
    server.cli("tasks", "queues", "purge", "cli", "--quiet")
    server.cli("tasks", "queues", "delete", "cli", "--quiet")
    assert "Queue does not exist" in server.cli("tasks", "queues", "describe", "cli", want=1).stderr
    assert "--max-attempts" in server.cli("tasks", "queues", "create", "x", "--max-attempts=many", want=2).stderr
    assert "NAME:VALUE" in server.cli("tasks", "create-http-task", "--queue=x", "--url=http://a/", "--header=none", want=2).stderr
    assert "--queue" in server.cli("tasks", "describe", "one", want=2).stderr


def gcloud(*args, want=""):
    env = dict(os.environ, CLOUDSDK_CORE_PROJECT=PROJECT, CLOUDSDK_AUTH_DISABLE_CREDENTIALS="true", CLOUDSDK_CORE_DISABLE_PROMPTS="1",
               CLOUDSDK_CORE_DISABLE_USAGE_REPORTING="1", CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK="1",
               CLOUDSDK_CORE_SHOULD_PROMPT_TO_ENABLE_API="false", CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDTASKS=server.url + "/")
    done = subprocess.run(["gcloud", "tasks", *args], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=60)
    equal(done.returncode, 0, f"gcloud tasks {' '.join(args)}: {done.stdout[:500]}")
    assert want in done.stdout, f"gcloud tasks {' '.join(args)}: {done.stdout[:500]}"


if shutil.which("gcloud"):
    @case("gcloud tasks, unmodified")
    def _():
        where = "--location=us-central1"
        gcloud("queues", "create", "g", where, "--max-attempts=3", "--max-dispatches-per-second=5")
        gcloud("queues", "pause", "g", where)
        gcloud("queues", "update", "g", where, "--clear-max-attempts", "--max-backoff=10s")
        gcloud("create-http-task", "t1", "--queue=g", where, "--url=http://127.0.0.1:9/", "--method=POST", '--body-content={"a":1}', "--header=X-A:b",
               "--oidc-service-account-email=sa@p.iam.gserviceaccount.com", want="tasks/t1")
        gcloud("list", "--queue=g", where, "--format=value(name)", want="t1")
        gcloud("run", "t1", "--queue=g", where, want="tasks/t1")
        gcloud("queues", "describe", "g", where, want="PAUSED")
        gcloud("queues", "get-iam-policy", "g", where, want="etag")
        gcloud("queues", "purge", "g", where)
        gcloud("locations", "list", want="us-central1")
        gcloud("queues", "delete", "g", where, "--quiet")
else:
    print("skip: gcloud is not installed", flush=True)

run()
