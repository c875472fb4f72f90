"""The real server and its warden under valgrind's memcheck: a clean start, work of every kind, a clean stop.

No error, no memory that is lost or still reachable at the end, no descriptor left open. Nothing is suppressed. Without valgrind, or
on a build with a sanitizer of its own, it is left out and says so.
"""
import glob
import re
import shutil
import socket
import sys

import harness
from harness import BUILD, PROJECT, Receiver, Server, b64, case, equal, run, wait_for

VALGRIND_SLOWER = 6
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
    "--track-fds=yes", "--trace-children=yes", "--trace-children-skip=*/runnel-sample", "--num-callers=30", "--fair-sched=yes",
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
