"""The program that the tests of hostile peers deploy. It answers as the request's own script says, and remembers what came in.

/play?SCRIPT    base64url of a JSON list of steps, in order:
                ["send", text]  these bytes (latin-1)      ["repeat", text, n]  n times     ["flood", text]  until the peer goes
                ["body"]        read the request's body    ["close"] ["rst"] ["shut"]       end the connection so
                ["wait", name]  until /go?name was asked   ["stay"]             say nothing more, leave it open
                ["say", name]   let /said?name return      ["next"]             go on with the next request of the connection
/go?NAME        lets ["wait", name] go on
/said?NAME      answers when ["say", name] was reached
/seen           all requests so far: [[request line, [[name, value]...], body]...]; /forget empties the list
/port           where it listens, to be asked behind the server's back
everything else 200 with the request's own target as its body
"""
import base64
import json
import os
import signal
import socket
import struct
import sys
import threading

lock = threading.Lock()
seen, events = [], {}


def event(name):
    with lock:
        return events.setdefault(name, threading.Event())


class Broken(Exception):
    pass


def line_of(f):
    line = f.readline(1 << 20)
    if not line.endswith(b"\r\n"):
        raise Broken
    return line[:-2]


def read_head(f):
    first = f.readline(1 << 20)
    if not first:
        return None
    if not first.endswith(b"\r\n"):
        raise Broken
    fields = []
    while line := line_of(f):
        name, _, value = line.decode("latin-1").partition(":")
        fields.append([name, value.strip()])
    return first[:-2].decode("latin-1"), fields


def read_body(f, fields):
    given = {name.lower(): value for name, value in fields}
    if given.get("transfer-encoding") != "chunked":
        size = int(given.get("content-length", 0))
        body = f.read(size)
        if len(body) < size:
            raise Broken
        return body
    body = b""
    while size := int(line_of(f), 16):
        body += f.read(size)
        line_of(f)
    while line_of(f):
        pass
    return body


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def answer(sock, body, kind="text/plain"):
    sock.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


def play(sock, f, fields, steps):
    """True: the connection goes on with its next request."""
    for step in steps:
        what, arguments = step[0], step[1:]
        if what == "send":
            sock.sendall(arguments[0].encode("latin-1"))
        elif what == "repeat":
            sock.sendall(arguments[0].encode("latin-1") * arguments[1])
        elif what == "flood":
            block = arguments[0].encode("latin-1") * (1 + 65536 // len(arguments[0]))
            while True:
                sock.sendall(block)
        elif what == "body":
            read_body(f, fields)
        elif what == "wait":
            event("go " + arguments[0]).wait(60)
        elif what == "say":
            event("said " + arguments[0]).set()
        elif what == "next":
            return True
        elif what == "rst":
            reset(sock)
            return False
        elif what == "shut":
            sock.shutdown(socket.SHUT_WR)
        elif what == "close":
            return False
        elif what == "stay":
            while sock.recv(65536):
                pass
    return False


def serve_one(sock, f):
    request = read_head(f)
    if not request:
        return False
    first, fields = request
    target = first.split(" ")[1]
    path, _, query = target.partition("?")
    if path == "/play":
        with lock:
            seen.append([first, fields, ""])
        return play(sock, f, fields, json.loads(base64.urlsafe_b64decode(query + "=" * (-len(query) % 4))))
    body = read_body(f, fields)
    if path == "/port":
        answer(sock, os.environ["PORT"].encode())
        return True
    if path == "/go":
        event("go " + query).set()
    elif path == "/said":
        event("said " + query).wait(60)
    elif path == "/forget":
        with lock:
            seen.clear()
    elif path == "/seen":
        with lock:
            text = json.dumps(seen)
        answer(sock, text.encode(), "application/json")
        return True
    else:
        with lock:
            seen.append([first, fields, body.decode("latin-1")])
    answer(sock, b"" if first.startswith("HEAD ") else target.encode())
    return True


def serve(sock):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with sock, sock.makefile("rb") as f:
        try:
            while serve_one(sock, f):
                pass
        except Broken:
            pass
        except (OSError, ValueError, IndexError):
            pass


def main():
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=512)
    print(json.dumps({"message": "listening"}), flush=True)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
