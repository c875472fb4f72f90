"""What the tests of hostile peers share: raw sockets, a strict reader of answers, the server's memory, and a script that
hostile_instance.py plays.

The reader takes nothing on trust: an answer is `Seen(status, head, body)`, and bytes that are no complete answer are told
apart from a clean end, since to tell a broken answer from a whole one is what these tests are about.
"""
import base64
import collections
import json
import os
import re
import resource
import socket
import struct

from harness import PATIENCE_S, wait_for

Seen = collections.namedtuple("Seen", "status head body")
Talk = collections.namedtuple("Talk", "answers rest end")  # rest: bytes that are no whole answer; end: "closed", "reset" or "open"


def connect(port, receive_buffer=None):
    s = socket.socket()
    if receive_buffer:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    s.settimeout(PATIENCE_S)
    s.connect(("127.0.0.1", port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def reset(s):
    """Close by RST: what a process that is killed with unread input, or a cut line, looks like."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def chunks_of(data):
    """(content, what follows) of a chunked body, or None when it is not whole."""
    body = b""
    while True:
        line, found, data = data.partition(b"\r\n")
        if not found:
            return None
        size = int(line.split(b";")[0], 16)
        if len(data) < size + 2:
            return None
        if size == 0:
            return (body, data[2:]) if data[:2] == b"\r\n" else None
        body, data = body + data[:size], data[size + 2:]


def answers_of(data, methods=(), at_end=True):
    """Split what came into answers; `methods` of the requests in their order, for HEAD."""
    answers = []
    while data:
        head, found, rest = data.partition(b"\r\n\r\n")
        status_line = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
        if not found or not status_line:
            break
        status = int(status_line.group(1))
        length = re.search(rb"\r\ncontent-length: (\d+)", head, re.I)
        method = methods[len([a for a in answers if a.status >= 200])] if methods else "GET"
        if status < 200 or status in (204, 304) or method == "HEAD":
            body = b""
        elif re.search(rb"\r\ntransfer-encoding: chunked", head, re.I):
            whole = chunks_of(rest)
            if whole is None:
                break
            body, rest = whole
        elif length:
            size = int(length.group(1))
            if len(rest) < size:
                break
            body, rest = rest[:size], rest[size:]
        elif at_end:
            body, rest = rest, b""
        else:
            break
        answers.append(Seen(status, head.decode("latin-1"), body))
        data = rest
        if status == 101:
            break
    return answers, data


def read_all(s, seconds=None):
    """All bytes until the end, and how it ended."""
    s.settimeout(seconds or PATIENCE_S)
    got = b""
    while True:
        try:
            data = s.recv(262144)
        except socket.timeout:
            return got, "open"
        except (ConnectionResetError, BrokenPipeError):
            return got, "reset"
        if not data:
            return got, "closed"
        got += data


def talk(port, data, methods=(), seconds=None):
    """Send everything, read to the end."""
    with connect(port) as s:
        try:
            s.sendall(data)
        except (ConnectionResetError, BrokenPipeError):
            pass
        got, end = read_all(s, seconds)
    answers, rest = answers_of(got, methods, end == "closed")
    return Talk(answers, rest, end)


def read_until(s, want):
    got = b""
    while want not in got:
        data = s.recv(65536)
        if not data:
            raise AssertionError(f"the connection ended before {want!r} came: {got[-300:]!r}")
        got += data
    return got


# ---- the server from outside

def memory_kb(server, field="VmRSS"):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as f:
        return int(re.search(rf"^{field}:\s+(\d+) kB", f.read(), re.M).group(1))


def connections(server):
    """Accepted and not yet closed by the server: sockets on its port that a process holds."""
    with open("/proc/net/tcp", encoding="ascii") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    ours = f":{server.port:04X}"
    return sum(r[1].endswith(ours) and r[3] != "0A" and r[9] != "0" for r in rows)


def all_gone(server, what):
    wait_for(lambda: connections(server) == 0, f"no connection to be left: {what}")


def descriptors(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def settled(server, before):
    """All that was opened since is closed again; a few connections to instances may stay."""
    wait_for(lambda: descriptors(server) <= before + 8, f"the descriptors of before ({before}), now {descriptors(server)}")


def allow_descriptors(wanted):
    """How many this process may have open, at most `wanted`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


# ---- what hostile_instance.py plays

def script(*steps):
    """The path of a request that is answered by these steps; bytes are sent as they are."""
    plain = [[step] if isinstance(step, str) else ["send", step.decode("latin-1")] if isinstance(step, bytes) else
             [part.decode("latin-1") if isinstance(part, bytes) else part for part in step] for step in steps]
    return "/play?" + base64.urlsafe_b64encode(json.dumps(plain).encode()).decode().rstrip("=")
