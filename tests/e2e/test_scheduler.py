"""Schedules as the server keeps them: what a target sees, when it is called, across restarts, and the command line."""
import calendar
import json
import re
import time

from harness import PROJECT, REGION, SLOW, Receiver, Server, b64, case, equal, run, verify_token, wait_for

server = Server()
PARENT = f"projects/{PROJECT}/locations/{REGION}"
ACCOUNT = f"cron@{PROJECT}.iam.gserviceaccount.com"
EVERY_SECOND = "* * * * * *"
NEVER_SOON = "0 0 29 2 *"


def job_name(name):
    return f"{PARENT}/jobs/{name}"


def make(name, schedule=EVERY_SECOND, at=None, want=200, **fields):
    return (at or server).api("POST", f"/v1/{PARENT}/jobs", dict(fields, name=job_name(name), schedule=schedule), want=want)


def verb(name, what, at=None, want=200):
    return (at or server).api("POST", f"/v1/{job_name(name)}:{what}", {}, want=want)


def get(name, at=None):
    return (at or server).api("GET", f"/v1/{job_name(name)}")


def drop(name, at=None):
    (at or server).api("DELETE", f"/v1/{job_name(name)}")


def seconds(schedule_time):
    """Of an RFC 3339 time with an offset."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?([+-])(\d\d):(\d\d)", schedule_time)
    assert found, schedule_time
    offset = (int(found.group(4)) * 60 + int(found.group(5))) * 60
    return calendar.timegm(time.strptime(found.group(1), "%Y-%m-%dT%H:%M:%S")) - (offset if found.group(3) == "+" else -offset)


def times(receiver):
    return [seconds(g["headers"]["X-CloudScheduler-ScheduleTime"]) for g in list(receiver.got)]


@case("a job that fires every second: on time, with the headers of Cloud Scheduler")
def _():
    receiver = Receiver()
    make("plain", timeZone="Asia/Kolkata", description="d", httpTarget={
        "uri": receiver.url, "body": b64("tick"), "headers": {"X-Mine": "yes", "X-CloudScheduler-JobName": "lie", "Host": "elsewhere"}})
    got = receiver.wait(4)
    drop("plain")
    for g in got[:4]:
        headers = g["headers"]
        equal(g["method"], "POST")
        equal(g["path"], "/push?x=1")
        equal(g["body"], b"tick")
        equal(headers["User-Agent"], "Google-Cloud-Scheduler")
        equal(headers.get_all("X-CloudScheduler"), ["true"])
        equal(headers.get_all("X-CloudScheduler-JobName"), ["plain"])
        equal(headers["Content-Type"], "application/octet-stream")
        equal(headers["X-Mine"], "yes")
        equal(headers["Authorization"], None)
        assert headers["X-CloudScheduler-ScheduleTime"].endswith("+05:30")
        late = g["wall"] - seconds(headers["X-CloudScheduler-ScheduleTime"])
        assert 0 <= late < 0.5 * SLOW, f"{late} s late"
    at = times(receiver)
    equal(at[:4], list(range(at[0], at[0] + 4)))
    n = len(receiver.got)
    make("after", schedule="* * * * * *", httpTarget={"uri": receiver.url + "&after"})
    wait_for(lambda: sum("after" in g["path"] for g in receiver.got) >= 2, "the next job")
    drop("after")
    assert sum("after" not in g["path"] for g in receiver.got) <= n + 1, "a deleted job fires no more"


@case("tokens: OIDC for the audience, verified; OAuth; the user's own header without them; methods")
def _():
    receiver = Receiver(200)
    make("oidc", schedule=NEVER_SOON, httpTarget={"uri": receiver.url, "oidcToken": {"serviceAccountEmail": ACCOUNT}})
    verb("oidc", "run")
    claims = verify_token(receiver.wait(1)[0]["headers"]["Authorization"].split()[1], server.api("GET", "/oauth2/v3/certs"))
    equal(claims["aud"], receiver.url)
    equal(claims["email"], ACCOUNT)
    make("oauth", schedule=NEVER_SOON, httpTarget={"uri": receiver.url, "httpMethod": "GET", "headers": {"Authorization": "Basic x"},
                                                  "oauthToken": {"serviceAccountEmail": ACCOUNT}})
    verb("oauth", "run")
    got = receiver.wait(2)[1]
    equal(got["method"], "GET")
    assert got["headers"]["Authorization"].startswith("Bearer "), got["headers"]["Authorization"]
    make("mine", schedule=NEVER_SOON, httpTarget={"uri": receiver.url, "httpMethod": "PATCH", "headers": {"Authorization": "Basic x"}})
    verb("mine", "run")
    equal(receiver.wait(3)[2]["headers"]["Authorization"], "Basic x")


@case("a Pub/Sub target gets a message; a missing topic is a failed attempt that says NOT_FOUND")
def _():
    topic = server.topic("ticks")
    sub = server.subscription("ticks-sub", topic)
    make("ps", schedule=NEVER_SOON, pubsubTarget={"topicName": topic, "data": b64("hello"), "attributes": {"kind": "cron"}})
    verb("ps", "run")
    pulled = server.api("POST", f"/v1/{sub}:pull", {"maxMessages": 1})["receivedMessages"][0]["message"]
    equal(pulled["data"], b64("hello"))
    equal(pulled["attributes"], {"kind": "cron"})
    wait_for(lambda: get("ps").get("status") == {}, "the status of the attempt")
    make("lost", schedule=NEVER_SOON, pubsubTarget={"topicName": f"projects/{PROJECT}/topics/nowhere", "data": b64("x")})
    verb("lost", "run")
    status = wait_for(lambda: get("lost").get("status"), "the status of the attempt")
    equal(status["code"], 5)
    assert "nowhere" in status["message"], status


@case("a service of our own is started from zero, and only its invoker may call it")
def _():
    server.deploy("cronned", public=False)
    uri = f"http://cronned.localhost:{server.port}/"
    make("ours", schedule=NEVER_SOON, httpTarget={"uri": uri, "oidcToken": {"serviceAccountEmail": ACCOUNT}})
    verb("ours", "run")
    equal(wait_for(lambda: get("ours").get("status"), "the refusal")["code"], 7)
    server.cli("run", "services", "add-iam-policy-binding", "cronned", f"--member=serviceAccount:{ACCOUNT}", "--role=roles/run.invoker")
    wait_for(lambda: verb("ours", "run") and get("ours").get("status") == {}, "the call that is let in")


@case("retries wait as the retry policy says, and keep the schedule time; then the status tells")
def _():
    receiver = Receiver(200)
    receiver.statuses = [500, 503]
    make("again", schedule=NEVER_SOON, retryConfig={"retryCount": 3, "minBackoffDuration": "0.3s", "maxBackoffDuration": "10s"},
         httpTarget={"uri": receiver.url})
    verb("again", "run")
    wait_for(lambda: get("again").get("status", {}).get("code") in (13, 14), "the failure's status")
    got = receiver.wait(3)
    equal(len({g["headers"]["X-CloudScheduler-ScheduleTime"] for g in got}), 1)
    assert 0.25 < got[1]["at"] - got[0]["at"] < 0.3 + 1 * SLOW
    assert 0.55 < got[2]["at"] - got[1]["at"] < 0.6 + 1 * SLOW
    wait_for(lambda: get("again").get("status") == {}, "the success's status")
    assert "lastAttemptTime" in get("again")


@case("pause, resume and run now")
def _():
    receiver = Receiver()
    make("paused", httpTarget={"uri": receiver.url})
    receiver.wait(1)
    equal(verb("paused", "pause")["state"], "PAUSED")
    verb("paused", "pause", want=400)
    n = len(receiver.got)
    other = Receiver()
    make("clock", httpTarget={"uri": other.url})  # tells that seconds pass
    other.wait(3)
    assert len(receiver.got) <= n + 1, "a paused job fired"
    n = len(receiver.got)
    verb("paused", "run")
    receiver.wait(n + 1)
    equal(verb("paused", "resume")["state"], "ENABLED")
    receiver.wait(n + 3)
    drop("paused")
    drop("clock")


@case("SIGTERM and kill -9: no firing time is used twice that had ended, what was under way is repeated")
def _():
    own = Server()
    receiver = Receiver()
    make("steady", at=own, httpTarget={"uri": receiver.url})
    own.api("PATCH", f"/runnel/v1/{job_name('steady')}?updateMask=missed", {"missed": "ALL"})
    receiver.wait(2)
    for how in ("stop", "kill", "stop", "kill"):
        own.stop() if how == "stop" else own.kill()
        n = len(receiver.got)
        own.start()
        receiver.wait(n + 3)
    own.api("POST", f"/v1/{job_name('steady')}:pause", {})
    at = times(receiver)
    twice = [t for t in set(at) if at.count(t) > 1]
    assert len(twice) <= 2, f"{twice} came twice; only what was under way at a kill may"
    equal(sorted(set(at)), list(range(min(at), max(at) + 1)))  # and none was lost
    # under way as it is killed
    receiver.free.clear()
    make("long", at=own, schedule=NEVER_SOON, httpTarget={"uri": receiver.url + "&long"})
    own.api("POST", f"/v1/{job_name('long')}:run", {})
    wait_for(lambda: any("long" in g["path"] for g in receiver.got), "the long call")
    own.kill()
    receiver.free.set()
    own.start()
    wait_for(lambda: sum("long" in g["path"] for g in receiver.got) == 2, "the repeated call")
    told = [g["headers"]["X-CloudScheduler-ScheduleTime"] for g in receiver.got if "long" in g["path"]]
    equal(told[0], told[1])
    own.stop()


@case("attempts are logged in Cloud Scheduler's words, and counted")
def _():
    receiver = Receiver(404)
    make("logged", schedule=NEVER_SOON, httpTarget={"uri": receiver.url})
    before = server.metric("runnel_schedule_attempts_total", target="HTTP", status="NOT_FOUND")
    verb("logged", "run")
    wait_for(lambda: server.metric("runnel_schedule_attempts_total", target="HTTP", status="NOT_FOUND") == before + 1, "the metric")
    with open(server.log_path, encoding="utf-8") as f:
        lines = [json.loads(line) for line in f if "/jobs/logged" in line]
    started = [line for line in lines if line.get("@type", "").endswith("logging.AttemptStarted")]
    finished = [line for line in lines if line.get("@type", "").endswith("logging.AttemptFinished")]
    equal((len(started), len(finished)), (1, 1))
    equal(started[0]["jobName"], job_name("logged"))
    equal(finished[0]["status"], "NOT_FOUND")
    equal(finished[0]["debugInfo"], "URL_ERROR-ERROR_NOT_FOUND. Original HTTP response code number = 404")
    assert server.metric("runnel_schedule_lateness_seconds_count") >= 4


@case("many jobs at the same second: all fire, and the server answers meanwhile")
def _():
    receiver = Receiver()
    count = 300
    for i in range(count):
        make(f"many{i}", schedule="*/4 * * * * *", httpTarget={"uri": receiver.url})
    receiver.got.clear()
    receiver.wait(count)
    began = time.monotonic()
    server.http("GET", "/healthz")
    assert time.monotonic() - began < 1 * SLOW
    for i in range(count):
        drop(f"many{i}")


@case("bad requests over HTTP: the status, the field, what is allowed")
def _():
    target = {"uri": "http://127.0.0.1:9/"}
    for fields, status, says in (
            ({"schedule": "* 25 * * *", "httpTarget": target}, 400, "hour"),
            ({"httpTarget": {"uri": "nonsense"}}, 400, "http_target.uri"),
            ({"appEngineHttpTarget": {"relativeUri": "/"}}, 501, "App Engine"),
            ({}, 400, "target")):
        error = make("bad", want=status, **fields)["error"]
        assert says in error["message"], error
    equal(server.api("GET", f"/v1/{job_name('bad')}", want=404)["error"]["status"], "NOT_FOUND")
    make("twice", schedule=NEVER_SOON, httpTarget=target)
    equal(make("twice", schedule=NEVER_SOON, httpTarget=target, want=409)["error"]["status"], "ALREADY_EXISTS")
    named = server.api("POST", f"/v1/{PARENT}/jobs", {"schedule": NEVER_SOON, "httpTarget": target})["name"]
    assert named.startswith(PARENT + "/jobs/"), named
    server.api("DELETE", f"/v1/{named}")


@case("the command line: create, list, update, next, policy, run, delete")
def _():
    receiver = Receiver()
    jobs = ("scheduler", "jobs")
    server.cli(*jobs, "create", "http", "cli", "--schedule=30 2 * * *", "--time-zone=Europe/Berlin", f"--uri={receiver.url}", "--message-body=hi",
               "--headers=X-A=b,X-C=d", "--max-retry-attempts=2", "--min-backoff=1s", "--attempt-deadline=20s", f"--oidc-service-account-email={ACCOUNT}")
    job = json.loads(server.cli(*jobs, "describe", "cli", "--format=json").stdout)
    equal(job["httpTarget"]["headers"]["X-C"], "d")
    equal(job["httpTarget"]["body"], b64("hi"))
    equal(job["httpTarget"]["httpMethod"], "POST")
    equal(job["retryConfig"]["retryCount"], 2)
    equal(job["attemptDeadline"], "20s")
    server.cli(*jobs, "update", "http", "cli", "--schedule=0 3 28-30 3 *", "--update-headers=X-E=f", "--remove-headers=X-A", "--clear-auth-token",
               "--clear-max-retry-attempts", "--http-method=put")
    job = json.loads(server.cli(*jobs, "describe", "cli", "--format=json").stdout)
    equal({k: v for k, v in job["httpTarget"]["headers"].items() if k.startswith("X-")}, {"X-C": "d", "X-E": "f"})
    equal(job["httpTarget"]["httpMethod"], "PUT")
    assert "oidcToken" not in job["httpTarget"] and "retryCount" not in job["retryConfig"], job
    listed = server.cli(*jobs, "list").stdout
    assert re.search(r"^cli\s+0 3 28-30 3 \*\s+Europe/Berlin", listed, re.M), listed
    shown = server.cli(*jobs, "next", "cli", "--count=3").stdout
    assert "At 03:00" in shown and shown.count("T03:00:00+0") == 3, shown
    answer = json.loads(server.cli(*jobs, "next", "cli", "--count=2", "--format=json").stdout)
    equal(answer["next"], [f["localTime"] for f in answer["firings"]])
    equal(len(answer["next"]), 2)
    assert answer["text"].startswith("At 03:00"), answer
    policy = json.loads(server.cli(*jobs, "policy", "cli", "--missed=all", "--missed-limit=5", "--overlap=replace", "--jitter=90s",
                                   "--end=2040-01-01T00:00:00Z", "--format=json").stdout)
    equal((policy["missed"], policy["missedLimit"], policy["overlap"], policy["jitter"]), ("ALL", 5, "REPLACE", "90s"))
    assert "starts at" in server.cli(*jobs, "next", "cli").stdout
    policy = json.loads(server.cli(*jobs, "policy", "cli", "--clear-end", "--format=json").stdout)
    assert "endTime" not in policy and policy["missed"] == "ALL", policy
    server.cli(*jobs, "pause", "cli")
    server.cli(*jobs, "run", "cli")
    equal(receiver.wait(1)[0]["method"], "PUT")
    server.cli(*jobs, "resume", "cli")
    server.topic("cli-topic")
    server.cli(*jobs, "create", "pubsub", "cli-ps", "--schedule=every 5 minutes", "--topic=cli-topic", "--message-body=x", "--attributes=a=b")
    server.cli(*jobs, "update", "pubsub", "cli-ps", "--update-attributes=c=d", "--description=new")
    equal(json.loads(server.cli(*jobs, "describe", "cli-ps", "--format=json").stdout)["pubsubTarget"]["attributes"], {"a": "b", "c": "d"})
    for name in ("cli", "cli-ps"):
        server.cli(*jobs, "delete", name, "--quiet")
    assert "cannot" not in server.cli(*jobs, "describe", "cli", want=1).stdout
    server.cli(*jobs, "update", "http", "cli", want=2)
    bad = server.cli(*jobs, "create", "http", "bad", "--schedule=61 * * * *", "--uri=http://127.0.0.1:9/", want=1).stderr
    assert "minute" in bad, bad


run()
