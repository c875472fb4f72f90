"""Clients that are slow, many, greedy or gone: what each gets, that all others are served meanwhile, and that the server's memory
stays within the bounds stated here (core/http/README.md has the table they follow from).
"""
import socket
import threading
import time

from harness import PATIENCE_S, PROJECT, SLOW, Server, b64, case, equal, run, wait_for
from hostile import all_gone, allow_descriptors, answers_of, connect, connections, memory_kb, read_all, read_until, reset, script

TIMEOUT_S = 2 if SLOW == 1 else 4  # of the service with one slot
THREADS = 2
server = Server("--idle=60s", f"--io-threads={THREADS}")
for service_, flags_ in (("target", []), ("single", ["--concurrency=1", "--max-instances=1", f"--timeout={TIMEOUT_S}s"])):
    server.deploy(service_, *flags_, program="hostile_instance.py")
HEAD_TIMEOUT_S = 20  # HTTP_HEAD_TIMEOUT_NS of core/http/server.h
IDLE_KB = 3          # resident for a connection that rests, with its share of what 10,000 requests leave behind
API_HOST = f"127.0.0.1:{server.port}"


def host(name):
    return API_HOST if name == "api" else f"{name}.localhost:{server.port}"


def head(name, line, fields=""):
    return f"{line} HTTP/1.1\r\nHost: {host(name)}\r\n{fields}\r\n".encode()


def served(what):
    """Somebody well-behaved is answered at once, at both doors."""
    began = time.monotonic()
    equal(server.http("GET", "/healthz").status, 200, what)
    equal(server.call("target", "/fine").text, "/fine", what)
    took = time.monotonic() - began
    assert took < 2 * SLOW, f"{what}: {took:.1f} s"
    return took


# ---- slow: begun first and looked at last, since the deadline takes its time

class Dripper(threading.Thread):
    """Sends a byte every quarter of a second and notes what it came to."""

    def __init__(self, name, begin, drip, want):
        super().__init__(daemon=True)
        self.name, self.want, self.drip, self.answers, self.seconds = name, want, drip, None, 0
        self.sock = connect(slow.port)
        self.sock.sendall(begin)
        self.sock.settimeout(0.25)
        self.start()

    def run(self):
        began, got = time.monotonic(), b""
        while time.monotonic() - began < 3 * HEAD_TIMEOUT_S:
            try:
                data = self.sock.recv(65536)
                if not data:
                    break
                got += data
            except TimeoutError:
                try:
                    self.sock.sendall(self.drip)
                except OSError:
                    break
            except OSError:
                break
        self.seconds, self.answers = time.monotonic() - began, answers_of(got)
        self.sock.close()


def start_drippers():
    request = head("api", "GET /slow")
    return [Dripper("a request line, byte by byte", b"GET /", b"x", [408]),
            Dripper("a field, byte by byte", request[:-2] + b"X: ", b"y", [408]),
            Dripper("field after field", request[:-2], b"X: y\r\n", [408]),
            Dripper("nothing after half a head", request[:-10], b"", [408]),
            Dripper("the second head of a connection", head("api", "GET /healthz") + b"GET /second", b"x", [200, 408])]


@case("a head within its time is served however slowly it comes, and so is a body")
def _():
    request = head("target", "POST /steady", "Content-Length: 10\r\nConnection: close\r\n") + b"0123456789"
    with connect(server.port) as s:
        for at in range(len(request)):
            s.sendall(request[at:at + 1])
            time.sleep(0.002)  # what is shown here is slowness
        got, end = read_all(s)
    equal([(a.status, a.body) for a in answers_of(got)[0]], [(200, b"/steady")], "byte by byte")


# ---- gone: at each state, by FIN and by RST

