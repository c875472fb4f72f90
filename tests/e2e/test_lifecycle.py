"""Instances from zero and back, crash loops, SIGTERM, kill -9, and what a restart must keep."""
import json
import os
import signal
import threading

from harness import PROJECT, Receiver, Server, alive, b64, case, equal, run, wait_for

server = Server("--idle=1s")


def pids(service):
    return server.call(service).json["pid"]


@case("a service is started from zero by a request and stopped when idle")
def _():
    server.deploy("zero")
    wait_for(lambda: server.instances() == 0, "zero instances after the deployment")
    pid = pids("zero")
    assert alive(pid)
    wait_for(lambda: not alive(pid), "the idle instance to be stopped")
    wait_for(lambda: server.instances() == 0, "zero instances")
    assert pids("zero") != pid


@case("a minimum of instances stays, and is replaced when one ends")
def _():
    server.deploy("steady", "--min-instances=1")
    pid = pids("steady")
    wait_for(lambda: server.metric("runnel_instances", state="ready") >= 1, "one ready")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: (lambda a: a.status == 200 and a.json["pid"] != pid)(server.call("steady")), "another one")
    server.cli("run", "services", "update", "steady", "--min-instances=0")
    wait_for(lambda: server.instances() == 0, "none without a minimum")


@case("load starts more instances, never more than the maximum")
def _():
    server.deploy("wide", "--concurrency=1", "--max-instances=3")
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(server.call("wide", "/sleep?ms=300").json["pid"])) for _ in range(20)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    equal(len(answers), 20, "answers")
    assert 2 <= len(set(answers)) <= 3, set(answers)


@case("a program that crashes fails its deployment, and the condition says how")
def _():
    done = server.deploy("broken", "--set-env-vars=CRASH=1", want=1)
    assert "ERROR: (runnel.run.deploy)" in done.stderr and "3" in done.stderr, done.stderr
    condition = server.service("broken")["terminalCondition"]
    equal(condition["state"], "CONDITION_FAILED", "state")
    assert "exit" in condition["message"] and "3" in condition["message"], condition
    logs = server.cli("run", "services", "logs", "read", "broken").stdout
    assert "crashing on purpose" in logs, logs
    assert server.call("broken").status in (404, 503)


@case("a bad revision leaves the old one serving")
def _():
    server.deploy("safe", "--set-env-vars=MODE=good")
    server.deploy("safe", "--set-env-vars=CRASH=1", want=1)
    equal(server.call("safe").json["env"].get("MODE"), "good", "mode")
    equal(server.service("safe")["terminalCondition"]["state"], "CONDITION_FAILED", "state")
    server.deploy("safe", "--set-env-vars=MODE=better")
    wait_for(lambda: server.call("safe").json["env"].get("MODE") == "better", "the repaired revision")


@case("a program that never listens fails with the probe's reason")
def _():
    done = server.deploy("deaf", "--set-env-vars=DEAF=1", "--startup-probe=tcpSocket.port=8080,periodSeconds=1,failureThreshold=2,timeoutSeconds=1", want=1)
    assert "port" in done.stderr.lower(), done.stderr


@case("an unchanged template makes no revision, a changed one a new one, and it is immutable")
def _():
    server.deploy("versions", "--set-env-vars=MODE=1")
    first = server.service("versions")["latestCreatedRevision"]
    server.cli("run", "services", "add-iam-policy-binding", "versions", "--member=allAuthenticatedUsers")
    equal(server.service("versions")["latestCreatedRevision"], first, "revision after a policy change")
    server.deploy("versions", "--set-env-vars=MODE=2")
    second = server.service("versions")["latestCreatedRevision"]
    assert first != second
    name = f"/v2/{first}" if first.startswith("projects/") else f"/v2/{server.service('versions')['name']}/revisions/{first}"
    equal(server.api("GET", name)["containers"][0]["env"], [{"name": "MODE", "value": "1"}], "the first revision")


