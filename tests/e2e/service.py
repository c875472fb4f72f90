"""The program that the end-to-end tests deploy: raw HTTP/1.1, so that streams and upgrades can be steered byte by byte.

GET /           JSON: variables, headers, pid, how many requests run here now, and slept at once at most
GET /sleep?ms=N the same, later
GET /stream     chunks "one", then "two" as soon as somebody asks for /go
POST /echo      each chunk of the request comes back as a chunk of the answer at once
GET /ws         a WebSocket that echoes frames
GET /child      starts a process of its own that outlives the request; JSON with its pid
GET /big?n=N    N bytes
POST /push      204, and the body on stdout; with RECORD=FILE the message's id is added to that file first
Variables: CRASH=1 ends at once; DEAF=1 never listens; START_DELAY_MS; TERM_DELAY_MS: how long SIGTERM is put off.
"""
import base64
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import parse_qs, urlsplit

WS_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
go = threading.Event()
lock = threading.Lock()
running = sleeping = most = total = 0


def say(**fields):
    print(json.dumps(fields), flush=True)


def read_head(f):
    line = f.readline()
    if not line:
        return None
    method, target, _ = line.decode("latin-1").split()
    headers = {}
    while True:
        line = f.readline().decode("latin-1").strip()
        if not line:
            return method, target, headers
        name, value = line.split(":", 1)
        headers[name.strip().lower()] = value.strip()


def chunks(f, headers):
    """The parts of the body as they come."""
    if "chunked" in headers.get("transfer-encoding", ""):
        while True:
            size = int(f.readline().split(b";")[0], 16)
            data = f.read(size)
            f.readline()
            if size == 0:
                return
            yield data
    elif int(headers.get("content-length", 0)):
        yield f.read(int(headers["content-length"]))


def send(sock, status, body=b"", kind="text/plain"):
    reason = {200: "OK", 204: "No Content", 404: "Not Found"}[status]
    length = "" if status == 204 else f"Content-Length: {len(body)}\r\n"
    sock.sendall(f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\n{length}\r\n".encode() + body)


def send_chunk(sock, data):
    sock.sendall(b"%x\r\n%s\r\n" % (len(data), data))


def start_chunked(sock):
    sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")


def on_info(sock, f, headers, query):
    with lock:
        report = {"env": {k: v for k, v in os.environ.items() if k.startswith("K_") or k in ("PORT", "MODE")}, "headers": headers, "pid": os.getpid(),
                  "running": running, "most": most, "total": total}
    send(sock, 200, json.dumps(report).encode(), "application/json")


def on_sleep(sock, f, headers, query):
    global sleeping, most
    with lock:
        sleeping += 1
        most = max(most, sleeping)
    say(message="sleeping")
    time.sleep(int(query["ms"][0]) / 1000)
    with lock:  # before the answer: after it the next one may come at once
        sleeping -= 1
    on_info(sock, f, headers, query)


def on_stream(sock, f, headers, query):
    start_chunked(sock)
    send_chunk(sock, b"one")
    if go.wait(30):
        send_chunk(sock, b"two")
    go.clear()
    send_chunk(sock, b"")


def on_go(sock, f, headers, query):
    go.set()
    send(sock, 200)


def on_echo(sock, f, headers, query):
    if "100-continue" in headers.get("expect", ""):
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    start_chunked(sock)
    for data in chunks(f, headers):
        send_chunk(sock, data)
    send_chunk(sock, b"")


def on_ws(sock, f, headers, query):
    accept = base64.b64encode(hashlib.sha1((headers["sec-websocket-key"] + WS_GUID).encode()).digest()).decode()
    sock.sendall(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode())
    while True:
        head = f.read(2)
        if len(head) < 2:
            return
        size = head[1] & 127
        if size == 126:
            size = int.from_bytes(f.read(2), "big")
        mask = f.read(4)
        data = bytes(b ^ mask[i % 4] for i, b in enumerate(f.read(size)))
        if head[0] & 15 == 8:
            sock.sendall(b"\x88\x00")
            return
        sock.sendall(bytes([head[0]]) + (bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")) + data)


def on_child(sock, f, headers, query):
    child = subprocess.Popen(["sleep", "600"], start_new_session="session" in query)
    send(sock, 200, json.dumps({"pid": os.getpid(), "child": child.pid}).encode())


def on_big(sock, f, headers, query):
    send(sock, 200, b"x" * int(query["n"][0]))


def on_push(sock, f, headers, query):
    body = b"".join(chunks(f, headers))
    if "RECORD" in os.environ:
        with open(os.environ["RECORD"], "a", encoding="ascii") as record:  # one write, whole or not at all
            record.write(json.loads(body)["message"]["messageId"] + "\n")
    say(severity="INFO", message="pushed " + body.decode("utf-8", "replace"))
    send(sock, 204)


HANDLERS = {"/": on_info, "/sleep": on_sleep, "/stream": on_stream, "/go": on_go, "/echo": on_echo, "/ws": on_ws, "/child": on_child,
            "/big": on_big, "/push": on_push}


def serve(sock):
    global running, total
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with sock, sock.makefile("rb") as f:
        while True:
            try:
                request = read_head(f)
                if not request:
                    return
                method, target, headers = request
                url = urlsplit(target)
                with lock:
                    running, total = running + 1, total + 1
                try:
                    handler = HANDLERS.get(url.path)
                    if handler is None:
                        send(sock, 404, b"no such page")
                    else:
                        handler(sock, f, headers, parse_qs(url.query))
                    if handler is on_ws:
                        return
                finally:
                    with lock:
                        running -= 1
            except (OSError, ValueError):
                return


def on_term(signo, frame):
    say(severity="NOTICE", message="got SIGTERM")

    def leave():
        time.sleep(int(os.environ.get("TERM_DELAY_MS", "0")) / 1000)
        end = time.monotonic() + 8
        while running and time.monotonic() < end:
            time.sleep(0.01)
        say(severity="NOTICE", message="bye")
        os._exit(0)
    threading.Thread(target=leave, daemon=True).start()


def main():
    if os.environ.get("CRASH"):
        print("crashing on purpose", file=sys.stderr, flush=True)
        sys.exit(3)
    signal.signal(signal.SIGTERM, on_term)
    time.sleep(int(os.environ.get("START_DELAY_MS", "0")) / 1000)
    while os.environ.get("DEAF"):
        time.sleep(1)
    listener = socket.create_server(("0.0.0.0", int(os.environ["PORT"])), backlog=512)
    say(severity="INFO", message="listening")
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


main()
