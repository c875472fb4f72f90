"""Instances that answer garbage, never, twice, too much, or before the request ends: what the caller gets for each, that a broken
answer is never made to look whole, and that no answer reaches anybody but the one who asked.
"""
import threading
import time

from harness import SLOW, Server, case, equal, run, wait_for
from hostile import answers_of, connect, connections, memory_kb, read_all, read_until, reset, script, settled, descriptors, talk

server = Server("--idle=60s")
server.deploy("rogue", "--timeout=60s", "--max-instances=1", program="hostile_instance.py")
server.deploy("tardy", "--timeout=1s", program="hostile_instance.py")
server.deploy("single", "--concurrency=1", "--max-instances=1", program="hostile_instance.py")

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
STALE = OK + b"Content-Length: 5\r\n\r\nstale"
BROKEN = "broken"  # the caller sees that the answer is not whole, or gets none at all


def ask(service, target, method="GET", fields="", body=b"", version="1.1"):
    head = f"{method} {target} HTTP/{version}\r\nHost: {service}.localhost:{server.port}\r\nConnection: close\r\n{fields}\r\n"
    return talk(server.port, head.encode() + body, [method])


def behind(service, target):
    """Ask its instance without the server: what is steered must not depend on the connections that are looked at."""
    behind_port(int(server.call(service, "/port").text), target)


def behind_port(port, target):
    with connect(port) as s:
        s.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        read_until(s, b"\r\n\r\n" + target.encode())


def came_to(got):
    """(status, body) of the one answer, or BROKEN."""
    final = [a for a in got.answers if a.status >= 200]
    if not final and got.end != "open":
        return BROKEN
    if len(final) != 1 or got.rest or got.end != "closed":
        raise AssertionError(f"neither whole nor broken: {got}")
    return final[0].status, final[0].body


def own_answers(service, count=3):
    """Everybody who asks now gets the answer to his own question."""
    for i in range(count):
        got = server.call(service, f"/own?{i}")
        equal((got.status, got.text), (200, f"/own?{i}"), "the next caller's answer")


