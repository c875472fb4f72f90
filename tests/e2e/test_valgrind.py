"""The real server and its warden under valgrind's memcheck: a clean start, work of every kind, a clean stop.

No error, no memory that is lost or still reachable at the end, no descriptor left open. All that is suppressed is in valgrind.supp. Without valgrind, or
on a build with a sanitizer of its own, it is left out and says so.
"""
import glob
import re
import shutil
import socket
import sys
import time

import harness
from harness import BUILD, PROJECT, REGION, Receiver, Server, b64, case, equal, run, wait_for

VALGRIND_SLOWER = 6
PARENT = f"projects/{PROJECT}/locations/{REGION}"
ACCOUNT = f"pusher@{PROJECT}.iam.gserviceaccount.com"
if harness.SLOW != 1:
    print("skip: a build with a sanitizer does not run under valgrind; the release build does")
    sys.exit(print("0 passed, 0 failed"))
if not shutil.which("valgrind"):
    print("skip: valgrind is not installed (tools/setup checks)")
    sys.exit(print("0 passed, 0 failed"))

harness.SLOW = VALGRIND_SLOWER
harness.PATIENCE_S *= VALGRIND_SLOWER
logs = harness.temp_dir()
server = Server("--idle=60s", "--io-threads=2", under=[
    "valgrind", "--tool=memcheck", "--leak-check=full", "--show-leak-kinds=all", "--errors-for-leak-kinds=all", "--error-exitcode=99",
    f"--suppressions={harness.HERE}/valgrind.supp", "--track-fds=yes", "--trace-children=yes", "--trace-children-skip=*/runnel-sample,/bin/sh,/usr/bin/sh,*/dash", "--num-callers=30", "--fair-sched=yes",
    f"--log-file={logs}/%p"])


@case("a service is deployed, called, given a second revision")
def _():
    for turn in (1, 2):
        server.cli("run", "deploy", "web", f"--image=exec://{BUILD}", "--command=runnel-sample", f"--set-env-vars=TURN={turn}", "--allow-unauthenticated")
        equal(server.call("web").status, 200, "a request")
    equal(server.call("web", "/", "POST", body="not a push " * 1000).status in (200, 204, 400), True, "a body")
    assert server.cli("run", "services", "logs", "read", "web").stdout


@case("messages are pushed to a private service with a token, and to a stranger over failures")
def _():
    server.cli("run", "deploy", "own", f"--image=exec://{BUILD}", "--command=runnel-sample")
    server.cli("run", "services", "add-iam-policy-binding", "own", f"--member=serviceAccount:{ACCOUNT}", "--role=roles/run.invoker")
    stranger, topic = Receiver(), server.topic("pushed")
    stranger.statuses = [500, 404]
    token = {"oidcToken": {"serviceAccountEmail": ACCOUNT}}
    server.subscription("own", topic, pushConfig={"pushEndpoint": server.service("own")["uri"], **token})
    server.subscription("stranger", topic, pushConfig={"pushEndpoint": stranger.url, **token}, filter='attributes.a = "b"')
    server.subscription("nobody", topic, pushConfig={"pushEndpoint": f"http://127.0.0.1:{harness.free_port()}/"})
    server.publish(topic, *[str(i) for i in range(20)], attributes={"a": "b"})
    stranger.wait(22)
    wait_for(lambda: server.metric("runnel_push_requests_total") >= 42, "all pushes")


@case("messages are pulled, nacked, acknowledged, sought back, kept by a snapshot")
def _():
    topic = server.topic("pulled")
    name = server.subscription("pulled", topic, retainAckedMessages=True, enableMessageOrdering=True,
                               deadLetterPolicy={"deadLetterTopic": server.topic("dead"), "maxDeliveryAttempts": 5})
    server.publish(topic, *[str(i) for i in range(50)], orderingKey="k")
    server.api("PUT", f"/v1/projects/{PROJECT}/snapshots/snap", {"subscription": name})
    got = server.api("POST", f"/v1/{name}:pull", {"maxMessages": 20})["receivedMessages"]
    ids = [m["ackId"] for m in got]
    server.api("POST", f"/v1/{name}:modifyAckDeadline", {"ackIds": ids[10:], "ackDeadlineSeconds": 0})
    server.api("POST", f"/v1/{name}:acknowledge", {"ackIds": ids[:10]})
    server.api("POST", f"/v1/{name}:seek", {"snapshot": f"projects/{PROJECT}/snapshots/snap"})
    server.api("POST", f"/v1/{name}:seek", {"time": "2030-01-01T00:00:00Z"})
    server.api("DELETE", f"/v1/projects/{PROJECT}/snapshots/snap")


@case("tasks are called over failures, wait, are run by hand, die, come back; a queue is paused, purged, deleted")
def _():
    queue, receiver = f"{PARENT}/queues/q", Receiver()
    receiver.statuses = [500, 503, 400, 400]
    server.api("POST", f"/v2/{PARENT}/queues", {"name": queue, "retryConfig": {"maxAttempts": 2, "minBackoff": "0.05s", "maxBackoff": "0.1s"}})
    task = lambda **more: server.api("POST", f"/v2/{queue}/tasks", {"task": {**more, "httpRequest": {"url": receiver.url, "oidcToken": {"serviceAccountEmail": ACCOUNT}}}})
    for _ in range(2):
        task()
    receiver.wait(4)
    wait_for(lambda: server.metric("runnel_task_dead_letters") == 2, "two dead letters")
    server.cli("tasks", "queues", "dead-letters", "redrive", "q", "--all", "--quiet")
    waits = [task(name=f"{queue}/tasks/t{i}", scheduleTime=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86400))) for i in range(20)]
    server.api("POST", f"/v2/{waits[0]['name']}:run", {})
    receiver.wait(7)
    server.api("GET", f"/v2/{queue}/tasks?pageSize=5")
    server.api("DELETE", f"/v2/{waits[1]['name']}")
    for verb in ("pause", "resume", "purge"):
        server.api("POST", f"/v2/{queue}:{verb}", {})
    server.api("POST", f"/v2/{PARENT}/queues", {"name": queue + "-left"})
    server.api("DELETE", f"/v2/{queue}")


