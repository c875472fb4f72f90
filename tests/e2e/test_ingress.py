"""Requests to services: routing, streams, upgrades, who may come in, time limits, queues, traffic."""
import base64
import collections
import itertools
import os
import re
import resource
import select
import socket
import threading
import time

from harness import PROJECT, SLOW, Receiver, Server, case, equal, run, wait_for

server = Server("--idle=60s")
server.deploy("web")
numbers = itertools.count()


def open_socket():
    s = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def read_until(f, want):
    got = b""
    while want not in got:
        data = f.read1(65536)
        if not data:
            raise AssertionError(f"the connection ended before {want!r} came: {got!r}")
        got += data
    return got


def token(account, audience):
    """A token as the server sends it: taken from a push to a stranger."""
    stranger = Receiver()
    name = f"token-{next(numbers)}"
    topic = server.topic(name)
    server.subscription(name, topic, pushConfig={"pushEndpoint": stranger.url, "oidcToken": {"serviceAccountEmail": account, "audience": audience}})
    server.publish(topic, "x")
    return stranger.wait(1)[0]["headers"]["Authorization"].removeprefix("Bearer ")


@case("a request carries who asked, a trace, and the service's variables")
def _():
    seen = server.call("web", "/?q=1", headers={"X-Mine": "1", "Connection": "X-Hop, close", "X-Hop": "gone"}).json
    equal(seen["env"]["K_SERVICE"], "web", "K_SERVICE")
    assert seen["env"]["K_REVISION"].startswith("web-00001-") and seen["env"]["K_CONFIGURATION"] == "web" and seen["env"]["PORT"]
    headers = seen["headers"]
    equal((headers["x-mine"], headers["x-forwarded-proto"]), ("1", "http"), "headers")
    assert "127.0.0.1" in headers["x-forwarded-for"]
    assert re.match(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$", headers["traceparent"]), headers["traceparent"]
    assert headers["x-cloud-trace-context"].split("/")[0] == headers["traceparent"].split("-")[1]
    assert "x-hop" not in headers and headers["host"] == f"web.localhost:{server.port}"


@case("a trace that is there already is continued")
def _():
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    equal(server.call("web", headers={"traceparent": parent}).json["headers"]["traceparent"].split("-")[1], "0af7651916cd43dd8448eb211c80319c", "trace id")


@case("a host that is no service gets 404, an absolute target names the host, and a final dot changes nothing")
def _():
    equal(server.call("nobody").status, 404, "unknown")
    with open_socket() as s:
        s.sendall(f"GET / HTTP/1.1\r\nHost: Web.localhost.:{server.port}\r\nConnection: close\r\n\r\n".encode())
        assert b'"K_SERVICE": "web"' in read_until(s.makefile("rb"), b"K_SERVICE\": \"web\"")
    with open_socket() as s:
        s.sendall(f"GET http://web.localhost:{server.port}/ HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n".encode())
        assert b"200 OK" in read_until(s.makefile("rb"), b"\r\n")


@case("an answer streams: its beginning arrives before its end is there")
def _():
    with open_socket() as s:
        s.sendall(f"GET /stream HTTP/1.1\r\nHost: web.localhost:{server.port}\r\n\r\n".encode())
        f = s.makefile("rb")
        read_until(f, b"one")
        equal(server.call("web", "/go").status, 200, "go")
        assert b"two" in read_until(f, b"two")


@case("a request and its answer stream both ways at once")
def _():
    with open_socket() as s:
        s.sendall(f"POST /echo HTTP/1.1\r\nHost: web.localhost:{server.port}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        f = s.makefile("rb")
        for word in (b"alpha", b"beta", b"gamma"):
            s.sendall(b"%x\r\n%s\r\n" % (len(word), word))
            assert word in read_until(f, word)
        s.sendall(b"0\r\n\r\n")
        read_until(f, b"0\r\n\r\n")


@case("ten megabytes go in and come out unchanged")
def _():
    body = os.urandom(10 * 1024 * 1024)
    answer = server.call("web", "/echo", "POST", body)
    equal((answer.status, answer.body == body), (200, True), "echo")


@case("a WebSocket is upgraded and echoes")
def _():
    with open_socket() as s:
        key = base64.b64encode(os.urandom(16)).decode()
        s.sendall((f"GET /ws HTTP/1.1\r\nHost: web.localhost:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())
        f = s.makefile("rb")
        head = read_until(f, b"\r\n\r\n")
        assert b"101" in head.splitlines()[0] and b"sec-websocket-accept" in head.lower(), head
        for text in (b"hello", b"x" * 5000):
            mask = os.urandom(4)
            size = bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + len(text).to_bytes(2, "big")
            s.sendall(b"\x81" + size + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(text)))
            reply = b"\x81" + (bytes([len(text)]) if len(text) < 126 else b"\x7e" + len(text).to_bytes(2, "big")) + text
            got = b""
            while len(got) < len(reply):
                got += f.read1(65536)
            equal(got, reply, "frame")
        s.sendall(b"\x88\x80\0\0\0\0")
        equal(f.read(2), b"\x88\x00", "close")


@case("ambiguous framing is refused and the connection closed")
def _():
    for head in ("Content-Length: 5\r\nTransfer-Encoding: chunked", "Content-Length: 5\r\nContent-Length: 6", "Content-Length: +5", "X: a\r\n folded: b",
                 "Transfer-Encoding: gzip, chunked, chunked"):
        with open_socket() as s:
            s.sendall(f"POST /echo HTTP/1.1\r\nHost: web.localhost:{server.port}\r\n{head}\r\n\r\nhello".encode())
            f = s.makefile("rb")
            answer = f.read()
            assert answer.startswith(b"HTTP/1.1 400"), (head, answer[:100])


@case("who may come in: no token 403, bad token 401, wrong audience 401, stranger 403, invoker 200")
def _():
    server.deploy("private", public=False)
    uri = server.service("private")["uri"]
    good, stranger_account = f"good@{PROJECT}.iam.gserviceaccount.com", f"bad@{PROJECT}.iam.gserviceaccount.com"
    server.cli("run", "services", "add-iam-policy-binding", "private", f"--member=serviceAccount:{good}", "--role=roles/run.invoker")
    right = token(good, uri)
    head, body, signature = right.split(".")
    forged = ".".join((head, body, ("A" if signature[0] != "A" else "B") + signature[1:]))
    table = [("no token", {}, 403), ("nonsense", {"Authorization": "Bearer nonsense"}, 401), ("a forged signature", {"Authorization": "Bearer " + forged}, 401),
             ("another audience", {"Authorization": "Bearer " + token(good, "http://other.example")}, 401),
             ("somebody else", {"Authorization": "Bearer " + token(stranger_account, uri)}, 403), ("the invoker", {"Authorization": "Bearer " + right}, 200),
             ("the other header", {"X-Serverless-Authorization": "bearer " + right, "Authorization": "Basic mine"}, 200)]
    for name, headers, want in table:
        wait_for(lambda: server.call("private", headers=headers).status == want, f"{name}: {want}, got {server.call('private', headers=headers).status}", 3)
    seen = server.call("private", headers={"Authorization": "Bearer " + right}).json["headers"]["authorization"]
    equal(seen.split(".")[2], "SIGNATURE_REMOVED_BY_GOOGLE", "what the program sees of the signature")
    server.cli("run", "services", "remove-iam-policy-binding", "private", f"--member=serviceAccount:{good}", "--role=roles/run.invoker")
    wait_for(lambda: server.call("private", headers={"Authorization": "Bearer " + right}).status == 403, "403 once the binding is gone")
    server.cli("run", "deploy", "private", "--allow-unauthenticated")
    wait_for(lambda: server.call("private").status == 200, "200 for everybody")


@case("a request that takes too long gets 504")
def _():
    server.deploy("slow", "--timeout=1s")
    equal(server.call("slow", "/sleep?ms=4000").status, 504, "status")
    equal(server.call("slow").status, 200, "after it")


@case("a request waits while the instance starts")
def _():
    server.deploy("late", "--set-env-vars=START_DELAY_MS=1500")
    equal(server.call("late").status, 200, "status")


@case("never more requests at once in an instance than its concurrency; the others wait")
def _():
    server.deploy("narrow", "--concurrency=2", "--max-instances=1")
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(server.call("narrow", "/sleep?ms=150").json)) for _ in range(10)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    equal(len(answers), 10, "answers")
    equal(len({a["pid"] for a in answers}), 1, "instances")
    assert max(a["most"] for a in answers) <= 2, [a["most"] for a in answers]


def hold(service, ms):
    """Keep the service's one slot busy; back when it is."""
    thread = threading.Thread(target=lambda: server.call(service, f"/sleep?ms={ms}", timeout=120))
    thread.start()
    wait_for(lambda: "sleeping" in server.cli("run", "services", "logs", "read", service).stdout, "the long request inside")
    return thread


@case("a request that finds no free slot within its time gets 504")
def _():
    server.deploy("busy", "--concurrency=1", "--max-instances=1", "--timeout=2s")
    thread = hold("busy", 1900)
    began = time.monotonic()
    statuses = [server.call("busy", "/sleep?ms=1900").status, server.call("busy", "/sleep?ms=1900").status]
    assert 504 in statuses and time.monotonic() - began < 10, statuses
    thread.join()


@case("who gives up while waiting costs no instance's time")
def _():
    server.deploy("left", "--concurrency=1", "--max-instances=1")
    thread = hold("left", 2500)
    waiting = [open_socket() for _ in range(3)]
    for s, head in zip(waiting, ("GET /sleep?ms=20000 HTTP/1.1\r\n", "POST /sleep?ms=20000 HTTP/1.1\r\nContent-Length: 1\r\n", "GET / HTTP/1.1\r\n")):
        s.sendall(f"{head}Host: left.localhost:{server.port}\r\nConnection: close\r\n\r\n".encode() + (b"x" if head.startswith("POST") else b""))
    time.sleep(1.2)  # later than INGRESS_GIVE_UP_NS of dispatcher/ingress.h
    for s in waiting[:2]:
        s.close()
    waiting[2].shutdown(socket.SHUT_WR)  # it only says no more
    answer = read_until(waiting[2].makefile("rb"), b'"total"')
    assert b"HTTP/1.1 200" in answer, answer
    thread.join()
    began = time.monotonic()
    equal(server.call("left", "/").status, 200)
    assert time.monotonic() - began < 5


@case("a queue that is full answers 429, and those who wait are served")
def _():
    waiting_max = 10000  # POOL_WAIT_MAX of executor/pool.h
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < waiting_max + 1000 or SLOW > 1:
        print(f"     (not tried: it takes {waiting_max} open connections; the limit is {hard}, and sanitizers make it slow)")
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server.deploy("jam", "--concurrency=1", "--max-instances=1", "--timeout=120s")
    thread = hold("jam", 20000)
    request = f"GET / HTTP/1.1\r\nHost: jam.localhost:{server.port}\r\nConnection: close\r\n\r\n".encode()
    crowd = []
    try:
        early = select.poll()
        for _ in range(waiting_max + 100):
            s = open_socket()
            s.sendall(request)
            crowd.append(s)
            early.register(s, select.POLLIN)
        answered = wait_for(lambda: early.poll(100), "somebody to be turned away")
        turned_away = {s.fileno(): s for s in crowd}[answered[0][0]]
        assert b"429" in turned_away.recv(100).split(b"\r\n")[0]
        thread.join()
        assert b"200 OK" in crowd[0].recv(100)
    finally:
        for s in crowd:
            s.close()


@case("traffic is split by percent, by tag, and follows update-traffic")
def _():
    server.deploy("split", "--set-env-vars=MODE=old")
    old = server.service("split")["latestReadyRevision"].split("/")[-1]
    done = server.deploy("split", "--set-env-vars=MODE=new", "--no-traffic", "--tag=next")
    assert "serving 0 percent of traffic" in done.stderr, done.stderr
    new = server.service("split")["latestReadyRevision"].split("/")[-1]
    assert old != new
    equal({server.call("split").json["env"]["MODE"] for _ in range(5)}, {"old"}, "no traffic yet")
    equal(server.call("split", tag="next").json["env"]["MODE"], "new", "by tag")
    server.cli("run", "services", "update-traffic", "split", f"--to-revisions={old}=50,{new}=50")

    def both():
        seen = collections.Counter(server.call("split").json["env"]["MODE"] for _ in range(60))
        return 10 <= seen["old"] <= 50 and seen["old"] + seen["new"] == 60
    wait_for(both, "about half and half")
    listing = server.cli("run", "revisions", "list", "--service=split").stdout
    assert re.search(rf"{old} .*50 %", listing) and re.search(rf"{new} .*50 % tag next", listing), listing
    server.cli("run", "services", "update-traffic", "split", "--to-latest", "--remove-tags=next")
    wait_for(lambda: {server.call("split").json["env"]["MODE"] for _ in range(10)} == {"new"}, "all to the latest")
    wait_for(lambda: server.call("split", tag="next").status == 404, "the tag is gone")
    failed = server.cli("run", "revisions", "delete", new, want=1)
    assert "FAILED_PRECONDITION" in failed.stderr, failed.stderr
    server.cli("run", "revisions", "delete", old, "--quiet")


@case("a program that breaks off gets the caller an error, and the next request an answer")
def _():
    server.deploy("fragile")
    pid = server.call("fragile").json["pid"]
    held = []
    t = threading.Thread(target=lambda: held.append(server.call("fragile", "/sleep?ms=20000", timeout=60).status))
    t.start()
    wait_for(lambda: server.call("fragile").json["running"] >= 2, "the long request inside")
    inside = time.monotonic()
    # Had the program closed at once, the GET would have been repeated as one that met a stale connection.
    wait_for(lambda: time.monotonic() - inside > 1.1, "more than a second of work")
    os.kill(pid, 9)
    t.join()
    assert held[0] in (500, 502, 503), held
    wait_for(lambda: server.call("fragile").status == 200, "an answer from a new instance")


run()
