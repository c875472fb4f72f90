"""Every REST method with bad input: the canonical error, naming what is wrong; never a crash, never a half-made resource."""
import json
import socket

from harness import PROJECT, REGION, SERVICE_IMAGE, Server, b64, case, equal, run

server = Server()
P = f"/v1/projects/{PROJECT}"
L = f"/v2/projects/{PROJECT}/locations/{REGION}"
TOPIC = server.topic("there")
SUB = server.subscription("there", TOPIC)
server.deploy("there")
QUEUE = f"{L}/queues/there"
OURS = QUEUE.replace("/v2/", "/runnel/v1/")
server.api("POST", f"{L}/queues", {"name": QUEUE.removeprefix("/v2/")})
SERVICE = {"template": {"containers": [{"image": SERVICE_IMAGE, "command": ["/usr/bin/python3"], "args": ["service.py"]}]}}
HTTP = {"INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "ALREADY_EXISTS": 409, "FAILED_PRECONDITION": 400, "UNIMPLEMENTED": 405}  # another verb would do: the paths are known


def with_container(**fields):
    return {"template": {"containers": [dict(SERVICE["template"]["containers"][0], **fields)]}}


def with_template(**fields):
    return {"template": dict(SERVICE["template"], **fields)}


def plain(text):
    """Both spellings of a field's name are one: ackDeadlineSeconds, ack_deadline_seconds."""
    return text.replace("_", "").lower()


def refused(method, path, body, status, word):
    """`body` is sent as it is when it is text. The answer must be the canonical error, and its message hold `word`."""
    text = body if isinstance(body, (str, bytes)) else None if body is None else json.dumps(body)
    answer = server.http(method, path, text, {"Content-Type": "application/json"})
    what = f"{method} {path} {str(text)[:100]}"
    try:
        error = answer.json["error"]
    except (ValueError, KeyError, TypeError):
        raise AssertionError(f"{what}: no error body: {answer.status} {answer.text[:300]}") from None
    equal((answer.status, error["code"], error["status"]), (HTTP[status], HTTP[status], status), f"{what}: {error}")
    assert plain(word) in plain(error["message"]), f"{what}: the message does not name '{word}': {error['message']}"


def everything():
    """All that there is, to see that nothing was half made."""
    return [sorted(json.dumps(x, sort_keys=True) for x in server.api("GET", path).get(field, []))
            for path, field in ((P + "/topics", "topics"), (P + "/subscriptions", "subscriptions"), (P + "/snapshots", "snapshots"))] + \
        [sorted(s["name"] for s in server.api("GET", L + "/services").get("services", []))] + \
        [server.api("GET", L + "/queues"), server.api("GET", QUEUE + "/tasks"), server.api("GET", OURS + "/settings")]


def table(name, rows):
    @case(name)
    def _():
        before = everything()
        wrong = []
        for row in rows:
            try:
                refused(*row)
            except AssertionError as e:
                wrong.append(str(e))
        if wrong:
            raise AssertionError(f"{len(wrong)} of {len(rows)}:\n" + "\n".join(wrong))
        equal(everything(), before, "resources afterwards")


LONG = "x" * 300
NAMES = ["1x", "ab", "goog-x", "a" * 256, "sp%20ace", "%C3%A9t%C3%A9"]
table("names of topics, subscriptions, snapshots and services", [
    *[("PUT", f"{P}/topics/{n}", {}, "INVALID_ARGUMENT", "name") for n in NAMES],
    *[("PUT", f"{P}/subscriptions/{n}", {"topic": TOPIC}, "INVALID_ARGUMENT", "name") for n in NAMES],
    *[("PUT", f"{P}/snapshots/{n}", {"subscription": SUB}, "INVALID_ARGUMENT", "name") for n in NAMES],
    *[("POST", f"{L}/services?serviceId={n}", SERVICE, "INVALID_ARGUMENT", "service_id") for n in ("1x", "X", "a" * 50, "a_b", "-a", "a-", "")],
    ("POST", f"{L}/services", SERVICE, "INVALID_ARGUMENT", "service_id"),
])

METHODS_WITH_BODY = [("PUT", f"{P}/topics/new-topic"), ("PATCH", f"{P}/topics/there"), ("POST", f"{P}/topics/there:publish"),
                     ("PUT", f"{P}/subscriptions/new-sub"), ("PATCH", f"{P}/subscriptions/there"), ("POST", f"{P}/subscriptions/there:pull"),
                     ("POST", f"{P}/subscriptions/there:acknowledge"), ("POST", f"{P}/subscriptions/there:modifyAckDeadline"),
                     ("POST", f"{P}/subscriptions/there:modifyPushConfig"), ("POST", f"{P}/subscriptions/there:seek"), ("PUT", f"{P}/snapshots/new-snap"),
                     ("POST", f"{L}/services?serviceId=new-service"), ("PATCH", f"{L}/services/there"), ("POST", f"{L}/services/there:setIamPolicy"),
                     ("POST", f"{L}/services/there:testIamPermissions"), ("POST", f"{P}/topics/there:setIamPolicy"), ("POST", "/v2/entries:list"),
                     ("POST", f"{L}/queues"), ("PATCH", QUEUE), ("POST", f"{QUEUE}:purge"), ("POST", f"{QUEUE}:pause"), ("POST", f"{QUEUE}:resume"),
                     ("POST", f"{QUEUE}/tasks"), ("POST", f"{QUEUE}/tasks/t:run"), ("POST", f"{QUEUE}:getIamPolicy"), ("POST", f"{QUEUE}:setIamPolicy"),
                     ("PATCH", f"{OURS}/settings"), ("POST", f"{OURS}/tasks:batchCreate"), ("POST", f"{OURS}/deadTasks:redrive"),
                     ("POST", f"{OURS}/deadTasks:delete")]
table("bodies that are not JSON, or not an object", [
    (method, path, body, "INVALID_ARGUMENT", "") for method, path in METHODS_WITH_BODY
    for body in ("{", "[]", "3", '"text"', '{"a":1,}', '{"a":1} x', "\xff\xfe".encode("latin-1"), "[" * 100000, '{"a":' * 1000, b"\x00")])

TASK = {"httpRequest": {"url": "http://127.0.0.1:9/"}}
table("fields of queues and tasks of the wrong type name the field", [
    ("POST", f"{L}/queues", {"name": 3}, "INVALID_ARGUMENT", "name"),
    ("PATCH", QUEUE, {"rateLimits": {"maxDispatchesPerSecond": "fast"}}, "INVALID_ARGUMENT", "rateLimits.maxDispatchesPerSecond"),
    ("PATCH", QUEUE, {"rateLimits": {"maxConcurrentDispatches": 1.5}}, "INVALID_ARGUMENT", "rateLimits.maxConcurrentDispatches"),
    ("PATCH", QUEUE, {"retryConfig": {"minBackoff": 3}}, "INVALID_ARGUMENT", "retryConfig.minBackoff"),
    ("PATCH", QUEUE, {"state": "TIRED"}, "INVALID_ARGUMENT", "state"),
    ("PATCH", f"{QUEUE}?updateMask=retryConfig.colour", {}, "INVALID_ARGUMENT", "retryConfig.colour"),
    ("POST", f"{QUEUE}/tasks", {"task": []}, "INVALID_ARGUMENT", "task"),
    ("POST", f"{QUEUE}/tasks", {"task": {**TASK, "scheduleTime": "tomorrow"}}, "INVALID_ARGUMENT", "task.scheduleTime"),
    ("POST", f"{QUEUE}/tasks", {"task": {**TASK, "dispatchDeadline": "long"}}, "INVALID_ARGUMENT", "task.dispatchDeadline"),
    ("POST", f"{QUEUE}/tasks", {"task": {"httpRequest": {"url": "http://127.0.0.1:9/", "body": "no base64!"}}}, "INVALID_ARGUMENT", "task.httpRequest.body"),
    ("POST", f"{QUEUE}/tasks", {"task": {"httpRequest": {"url": "http://127.0.0.1:9/", "headers": {"a": 1}}}}, "INVALID_ARGUMENT", "headers"),
    ("POST", f"{QUEUE}/tasks", {"task": {**TASK, "appEngineHttpRequest": {}}}, "INVALID_ARGUMENT", "appEngineHttpRequest"),
    ("POST", f"{QUEUE}/tasks", {"task": TASK, "responseView": "ALL"}, "INVALID_ARGUMENT", "responseView"),
    ("POST", f"{OURS}/tasks:batchCreate", {"tasks": [TASK, {"scheduleTime": 1}]}, "INVALID_ARGUMENT", "tasks[1].scheduleTime"),
    ("PATCH", f"{OURS}/settings", {"deadKeep": "soon"}, "INVALID_ARGUMENT", "deadKeep"),
    ("POST", f"{OURS}/deadTasks:redrive", {"ids": "all"}, "INVALID_ARGUMENT", "ids"),
    ("GET", f"{QUEUE}/tasks?pageSize=many", None, "INVALID_ARGUMENT", "pageSize"),
    ("GET", f"{QUEUE}/tasks?colour=red", None, "INVALID_ARGUMENT", "colour"),
    ("GET", f"{QUEUE}x", None, "NOT_FOUND", "Queue does not exist"),
    ("PUT", QUEUE, {}, "UNIMPLEMENTED", "PUT"),
])

table("fields of the wrong type name the field", [
    ("PUT", f"{P}/topics/new-topic", {"labels": "x"}, "INVALID_ARGUMENT", "labels"),
    ("PUT", f"{P}/topics/new-topic", {"labels": {"a": 1}}, "INVALID_ARGUMENT", "labels"),
    ("PUT", f"{P}/topics/new-topic", {"messageRetentionDuration": "soon"}, "INVALID_ARGUMENT", "messageRetentionDuration"),
    ("PUT", f"{P}/topics/new-topic", {"messageRetentionDuration": "1s"}, "INVALID_ARGUMENT", "retention"),
    ("PATCH", f"{P}/topics/there", {"topic": 3, "updateMask": "labels"}, "INVALID_ARGUMENT", "topic"),
    ("PATCH", f"{P}/topics/there", {"topic": {}, "updateMask": "nonsense"}, "INVALID_ARGUMENT", "nonsense"),
    ("PATCH", f"{P}/topics/there", {"topic": {"labels": {}}}, "INVALID_ARGUMENT", "mask"),
    ("POST", f"{P}/topics/there:publish", {"messages": {}}, "INVALID_ARGUMENT", "messages"),
    ("POST", f"{P}/topics/there:publish", {"messages": [{"data": 5}]}, "INVALID_ARGUMENT", "messages[0].data"),
    ("POST", f"{P}/topics/there:publish", {"messages": [{"data": "YQ=="}, {"data": "no base64!"}]}, "INVALID_ARGUMENT", "messages[1].data"),
    ("POST", f"{P}/topics/there:publish", {"messages": [{"attributes": {"k": 1}}]}, "INVALID_ARGUMENT", "attributes"),
    ("PUT", f"{P}/subscriptions/new-sub", {"topic": 1}, "INVALID_ARGUMENT", "topic"),
    ("PUT", f"{P}/subscriptions/new-sub", {"topic": TOPIC, "ackDeadlineSeconds": "many"}, "INVALID_ARGUMENT", "ackDeadlineSeconds"),
    ("PUT", f"{P}/subscriptions/new-sub", {"topic": TOPIC, "ackDeadlineSeconds": 1.5}, "INVALID_ARGUMENT", "ackDeadlineSeconds"),
    ("PUT", f"{P}/subscriptions/new-sub", {"topic": TOPIC, "ackDeadlineSeconds": 99999999999}, "INVALID_ARGUMENT", "ackDeadlineSeconds"),
    ("PUT", f"{P}/subscriptions/new-sub", {"topic": TOPIC, "pushConfig": []}, "INVALID_ARGUMENT", "pushConfig"),
    ("PUT", f"{P}/subscriptions/new-sub", {"topic": TOPIC, "retainAckedMessages": "yes"}, "INVALID_ARGUMENT", "retainAckedMessages"),
    ("POST", f"{P}/subscriptions/there:pull", {"maxMessages": "x"}, "INVALID_ARGUMENT", "maxMessages"),
    ("POST", f"{P}/subscriptions/there:acknowledge", {"ackIds": "x"}, "INVALID_ARGUMENT", "ackIds"),
    ("POST", f"{P}/subscriptions/there:seek", {"time": "yesterday"}, "INVALID_ARGUMENT", "time"),
    ("POST", f"{L}/services?serviceId=new-service", {"template": []}, "INVALID_ARGUMENT", "template"),
    ("POST", f"{L}/services?serviceId=new-service", {"template": {"containers": [{"image": 7}]}}, "INVALID_ARGUMENT", "image"),
    ("POST", f"{L}/services?serviceId=new-service", dict(SERVICE, ingress="EVERYTHING"), "INVALID_ARGUMENT", "ingress"),
    ("POST", f"{L}/services?serviceId=new-service", with_template(timeout="long"), "INVALID_ARGUMENT", "timeout"),
    ("POST", f"{L}/services/there:setIamPolicy", {"policy": 1}, "INVALID_ARGUMENT", "policy"),
    ("GET", f"{P}/topics?pageSize=x", None, "INVALID_ARGUMENT", "pageSize"),
    ("GET", f"{P}/topics?pageSize=-1", None, "INVALID_ARGUMENT", "page"),
    ("GET", f"{P}/topics?pageToken=nonsense", None, "INVALID_ARGUMENT", "page"),
    ("GET", f"{P}/subscriptions?pageToken=nonsense", None, "INVALID_ARGUMENT", "page"),
    ("GET", f"{L}/services?pageToken=nonsense", None, "INVALID_ARGUMENT", "page"),
])

many = {f"k{i}": "v" for i in range(101)}
table("what is too long, too many or out of range", [
    ("POST", f"{P}/topics/there:publish", {}, "INVALID_ARGUMENT", "message"),
    ("POST", f"{P}/topics/there:publish", {"messages": [{}]}, "INVALID_ARGUMENT", "empty"),
    ("POST", f"{P}/topics/there:publish", {"messages": [{"data": "YQ=="}] * 1001}, "INVALID_ARGUMENT", "1000"),
    ("POST", f"{P}/topics/there:publish", {"messages": [{"data": "YQ==", "attributes": many}]}, "INVALID_ARGUMENT", "attributes"),
    ("POST", f"{P}/topics/there:publish", {"messages": [{"data": "YQ==", "attributes": {LONG: "v"}}]}, "INVALID_ARGUMENT", "attribute"),
    ("POST", f"{P}/topics/there:publish", {"messages": [{"data": "YQ==", "attributes": {"k": "v" * 1025}}]}, "INVALID_ARGUMENT", "attribute"),
    ("POST", f"{P}/topics/there:publish", {"messages": [{"data": "YQ==", "attributes": {"": "v"}}]}, "INVALID_ARGUMENT", "attribute"),
    ("POST", f"{P}/topics/there:publish", {"messages": [{"data": "YQ==", "orderingKey": "k" * 1025}]}, "INVALID_ARGUMENT", "orderingKey"),
    ("POST", f"{P}/topics/there:publish", {"messages": [{"data": b64(b"x" * (10 * 1024 * 1024 + 1))}]}, "INVALID_ARGUMENT", ""),
    ("PUT", f"{P}/subscriptions/new-sub", {"topic": TOPIC, "ackDeadlineSeconds": 601}, "INVALID_ARGUMENT", "ackDeadlineSeconds"),
    ("PUT", f"{P}/subscriptions/new-sub", {"topic": TOPIC, "ackDeadlineSeconds": -1}, "INVALID_ARGUMENT", "ackDeadlineSeconds"),
    ("PUT", f"{P}/subscriptions/new-sub", {"topic": TOPIC, "messageRetentionDuration": "1s"}, "INVALID_ARGUMENT", "retention"),
    ("PUT", f"{P}/subscriptions/new-sub", {"topic": TOPIC, "messageRetentionDuration": "3000000s"}, "INVALID_ARGUMENT", "retention"),
    ("PUT", f"{P}/subscriptions/new-sub", {"topic": TOPIC, "retryPolicy": {"minimumBackoff": "601s"}}, "INVALID_ARGUMENT", "minimumBackoff"),
    ("PUT", f"{P}/subscriptions/new-sub", {"topic": TOPIC, "retryPolicy": {"minimumBackoff": "60s", "maximumBackoff": "30s"}}, "INVALID_ARGUMENT", "backoff"),
    ("PUT", f"{P}/subscriptions/new-sub", {"topic": TOPIC, "expirationPolicy": {"ttl": "60s"}}, "INVALID_ARGUMENT", "ttl"),
    ("PUT", f"{P}/subscriptions/new-sub", {"topic": TOPIC, "filter": "a" * 257}, "INVALID_ARGUMENT", "filter"),
    ("PUT", f"{P}/subscriptions/new-sub", {"topic": TOPIC, "deadLetterPolicy": {"deadLetterTopic": TOPIC, "maxDeliveryAttempts": 4}}, "INVALID_ARGUMENT",
     "maxDeliveryAttempts"),
    ("PUT", f"{P}/subscriptions/new-sub", {"topic": TOPIC, "pushConfig": {"pushEndpoint": "ftp://x/"}}, "INVALID_ARGUMENT", "pushEndpoint"),
    ("PUT", f"{P}/subscriptions/new-sub", {"topic": TOPIC, "pushConfig": {"pushEndpoint": "nonsense"}}, "INVALID_ARGUMENT", "pushEndpoint"),
    ("PUT", f"{P}/subscriptions/new-sub", {"topic": TOPIC, "pushConfig": {"pushEndpoint": "http://u:p@x/"}}, "INVALID_ARGUMENT", "pushEndpoint"),
    ("PUT", f"{P}/subscriptions/new-sub", {}, "INVALID_ARGUMENT", "topic"),
    ("PATCH", f"{P}/subscriptions/there", {"subscription": {"filter": "x"}, "updateMask": "filter"}, "INVALID_ARGUMENT", "filter"),
    ("PATCH", f"{P}/subscriptions/there", {"subscription": {"ackDeadlineSeconds": 601}, "updateMask": "ackDeadlineSeconds"}, "INVALID_ARGUMENT", "ackDeadline"),
    ("POST", f"{P}/subscriptions/there:pull", {}, "INVALID_ARGUMENT", "max"),
    ("POST", f"{P}/subscriptions/there:pull", {"maxMessages": -1}, "INVALID_ARGUMENT", "max"),
    ("POST", f"{P}/subscriptions/there:acknowledge", {}, "INVALID_ARGUMENT", "ack"),
    ("POST", f"{P}/subscriptions/there:acknowledge", {"ackIds": ["bad"]}, "INVALID_ARGUMENT", "ack"),
    ("POST", f"{P}/subscriptions/there:modifyAckDeadline", {"ackIds": ["bad"], "ackDeadlineSeconds": 10}, "INVALID_ARGUMENT", "ack"),
    ("POST", f"{P}/subscriptions/there:modifyAckDeadline", {"ackIds": ["x"], "ackDeadlineSeconds": 601}, "INVALID_ARGUMENT", "ackDeadlineSeconds"),
    ("POST", f"{P}/subscriptions/there:modifyPushConfig", {"pushConfig": {"pushEndpoint": "nonsense"}}, "INVALID_ARGUMENT", "pushEndpoint"),
    ("POST", f"{P}/subscriptions/there:seek", {}, "INVALID_ARGUMENT", "time"),
    ("POST", f"{L}/services?serviceId=new-service", {}, "INVALID_ARGUMENT", "template"),
    ("POST", f"{L}/services?serviceId=new-service", {"template": {"containers": []}}, "INVALID_ARGUMENT", "container"),
    ("POST", f"{L}/services?serviceId=new-service", {"template": {"containers": [{}]}}, "INVALID_ARGUMENT", "image"),
    ("POST", f"{L}/services?serviceId=new-service", with_container(image="exec:///no/such/folder"), "INVALID_ARGUMENT", "no/such"),
    ("POST", f"{L}/services?serviceId=new-service", with_container(command=["no-such-program"]), "INVALID_ARGUMENT", "no-such-program"),
    ("POST", f"{L}/services?serviceId=new-service", with_container(ports=[{"containerPort": 70000}]), "INVALID_ARGUMENT", "port"),
    ("POST", f"{L}/services?serviceId=new-service", with_container(env=[{"name": "PORT", "value": "1"}]), "INVALID_ARGUMENT", "PORT"),
    ("POST", f"{L}/services?serviceId=new-service", with_container(env=[{"name": "A=B", "value": "1"}]), "INVALID_ARGUMENT", "env"),
    ("POST", f"{L}/services?serviceId=new-service", with_container(env=[{"name": "A", "value": "1"}] * 2), "INVALID_ARGUMENT", "env"),
    ("POST", f"{L}/services?serviceId=new-service", with_container(resources={"limits": {"memory": "lots"}}), "INVALID_ARGUMENT", "memory"),
    ("POST", f"{L}/services?serviceId=new-service", with_template(timeout="7200s"), "INVALID_ARGUMENT", "timeout"),
    ("POST", f"{L}/services?serviceId=new-service", with_template(maxInstanceRequestConcurrency=5000), "INVALID_ARGUMENT", "concurrency"),
    ("POST", f"{L}/services?serviceId=new-service", with_template(scaling={"minInstanceCount": 5, "maxInstanceCount": 2}), "INVALID_ARGUMENT", "instance"),
    ("POST", f"{L}/services?serviceId=new-service", with_template(scaling={"minInstanceCount": -1}), "INVALID_ARGUMENT", "instance"),
    ("POST", f"{L}/services?serviceId=new-service", dict(SERVICE, traffic=[{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 60}]),
     "INVALID_ARGUMENT", "traffic"),
    ("PATCH", f"{L}/services/there?updateMask=nonsense", SERVICE, "INVALID_ARGUMENT", "nonsense"),
    ("PATCH", f"{L}/services/there?updateMask=traffic", {"traffic": [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": "no-such", "percent": 100}]},
     "INVALID_ARGUMENT", "no-such"),
    ("POST", f"{L}/services/there:setIamPolicy", {"policy": {"bindings": [{"role": "nonsense", "members": ["allUsers"]}]}}, "INVALID_ARGUMENT", "role"),
    ("POST", f"{L}/services/there:setIamPolicy", {"policy": {"bindings": [{"role": "roles/run.invoker", "members": ["nonsense"]}]}}, "INVALID_ARGUMENT",
     "member"),
])

table("resources that are not there, are there already, or paths that are none", [
    *[("GET", path, None, "NOT_FOUND", "no-such") for path in (f"{P}/topics/no-such", f"{P}/subscriptions/no-such", f"{P}/snapshots/no-such",
                                                              f"{L}/services/no-such", f"{L}/services/there/revisions/no-such", f"{L}/operations/no-such")],
    *[("DELETE", path, None, "NOT_FOUND", "no-such") for path in (f"{P}/topics/no-such", f"{P}/subscriptions/no-such", f"{P}/snapshots/no-such",
                                                                 f"{L}/services/no-such", f"{L}/services/there/revisions/no-such")],
    ("GET", f"{P}/topics/no-such/subscriptions", None, "NOT_FOUND", "no-such"),
    ("GET", f"{L}/services/no-such/revisions", None, "NOT_FOUND", "no-such"),
    ("POST", f"{P}/topics/no-such:publish", {"messages": [{"data": "YQ=="}]}, "NOT_FOUND", "no-such"),
    ("PATCH", f"{P}/topics/no-such", {"topic": {"labels": {}}, "updateMask": "labels"}, "NOT_FOUND", "no-such"),
    ("PUT", f"{P}/subscriptions/new-sub", {"topic": f"projects/{PROJECT}/topics/no-such"}, "NOT_FOUND", "no-such"),
    ("PUT", f"{P}/snapshots/new-snap", {"subscription": f"projects/{PROJECT}/subscriptions/no-such"}, "NOT_FOUND", "no-such"),
    *[("POST", f"{P}/subscriptions/no-such:{verb}", body, "NOT_FOUND", "no-such") for verb, body in (
        ("pull", {"maxMessages": 1}), ("acknowledge", {"ackIds": ["x"]}), ("modifyAckDeadline", {"ackIds": ["x"], "ackDeadlineSeconds": 10}),
        ("modifyPushConfig", {"pushConfig": {}}), ("seek", {"time": "2026-01-01T00:00:00Z"}), ("detach", {}))],
    ("PATCH", f"{L}/services/no-such", SERVICE, "NOT_FOUND", "no-such"),
    ("GET", f"{L}/services/no-such:getIamPolicy", None, "NOT_FOUND", "no-such"),
    ("POST", f"{L}/services/no-such:setIamPolicy", {"policy": {}}, "NOT_FOUND", "no-such"),
    ("PUT", f"{P}/topics/there", {}, "ALREADY_EXISTS", "there"),
    ("PUT", f"{P}/subscriptions/there", {"topic": TOPIC}, "ALREADY_EXISTS", "there"),
    ("POST", f"{L}/services?serviceId=there", SERVICE, "ALREADY_EXISTS", "there"),
    ("GET", "/v1/nonsense", None, "NOT_FOUND", "/v1/nonsense"),
    ("POST", f"{P}/topics/there:nonsense", {}, "UNIMPLEMENTED", "nonsense"),
    ("PUT", f"{P}/topics/nul%00x", {}, "INVALID_ARGUMENT", "path"),
])


@case("requests that are not HTTP end in 400 and a closed connection, and the server lives")
def _():
    for raw in (b"\x16\x03\x01\x02\x00nonsense\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n",
                b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"y" * 200000 + b"\r\n\r\n", b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
                b"POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as s:
            try:
                s.sendall(raw)
                first = s.recv(64)
                while s.recv(65536):
                    pass
            except ConnectionError:
                first = first if "first" in dir() else b""
            assert first[:10] in (b"HTTP/1.1 4", b"HTTP/1.1 5", b"HTTP/1.0 4", b""), (raw[:40], first)
    equal(server.http("GET", "/healthz").status, 200, "healthz")


@case("odd but allowed: snake_case, numbers as text, unknown fields, an empty body and \"\"")
def _():
    server.api("PUT", f"{P}/topics/odd", {"message_retention_duration": "600s", "unheardOf": [1, {"a": 2}]})
    equal(server.api("GET", f"{P}/topics/odd")["messageRetentionDuration"], "600s", "snake_case")
    server.api("PUT", f"{P}/subscriptions/odd", {"topic": f"projects/{PROJECT}/topics/odd", "ackDeadlineSeconds": "20"})
    equal(server.http("POST", f"{P}/subscriptions/odd:detach", '""').status, 200, '""')
    server.api("DELETE", f"{P}/subscriptions/odd")
    server.api("DELETE", f"{P}/topics/odd?alt=json&$alt=json;enum-encoding=int&prettyPrint=true")


run()