@case("schedules fire, fail, are changed, paused, run by hand; one is left")
def _():
    receiver = Receiver()
    receiver.statuses = [500]
    for name, zone in (("gone", "Europe/Berlin"), ("left", "UTC")):
        server.api("POST", f"/v1/{PARENT}/jobs", {"name": f"{PARENT}/jobs/{name}", "schedule": "* * * * * *", "timeZone": zone, "retryConfig": {"retryCount": 1},
                                                  "httpTarget": {"uri": receiver.url, "oidcToken": {"serviceAccountEmail": ACCOUNT}}})
    receiver.wait(6)
    server.api("PATCH", f"/v1/{PARENT}/jobs/gone?updateMask=schedule", {"name": f"{PARENT}/jobs/gone", "schedule": "every 5 minutes"})
    for verb in ("pause", "resume", "run"):
        server.api("POST", f"/v1/{PARENT}/jobs/gone:{verb}", {})
    server.api("DELETE", f"/v1/{PARENT}/jobs/gone")
    server.api("POST", f"/v1/{PARENT}/jobs/left:pause", {})


@case("jobs run their tasks, with inputs and retries; one is cancelled, one is deleted, one is left")
def _():
    script = '[ "$CLOUD_RUN_TASK_ATTEMPT" = 1 ] || [ "$CLOUD_RUN_TASK_INDEX" != 1 ] || exit 3; echo "$RUNNEL_TASK_INPUT"; [ "$WAIT" = "" ] || sleep 1000'
    for name, variables in (("quick", "WAIT="), ("long", "WAIT=1")):
        server.cli("run", "jobs", "create", name, "--image=exec:///", "--command=/bin/sh", f"--args=^@^-c@{script}", "--tasks=3", "--max-retries=1", f"--set-env-vars={variables}")
    server.cli("run", "jobs", "execute", "quick", "--wait")
    assert server.cli("run", "jobs", "logs", "read", "quick").stdout
    server.cli("run", "jobs", "execute", "long", "--async")
    name = server.cli("run", "jobs", "executions", "list", "--job=long", "--format=value(name.basename())").stdout.strip()
    server.cli("run", "jobs", "executions", "cancel", name, "--quiet")
    server.cli("run", "jobs", "delete", "long", "--quiet")


@case("bad input, clients that leave, and every page")
def _():
    server.api("POST", f"/v1/projects/{PROJECT}/topics/none:publish", {"messages": [{"data": b64("x")}]}, want=404)
    server.api("PUT", f"/v1/projects/{PROJECT}/topics/x", {"labels": 7}, want=400)
    equal(server.http("POST", "/v1/nothing", b"{\"a\":", {"Content-Type": "application/json"}).status, 404, "no such method")
    for text in (b"GET / HTTP/1.1\r\nHost: ", b"\x16\x03\x01garbage\r\n\r\n", b"POST / HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: 99\r\n\r\nabc"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as s:
            s.sendall(text)
    for page in ("/healthz", "/metrics", "/oauth2/v3/certs", "/oauth2/v1/certs", "/.well-known/openid-configuration"):
        equal(server.http("GET", page).status, 200, page)


@case("everything is deleted, some is left for the end")
def _():
    server.cli("run", "services", "delete", "web", "--quiet")
    server.api("DELETE", f"/v1/projects/{PROJECT}/topics/pulled")
    server.api("DELETE", f"/v1/projects/{PROJECT}/subscriptions/own")


def complaints(text):
    """What one memcheck log says that it should not."""
    found = []
    errors = re.search(r"ERROR SUMMARY: (\d+) errors", text)
    if not errors or errors.group(1) != "0":
        found.append("errors")
    for kind in ("definitely lost", "indirectly lost", "possibly lost", "still reachable"):
        lost = re.search(kind + r": ([\d,]+) bytes", text)
        if lost and lost.group(1) != "0":
            found.append(f"{kind}: {lost.group(1)} bytes")
    fds = re.search(r"FILE DESCRIPTORS: (\d+) open \((\d+) std\) at exit", text)
    inherited = len(re.findall(r"<inherited from parent>", text))
    if not fds or int(fds.group(1)) > int(fds.group(2)) + inherited:
        found.append("descriptors are left open")
    return found


@case("SIGTERM: exit code 0, and memcheck has nothing to say about the server or its warden")
def _():
    stop_failed = None
    try:
        server.stop()
    except AssertionError as e:  # memcheck's own words say more
        stop_failed = e
    seen = []
    for path in glob.glob(logs + "/*"):
        with open(path, encoding="utf-8", errors="replace") as f:
            text = f.read()
        word = re.search(r"Command: \S+ (\S+)", text).group(1)
        ended = "ERROR SUMMARY" in text  # a child of the warden is another program before that
        bad = complaints(text) if ended else []
        seen += [word] if ended else []
        if bad:
            raise AssertionError(f"{word} ({', '.join(bad)})\n{text[-12000:]}")
    if stop_failed:
        raise stop_failed
    equal(seen, ["serve", "serve"], "who said how they ended: the server, and its warden, which is a fork of it")


run()