@case("SIGTERM: the running request is answered, then server and instances are gone")
def _():
    own = Server("--idle=60s")
    own.deploy("drain", "--set-env-vars=TERM_DELAY_MS=200")
    pid = own.call("drain").json["pid"]
    answers = []
    t = threading.Thread(target=lambda: answers.append(own.call("drain", "/sleep?ms=1500").status))
    t.start()
    wait_for(lambda: own.call("drain").json["running"] >= 2, "the long request inside")
    own.stop()
    t.join()
    equal(answers, [200], "the running request")
    assert not alive(pid), "the instance outlived the server"


@case("kill -9 leaves no orphan, not even a child in a session of its own; a restart keeps everything")
def _():
    own = Server("--idle=60s")
    own.deploy("orphan", "--min-instances=1")
    own.cli("pubsub", "topics", "create", "kept", "--labels=a=b")
    topic = f"projects/{PROJECT}/topics/kept"
    own.subscription("kept", topic, ackDeadlineSeconds=33)
    own.subscription("acked", topic)
    ids = own.publish(topic, "one", "two")
    got = own.api("POST", f"/v1/projects/{PROJECT}/subscriptions/acked:pull", {"maxMessages": 10})["receivedMessages"]
    own.api("POST", f"/v1/projects/{PROJECT}/subscriptions/acked:acknowledge", {"ackIds": [m["ackId"] for m in got]})
    family = own.call("orphan", "/child").json, own.call("orphan", "/child?session=1").json
    members = {family[0]["pid"], family[0]["child"], family[1]["child"]}
    assert all(alive(p) for p in members), members
    policy = own.api("GET", f"/v2/{own.service('orphan')['name']}:getIamPolicy")
    keys = own.http("GET", "/oauth2/v3/certs").json
    own.kill()
    wait_for(lambda: not any(alive(p) for p in members), f"all of {members} to end")
    own.start()
    equal(own.api("GET", f"/v1/{topic}")["labels"], {"a": "b"}, "labels")
    equal(own.api("GET", f"/v1/projects/{PROJECT}/subscriptions/kept")["ackDeadlineSeconds"], 33, "deadline")
    seen = {}
    for _ in range(20):
        for m in own.api("POST", f"/v1/projects/{PROJECT}/subscriptions/kept:pull", {"maxMessages": 10, "returnImmediately": True}).get("receivedMessages", []):
            seen[m["message"]["messageId"]] = m["message"]["data"]
    equal(seen, dict(zip(ids, (b64("one"), b64("two")))), "messages")
    equal(own.api("POST", f"/v1/projects/{PROJECT}/subscriptions/acked:pull", {"maxMessages": 10, "returnImmediately": True}), {}, "acknowledged ones")
    equal(own.api("GET", f"/v2/{own.service('orphan')['name']}:getIamPolicy"), policy, "policy")
    equal(own.http("GET", "/oauth2/v3/certs").json, keys, "keys")
    wait_for(lambda: own.call("orphan").status == 200, "the service to serve again")


@case("a push subscription goes on after a restart")
def _():
    own = Server()
    stranger = Receiver(500)
    topic = own.topic("going-on")
    own.subscription("going-on", topic, pushConfig={"pushEndpoint": stranger.url})
    ids = own.publish(topic, "survivor")
    stranger.wait(1)
    own.kill()
    stranger.status = 204
    n = len(stranger.got)
    own.start()
    stranger.wait(n + 1)
    equal(json.loads(stranger.got[-1]["body"])["message"]["messageId"], ids[0], "id")


@case("deleting a service stops its instances and forgets its name")
def _():
    server.deploy("gone", "--min-instances=1")
    pid = pids("gone")
    server.cli("run", "services", "delete", "gone", "--quiet")
    wait_for(lambda: not alive(pid), "the instance to end")
    # The io threads hear of it a moment later; until then they answer 503.
    wait_for(lambda: server.call("gone").status == 404, "its host to be unknown")
    server.api("GET", f"/v2/projects/{PROJECT}/locations/europe-west1/services/gone", want=404)


run()
