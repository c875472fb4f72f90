"""Requests that two programs could read in two ways: each is refused on both doors, the API's and a service's, and what hides
behind it is never carried out; what is allowed reaches the program exactly as it was meant.
"""
import json

from harness import PROJECT, Server, case, equal, run, wait_for
from hostile import connect, read_until, script, talk

server = Server("--idle=60s")
server.deploy("witness", program="hostile_instance.py")
SERVICE = f"witness.localhost:{server.port}"
API = f"127.0.0.1:{server.port}"
HIDDEN = {"api": f"PUT /v1/projects/{PROJECT}/topics/smuggled HTTP/1.1\r\nHost: {API}\r\nContent-Length: 2\r\n\r\n{{}}".encode(),
          "service": f"GET /smuggled HTTP/1.1\r\nHost: {SERVICE}\r\n\r\n".encode()}
DOORS = {"api": (API, f"/v1/projects/{PROJECT}/topics/there:publish"), "service": (SERVICE, "/here")}


def seen():
    return json.loads(server.call("witness", "/seen").body)


def forget():
    server.call("witness", "/forget")


def smuggled():
    """What no request of a client may ever have done."""
    names = [t["name"] for t in server.api("GET", f"/v1/projects/{PROJECT}/topics").get("topics", [])]
    return [r[0] for r in seen() if "smuggled" in r[0]] + [n for n in names if "smuggled" in n]


def message(text, door):
    """`text` with %H for a Host line, %T for a target, %S for the hidden request."""
    host, target = DOORS[door]
    raw = text if isinstance(text, bytes) else text.encode("latin-1")
    return raw.replace(b"%H", b"Host: " + host.encode()).replace(b"%T", target.encode()).replace(b"%A", host.encode()).replace(b"%S", HIDDEN[door])


