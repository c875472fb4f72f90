"""The command line against a running server: gcloud's words, output formats, exit codes, errors that say what to do."""
import json
import os
import pty
import re
import subprocess

from harness import RUNNEL, SERVICE_IMAGE, Server, case, equal, free_port, run

server = Server("--idle=2s")


def on_terminal(*args, answer=b""):
    """The command with a terminal as its three streams: its exit code, and what stood on the terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(RUNNEL, [RUNNEL, *args], dict(os.environ, RUNNEL_URL=server.url))
    os.write(terminal, answer)
    seen = b""
    try:
        while piece := os.read(terminal, 4096):
            seen += piece
    except OSError:  # what Linux says when the other side has gone
        pass
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen.decode()


@case("wrong usage ends with 2 and the nearest right word")
def _():
    for args, word in ((["pubsb"], "pubsub"), (["pubsub", "topics", "creat", "x"], "create"), (["run", "deploy", "x", "--imag=y"], "--image"),
                       (["run", "deploy"], "SERVICE"), (["pubsub", "subscriptions", "create", "s"], "--topic"), (["run", "deploy", "x", "--port=0"], "65535"),
                       (["pubsub", "topics", "list", "--format=jsn"], "json"), (["pubsub", "topics", "list", "--verbosity=inf"], "info"),
                       (["run", "services", "update-traffic", "x", "--to-revisions=a=200"], "percentage"), (["nonsense"], "runnel --help")):
        if args[:3] == ["run", "services", "update-traffic"]:
            server.deploy("x")
        done = server.cli(*args, want=2)
        assert word in done.stderr and not done.stdout, (args, done.stderr)


@case("every command has help with examples")
def _():
    commands = server.cli("--help").stdout.split("\nCOMMANDS\n")[1].split("\nFLAGS")[0]
    listed = re.findall(r"^  ([a-z][a-z -]*?[a-z])(?:  .*)?$", commands, re.M)
    assert "run deploy" in listed and len(listed) > 30, listed
    for words in listed:
        if words != "serve":
            text = server.cli(*words.split(), "--help").stdout
            assert "EXAMPLES" in text and f"runnel {words}" in text, words
    assert "--listen" in server.cli("serve", "--help").stdout
    equal(server.cli("version").stdout.split()[0], "runnel", "version")


@case("topics from creation to deletion, in all formats")
def _():
    done = server.cli("pubsub", "topics", "create", "orders", "--labels=team=shop,kind=test")
    equal(done.stderr.strip(), "Created topic [projects/local-project/topics/orders].", "what is said")
    assert "orders" in server.cli("pubsub", "topics", "list").stdout
    equal(server.cli("pubsub", "topics", "list", "--format=value(name.basename())").stdout.split(), ["orders"], "value()")
    equal(json.loads(server.cli("pubsub", "topics", "describe", "orders", "--format=json").stdout)["labels"], {"team": "shop", "kind": "test"}, "labels")
    server.cli("pubsub", "topics", "update", "orders", "--update-labels=team=ops", "--remove-labels=kind")
    assert "team: ops" in server.cli("pubsub", "topics", "describe", "orders").stdout
    done = server.cli("pubsub", "topics", "create", "orders", want=1)
    assert "ALREADY_EXISTS" in done.stderr and "(runnel.pubsub.topics.create)" in done.stderr, done.stderr
    server.cli("pubsub", "topics", "delete", "orders", "--quiet")
    assert "NOT_FOUND" in server.cli("pubsub", "topics", "describe", "orders", want=1).stderr
    assert "0 items" in server.cli("pubsub", "topics", "list").stderr


@case("publish, pull, acknowledge, seek, snapshot, detach")
def _():
    server.cli("pubsub", "topics", "create", "flow")
    server.cli("pubsub", "subscriptions", "create", "worker", "--topic=flow", "--ack-deadline=20", "--min-retry-delay=1s", "--max-retry-delay=1m",
               "--retain-acked-messages", "--message-filter=attributes:k", "--labels=a=b", "--expiration-period=never")
    settings = json.loads(server.cli("pubsub", "subscriptions", "describe", "worker", "--format=json").stdout)
    equal((settings["ackDeadlineSeconds"], settings["retryPolicy"], settings["filter"], settings["expirationPolicy"]),
          (20, {"minimumBackoff": "1s", "maximumBackoff": "60s"}, "attributes:k", {}), "settings")
    out = server.cli("pubsub", "topics", "publish", "flow", "--message=hello", "--attribute=k=v", "--ordering-key=o").stdout
    identifier = re.search(r"'(\d+)'", out).group(1)
    server.cli("pubsub", "topics", "publish", "flow", "--message=filtered away")
    table = server.cli("pubsub", "subscriptions", "pull", "worker", "--limit=10").stdout
    assert "hello" in table and identifier in table and "filtered" not in table, table
    ack_id = table.splitlines()[1].split()[-1]
    server.cli("pubsub", "subscriptions", "modify-message-ack-deadline", "worker", f"--ack-ids={ack_id}", "--ack-deadline=60")
    server.cli("pubsub", "subscriptions", "ack", "worker", f"--ack-ids={ack_id}")
    server.cli("pubsub", "snapshots", "create", "snap", "--subscription=worker")
    assert "snap" in server.cli("pubsub", "snapshots", "list").stdout
    equal(server.cli("pubsub", "topics", "list-snapshots", "flow").stdout.split(), ["projects/local-project/snapshots/snap"], "snapshots")
    server.cli("pubsub", "subscriptions", "seek", "worker", "--time=-1h")
    assert "hello" in server.cli("pubsub", "subscriptions", "pull", "worker", "--auto-ack").stdout
    server.cli("pubsub", "subscriptions", "seek", "worker", "--snapshot=snap")
    server.cli("pubsub", "subscriptions", "update", "worker", "--ack-deadline=30", "--max-retry-delay=2m")
    settings = json.loads(server.cli("pubsub", "subscriptions", "describe", "worker", "--format=json").stdout)
    equal((settings["ackDeadlineSeconds"], settings["retryPolicy"]), (30, {"minimumBackoff": "1s", "maximumBackoff": "120s"}), "after update")
    equal(server.cli("pubsub", "topics", "list-subscriptions", "flow").stdout.split(), ["projects/local-project/subscriptions/worker"], "subscriptions")
    server.cli("pubsub", "subscriptions", "detach", "worker")
    assert "FAILED_PRECONDITION" in server.cli("pubsub", "subscriptions", "pull", "worker", want=1).stderr
    server.cli("pubsub", "snapshots", "delete", "snap")
    server.cli("pubsub", "subscriptions", "delete", "worker")
    server.cli("pubsub", "topics", "delete", "flow")


@case("deploy tells what gcloud tells, and describe shows what was deployed")
def _():
    done = server.deploy("hello", "--set-env-vars=^;^MODE=a,b;OTHER=c", "--concurrency=7", "--timeout=90", "--min-instances=0", "--max-instances=4",
                         "--cpu=500m", "--memory=256Mi", "--labels=team=shop")
    assert re.search(r"Service \[hello\] revision \[hello-00001-[a-z0-9]{3}\] has been deployed and is serving 100 percent of traffic\.", done.stderr), done.stderr
    assert f"Service URL: http://hello.localhost:{server.port}" in done.stderr, done.stderr
    service = json.loads(server.cli("run", "services", "describe", "hello", "--format=json").stdout)
    template = service["template"]
    equal((template["maxInstanceRequestConcurrency"], template["timeout"], template["scaling"]["maxInstanceCount"]), (7, "90s", 4), "template")
    equal({e["name"]: e["value"] for e in template["containers"][0]["env"]}, {"MODE": "a,b", "OTHER": "c"}, "variables")
    server.cli("run", "services", "update", "hello", "--update-env-vars=MODE=z", "--remove-env-vars=OTHER")
    equal(server.call("hello").json["env"]["MODE"], "z", "variable")
    equal(server.cli("run", "services", "describe", "hello", "--format=value(status.url)").stdout.strip(), service["uri"], "value")
    assert re.search(r"hello .*http://hello", server.cli("run", "services", "list").stdout)
    assert len(server.cli("run", "revisions", "list", "--service=hello", "--format=value(name)").stdout.split()) == 2
    assert "listening" in server.cli("run", "services", "logs", "read", "hello").stdout
    assert "allUsers" in server.cli("run", "services", "get-iam-policy", "hello").stdout
    server.cli("run", "services", "delete", "hello", "--quiet")
    assert "NOT_FOUND" in server.cli("run", "services", "describe", "hello", want=1).stderr


@case("a terminal sees progress while a command waits; a pipe does not")
def _():
    flags = [f"--image={SERVICE_IMAGE}", "--command=/usr/bin/python3", "--args=service.py"]
    code, seen = on_terminal("run", "deploy", "watched", *flags)
    assert code == 0 and "Deploying new service [watched]..." in seen and "has been deployed" in seen, seen
    piped = server.cli("run", "deploy", "watched", "--update-env-vars=A=b").stderr
    assert "\x1b" not in piped and "\r" not in piped, piped


@case("deleting asks on a terminal, and no means no")
def _():
    code, seen = on_terminal("run", "services", "delete", "watched", answer=b"n\n")
    assert code == 1 and "Do you want to continue (Y/n)?" in seen and "nothing was changed" in seen, seen
    server.cli("run", "services", "describe", "watched")
    code, seen = on_terminal("run", "services", "delete", "watched", answer=b"y\n")
    assert code == 0 and "Deleted service [watched]." in seen, seen


@case("a table that is asked for is the table of the default")
def _():
    server.deploy("shown")
    server.cli("pubsub", "topics", "create", "shown")
    server.cli("pubsub", "subscriptions", "create", "shown", "--topic=shown")
    server.cli("pubsub", "topics", "publish", "shown", "--message=hello")
    for args in (["run", "services", "list"], ["run", "revisions", "list"], ["run", "services", "logs", "read", "shown"], ["pubsub", "topics", "list"]):
        equal(server.cli(*args, "--format=table").stdout, server.cli(*args).stdout, args)
    assert re.search(r"shown .* yes$", server.cli("run", "services", "list", "--format=table").stdout, re.M)
    assert "hello" in server.cli("pubsub", "subscriptions", "pull", "shown", "--format=table", "--auto-ack").stdout
    for thing in (["run", "services"], ["pubsub", "subscriptions"], ["pubsub", "topics"]):
        server.cli(*thing, "delete", "shown")


@case("scheduler explain says what a schedule does, without a server")
def _():
    def explain(*args, want=0):
        done = subprocess.run([RUNNEL, "scheduler", "explain", *args, f"--url=http://127.0.0.1:{free_port()}"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        equal(done.returncode, want, (args, done.stderr))
        return done
    berlin = ("--time-zone=Europe/Berlin", "--from=2026-03-28T12:00:00Z")
    seen = json.loads(explain("30 2 * * *", *berlin, "--count=3", "--format=json").stdout)
    equal(seen["next"], ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00", "2026-03-31T02:30:00+02:00"], "around the gap")
    equal(seen["text"], "At 02:30 every day, in Europe/Berlin. On Sunday 29 March 2026 at 02:00 the clocks go forward to 03:00 (from +01:00 to "
          "+02:00); 02:30 does not exist then, so it fires at 03:00.", "text")
    lines = explain("30 2 * * *", *berlin, "--count=1").stdout.splitlines()
    equal(lines[2], "  Sun 2026-03-29T03:00:00+02:00   for 02:30, which does not exist", "moved")
    lines = explain("30 2 * * *", "--time-zone=Europe/Berlin", "--from=2026-08-01T00:00:00Z", "--count=1").stdout.splitlines()
    equal(lines[4:], ["Around the clock change:", "  Sat 2026-10-24T02:30:00+02:00",
                      "  Sun 2026-10-25T02:30:00+02:00   the first 02:30 of two, and the only one", "  Mon 2026-10-26T02:30:00+01:00"], "around the fold")
    equal(len(json.loads(explain("every 5 minutes", "--format=json").stdout)["next"]), 10, "default count")
    equal(list(seen), ["text", "next"], "what --format=json has")
    fold = json.loads(explain("30 1 * * *", "--time-zone=Australia/Lord_Howe", "--from=2026-04-04T00:00:00Z", "--count=2", "--format=json").stdout)
    equal(fold["next"], ["2026-04-05T01:30:00+11:00", "2026-04-06T01:30:00+10:30"], "a fold of half an hour")
    gap = json.loads(explain("15 2 * * *", "--time-zone=Australia/Lord_Howe", "--from=2026-10-03T00:00:00Z", "--count=2", "--format=json").stdout)
    equal(gap["next"], ["2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"], "a gap of half an hour")
    gap = json.loads(explain("0 0 * * *", "--time-zone=America/Santiago", "--from=2026-09-05T12:00:00Z", "--count=2", "--format=json").stdout)
    equal(gap["next"], ["2026-09-06T01:00:00-03:00", "2026-09-07T00:00:00-03:00"], "no midnight, in the south")
    assert "do not change there" in explain("0 9 * * *", "--time-zone=Asia/Kolkata").stdout
    assert "between the years 1678 and 2261" in explain("* * * * *", "--from=9998-01-01T00:00:00Z", want=2).stderr
    equal(len(json.loads(explain("* * * * *", "--count=1000", "--format=json").stdout)["next"]), 1000, "count")
    assert explain("0 9 * * *", "--from=2026-01-01T00:00:00Z", "--format=value(next)").stdout.startswith("2026-01-01T09:00:00+00:00;2026-01-02")
    assert "field 2 (hour), character 3: \"25\" is too large; allowed: 0-23" in explain("0 25 * * *", want=1).stderr
    assert "did you mean 'Europe/Berlin'?" in explain("0 5 * * *", "--time-zone=Europe/Berln", want=1).stderr
    assert "1000" in explain("0 5 * * *", "--count=1001", want=2).stderr
    assert "not a time" in explain("0 5 * * *", "--from=tomorrow", want=2).stderr
    assert "SCHEDULE" in explain(want=2).stderr


@case("errors say what to do")
def _():
    done = subprocess.run([RUNNEL, "pubsub", "topics", "list", f"--url=http://127.0.0.1:{free_port()}"], stderr=subprocess.PIPE, text=True)
    equal(done.returncode, 1, "exit code")
    assert "runnel serve" in done.stderr and "RUNNEL_URL" in done.stderr, done.stderr
    assert "--image" in server.cli("run", "deploy", "brand-new", want=2).stderr
    done = server.cli("run", "deploy", "brand-new", f"--image={SERVICE_IMAGE}", "--command=no-such-program", want=1)
    assert "INVALID_ARGUMENT" in done.stderr and "no-such-program" in done.stderr, done.stderr
    assert "NOT_FOUND" in server.cli("run", "services", "describe", "brand-new", want=1).stderr


run()
