"""Push to receivers that answer garbage, never, twice, too much, or go away: each message is acknowledged only by a whole answer
that says so, comes again otherwise, and a receiver that misbehaves harms no other subscription.
"""
import json
import socket
import threading
import time

from harness import PROJECT, Server, b64, case, cleanups, equal, run, wait_for
from hostile import descriptors, script, settled
from hostile_instance import Broken, play, read_body, read_head

server = Server("--idle=60s")
server.deploy("rogue", "--timeout=60s", program="hostile_instance.py")
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
NO = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
silent, everybody = [], []
GOOD = [["body"], ["send", "HTTP/1.1 204 No Content\r\n\r\n"], ["next"]]


class Rogue:
    """A stranger's receiver: plays one plan after the other, one for each request (None: as it should be), and is good in the end."""

    def __init__(self, plans, accepts=True):
        self.plans, self.lock, self.tries, self.acked, self.bodies, self.sockets = list(plans), threading.Lock(), 0, [], [], []
        everybody.append(self)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/"
        cleanups.append(self.listener.close)
        if accepts:
            threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.sockets.append(sock)
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def leave(self):
        self.listener.close()
        for sock in self.sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed already

    def serve(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with sock, sock.makefile("rb") as f:
            try:
                while self.serve_one(sock, f):
                    pass
            except (Broken, OSError, ValueError):
                pass

    def serve_one(self, sock, f):
        with self.lock:
            before_head = self.plans and self.plans[0] and self.plans[0][0][0] == "at once"
            if before_head:
                self.tries += 1
                steps = self.plans.pop(0)[1:]
        if before_head:
            return play(sock, f, [], steps)
        request = read_head(f)
        if not request:
            return False
        with self.lock:
            self.tries += 1
            steps = self.plans.pop(0) if self.plans else None
        if steps is not None:
            return play(sock, f, request[1], steps)
        message = json.loads(read_body(f, request[1]))["message"]
        with self.lock:
            self.acked.append(message["messageId"])
            self.bodies.append(message["data"])
        return play(sock, f, [], GOOD[1:])


def plan(*steps):
    return [[s.decode("latin-1") if isinstance(s, bytes) else s for s in ((step,) if isinstance(step, str) else ("send", step) if isinstance(step, bytes) else step)]
            for step in steps]


def push_to(name, url, *texts, **fields):
    topic = server.topic(name)
    server.subscription(name, topic, pushConfig={"pushEndpoint": url}, **fields)
    return server.publish(topic, *texts)


# What the receiver does with the first delivery; it is acknowledged by it ("ack") or comes again ("again").
ROWS = [
    ("a close before a byte is read", ["at once", "close"], "again"),
    ("a reset before a byte is read", ["at once", "rst"], "again"),
    ("an answer before the request", ["at once", b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n", "close"], "again"),
    ("a close after the request", ["body", "close"], "again"),
    ("a reset after the request", ["body", "rst"], "again"),
    ("garbage", ["body", b"220 smtp.example ESMTP\r\n", "stay"], "again"),
    ("binary noise", ["body", b"\x15\x03\x01\x00\x02\x02\x28", "stay"], "again"),
    ("HTTP/0.9", ["body", b"<html>ok</html>", "close"], "again"),
    ("bare LF", ["body", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "stay"], "again"),
    ("a folded field", ["body", OK + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n", "stay"], "again"),
    ("a length and chunked", ["body", OK + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "stay"], "again"),
    ("two lengths", ["body", OK + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n", "stay"], "again"),
    ("an endless head", ["body", OK, ("flood", b"X: y\r\n")], "again"),
    ("an endless field", ["body", OK + b"X: ", ("flood", b"yyyy")], "again"),
    ("a flood of 1xx", ["body", ("flood", b"HTTP/1.1 103 Early Hints\r\n\r\n")], "again"),
    ("101 to who did not ask", ["body", b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "stay"], "again"),
    ("200 and a close in the head", ["body", b"HTTP/1.1 200 OK\r\nConte", "close"], "again"),
    ("200 and a close in the body", ["body", OK + b"Content-Length: 9\r\n\r\nhell", "close"], "again"),
    ("200 and a reset in the body", ["body", OK + b"Content-Length: 9\r\n\r\nhell", "rst"], "again"),
    ("200 and a close before the last chunk", ["body", CHUNKED + b"4\r\nhell\r\n", "close"], "again"),
    ("200 and a chunk of nonsense", ["body", CHUNKED + b"zz\r\n", "stay"], "again"),
    ("200 and an endless chunk extension", ["body", CHUNKED + b"1;", ("flood", b"x")], "again"),
    ("200 and an endless trailer", ["body", CHUNKED + b"0\r\n", ("flood", b"T: x\r\n")], "again"),
    ("a redirect to itself", ["body", b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", "next"], "again"),
    ("500 and a second answer of 200 beside it", ["body", NO + OK + b"Content-Length: 0\r\n\r\n", "next"], "again"),
    ("100 and then 500", ["body", b"HTTP/1.1 100 Continue\r\n\r\n" + NO, "next"], "again"),
    ("500 before the request was read", [NO, "close"], "again"),
    ("200 and an endless body: the status has come", ["body", CHUNKED, ("flood", b"4\r\nhell\r\n")], "ack"),
    ("200 and a second answer of 500 beside it", ["body", OK + b"Content-Length: 0\r\n\r\n" + NO, "next"], "ack"),
    ("204 with a body", ["body", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nstale" + NO, "next"], "ack"),
    ("200 without a length, and a close", ["body", OK + b"\r\nfine", "close"], "ack"),
    ("200 before the request was read, which it then reads", [OK + b"Content-Length: 0\r\n\r\n", "body", "next"], "ack"),
    ("102, which acknowledges, and silence", ["body", b"HTTP/1.1 102 Processing\r\n\r\n", "stay"], "ack"),
]
# These cost a whole acknowledgement deadline, 10 seconds: side by side, and beside the rows above.
SILENT = [("no answer", ["body", "stay"]), ("nothing is read", ["stay"]), ("half a head", ["body", b"HTTP/1.1 200 OK\r\nX: ", "stay"]),
          ("half a body", ["body", OK + b"Content-Length: 9\r\n\r\nhell", "stay"]), ("a body without an end", ["body", OK + b"\r\nhell", "stay"]),
          ("an interim answer", ["body", b"HTTP/1.1 100 Continue\r\n\r\n", "stay"])]


def start_silent():
    for i, (_, steps) in enumerate(SILENT):
        rogue = Rogue([plan(*steps)])
        silent.append((rogue, push_to(f"silent-{i}", rogue.url, "quiet", ackDeadlineSeconds=10), time.monotonic()))
    never = Rogue([], accepts=False)
    silent.append((never, push_to("silent-backlog", never.url, "quiet", ackDeadlineSeconds=10), time.monotonic()))


@case("only a whole answer that acknowledges does; after any other the message comes again")
def _():
    rogues = []
    for i, (name, steps, want) in enumerate(ROWS):
        rogue = Rogue([plan(*steps)])
        rogues.append((name, want, rogue, push_to(f"row-{i}", rogue.url, "first")))
    wrong = []
    for i, (name, want, rogue, ids) in enumerate(rogues):
        try:
            if want == "ack":
                wait_for(lambda: rogue.tries >= 1, "the delivery")
                ids = server.publish(f"projects/{PROJECT}/topics/row-{i}", "second")
            wait_for(lambda: rogue.acked, "a delivery after the first")
            equal(rogue.acked, ids, "acknowledged by a whole answer")
        except AssertionError as e:
            wrong.append(f"{name}: {e} (tries {rogue.tries})")
    if wrong:
        raise AssertionError(f"{len(wrong)} of {len(ROWS)} rows:\n" + "\n".join(wrong))
    for name, want, rogue, ids in rogues:
        assert rogue.tries == 2, (name, rogue.tries)  # neither repeated nor lost
        equal(rogue.plans, [], name)


@case("answers nobody asked for acknowledge no other message")
def _():
    """500 and 204 in one piece, every fourth time, with many messages on few connections."""
    rogue = Rogue([plan("body", NO + b"HTTP/1.1 204 No Content\r\n\r\n" * 3, "next"), None, None, None] * 30)
    ids = push_to("desync", rogue.url, *[f"m{i}" for i in range(100)])
    wait_for(lambda: len(rogue.acked) >= 100, "100 messages, each acknowledged by its own answer")
    equal(sorted(rogue.acked), sorted(ids), "acknowledged")


@case("plain text where TLS should be, and no server at all: the message waits, and goes when the endpoint is good")
def _():
    rogue = Rogue([plan("at once", b"HTTP/1.1 400 Bad\r\n\r\n", "close")] * 2)
    ids = push_to("tls", rogue.url.replace("http:", "https:"), "wait")
    wait_for(lambda: rogue.tries >= 2, "two tries")
    gone = socket.create_server(("127.0.0.1", 0))
    nobody = f"http://127.0.0.1:{gone.getsockname()[1]}/"
    gone.close()
    name = f"projects/{PROJECT}/subscriptions/tls"
    server.api("POST", f"/v1/{name}:modifyPushConfig", {"pushConfig": {"pushEndpoint": nobody}})
    good = Rogue([])
    server.api("POST", f"/v1/{name}:modifyPushConfig", {"pushConfig": {"pushEndpoint": good.url}})
    wait_for(lambda: good.acked, "the message")
    equal(good.acked, ids, "the message")


@case("a service of ours that answers garbage is no better off than a stranger")
def _():
    paths = [script(*steps) for steps in (["body", b"garbage\r\n"], ["body", "close"], ["body", "rst"], ["body", OK + b"Content-Length: 9\r\n\r\nhell", "close"],
                                          ["body", CHUNKED + b"zz\r\n", "stay"], ["body", NO + OK + b"Content-Length: 0\r\n\r\n", "next"])]
    for i, path in enumerate(paths):
        push_to(f"ours-{i}", f"http://rogue.localhost:{server.port}{path}", "again")

    def tries():
        lines = [r[0] for r in json.loads(server.call("rogue", "/seen").body)]
        return [sum(path in line for line in lines) for path in paths]
    wait_for(lambda: min(tries()) >= 2, "each to come again")
    for i in range(len(paths)):
        server.api("DELETE", f"/v1/projects/{PROJECT}/subscriptions/ours-{i}")
    equal(server.call("rogue", "/mine").text, "/mine", "a caller's answer")


@case("many hostile subscriptions do not hold up a good one")
def _():
    for i, steps in enumerate([["body", "stay"], ["body", "close"], ["body", ("flood", b"x")], ["stay"]] * 5):
        push_to(f"bad-{i}", Rogue([plan(*steps)] * 1000).url, *["m"] * 20)
    good = Rogue([])
    began = time.monotonic()
    ids = push_to("good", good.url, *[f"g{i}" for i in range(200)])
    wait_for(lambda: len(good.acked) >= 200, "all messages of the good one", 10)
    print(f"     200 messages beside 20 hostile subscriptions: {time.monotonic() - began:.2f} s")
    equal(sorted(good.acked), sorted(ids), "all, once")
    for i in range(20):
        server.api("DELETE", f"/v1/projects/{PROJECT}/subscriptions/bad-{i}")


@case("who never answers is given up at the acknowledgement deadline, and the message comes again")
def _():
    for (rogue, ids, began), (name, _) in zip(silent, SILENT):
        wait_for(lambda: rogue.acked, f"{name}: a second delivery", 30)
        equal((rogue.acked, rogue.tries), (ids, 2), name)
        assert time.monotonic() - began >= 9.9, name
    backlog, ids, _ = silent[-1]
    threading.Thread(target=backlog.accept, daemon=True).start()
    wait_for(lambda: backlog.acked, "the one that did not accept: a second delivery", 30)
    equal(set(backlog.acked), set(ids), "not accepted")  # the first try may still lie there, on its dead connection


@case("after all this nothing is left open, and the server serves")
def _():
    for rogue in everybody:
        rogue.leave()
    settled(server, base)
    good = Rogue([])
    push_to("last", good.url, "last")
    wait_for(lambda: good.bodies == [b64("last")], "a push")
    equal(server.http("GET", "/healthz").status, 200, "healthz")


server.call("rogue", "/warm")
base = descriptors(server)
start_silent()
run()
