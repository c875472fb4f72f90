"""What the end-to-end tests share: the built server on a port of its own, a stranger's receiver, and a list of cases.

A test file registers cases with @case("a sentence") and ends with `run()`; each file is a program whose last line is
`N passed, N failed`. Nothing sleeps for an answer: `wait_for` asks again until a condition holds or time is up.
"""
import base64
import http.client
import http.server
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("RUNNEL_BUILD", os.path.join(ROOT, "build"))
RUNNEL = os.path.join(BUILD, "runnel")
SAMPLE_IMAGE = "exec://" + BUILD
SERVICE_IMAGE = "exec://" + HERE  # service.py lives here
PROJECT, REGION = "local-project", "europe-west1"
with open(RUNNEL, "rb") as program:
    program_bytes = program.read()
SLOW = 4 if b"__asan_init" in program_bytes or b"__tsan_init" in program_bytes else 1  # sanitizers take their time
PATIENCE_S = 20 * SLOW

cases, cleanups = [], []


def case(name):
    def register(fn):
        cases.append((name, fn))
        return fn
    return register


def run():
    """Runs every case of the calling file; a FILTER argument chooses by name."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    passed = failed = 0
    for name, fn in cases:
        if wanted not in name:
            continue
        began = time.monotonic()
        try:
            fn()
            passed += 1
            print(f"ok   {name} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception:
            failed += 1
            print(f"FAIL {name}\n{traceback.format_exc()}", flush=True)
    for cleanup in reversed(cleanups):
        try:
            cleanup()
        except Exception:
            failed += 1
            print(f"FAIL in the end\n{traceback.format_exc()}", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


def equal(got, want, what=""):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def wait_for(condition, what, seconds=None):
    """The first true value of condition()."""
    end = time.monotonic() + (PATIENCE_S if seconds is None else seconds)
    pause = 0.005
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited in vain for: " + what)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def b64(text):
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def temp_dir():
    folder = tempfile.mkdtemp(prefix="runnel-e2e-")
    cleanups.append(lambda: shutil.rmtree(folder, ignore_errors=True))
    return folder


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")


class Server:
    """`runnel serve` on a free port and a data folder; stopped and checked when the file ends."""

    def __init__(self, *args, data=None, port=0, descriptors=None, under=()):
        self.data = data or os.path.join(temp_dir(), "data")
        self.args = list(args)
        self.descriptors = descriptors  # how many files it may open; None: as many as the host lets it
        self.under = list(under)  # a program that runs it, and that one's arguments
        self.log_path = os.path.join(temp_dir(), "log")
        self.process = None
        self.start(port)
        cleanups.append(self.stop)

    def start(self, port=0):
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen([*self.under, RUNNEL, "serve", f"--listen=127.0.0.1:{port}", f"--data={self.data}", "--log-format=json", *self.args],
                                        stdout=subprocess.PIPE, stderr=self.log, stdin=subprocess.DEVNULL, preexec_fn=self.limit)
        ready = threading.Timer(PATIENCE_S, self.process.kill)
        ready.start()
        line = self.process.stdout.readline().decode()
        ready.cancel()
        found = re.search(r"http://([0-9.]+):(\d+)", line)
        if not line.startswith("ready") or not found:
            raise AssertionError(f"the server did not get ready: {line!r}\n{self.log_tail()}")
        self.port = int(found.group(2))
        self.url = f"http://127.0.0.1:{self.port}"

    def limit(self):
        if self.descriptors:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors, self.descriptors))

    def log_tail(self, lines=40):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return "".join(f.readlines()[-lines:])

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        self.log.close()
        self.process = None

    def stop(self):
        """SIGTERM; the exit code must be 0 and no sanitizer may have anything to say."""
        if not self.process:
            return
        process, self.process = self.process, None
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(30 * SLOW)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError("the server did not end within 30 s of SIGTERM\n" + self.log_tail())
        finally:
            process.stdout.close()
            self.log.close()
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            text = f.read()
        for bad in ("Sanitizer", "runtime error:"):
            if bad in text:
                raise AssertionError("a sanitizer complains:\n" + text[text.index(bad) - 200:][:6000])
        equal(code, 0, "the server's exit code; its log ends with:\n" + "".join(text.splitlines(True)[-15:]))

    # ---- requests

    def http(self, method, path, body=None, headers=None, host=None, timeout=None):
        """One request; `host` other than ours reaches a service through the ingress."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout or PATIENCE_S)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", host or f"127.0.0.1:{self.port}")
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if body is not None:
                body = body.encode() if isinstance(body, str) else body
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def api(self, method, path, body=None, want=200):
        """A JSON call; `want` is the status that it must have (None: any)."""
        text = None if body is None else json.dumps(body)
        answer = self.http(method, path, text, {"Content-Type": "application/json"} if text is not None else {})
        if want is not None and answer.status != want:
            raise AssertionError(f"{method} {path}: {answer.status}, not {want}: {answer.text[:500]}")
        return json.loads(answer.body) if answer.body else {}

    def call(self, service, path="/", method="GET", body=None, headers=None, tag=None, timeout=None):
        host = f"{tag + '---' if tag else ''}{service}.localhost:{self.port}"
        return self.http(method, path, body, headers, host=host, timeout=timeout)

    def cli(self, *args, want=0, env=None, timeout=None):
        done = subprocess.run([RUNNEL, *args], env=dict(os.environ, RUNNEL_URL=self.url, **(env or {})), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout or 120 * SLOW)
        if want is not None and done.returncode != want:
            raise AssertionError(f"runnel {' '.join(args)}: exit code {done.returncode}, not {want}\n{done.stdout}{done.stderr}\n{self.log_tail(10)}")
        return done

    # ---- things

    def topic(self, name):
        self.api("PUT", f"/v1/projects/{PROJECT}/topics/{name}", {})
        return f"projects/{PROJECT}/topics/{name}"

    def subscription(self, name, topic, **fields):
        self.api("PUT", f"/v1/projects/{PROJECT}/subscriptions/{name}", dict(fields, topic=topic))
        return f"projects/{PROJECT}/subscriptions/{name}"

    def publish(self, topic, *texts, **fields):
        messages = [dict(fields, data=b64(t)) for t in texts]
        return self.api("POST", f"/v1/{topic}:publish", {"messages": messages})["messageIds"]

    def deploy(self, name, *flags, public=True, program="service.py", want=0):
        """tests/e2e/service.py as a service."""
        return self.cli("run", "deploy", name, f"--image={SERVICE_IMAGE}", "--command=/usr/bin/python3", f"--args={program}",
                        *(["--allow-unauthenticated"] if public else []), *flags, want=want)

    def service(self, name):
        return self.api("GET", f"/v2/projects/{PROJECT}/locations/{REGION}/services/{name}")

    def metric(self, name, **labels):
        """The sum over all series that have these labels."""
        total = 0.0
        for line in self.http("GET", "/metrics").text.splitlines():
            found = re.match(r"(\w+)(?:\{(.*)\})? (\S+)$", line)
            if found and found.group(1) == name and all(f'{k}="{v}"' in (found.group(2) or "") for k, v in labels.items()):
                total += float(found.group(3))
        return total

    def instances(self):
        return int(sum(self.metric("runnel_instances", state=s) for s in ("starting", "ready", "stopping")))


