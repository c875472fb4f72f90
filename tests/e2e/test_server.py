"""The server as a program: its pages, its options, its data folder."""
import glob
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile

from harness import RUNNEL, Receiver, Server, case, equal, free_port, run, temp_dir, wait_for

server = Server()


def refused(*args, word, code=(1, 2)):
    done = subprocess.run([RUNNEL, "serve", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, timeout=15)
    assert done.returncode in code, (args, done.returncode, done.stderr)
    assert word in done.stderr, (args, done.stderr)
    assert "ready" not in done.stdout


def change(path, sql):
    database = sqlite3.connect(path)
    equal(database.execute(sql).rowcount, 1, sql)
    database.commit()
    database.close()


@case("/healthz and /metrics answer")
def _():
    equal(server.http("GET", "/healthz").status, 200, "healthz")
    metrics = server.http("GET", "/metrics")
    assert metrics.headers["Content-Type"].startswith("text/plain")
    for line in metrics.text.splitlines():
        assert line.startswith("#") or len(line.rsplit(" ", 1)) == 2 and float(line.rsplit(" ", 1)[1]) >= 0, line
    assert "runnel_instances" in metrics.text


@case("discovery, both kinds of certificates, and the metadata server")
def _():
    discovery = server.http("GET", "/.well-known/openid-configuration").json
    equal(discovery["issuer"], server.url, "issuer")
    assert server.http("GET", "/oauth2/v3/certs").json["keys"][0]["kty"] == "RSA"
    assert "BEGIN PUBLIC KEY" in list(server.http("GET", "/oauth2/v1/certs").json.values())[0]
    path = "/computeMetadata/v1/project/project-id"
    equal(server.http("GET", path, headers={"Metadata-Flavor": "Google"}).text, "local-project", "project")
    assert server.http("GET", path).status in (400, 403), "the header is required"


@case("without libcurl the server and its services work; pushes to URLs wait, say why, and go once it is there")
def _():
    for broken, says in (("no library at all", "cannot be opened"), (None, "has no curl_easy_cleanup")):
        folder, receiver = temp_dir(), Receiver()
        fake = os.path.join(folder, "libcurl.so.4")
        if broken:
            with open(fake, "w", encoding="ascii") as f:
                f.write(broken)
        else:
            os.symlink(glob.glob("/lib/*/libanl.so.1")[0], fake)  # a small one that nobody else has open
        without = Server(under=["env", "LD_LIBRARY_PATH=" + folder])
        without.deploy("own")
        topic = without.topic("things")
        without.subscription("own", topic, pushConfig={"pushEndpoint": without.service("own")["uri"]})
        without.subscription("remote", topic, pushConfig={"pushEndpoint": receiver.url})
        without.publish(topic, "x")
        wait_for(lambda: without.metric("runnel_push_requests_total", code_class="2xx") == 1, "a push to a service")
        wait_for(lambda: says in without.log_tail(), f"a log line with {says!r}")
        wait_for(lambda: without.metric("runnel_push_requests_total", code_class="none") >= 3, "three tries")
        equal(without.log_tail(1000).count("io.cannot_call"), 1, "told once")
        equal(len(receiver.got), 0, "deliveries")
        said = without.cli("pubsub", "topics", "list", want=1, env={"LD_LIBRARY_PATH": folder}).stderr
        assert says in said and "libcurl" in said, said
        os.remove(fake)
        receiver.wait(1)
        without.stop()


@case("a second server on the same data folder is refused, and the first goes on")
def _():
    refused(f"--listen=127.0.0.1:{free_port()}", f"--data={server.data}", word=server.data)
    equal(server.http("GET", "/healthz").status, 200, "the first")


@case("a port that is taken is named")
def _():
    refused(f"--listen=127.0.0.1:{server.port}", f"--data={temp_dir()}/d", word=f"another program listens on 127.0.0.1:{server.port} already")


@case("an address that others can reach needs --auth")
def _():
    refused(f"--listen=0.0.0.0:{free_port()}", f"--data={temp_dir()}/d", word="--auth")


@case("with --auth only the token's holder may use the API, and the command line passes it on")
def _():
    path = os.path.join(temp_dir(), "tokens")
    with open(path, "w", encoding="ascii") as f:
        f.write("s3cret-0123456789\n")
    own = Server(f"--auth=token:{path}")
    equal(own.http("GET", "/v1/projects/p-1/topics").status, 401, "without")
    equal(own.http("GET", "/v1/projects/p-1/topics", headers={"Authorization": "Bearer s3cret-0123456789"}).status, 200, "with")
    assert own.http("GET", "/v1/projects/p-1/topics", headers={"Authorization": "Bearer wrong"}).status in (401, 403)
    equal(own.http("GET", "/healthz").status, 200, "healthz")
    assert "--token" in own.cli("pubsub", "topics", "list", want=1).stderr
    own.cli("pubsub", "topics", "list", "--token=s3cret-0123456789")
    own.cli("pubsub", "topics", "list", env={"RUNNEL_TOKEN": "s3cret-0123456789"})


@case("wrong options end with exit code 2 and the nearest right one")
def _():
    refused("--lisen=127.0.0.1:0", word="--listen", code=(2,))
    refused("--listen=nonsense", word="nonsense", code=(2,))
    refused("--idle=soon", word="soon", code=(2,))
    refused("--data", word="--data", code=(2,))


@case("a file in place of the data folder, or one of another program, is refused and left as it is")
def _():
    folder = temp_dir()
    path = os.path.join(folder, "file")
    with open(path, "w", encoding="ascii") as f:
        f.write("mine")
    refused(f"--listen=127.0.0.1:{free_port()}", f"--data={path}", word="file", code=(1, 2))
    own = Server()
    own.stop()
    databases = [os.path.join(own.data, n) for n in os.listdir(own.data) if n.endswith(".db") or "sqlite" in n]
    assert databases, os.listdir(own.data)
    with open(databases[0], "wb") as f:
        f.write(b"this is no database at all, but some text that is long enough to look at" * 100)
    refused(f"--listen=127.0.0.1:{free_port()}", f"--data={own.data}", word="", code=(1,))


@case("a record that is damaged is named, with what to do; without it the server starts and has the others")
def _():
    own = Server()
    own.api("PUT", "/v1/projects/p-1/topics/bad", {})
    own.api("PUT", "/v1/projects/p-1/topics/good", {})
    own.api("PUT", "/v1/projects/p-1/subscriptions/held", {"topic": "projects/p-1/topics/good"})
    own.stop()
    path = os.path.join(own.data, "runnel.db")
    change(path, "UPDATE resources SET body = x'ff' WHERE kind = 'topic' AND name = 'projects/p-1/topics/bad'")
    for word in ('topic record "projects/p-1/topics/bad": malformed', f"remove it from {path} with the program sqlite3"):
        refused(f"--listen=127.0.0.1:{free_port()}", f"--data={own.data}", word=word, code=(1,))
    change(path, "DELETE FROM resources WHERE kind = 'topic' AND name = 'projects/p-1/topics/bad'")  # as it was told
    again = Server(data=own.data)
    equal(again.api("GET", "/v1/projects/p-1/subscriptions/held")["topic"], "projects/p-1/topics/good", "subscription")
    equal([t["name"] for t in again.api("GET", "/v1/projects/p-1/topics")["topics"]], ["projects/p-1/topics/good"], "topics")


@case("a data folder in use is given free by the end of its server")
def _():
    own = Server()
    own.api("PUT", "/v1/projects/p-1/topics/kept", {})
    own.stop()
    again = Server(data=own.data)
    equal(again.api("GET", "/v1/projects/p-1/topics/kept")["name"], "projects/p-1/topics/kept", "topic")


@case("a full disk refuses publishing and loses nothing accepted")
def _():
    small = tempfile.mkdtemp(prefix="runnel-e2e-full-")
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", small], stderr=subprocess.DEVNULL).returncode:
        os.rmdir(small)
        print("     (not tried: a small file system can only be mounted by root)")
        return
    try:
        own = Server(data=small + "/data")
        own.api("PUT", "/v1/projects/p-1/topics/full", {})
        own.api("PUT", "/v1/projects/p-1/subscriptions/full", {"topic": "projects/p-1/topics/full"})
        accepted, refusal = [], None
        for _ in range(200):
            answer = own.http("POST", "/v1/projects/p-1/topics/full:publish", json.dumps({"messages": [{"data": "QUJD" * 10000}]}))
            if answer.status != 200:
                refusal = answer.json["error"]
                break
            accepted += answer.json["messageIds"]
        assert refusal, "never full?"
        equal(refusal["status"], "RESOURCE_EXHAUSTED", "status")
        seen = set()
        for _ in range(len(accepted) + 5):
            got = own.api("POST", "/v1/projects/p-1/subscriptions/full:pull", {"maxMessages": 100, "returnImmediately": True}).get("receivedMessages", [])
            seen |= {m["message"]["messageId"] for m in got}
            if not got:
                break
        equal(seen, set(accepted), "messages")
        own.stop()
    finally:
        subprocess.run(["umount", "-l", small])
        shutil.rmtree(small, ignore_errors=True)


run()