# A sentence, what the instance does, what the caller gets: a status alone stands for an error of ours.
ANSWERS = [
    ("a banner of another protocol", [b"SSH-2.0-OpenSSH_9.2\r\n"], 502),
    ("binary noise", [b"\x00\x01\x02\xff" * 100], 502),
    ("an empty line first", [b"\r\n" + STALE], 502),
    ("HTTP/0.9: a body and no head", [b"<html>hello</html>", "close"], 502),
    ("HTTP/2 in the status line", [b"HTTP/2 200\r\n\r\n"], 502),
    ("HTTP/2 frames", [b"\x00\x00\x12\x04\x00\x00\x00\x00\x00"], 502),
    ("a status of two digits", [b"HTTP/1.1 20 OK\r\n\r\n"], 502),
    ("a status of four digits", [b"HTTP/1.1 2000 OK\r\n\r\n"], 502),
    ("a status below 100", [b"HTTP/1.1 099 No\r\n\r\n"], 502),
    ("bare LF", [b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"], 502),
    ("bare CR in a value", [OK + b"X: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n"], 502),
    ("NUL in a value", [OK + b"X: a\0b\r\nContent-Length: 0\r\n\r\n"], 502),
    ("a folded field", [OK + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n"], 502),
    ("a space before a colon", [OK + b"Content-Length : 5\r\n\r\nhello"], 502),
    ("a line without a colon", [OK + b"nonsense\r\n\r\n"], 502),
    ("Content-Length beside chunked", [OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"], 502),
    ("Content-Length twice, the same", [OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"], 502),
    ("Content-Length twice, differing", [OK + b"Content-Length: 5\r\nContent-Length: 0\r\n\r\nhello"], 502),
    ("a negative Content-Length", [OK + b"Content-Length: -5\r\n\r\nhello"], 502),
    ("chunked twice", [OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"], 502),
    ("an unknown coding", [OK + b"Transfer-Encoding: gzip\r\n\r\nhello", "close"], 502),
    ("chunked in HTTP/1.0", [b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"], 502),
    ("an endless status line", [b"HTTP/1.1 200 ", ("flood", b"xxxx")], 502),
    ("an endless head of small fields", [OK, ("flood", b"X: y\r\n")], 502),
    ("an endless field", [OK + b"X: ", ("flood", b"yyyyyyyy")], 502),
    ("a flood of 100 Continue", [("flood", b"HTTP/1.1 100 Continue\r\n\r\n")], 502),
    ("a flood of 103 Early Hints", [("flood", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")], 502),
    ("101 to who did not ask", [b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"], 502),
    ("a chunk of nonsense", [CHUNKED + b"xyz\r\n", "stay"], BROKEN),
    ("a chunk's size beyond 60 bits", [CHUNKED + b"fffffffffffffffff\r\nx", "stay"], BROKEN),
    ("a chunk longer than its size", [CHUNKED + b"1\r\nxx\r\n0\r\n\r\n", "stay"], BROKEN),
    ("an endless chunk extension", [CHUNKED + b"1;", ("flood", b"x")], BROKEN),
    ("an endless trailer", [CHUNKED + b"1\r\nx\r\n0\r\n", ("flood", b"T: x\r\n")], BROKEN),
    ("a bare LF after a chunk", [CHUNKED + b"1\r\nx\n0\r\n\r\n", "stay"], BROKEN),
    ("a close before a byte", ["close"], 503),
    ("a reset before a byte", ["rst"], 503),
    ("a close in the status line", [b"HTTP/1.1 20", "close"], 503),
    ("a close in the head", [OK + b"Content-Le", "close"], 503),
    ("a reset in the head", [OK + b"Content-Le", "rst"], 503),
    ("a close after the head", [OK + b"Content-Length: 9\r\n\r\n", "close"], BROKEN),
    ("a close in a body with a length", [OK + b"Content-Length: 9\r\n\r\nhell", "close"], BROKEN),
    ("a close in a chunk", [CHUNKED + b"9\r\nhell", "close"], BROKEN),
    ("a close between chunks", [CHUNKED + b"4\r\nhell\r\n", "close"], BROKEN),
    ("a close before the last empty line", [CHUNKED + b"4\r\nhell\r\n0\r\n", "close"], BROKEN),
    ("more than its length", [OK + b"Content-Length: 5\r\n\r\nhello, and more", "stay"], (200, b"hello")),
    ("two answers at once", [OK + b"Content-Length: 5\r\n\r\nfirst" + STALE, "next"], (200, b"first")),
    ("an answer after the last chunk", [CHUNKED + b"5\r\nfirst\r\n0\r\n\r\n" + STALE, "next"], (200, b"first")),
    ("204 with a body", [b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nstale" + STALE, "next"], (204, b"")),
    ("304 with a body", [b"HTTP/1.1 304 Not Modified\r\n\r\nstale", "next"], (304, b"")),
    ("no length: the close ends it", [OK + b"\r\nhello", "close"], (200, b"hello")),
    ("HTTP/1.0 and a close", [b"HTTP/1.0 200 OK\r\n\r\nhello", "close"], (200, b"hello")),
    ("a few interim answers before", [b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3 + OK + b"Content-Length: 5\r\n\r\nhello", "next"], (200, b"hello")),
    ("fields that are only for the connection",
     [OK + b"Connection: X-Hop, Content-Length\r\nX-Hop: a\r\nKeep-Alive: max=1\r\nContent-Length: 5\r\n\r\nhello", "next"], (200, b"hello")),
]


@case("whatever an instance answers, the caller gets that, an error, or a broken answer; the next one gets his own")
def _():
    wrong = []
    for name, steps, want in ANSWERS:
        try:
            got = came_to(ask("rogue", script(*steps)))
            equal(got[0] if isinstance(want, int) else got, want, name)
            own_answers("rogue")
        except AssertionError as e:
            wrong.append(f"{name}: {str(e)[:300]}")
    if wrong:
        raise AssertionError(f"{len(wrong)} of {len(ANSWERS)} rows:\n" + "\n".join(wrong))


@case("a reset in the middle of an answer is a broken answer, whatever its framing and whoever reads it")
def _():
    for name, head in (("a length", OK + b"Content-Length: 900000\r\n\r\n"), ("chunks", CHUNKED + b"dbba0\r\n"), ("no length", OK + b"\r\n")):
        for version in ("1.1", "1.0"):
            word = f"{name}-{version}".replace(" ", "-")
            steps = script(head, ("repeat", b"x", 100000), ("wait", word), "rst")
            with connect(server.port) as s:
                s.sendall(f"GET {steps} HTTP/{version}\r\nHost: rogue.localhost:{server.port}\r\n\r\n".encode())
                begun = read_until(s, b"xxxx")
                behind("rogue", "/go?" + word)
                got, end = read_all(s)
            answers, rest = answers_of(begun + got, at_end=end == "closed")
            assert not answers and end in ("closed", "reset"), (name, version, end, answers)
            own_answers("rogue", 1)


@case("HEAD answered with a body: the body is nobody's")
def _():
    for _ in range(3):
        equal(came_to(ask("rogue", script(OK + b"Content-Length: 5\r\n\r\n" + STALE, "next"), "HEAD")), (200, b""), "HEAD")
        own_answers("rogue")


@case("a second answer that comes while the connection rests reaches nobody")
def _():
    port = int(server.call("single", "/port").text)
    for round_ in range(5):
        target = script(OK + b"Content-Length: 5\r\n\r\nfirst", ("wait", f"second{round_}"), STALE, ("say", f"second{round_}"), "next")
        equal(came_to(ask("single", target)), (200, b"first"), "the first")
        behind_port(port, f"/go?second{round_}")
        behind_port(port, f"/said?second{round_}")
        own_answers("single", 5)


@case("many callers at once beside those whose instance answers twice: each gets his own")
def _():
    wrong = []

    def honest(who):
        for i in range(40):
            target = f"/mine?{who}.{i}"
            got = server.call("rogue", target)
            if (got.status, got.text) != (200, target):
                wrong.append((target, got.status, got.text[:100]))

    def victim():
        for body in (STALE + STALE, STALE + b"HTTP/1.1 100 Continue\r\n\r\n", STALE + b"x") * 13:
            try:
                equal(came_to(ask("rogue", script(body, "next"))), (200, b"stale"), "the first of two")
            except AssertionError as e:
                wrong.append(str(e))
    threads = [threading.Thread(target=honest, args=(who,)) for who in range(6)] + [threading.Thread(target=victim) for _ in range(2)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    equal(wrong, [], "answers")


@case("an answer before the request ends is passed on; the rest of the request is nobody's next request")
def _():
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    early = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"
    server.call("rogue", "/forget")
    for name, steps in (("and stays", (early, "stay")), ("and closes", (early, "close")), ("and resets", (early, ("wait", "late"), "rst")),
                        ("and goes on with the next", (early, "next"))):
        with connect(server.port) as s:
            s.sendall(f"POST {script(*steps)} HTTP/1.1\r\nHost: rogue.localhost:{server.port}\r\nContent-Length: {3 * len(smuggled)}\r\n\r\n".encode() + smuggled)
            begun = read_until(s, b"big")
            try:
                s.sendall(smuggled * 2 + smuggled)
            except OSError:
                pass  # closed already
            got, end = read_all(s)
        answers, rest = answers_of(begun + got)
        equal(([(a.status, a.body) for a in answers], rest), ([(413, b"big")], b""), name)
        assert end in ("closed", "reset"), name
        own_answers("rogue")
    behind("rogue", "/go?late")
    # An instance that takes our request's rest for a request was given it by its own choice; nobody gets the answer.
    big = b"x" * 20000000
    equal(came_to(ask("rogue", script(early, "close"), "POST", f"Content-Length: {len(big)}\r\n", big)), (413, b"big"), "a large request")


@case("an instance that never answers, or never ends, is given up at the service's timeout")
def _():
    rows = [("nothing", ["stay"], (504,)), ("half a status line", [b"HTTP/1.1 2", "stay"], (504,)), ("half a head", [OK + b"X: y\r\n", "stay"], (504,)),
            ("only interim answers", [b"HTTP/1.1 100 Continue\r\n\r\n", "stay"], (504,)), ("half a body", [OK + b"Content-Length: 9\r\n\r\nhell", "stay"], BROKEN),
            ("half a chunk", [CHUNKED + b"9\r\nhell", "stay"], BROKEN), ("no end", [OK + b"\r\nhell", "stay"], BROKEN),
            ("a request that is never read", ["stay"], (504,))]
    results = {}

    def one(name, steps):
        body = b"x" * 100000 if "read" in name else b""
        got = came_to(ask("tardy", script(*steps), "POST" if body else "GET", f"Content-Length: {len(body)}\r\n" if body else "", body))
        results[name] = got if got == BROKEN else got[:1]
    threads = [threading.Thread(target=one, args=row[:2]) for row in rows]
    [t.start() for t in threads]
    [t.join() for t in threads]
    equal(results, {name: want for name, _, want in rows}, "at the timeout")
    own_answers("tardy")


@case("a client that drips its body, sleeps over its answer, or says nothing in an upgrade is ended at the service's timeout")
def _():
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhi"
    host = f"Host: tardy.localhost:{server.port}\r\n"
    with connect(server.port) as drips, connect(server.port, receive_buffer=4096) as sleeps, connect(server.port) as silent:
        began = time.monotonic()
        drips.sendall(f"POST /drip HTTP/1.1\r\n{host}Content-Length: 1000000\r\n\r\n".encode())
        sleeps.sendall(f"GET {script(OK + bytes([13, 10]), ('flood', b'x' * 1024))} HTTP/1.1\r\n{host}\r\n".encode())
        silent.sendall(f"GET {script(switch, 'stay')} HTTP/1.1\r\n{host}Connection: Upgrade\r\nUpgrade: x\r\n\r\n".encode())
        read_until(silent, b"hi")
        drips.settimeout(0.01)
        got = b""
        while b"\r\n\r\n" not in got:
            assert time.monotonic() - began < 12 * SLOW, "the body drips on"
            try:
                got += drips.recv(4096)
            except TimeoutError:
                drips.sendall(b"x")
        equal(answers_of(got + read_all(drips)[0])[0][0].status, 504, "a body that drips")
        equal(read_all(silent)[0], b"", "a silent upgrade")
        wait_for(lambda: connections(server) == 0, "the one that sleeps to be dropped")
        took = time.monotonic() - began
        assert 0.9 < took < 12 * SLOW, took  # a busy machine's; the next deadline that could have ended it is 20 s away
    own_answers("tardy")


@case("a slot that a hostile answer held is free again: one slot, many failures, no wait")
def _():
    for steps in (["close"], ["rst"], [b"garbage\r\n"], [OK + b"Content-Length: 9\r\n\r\nhell", "close"], [CHUNKED + b"zz\r\n", "stay"], [STALE + STALE, "next"]) * 10:
        ask("single", script(*steps))
    own_answers("single", 10)


@case("an instance that floods while its reader sleeps is stopped, not stored")
def _():
    readers, before = [], memory_kb(server)
    for _ in range(60):  # of the 80 that an instance takes at once
        s = connect(server.port, receive_buffer=4096)
        s.sendall(f"GET {script(OK + bytes([13, 10]), ('flood', b'x' * 1024))} HTTP/1.1\r\nHost: rogue.localhost:{server.port}\r\n\r\n".encode())
        readers.append(s)
    for s in readers:
        read_until(s, b"xxxx")
    levels = []

    def steady():
        levels.append(memory_kb(server))
        return len(levels) > 5 and max(levels[-5:]) == min(levels[-5:])
    wait_for(steady, "memory that stands still")
    grown = levels[-1] - before
    print(f"     60 readers that sleep: {grown / 60:.0f} KB each")
    # HTTP_OUT_HIGH (256 KiB), one read (64 KiB) beyond it, and the buffer's doubling.
    assert SLOW > 1 or grown < 60 * 600, f"{grown} KB"
    for s in readers:
        reset(s)
    own_answers("rogue")


@case("after all this nothing is left open, and the server serves")
def _():
    behind("rogue", "/go?late")
    settled(server, base)
    for service in ("rogue", "tardy", "single"):
        own_answers(service)
    equal(server.http("GET", "/healthz").status, 200, "healthz")


for name_ in ("rogue", "tardy", "single"):
    server.call(name_, "/warm")
base = descriptors(server)
run()