POST = "POST %T HTTP/1.1\r\n%H\r\n"
GET = "GET %T HTTP/1.1\r\n"
CHUNKED = POST + "Transfer-Encoding: chunked\r\n\r\n"
# A sentence, the bytes, the status; each must close the connection after one answer.
REFUSED = [
    ("Content-Length before Transfer-Encoding", POST + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%S", 400),
    ("Transfer-Encoding before Content-Length", POST + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n%S", 400),
    ("Content-Length twice, differing", POST + "Content-Length: 0\r\nContent-Length: 999\r\n\r\n%S", 400),
    ("Content-Length twice, the same", POST + "Content-Length: 0\r\nContent-Length: 0\r\n\r\n%S", 400),
    ("Content-Length as a list", POST + "Content-Length: 0, 0\r\n\r\n%S", 400),
    ("Content-Length with a sign", POST + "Content-Length: +0\r\n\r\n%S", 400),
    ("Content-Length in hexadecimal", POST + "Content-Length: 0x0\r\n\r\n%S", 400),
    ("Content-Length beyond 64 bits", POST + "Content-Length: 18446744073709551616\r\n\r\n%S", 400),
    ("Transfer-Encoding twice", POST + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%S", 400),
    ("Transfer-Encoding: chunked, chunked", POST + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n%S", 400),
    ("Transfer-Encoding: identity", POST + "Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n%S", 400),
    ("Transfer-Encoding: xchunked", POST + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n%S", 400),
    ("Transfer-Encoding with a vertical tab", POST + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n%S", 400),
    ("Transfer-Encoding in quotes", POST + 'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n%S', 400),
    ("a space before Transfer-Encoding's colon", POST + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n%S", 400),
    ("a tab before Content-Length's colon", POST + "Content-Length\t: 0\r\n\r\n%S", 400),
    ("a space before a field's name", POST + " Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n%S", 400),
    ("a space before the first field", "POST %T HTTP/1.1\r\n %H\r\n\r\n%S", 400),
    ("a value folded over two lines", POST + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n%S", 400),
    ("a harmless value folded over two lines", GET + "%H\r\nX: a\r\n\tb\r\n\r\n%S", 400),
    ("a bare LF after the request line", "GET %T HTTP/1.1\n%H\r\n\r\n%S", 400),
    ("a bare LF after a field", GET + "%H\nTransfer-Encoding: chunked\r\n\r\n%S", 400),
    ("a bare LF as the end of the head", GET + "%H\r\n\n%S", 400),
    ("a bare CR in a value", GET + "%H\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n%S", 400),
    ("a bare CR as the line's end", "GET %T HTTP/1.1\r%H\r\r%S\r\n\r\n", 400),
    ("NUL in a value", GET + "%H\r\nX: a\0b\r\n\r\n%S", 400),
    ("NUL in a name", GET + "%H\r\nContent-Length\0: 0\r\n\r\n%S", 400),
    ("a line without a colon", GET + "%H\r\nnonsense\r\n\r\n%S", 400),
    ("no Host", GET + "\r\n%S", 400),
    ("two Hosts", GET + "%H\r\nHost: other\r\n\r\n%S", 400),
    ("two Hosts that agree", GET + "%H\r\n%H\r\n\r\n%S", 400),
    ("a Host that is a list", GET + "Host: %A, other\r\n\r\n%S", 400),
    ("a Host with a path", GET + "Host: %A/x\r\n\r\n%S", 400),
    ("a Host with a user", GET + "Host: user@%A\r\n\r\n%S", 400),
    ("an absolute target beside a malformed Host", "GET http://%A/ HTTP/1.1\r\nHost: a b\r\n\r\n%S", 400),
    ("an absolute target with a user", "GET http://u@%A/ HTTP/1.1\r\n%H\r\n\r\n%S", 400),
    ("a target with a bare space", "GET /a b HTTP/1.1\r\n%H\r\n\r\n%S", 400),
    ("a target that is neither path nor URL", "GET smuggled HTTP/1.1\r\n%H\r\n\r\n%S", 400),
    ("an authority for a GET", "GET %A HTTP/1.1\r\n%H\r\n\r\n%S", 400),
    ("CONNECT", "CONNECT %A HTTP/1.1\r\n%H\r\n\r\n%S", 501),
    ("a method that nobody knows", "BREW %T HTTP/1.1\r\n%H\r\n\r\n%S", 501),
    ("HTTP/0.9", "GET %T\r\n%S", 400),
    ("HTTP/2.0 in the request line", "GET %T HTTP/2.0\r\n%H\r\n\r\n%S", 505),
    ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n%S", 505),
    ("HTTP/1.0 with Transfer-Encoding", "POST %T HTTP/1.0\r\n%H\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%S", 400),
    ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03%S", 400),
    ("four empty lines before a request", "\r\n\r\n\r\n\r\n%S", 400),
    ("a chunk's size with a sign", CHUNKED + "+0\r\n\r\n%S", 400),
    ("a chunk's size in 0x", CHUNKED + "0x0\r\n\r\n%S", 400),
    ("a chunk's size with a space after it", CHUNKED + "0 \r\n\r\n%S", 400),
    ("a chunk's size beyond 60 bits", CHUNKED + "10000000000000000\r\n%S", 400),
    ("a chunk's size that wraps to 1", CHUNKED + "100000000000000001\r\nx\r\n0\r\n\r\n%S", 400),
    ("a chunk's size line in bare LF", CHUNKED + "1\nx\r\n0\r\n\r\n%S", 400),
    ("a chunk extension that hides a bare LF", CHUNKED + "1;\nxx\r\nx\r\n0\r\n\r\n%S", 400),
    ("a chunk longer than its size", CHUNKED + "1\r\nxx\r\n0\r\n\r\n%S", 400),
    ("a chunk without CR LF at its end", CHUNKED + "1\r\nx0\r\n\r\n%S", 400),
    ("an endless chunk extension", CHUNKED + "1;" + "x" * 100000 + "\r\n", 400),
    ("a trailer without a colon", CHUNKED + "0\r\nnonsense\r\n\r\n%S", 400),
    ("a trailer that is folded", CHUNKED + "0\r\na: b\r\n c\r\n\r\n%S", 400),
    ("a trailer bomb", CHUNKED + "0\r\n" + "T: xxxxxxxxxxxxxxxxxxxxxxxx\r\n" * 10000, 431),
    ("a header bomb of one field", GET + "%H\r\nX: " + "x" * 1000000, 431),
    ("a header bomb of many fields", GET + "%H\r\n" + "X: y\r\n" * 100000, 431),
    ("a target bomb", "GET /" + "x" * 1000000, 414),
]

def refused(door, name, text, status):
    got = talk(server.port, message(text, door))
    what = f"{door}: {name}: {got}"
    assert got.end in ("closed", "reset"), what
    assert not got.rest, what
    equal([a.status for a in got.answers], [status], what)
    assert "connection: close" in got.answers[0].head.lower(), what


for door in DOORS:
    @case(f"{door}: what can be read in two ways is refused, and nothing behind it is carried out")
    def _(door=door):
        wrong = []
        for row in REFUSED:
            try:
                refused(door, *row)
            except AssertionError as e:
                wrong.append(str(e)[:600])
        if wrong:
            raise AssertionError(f"{len(wrong)} of {len(REFUSED)} rows:\n" + "\n".join(wrong))
        equal(smuggled(), [], "carried out")


def arrived(first=None):
    """The requests that the program saw, but for what the tests themselves ask."""
    return [r for r in seen() if first is None or r[0].startswith(first)]


def fields_of(request):
    return {name.lower(): value for name, value in request[1]}


def exchange(text, methods=()):
    forget()
    return talk(server.port, message(text, "service"), methods)


@case("three pipelined requests arrive as three, with bodies that look like requests left bodies")
def _():
    inner = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    got = exchange(b"GET /one HTTP/1.1\r\n%H\r\n\r\n"
                   b"POST /two HTTP/1.1\r\n%H\r\nContent-Length: " + str(len(inner)).encode() + b"\r\n\r\n" + inner +
                   b"POST /three HTTP/1.1\r\n%H\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" +
                   b"%x;ext=1\r\n" % len(inner) + inner + b"\r\n000\r\nTrailer-Field: x\r\n\r\n" + inner)
    equal([(a.status, a.body) for a in got.answers], [(200, b"/one"), (200, b"/two"), (200, b"/three")], "answers")
    equal(([r[0] for r in seen()], [r[2].encode() for r in seen()]),
          (["GET /one HTTP/1.1", "POST /two HTTP/1.1", "POST /three HTTP/1.1"], [b"", inner, inner]), "requests")
    equal([f.get("transfer-encoding") for f in map(fields_of, seen())], [None, None, "chunked"], "framing")
    assert not any("trailer-field" in fields_of(r) for r in seen())


@case("HEAD, 204 and GET with a body leave the next request of the connection where it is")
def _():
    got = exchange("HEAD /h HTTP/1.1\r\n%H\r\n\r\nGET " + script(b"HTTP/1.1 204 No Content\r\n\r\n", "next") + " HTTP/1.1\r\n%H\r\n\r\n"
                   "GET /b HTTP/1.1\r\n%H\r\nContent-Length: 3\r\n\r\nabcGET /last HTTP/1.1\r\n%H\r\nConnection: close\r\n\r\n",
                   ["HEAD", "GET", "GET", "GET"])
    equal([(a.status, a.body) for a in got.answers], [(200, b""), (204, b""), (200, b"/b"), (200, b"/last")], "answers")
    equal([r[2] for r in seen()], ["", "", "abc", ""], "bodies")


@case("fields that Connection lists end here, and cannot take away what the server itself says")
def _():
    exchange("GET /hop HTTP/1.1\r\n%H\r\nConnection: close, X-Secret, Host, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, traceparent,\r\n"
             "Connection: x-cloud-trace-context, Content-Length\r\nX-Secret: 1\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n"
             "X-Forwarded-Host: evil\r\nTE: trailers\r\nTrailer: x\r\nKeep-Alive: timeout=9\r\nProxy-Connection: keep-alive\r\n"
             "Proxy-Authorization: Basic x\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nKept: yes\r\n\r\n")
    fields = fields_of(seen()[0])
    for name in ("x-secret", "te", "trailer", "keep-alive", "proxy-connection", "proxy-authorization", "connection"):
        assert name not in fields, (name, fields)
    equal((fields["host"], fields["kept"]), (SERVICE, "yes"), "fields")
    assert fields["x-forwarded-for"].endswith("127.0.0.1"), fields
    equal((fields.get("x-forwarded-proto"), fields.get("x-forwarded-host")), ("http", SERVICE), "forwarded")
    assert fields.get("traceparent") and fields.get("x-cloud-trace-context"), fields


@case("an absolute target outranks the Host field, on the way in and to the program")
def _():
    for host in ("other.example", "witness.localhost.evil.example", "witness.localhost:1", "nobody.localhost"):
        got = exchange(f"GET http://{SERVICE}/abs?q HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
        equal([(a.status, a.body) for a in got.answers], [(200, b"/abs?q")], host)
        fields = fields_of(seen()[0])
        equal((fields["host"], fields["x-forwarded-host"]), (SERVICE, SERVICE), f"Host: {host}")
    got = exchange(f"GET http://nobody.localhost/ HTTP/1.1\r\nHost: {SERVICE}\r\nConnection: close\r\n\r\n")
    equal(([a.status for a in got.answers], seen()), ([404], []), "the other way round")


@case("Expect: 100-continue is answered here, once there is somebody to read; other expectations are passed over")
def _():
    forget()
    with connect(server.port) as s:
        s.sendall(message("POST /e HTTP/1.1\r\n%H\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n", "service"))
        read_until(s, b"HTTP/1.1 100 Continue\r\n\r\n")
        s.sendall(b"abc")
        read_until(s, b"\r\n\r\n/e")
    assert "expect" not in fields_of(seen()[0]) and seen()[0][2] == "abc", seen()
    for value in ("Expect: 200-ok", "Expect: 100-continue"):
        got = exchange(f"GET /none HTTP/1.1\r\n%H\r\n{value}\r\nConnection: close\r\n\r\n")
        equal([a.status for a in got.answers], [200], value)


@case("an upgrade that the program does not take leaves HTTP behind it, not a tunnel")
def _():
    ask = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
    got = exchange(f"GET /no HTTP/1.1\r\n%H\r\n{ask}\r\nGET /next HTTP/1.1\r\n%H\r\nConnection: close\r\n\r\n")
    equal([a.body for a in got.answers], [b"/no", b"/next"], "answers")
    equal(len(seen()), 2, "requests")
    forged = script(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "stay")
    for name, head, want in (("101 to who did not ask", f"GET {forged} HTTP/1.1\r\n%H\r\n", [502]),
                             ("Upgrade without Connection", f"GET {forged} HTTP/1.1\r\n%H\r\nUpgrade: websocket\r\n", [502]),
                             ("Upgrade in HTTP/1.0", f"GET {forged} HTTP/1.0\r\n%H\r\n{ask}", [502]),
                             ("an upgrade with a body", f"POST {forged} HTTP/1.1\r\n%H\r\n{ask}Content-Length: 3\r\n", [502])):
        got = exchange(head + ("Connection: close\r\n" if want else "") + "\r\n")
        equal(([a.status for a in got.answers], got.rest), (want, b""), name)


@case("an upgrade to HTTP/2 is not passed on: behind it requests would come in unseen")
def _():
    for value in ("h2c", "H2C", "websocket, h2c", "h2"):
        exchange(f"GET /h2 HTTP/1.1\r\n%H\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: {value}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
        fields = fields_of(seen()[0])
        assert "upgrade" not in fields and "http2-settings" not in fields and "connection" not in fields, (value, fields)


@case("what is only odd is served: HTTP/1.0, a later 1.x, empty lines before, a final dot, a length with zeros")
def _():
    for name, text in (("HTTP/1.0", "GET /odd HTTP/1.0\r\n%H\r\n\r\n"), ("HTTP/1.2", "GET /odd HTTP/1.2\r\n%H\r\nConnection: close\r\n\r\n"),
                       ("an empty line", "\r\nGET /odd HTTP/1.1\r\n%H\r\nConnection: close\r\n\r\n"),
                       ("zeros", "POST /odd HTTP/1.1\r\n%H\r\nContent-Length: 0003\r\nConnection: close\r\n\r\nabc"),
                       ("OPTIONS", "OPTIONS /odd HTTP/1.1\r\n%H\r\nConnection: close\r\n\r\n")):
        got = exchange(text)
        equal(([(a.status, a.body) for a in got.answers], got.rest, got.end), ([(200, b"/odd")], b"", "closed"), name)


@case("after all this the server serves")
def _():
    equal(talk(server.port, message("GET /end HTTP/1.1\r\n%H\r\nConnection: close\r\n\r\n", "service")).answers[0].body, b"/end", "a service")
    equal(server.http("GET", "/healthz").status, 200, "the API")
    wait_for(lambda: smuggled() == [], "nothing smuggled")


run()
