"""Published events reach programs: our own services and a stranger's http.server, with tokens, retries and both envelopes."""
import json

from harness import PROJECT, Receiver, Server, b64, case, equal, run, verify_token, wait_for

server = Server("--idle=60s")
ACCOUNT = f"pusher@{PROJECT}.iam.gserviceaccount.com"


def pushed_lines(service):
    """What service.py wrote on being pushed to."""
    done = server.cli("run", "services", "logs", "read", service, "--format=json", "--limit=1000")
    texts = [e.get("textPayload", "") for e in json.loads(done.stdout)]
    return [t for t in texts if t.startswith("pushed ")]


@case("an event reaches a private service of ours, started from zero, with a verified token")
def _():
    server.deploy("own", public=False)
    server.cli("run", "services", "add-iam-policy-binding", "own", f"--member=serviceAccount:{ACCOUNT}", "--role=roles/run.invoker")
    topic = server.topic("to-own")
    uri = server.service("own")["uri"]
    server.cli("pubsub", "subscriptions", "create", "to-own", "--topic=to-own", f"--push-endpoint={uri}/push", f"--push-auth-service-account={ACCOUNT}")
    ids = server.publish(topic, "hello", attributes={"k": "v"})
    line = wait_for(lambda: pushed_lines("own"), "the service's log line")[0]
    message = json.loads(line.removeprefix("pushed "))["message"]
    equal((message["messageId"], message["data"], message["attributes"]), (ids[0], b64("hello"), {"k": "v"}), "message")


@case("a push without an account is refused by a private service and comes again")
def _():
    topic = server.topic("no-token")
    uri = server.service("own")["uri"]
    before = server.metric("runnel_push_requests_total")
    server.subscription("no-token", topic, pushConfig={"pushEndpoint": uri + "/push"})
    server.publish(topic, "refused")
    wait_for(lambda: server.metric("runnel_push_requests_total") >= before + 2, "a second attempt")
    server.api("DELETE", f"/v1/projects/{PROJECT}/subscriptions/no-token")


@case("a stranger's program gets the wrapped envelope with every field in both spellings")
def _():
    stranger = Receiver()
    topic = server.topic("wrapped")
    name = server.subscription("wrapped", topic, pushConfig={"pushEndpoint": stranger.url})
    ids = server.publish(topic, "héllo", attributes={"color": "blue"})
    got = stranger.wait(1)[0]
    body = json.loads(got["body"])
    equal(got["path"], "/push?x=1", "path")
    equal(got["headers"]["Content-Type"], "application/json", "type")
    equal(got["headers"]["User-Agent"], "CloudPubSub-Google", "agent")
    equal(body["subscription"], name, "subscription")
    message = body["message"]
    equal(message["data"], b64("héllo"), "data")
    equal((message["messageId"], message["message_id"]), (ids[0], ids[0]), "id")
    equal(message["publishTime"], message["publish_time"], "time")
    equal(message["attributes"], {"color": "blue"}, "attributes")
    assert "orderingKey" not in message and "deliveryAttempt" not in body and "Authorization" not in got["headers"]


@case("a token is signed by the published keys and claims what was asked for")
def _():
    stranger = Receiver()
    topic = server.topic("signed")
    server.subscription("signed", topic, pushConfig={"pushEndpoint": stranger.url, "oidcToken": {"serviceAccountEmail": ACCOUNT, "audience": "my-audience"}})
    server.subscription("signed-default", topic, pushConfig={"pushEndpoint": stranger.url, "oidcToken": {"serviceAccountEmail": ACCOUNT}})
    server.publish(topic, "x")
    discovery = server.http("GET", "/.well-known/openid-configuration").json
    keys = server.http("GET", "/oauth2/v3/certs").json
    equal(discovery["jwks_uri"], server.url + "/oauth2/v3/certs", "jwks_uri")
    audiences = set()
    for got in stranger.wait(2):
        claims = verify_token(got["headers"]["Authorization"].removeprefix("Bearer "), keys)
        equal(claims["iss"], discovery["issuer"], "iss")
        equal((claims["email"], claims["email_verified"]), (ACCOUNT, True), "email")
        equal(claims["exp"] - claims["iat"], 3600, "life")
        assert claims["sub"].isdigit() and claims["azp"]
        audiences.add(claims["aud"])
    equal(audiences, {"my-audience", stranger.url}, "audiences")


@case("after 500, 404 and 203 the same message comes again until it is acknowledged")
def _():
    stranger = Receiver()
    stranger.statuses = [500, 404, 203]
    topic = server.topic("retry")
    server.subscription("retry", topic, pushConfig={"pushEndpoint": stranger.url})
    ids = server.publish(topic, "again")
    stranger.wait(4)
    equal([e["message"]["messageId"] for e in stranger.envelopes()], ids * 4, "ids")
    gaps = [b["at"] - a["at"] for a, b in zip(stranger.got, stranger.got[1:])]
    assert all(g >= 0.09 for g in gaps), f"push backoff is at least 100 ms: {gaps}"


