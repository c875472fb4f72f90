"""Processes of the benchmark: started in folders of their own, waited for by conditions, measured through /proc, stopped by
their pid. Whatever an Area started or made is gone when it is left, however that happens."""
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("RUNNEL_BUILD", os.path.join(ROOT, "build"))
BENCH = os.path.join(BUILD, "bench")
PATIENCE_S = 60


class Missing(Exception):
    """Something that is compared with is not on this machine; the text says what to install."""


class Trouble(Exception):
    """A measurement cannot be finished; the text says why."""


def wait_for(condition, what, seconds=PATIENCE_S, pause_s=0.005):
    """The first true value of condition()."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Trouble(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(pause_s)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def program(name):
    """The path of a program of ours, or of the system's (also in sbin)."""
    own = os.path.join(BENCH, name)
    if os.path.isfile(own):
        return own
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        raise Missing(f"{name} is not installed (tools/setup bench)")
    return found


def last_json(text, what):
    """The last line of a program's output."""
    try:
        return json.loads(text.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise Trouble(f"{what} printed no result: {text[-300:]!r}") from None


def run(args, cwd=None, timeout=300):
    """A program to its end; its output. Its own words when it fails."""
    try:
        done = subprocess.run(args, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Trouble(f"{args[0]} did not end within {timeout} s") from None
    if done.returncode != 0:
        raise Trouble(f"{' '.join(args[:4])} … failed ({done.returncode}): {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


# ---- what /proc says

def children(pid):
    found = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as f:
                found += [int(x) for x in f.read().split()]
    return found


def cpu_us(*pids):
    """CPU time that the threads of these processes have used."""
    total = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
                total += int(f.read().split()[0])
    return total / 1000


def wait_for_rest(pid, quiet_s=0.15):
    """Until a process uses less than 2 % of a core, without asking it for anything."""
    def rests():
        before = cpu_us(pid)
        time.sleep(quiet_s)
        return cpu_us(pid) - before < quiet_s * 1e6 / 50
    wait_for(rests, "the server to be at rest")


def resident_mb(*pids):
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))
    return total / 1024


class Area:
    """A folder on the disk of the build and the processes that live in it."""

    def __init__(self):
        os.makedirs(BENCH, exist_ok=True)
        self.folder = tempfile.mkdtemp(prefix="run-", dir=BENCH)
        self.processes = []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in reversed(self.processes):
            self.stop(process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def sub(self, name):
        return tempfile.mkdtemp(prefix=name + "-", dir=self.folder)

    def start(self, args, name, cwd=None):
        """In the background; stdout is a pipe, stderr a file that trouble() quotes."""
        log = os.path.join(self.sub(name), "log")
        with open(log, "wb") as errors:
            process = subprocess.Popen(args, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                                       start_new_session=True)
        process.log_path, process.name = log, name
        self.processes.append(process)
        return process

    def stop(self, process):
        """SIGTERM, and SIGKILL after ten seconds."""
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()
        if process in self.processes:
            self.processes.remove(process)


def trouble(process, what):
    with open(process.log_path, encoding="utf-8", errors="replace") as f:
        return Trouble(f"{process.name}: {what}; its log ends with: {f.read()[-400:]!r}")


def first_line(process, seconds=PATIENCE_S):
    """What a server says when it is ready, or trouble when it ends before."""
    import select
    readable, _, _ = select.select([process.stdout], [], [], seconds)
    line = process.stdout.readline().decode() if readable else ""
    if not line:
        raise trouble(process, "did not get ready")
    return line


class Web:
    """Requests of the script to one server, over one connection."""

    def __init__(self, port):
        self.port, self.connection = port, None

    def __call__(self, method, path, body=None, want=200):
        text = None if body is None else json.dumps(body)
        for attempt in (1, 2):  # a kept connection may just have been closed
            if not self.connection:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
                self.connection.connect()
                self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                self.connection.request(method, path, text, {"Content-Type": "application/json"} if text else {})
                answer = self.connection.getresponse()
                data = answer.read().decode("utf-8", "replace")
                break
            except (http.client.HTTPException, ConnectionError, OSError):
                self.connection.close()
                self.connection = None
                if attempt == 2:
                    raise
        if want is not None and answer.status != want:
            raise Trouble(f"{method} {path} was answered {answer.status}: {data[:300]}")
        return data

    def json(self, *args, **named):
        text = self(*args, **named)
        return json.loads(text) if text else {}