class Receiver:
    """A stranger's program: Python's http.server. Answers `statuses` one after the other, then `status`; to any method.

    `extra` are headers of an answer by its status. Answers wait while `free` is cleared."""

    def __init__(self, status=204):
        self.got, self.status, self.statuses, self.lock = [], status, [], threading.Lock()
        self.extra, self.free = {}, threading.Event()
        self.free.set()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                if len(body) < length:  # the sender was killed in the middle
                    self.close_connection = True
                    return
                with receiver.lock:
                    status = receiver.statuses.pop(0) if receiver.statuses else receiver.status
                    receiver.got.append({"method": self.command, "path": self.path, "headers": self.headers, "body": body, "status": status,
                                         "at": time.monotonic(), "wall": time.time()})
                receiver.free.wait(PATIENCE_S)
                self.send_response(status)
                for name, value in receiver.extra.get(status, {}).items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_POST

            def log_message(self, *args):
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            request_queue_size = 512
            daemon_threads = True

            def handle_error(self, request, client_address):  # a killed server resets connections
                pass

        self.httpd = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}/push?x=1"
        threading.Thread(target=self.httpd.serve_forever, daemon=True).start()
        cleanups.append(self.httpd.shutdown)

    def wait(self, count, seconds=None):
        wait_for(lambda: len(self.got) >= count, f"{count} deliveries, {len(self.got)} came", seconds)
        return self.got

    def envelopes(self):
        return [json.loads(g["body"]) for g in list(self.got)]


# ---- tokens, checked with nothing but arithmetic

def unb64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def claims_of(token):
    return json.loads(unb64url(token.split(".")[1]))


def verify_token(token, keys):
    """RS256 (RFC 8017, 8.2.2) against a JWKS; the claims."""
    import hashlib
    head, body, signature = token.split(".")
    header = json.loads(unb64url(head))
    equal(header["alg"], "RS256", "alg")
    key = [k for k in keys["keys"] if k["kid"] == header["kid"]][0]
    n, e = (int.from_bytes(unb64url(key[x]), "big") for x in "ne")
    size = (n.bit_length() + 7) // 8
    digest = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(f"{head}.{body}".encode()).digest()
    want = b"\x00\x01" + b"\xff" * (size - len(digest) - 3) + b"\x00" + digest
    equal(pow(int.from_bytes(unb64url(signature), "big"), e, n).to_bytes(size, "big"), want, "the signature")
    return json.loads(unb64url(body))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