@case("every code that acknowledges does, and only those")
def _():
    for status in (200, 201, 202, 204):
        stranger = Receiver(status)
        topic = server.topic(f"ack-{status}")
        server.subscription(f"ack-{status}", topic, pushConfig={"pushEndpoint": stranger.url})
        server.publish(topic, "once")
        stranger.wait(1)
        server.publish(topic, "twice")
        stranger.wait(2)
        equal([e["message"]["data"] for e in stranger.envelopes()], [b64("once"), b64("twice")], f"{status}")


@case("a retry policy's minimum keeps a message back")
def _():
    stranger = Receiver()
    stranger.statuses = [500]
    topic = server.topic("patient")
    server.subscription("patient", topic, pushConfig={"pushEndpoint": stranger.url}, retryPolicy={"minimumBackoff": "2s", "maximumBackoff": "3s"})
    server.publish(topic, "later")
    stranger.wait(2)
    gap = stranger.got[1]["at"] - stranger.got[0]["at"]
    assert 1.9 <= gap <= 8, gap


@case("unwrapped: the bare data, metadata and attributes as headers")
def _():
    stranger = Receiver()
    topic = server.topic("bare")
    name = server.subscription("bare", topic, pushConfig={"pushEndpoint": stranger.url, "noWrapper": {"writeMetadata": True}})
    ids = server.publish(topic, "raw text", attributes={"color": "red", "Content-Type": "text/x-test"})
    got = stranger.wait(1)[0]
    equal(got["body"], b"raw text", "body")
    equal(got["headers"]["x-goog-pubsub-message-id"], ids[0], "id")
    equal(got["headers"]["x-goog-pubsub-subscription-name"], name, "subscription")
    assert got["headers"]["x-goog-pubsub-publish-time"]
    equal(got["headers"]["color"], "red", "attribute")
    equal(got["headers"]["Content-Type"], "text/x-test", "type")


@case("ordered messages arrive one after the other, also over a failure")
def _():
    stranger = Receiver()
    stranger.statuses = [204, 500]
    topic = server.topic("ordered")
    server.subscription("ordered", topic, pushConfig={"pushEndpoint": stranger.url}, enableMessageOrdering=True)
    server.publish(topic, *[str(i) for i in range(6)], orderingKey="k")
    wait_for(lambda: sum(g["status"] == 204 for g in stranger.got) >= 6, "six acknowledged")
    good = [e["message"]["data"] for e, g in zip(stranger.envelopes(), stranger.got) if g["status"] == 204]
    equal(good, [b64(str(i)) for i in range(6)], "order")


@case("after too many attempts a message goes to the dead letter topic with its story")
def _():
    stranger = Receiver(500)
    topic, dead = server.topic("fated"), server.topic("dead")
    server.subscription("dead-pull", dead)
    server.subscription("fated", topic, pushConfig={"pushEndpoint": stranger.url}, deadLetterPolicy={"deadLetterTopic": dead, "maxDeliveryAttempts": 5})
    server.publish(topic, "doomed", attributes={"a": "b"})

    def pulled():
        return server.api("POST", f"/v1/projects/{PROJECT}/subscriptions/dead-pull:pull", {"maxMessages": 1, "returnImmediately": True}).get("receivedMessages")
    message = wait_for(pulled, "the dead letter")[0]["message"]
    equal(message["data"], b64("doomed"), "data")
    equal(message["attributes"]["CloudPubSubDeadLetterSourceSubscription"], "fated", "source")
    equal(message["attributes"]["a"], "b", "attribute")
    equal([e["deliveryAttempt"] for e in stranger.envelopes()][:5], [1, 2, 3, 4, 5], "attempts")


@case("a subscription that stops pushing keeps its messages for pulling")
def _():
    stranger = Receiver(500)
    topic = server.topic("turned")
    server.subscription("turned", topic, pushConfig={"pushEndpoint": stranger.url})
    server.publish(topic, "kept")
    stranger.wait(1)
    server.cli("pubsub", "subscriptions", "modify-push-config", "turned", "--push-endpoint=")
    done = wait_for(lambda: (lambda t: "kept" in t and t)(server.cli("pubsub", "subscriptions", "pull", "turned", "--auto-ack", "--no-wait").stdout), "pull")
    assert "DATA" in done


@case("a thousand events are all delivered")
def _():
    stranger = Receiver()
    topic = server.topic("many")
    server.subscription("many", topic, pushConfig={"pushEndpoint": stranger.url})
    ids = [i for k in range(10) for i in server.publish(topic, *[f"{k}-{j}" for j in range(100)])]
    wait_for(lambda: {e["message"]["messageId"] for e in stranger.envelopes()} >= set(ids), "all thousand", 120)


run()