STATES = [
    ("before a byte", b"", None),
    ("in the request line", b"GET /go", None),
    ("in the head", head("single", "GET /x")[:-2], None),
    ("before the body", head("single", "POST /x", "Content-Length: 10\r\n"), None),
    ("in the body", head("single", "POST /x", "Content-Length: 10\r\n") + b"12345", None),
    ("in a chunk's size", head("single", "POST /x", "Transfer-Encoding: chunked\r\n") + b"1", None),
    ("in a chunk", head("single", "POST /x", "Transfer-Encoding: chunked\r\n") + b"9\r\n123", None),
    ("before the last chunk", head("single", "POST /x", "Transfer-Encoding: chunked\r\n") + b"3\r\n123\r\n", None),
    ("while it waits for 100 Continue", head("single", "POST /x", "Content-Length: 10\r\nExpect: 100-continue\r\n"), b"100 Continue"),
    ("while the instance thinks", head("single", "GET " + script("stay")), None),
    ("after the answer's head", head("single", "GET " + script(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "stay")), b"Content-Length: 9"),
    ("in the answer", head("single", "GET " + script(b"HTTP/1.1 200 OK\r\n\r\nhell", "stay")), b"hell"),
    ("in a flood of an answer", head("single", "GET " + script(b"HTTP/1.1 200 OK\r\n\r\n", ("flood", b"x"))), b"xxxx"),
    ("in an upgrade", head("single", "GET " + script(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhi", "stay"),
                           "Connection: Upgrade\r\nUpgrade: x\r\n"), b"hi"),
    ("after the answer, without reading it", head("single", "GET /x"), None),
    ("in a pipeline", head("single", "GET /x") * 50 + b"GET /half", b"HTTP/1.1 200"),
    ("in a call of the API", head("api", f"POST /v1/projects/{PROJECT}/topics/t:publish", "Content-Length: 100\r\n") + b'{"messages"', None),
    ("while a pull waits", head("api", f"POST /v1/projects/{PROJECT}/subscriptions/quiet:pull", "Content-Length: 17\r\n") + b'{"maxMessages":1}', None),
]


@case("who goes away at any state, by FIN or RST, leaves nothing behind: the one slot is free for the next")
def _():
    server.subscription("quiet", server.topic("quiet"))
    for name, data, until in STATES:
        for leave in (reset, lambda s: s.close()):
            s = connect(server.port)
            s.sendall(data)
            if until:
                read_until(s, until)
            leave(s)
            began = time.monotonic()
            wait_for(lambda: server.call("single", "/free").text == "/free", name)
            all_gone(server, name)
            # A FIN says only that no more requests come; who waits for an answer may still read it, until the service's timeout.
            may_read = name in ("while the instance thinks", "after the answer's head", "in the answer") and leave is not reset
            took, bound = time.monotonic() - began, TIMEOUT_S / 2 + (TIMEOUT_S if may_read else 0)
            assert took < bound, f"{name} by {leave}: {took:.1f} s"


@case("a half-closed client gets its answer")
def _():
    with connect(server.port) as s:
        s.sendall(head("target", "GET /half"))
        s.shutdown(socket.SHUT_WR)
        got, end = read_all(s)
    equal(([a.body for a in answers_of(got)[0]], end), ([b"/half"], "closed"), "half-closed")


# ---- many

@case("10,000 connections at rest cost little, and everybody else is served at once")
def _():
    wanted = 10000
    limit = allow_descriptors(wanted + 200)
    count = min(wanted, limit - 200)
    if count < wanted:
        print(f"     (with {count} connections: the limit of open files is {limit})")
    before = memory_kb(server)
    crowd = []
    try:
        for kind in ("fresh", "after a request"):
            start = memory_kb(server)
            for i in range(count // 2):
                s = connect(server.port)
                if kind != "fresh":
                    s.sendall(head("target" if i % 2 else "api", "GET /healthz"))
                crowd.append(s)
            if kind != "fresh":
                for s in crowd[count // 2:]:
                    read_until(s, b"\r\n\r\n")
            wait_for(lambda: connections(server) >= len(crowd), "all to be accepted")
            each = (memory_kb(server) - start) / (count // 2)
            took = served(f"beside {len(crowd)} at rest")
            print(f"     {count // 2} {kind}: {each:.2f} KB each; a request beside them: {1000 * took:.0f} ms")
        each = (memory_kb(server) - before) / count
        assert SLOW > 1 or each <= IDLE_KB, f"{each:.2f} KB for each of {count} connections"
        for s in crowd[::count // 50]:  # they are not only open: they work
            s.sendall(head("target", "GET /still"))
            read_until(s, b"\r\n\r\n")
    finally:
        for s in crowd:
            s.close()
    all_gone(server, "after 10,000")
    served("after them")


@case("more connections than there are places: who has no request makes room, and instances can still be reached")
def _():
    places = 400
    crowded = Server("--io-threads=2", descriptors=places)
    crowded.deploy("target", program="hostile_instance.py")
    crowd = []
    for i in range(4 * places):
        crowd.append(connect(crowded.port))
        crowd[-1].sendall((b"", b"GET / HT", b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")[i % 3])
        if i % 200 == 199:
            equal(crowded.http("GET", "/healthz").status, 200, f"the API beside {i}")
            equal(crowded.call("target", "/fine").text, "/fine", f"a service beside {i}")
    assert connections(crowded) <= places * 3 / 4, connections(crowded)  # CLIENT_SHARE of tools/runnel/serve.c
    for s in crowd:
        s.close()
    equal(crowded.call("target", "/fine").text, "/fine", "a service afterwards")
    crowded.stop()


# ---- greedy

def grown(what, each_kb, make, count, check=None):
    """`count` connections made by `make(i)` may cost each_kb at most, while others are served."""
    before, held = memory_kb(server), []
    try:
        for i in range(count):
            held.append(make(i))
        served("beside " + what)
        levels = []

        def steady():
            levels.append(memory_kb(server))
            return len(levels) > 3 and max(levels[-3:]) == min(levels[-3:])
        wait_for(steady, "memory that stands still: " + what)
        each = (levels[-1] - before) / count
        print(f"     {count} {what}: {each:.1f} KB each")
        assert SLOW > 1 or each <= each_kb, f"{what}: {each:.1f} KB each, not {each_kb}"
    finally:
        for s in held:
            reset(s)
    all_gone(server, what)


def sent(data, receive_buffer=None):
    """A connection that has sent so much of it as is taken, and does not read."""
    s = connect(server.port, receive_buffer)
    s.settimeout(0.2)
    try:
        s.sendall(data)
    except TimeoutError:
        pass
    s.settimeout(PATIENCE_S)
    return s


@case("greedy clients: what is kept for each is bounded")
def _():
    grown("heads of one byte", IDLE_KB + 1, lambda i: sent(b"G"), 1000)
    grown("heads of 60,000 bytes without an end", 160, lambda i: sent(head("target", "GET /x")[:-2] + b"X: " + b"y" * 60000), 300)
    # The kernel's share is not counted here; a pipeline is read only as far as HTTP_PIPELINE_BYTES_MAX.
    flood = head("target", "GET " + script("stay")) + head("target", "GET /x") * 5000
    grown("pipelines of 5,000 requests behind one that waits", 300, lambda i: sent(flood), 50)
    body = head("target", "POST " + script("stay"), "Content-Length: 100000000\r\n") + b"x" * 10000000
    grown("bodies that the instance does not read", 700, lambda i: sent(body), 20)


@case("large answers that nobody reads share what each io thread may hold")
def _():
    budget_kb, readers = 256 * 1024, 200  # HTTP_HELD_MAX
    topic = server.topic("large")
    for i in range(readers):
        server.subscription(f"large-{i}", topic)
    for i in range(5):
        server.api("POST", f"/v1/{topic}:publish", {"messages": [{"data": b64("x" * 1000000)}]})
    want = '{"maxMessages":100}'
    before, held = memory_kb(server), []
    for i in range(readers):
        pull = head("api", f"POST /v1/projects/{PROJECT}/subscriptions/large-{i}:pull", f"Content-Length: {len(want)}\r\n") + want.encode()
        held.append(sent(pull, 4096))
        read_until(held[-1], b"HTTP/1.1 200")
    served("beside large answers")
    grown_kb = memory_kb(server) - before
    print(f"     {readers} answers of 7 MB: {grown_kb / 1024:.0f} MB; {connections(server)} connections left")
    assert connections(server) < readers  # some had to go
    assert SLOW > 1 or grown_kb < THREADS * budget_kb * 1.25, f"{grown_kb} KB"
    for s in held:
        reset(s)
    all_gone(server, "large answers")


@case("after all this slow heads were ended at their deadline, and the server serves")
def _():
    for d in drippers:
        d.join(3 * HEAD_TIMEOUT_S)
        answers, rest = d.answers
        equal(([a.status for a in answers], rest), (d.want, b""), d.name)
        assert HEAD_TIMEOUT_S - 1 < d.seconds < HEAD_TIMEOUT_S + 5 * SLOW, (d.name, d.seconds)
    served("in the end")
    equal(connections(slow), 0, "connections that dripped")


slow = Server()  # of their own, since above no connection may be left
served("at first")
drippers = start_drippers()
run()
