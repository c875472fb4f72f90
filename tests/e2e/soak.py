"""The soak: minutes of mixed load on one server, and at the end flat memory, flat descriptors, nothing lost, a clean stop.

The load: batches published to one topic and delivered three ways (pushed to a service of ours, pushed to a stranger, pulled),
requests to a service, instances killed with SIGKILL, new revisions, services, topics, subscriptions and snapshots that come and
go, and clients that misbehave. Everything is paced, so that it fits beside other work on a small machine.

Every few seconds a line of the table: memory, descriptors, threads and processes of the server and its warden. Runs of
FLAT_FROM_MINUTES or more are judged: the first quarter is warm-up, which begins with instances killed so often that the services back
off as long as they ever do, and the largest backlog comes and goes (an allocator does not give back what that took). Then the last quarter is
compared with the second: the median of memory, and the least of what comes and goes with the load (how much comes says how busy the
machine is; a leak raises the least, too). Shorter ones show that
nothing is lost and that the end is clean; sanitizers keep freed memory, so they too.

    python3 tests/e2e/soak.py --minutes 20
"""
import argparse
import http.client
import itertools
import json
import os
import random
import signal
import socket
import statistics
import sys
import threading
import time

import harness
from harness import BUILD, PROJECT, REGION, SLOW, Server, b64, wait_for

FLAT_FROM_MINUTES = 5
WARM_UP_PART, WILD_PART = 0.25, 0.1
RSS_GROWS_PART, RSS_GROWS_KB, FDS_DIFFER = 0.05, 2048, 8
RSS_MAX_KB = 256 * 1024
SERVED_PART = 0.9   # of the requests, although instances are killed under them
STALLED_S = 120     # nothing new for so long means lost: push backoff ends at 60 s
BATCH = 10
KEPT_REVISIONS = 3
PULLED = f"/v1/projects/{PROJECT}/subscriptions/soak-pull"


class Paced:
    """A thread that does one thing so many times a second until it is told to stop; what it raises ends the soak."""

    def __init__(self, soak, per_second, turn):
        self.soak, self.pause, self.turn = soak, 1 / per_second, turn
        self.connection = None
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        due = time.monotonic()
        while not self.soak.stopping:
            due = max(due + self.pause, time.monotonic() - 1)  # after a stall at most a second is made good
            time.sleep(max(0, due - time.monotonic()))
            try:
                self.turn(self)
            except Exception as e:
                self.soak.errors.append(f"{self.turn.__name__}: {e!r}")
                return

    def ask(self, method, path, body=None, host=None):
        """(status, JSON or bytes) over a connection that is kept."""
        headers = {"Host": host or f"127.0.0.1:{self.soak.server.port}"}
        if isinstance(body, dict):
            body, headers["Content-Type"] = json.dumps(body), "application/json"
        for attempt in (1, 2):
            if not self.connection:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.soak.server.port, timeout=60 * SLOW)
            try:
                self.connection.request(method, path, body, headers)
                answer = self.connection.getresponse()
                data = answer.read()
                return answer.status, json.loads(data) if answer.headers.get("Content-Type", "").startswith("application/json") else data
            except (http.client.HTTPException, OSError):
                self.connection.close()
                self.connection = None
                if attempt == 2:
                    raise

    def must(self, method, path, body=None):
        status, answer = self.ask(method, path, body)
        if status != 200:
            raise AssertionError(f"{method} {path}: {status} {answer}")
        return answer


class Stranger:
    """A receiver that keeps nothing but ids, and refuses one push in a hundred."""

    def __init__(self):
        self.ids, self.pushes = set(), 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection, connection.makefile("rb") as f:
            try:
                while f.readline():
                    size = 0
                    for line in iter(f.readline, b"\r\n"):
                        if not line:
                            return
                        if line.lower().startswith(b"content-length:"):
                            size = int(line.split(b":")[1])
                    message = json.loads(f.read(size))["message"]
                    self.pushes += 1
                    refused = self.pushes % 100 == 0
                    if not refused:
                        self.ids.add(message["messageId"])
                    connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n" if refused else b"HTTP/1.1 204 No Content\r\n\r\n")
            except OSError:
                return


class Soak:
    def __init__(self, options, chance):
        self.chance, self.options = chance, options
        self.stopping, self.errors, self.counts = False, [], {}
        self.accepted, self.for_own, self.pulled = set(), set(), set()
        self.numbers = itertools.count()
        self.stranger = Stranger()
        self.record = os.path.join(harness.temp_dir(), "record")
        self.server = Server("--idle=5s", "--log-level=error")
        self.prepare()

    def prepare(self):
        server = self.server
        server.deploy("soak-own", f"--set-env-vars=RECORD={self.record}", "--concurrency=20", "--max-instances=4")
        self.deploy_web()
        topic = server.topic("soak")
        server.subscription("soak-own", topic, pushConfig={"pushEndpoint": f"http://soak-own.localhost:{server.port}/push"},
                            filter='attributes.to = "own"', ackDeadlineSeconds=30)
        account = f"pusher@{PROJECT}.iam.gserviceaccount.com"
        server.subscription("soak-stranger", topic, pushConfig={"pushEndpoint": self.stranger.url, "oidcToken": {"serviceAccountEmail": account}})
        server.subscription("soak-pull", topic, ackDeadlineSeconds=60)
        self.topic = "/v1/" + topic

    def began_within(self, part):
        """A run that is judged is still in its first `part`."""
        return self.options.minutes >= FLAT_FROM_MINUTES and time.monotonic() - self.began < self.options.minutes * 60 * part

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def deploy_web(self):
        self.server.cli("run", "deploy", "soak-web", f"--image=exec://{BUILD}", "--command=runnel-sample", "--allow-unauthenticated",
                        f"--set-env-vars=TURN={next(self.numbers)}", "--min-instances=1", "--max-instances=3", "--concurrency=20")

    # ---- what the threads do, one turn each

    def publish(self, me):
        own = me.soak.chance.random() < 0.33
        body = {"messages": [{"data": b64("x" * 200), "attributes": {"to": "own" if own else "others"}} for _ in range(BATCH)]}
        if self.chance.random() < 0.2:
            key = f"key-{self.chance.randrange(50)}"
            for m in body["messages"]:
                m["orderingKey"] = key
        ids = me.must("POST", self.topic + ":publish", body)["messageIds"]
        self.accepted.update(ids)
        if own:
            self.for_own.update(ids)

    def pull(self, me):
        got = me.must("POST", PULLED + ":pull", {"maxMessages": 200, "returnImmediately": True}).get("receivedMessages", [])
        keep = [m for m in got if self.chance.random() < 0.98]
        drop = [m["ackId"] for m in got if m not in keep]
        if keep:
            me.must("POST", PULLED + ":acknowledge", {"ackIds": [m["ackId"] for m in keep]})
            self.pulled.update(m["message"]["messageId"] for m in keep)
        if drop:
            me.must("POST", PULLED + ":modifyAckDeadline", {"ackIds": drop, "ackDeadlineSeconds": 0})

    def request(self, me):
        status, _ = me.ask("GET", "/?sleep=5", host=f"soak-web.localhost:{self.server.port}")
        self.count(f"{status // 100}xx" if not self.began_within(WARM_UP_PART) else "in the warm-up")

    def kill_instance(self, me):
        self.kills_due += 1
        if not self.began_within(WILD_PART) and self.kills_due % 4:
            return
        instances = [p for p in descendants(self.server.process.pid) if p["instance"]]
        if instances:
            victim = self.chance.choice(instances)
            try:
                os.kill(victim["pid"], signal.SIGKILL)
                self.count("killed")
            except ProcessLookupError:
                pass

    def deploy(self, me):
        self.deploy_web()
        self.count("deployed")
        parent = f"/v2/projects/{PROJECT}/locations/{REGION}/services/soak-web"
        serving = self.server.service("soak-web").get("latestReadyRevision", "")
        names = sorted(r["name"] for r in me.must("GET", parent + "/revisions?pageSize=100").get("revisions", []))
        for name in names[:-KEPT_REVISIONS]:
            if not serving.endswith(name.rsplit("/", 1)[1]):
                me.ask("DELETE", "/v2/" + name)

    def churn(self, me):
        """A service, a topic, a subscription and a snapshot that live for a moment."""
        n = f"churn-{next(self.numbers)}"
        self.server.cli("run", "deploy", n, f"--image=exec://{BUILD}", "--command=runnel-sample", "--allow-unauthenticated")
        me.ask("GET", "/", host=f"{n}.localhost:{self.server.port}")
        topic, pulled = f"projects/{PROJECT}/topics/{n}", f"projects/{PROJECT}/subscriptions/{n}"
        me.must("PUT", "/v1/" + topic, {})
        me.must("PUT", "/v1/" + pulled, {"topic": topic, "pushConfig": {"pushEndpoint": f"http://{n}.localhost:{self.server.port}/"}})
        me.must("POST", f"/v1/{topic}:publish", {"messages": [{"data": b64("short lived")}] * 20})
        me.must("PUT", f"/v1/projects/{PROJECT}/snapshots/{n}", {"subscription": f"projects/{PROJECT}/subscriptions/soak-pull"})
        me.must("DELETE", f"/v1/projects/{PROJECT}/snapshots/{n}")
        me.must("DELETE", "/v1/" + pulled)
        me.must("DELETE", "/v1/" + topic)
        self.server.cli("run", "services", "delete", n, "--quiet")
        self.count("churned")

    def misbehave(self, me):
        host = f"soak-web.localhost:{self.server.port}".encode()
        text = self.chance.choice([
            b"GET / HTTP/1.1\r\nHost: ",                                                                  # half a head
            b"POST / HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: 1000\r\n\r\nabc",                     # half a body
            b"GET /?sleep=500 HTTP/1.1\r\nHost: " + host + b"\r\n\r\n",                                       # leaves before the answer
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),                                     # TLS
            b"POST " + self.topic.encode() + b":publish HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{\"messag",  # broken JSON
            b"POST / HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n" + b"X-Long: " + b"y" * 70000 + b"\r\n\r\n",
            b"",
        ])
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=10) as s:
            try:
                s.sendall(text)
            except OSError:
                pass  # refused already
            if self.chance.random() < 0.5:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        self.count("misbehaved")

    def start(self):
        self.began, self.kills_due = time.monotonic(), 0
        self.threads = [Paced(self, rate, turn) for rate, turn in (
            (30, self.publish), (10, self.pull), (50, self.request), (50, self.request), (1 / 3, self.kill_instance),
            (1 / 16, self.deploy), (1 / 11, self.churn), (10, self.misbehave))]

    def stop(self):
        self.stopping = True
        [t.thread.join() for t in self.threads]

    # ---- the end

    def recorded(self):
        try:
            with open(self.record, encoding="ascii") as f:
                return set(f.read().split())
        except FileNotFoundError:
            return set()

    def drain(self):
        """Waits until everything accepted has arrived everywhere; a slow machine may take as long as it moves."""
        puller = Paced.__new__(Paced)
        puller.soak, puller.connection = self, None
        last, moved = None, time.monotonic()
        while True:
            self.pull(puller)
            missing = {"own": len(self.for_own - self.recorded()), "stranger": len(self.accepted - self.stranger.ids), "pull": len(self.accepted - self.pulled)}
            if not any(missing.values()):
                return
            if missing != last:
                last, moved = missing, time.monotonic()
            elif time.monotonic() - moved > STALLED_S:
                lost = {"own": self.for_own - self.recorded(), "stranger": self.accepted - self.stranger.ids, "pull": self.accepted - self.pulled}
                some = {k: sorted(v, key=int)[:10] for k, v in lost.items()}
                pushes = [x for x in self.server.http("GET", "/metrics").text.splitlines() if x.startswith("runnel_push_requests_total")]
                raise AssertionError(f"LOST of {len(self.accepted)} accepted messages: {missing}, e.g. {some}\n" + "\n".join(pushes) + "\n" + self.server.log_tail())
            time.sleep(0.1)


# ---- what /proc says

def read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        return b""


def descendants(root):
    """Everything below a process: [{pid, instance}]; `instance`: a program of ours, not the warden."""
    children = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        stat = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        if stat and stat[0] != b"Z":
            children.setdefault(int(stat[1]), []).append(int(pid))
    found, todo = [], [root]
    while todo:
        for pid in children.get(todo.pop(), []):
            found.append({"pid": pid, "instance": b"RUNNEL_INSTANCE_ID=" in read(f"/proc/{pid}/environ")})
            todo.append(pid)
    return found


def status(pid, field):
    for line in read(f"/proc/{pid}/status").decode().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    return 0


def fds(pid):
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def cpu_s(pid):
    fields = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0


def sample(soak, began):
    server = soak.server.process.pid
    below = descendants(server)
    wardens = [p["pid"] for p in below if b"__warden" in read(f"/proc/{p['pid']}/cmdline")]
    warden = wardens[0] if wardens else 0
    return {"s": time.monotonic() - began, "rss_kb": status(server, "VmRSS"), "heap_kb": status(server, "RssAnon"), "fds": fds(server),
            "threads": status(server, "Threads"), "warden_kb": status(warden, "VmRSS"), "warden_fds": fds(warden), "processes": len(below),
            "cpu_s": cpu_s(server), "db_kb": sum(os.path.getsize(os.path.join(soak.server.data, f)) for f in os.listdir(soak.server.data)) // 1024}


COLUMNS = (("time", 6), ("rss MB", 8), ("heap MB", 8), ("fds", 5), ("threads", 8), ("warden MB", 10), ("its fds", 8), ("processes", 10), ("db MB", 7),
           ("cpu %", 6), ("accepted", 9), ("2xx", 8), ("others", 7))


def print_row(values):
    print("".join(str(v).rjust(w) for v, (_, w) in zip(values, COLUMNS)), flush=True)


def print_sample(soak, one, before):
    cpu = 100 * (one["cpu_s"] - before["cpu_s"]) / max(one["s"] - before["s"], 0.001)
    served = soak.counts.get("2xx", 0)
    others = sum(v for k, v in soak.counts.items() if k.endswith("xx")) - served
    print_row([f"{int(one['s']) // 60}:{int(one['s']) % 60:02}", f"{one['rss_kb'] / 1024:.1f}", f"{one['heap_kb'] / 1024:.1f}", one["fds"], one["threads"],
               f"{one['warden_kb'] / 1024:.1f}", one["warden_fds"], one["processes"], f"{one['db_kb'] / 1024:.1f}", f"{cpu:.0f}", len(soak.accepted), served, others])


def judge(samples):
    """What is not flat, as sentences."""
    quarter = len(samples) // 4
    second, last = samples[quarter:2 * quarter], samples[-quarter:]

    def medians(field):
        return statistics.median(x[field] for x in second), statistics.median(x[field] for x in last)

    def least(field):
        return [min(x[field] for x in part) for part in (second, last)]
    bad = []
    for field in ("rss_kb", "heap_kb", "warden_kb"):
        was, now = medians(field)
        print(f"median of {field}: {was:.0f} in the second quarter, {now:.0f} in the last")
        if now - was > max(RSS_GROWS_PART * was, RSS_GROWS_KB):
            bad.append(f"{field} grew from {was:.0f} to {now:.0f}")
    for field in ("fds", "warden_fds", "threads", "processes"):
        was, now = least(field)
        print(f"least of {field}: {was} in the second quarter, {now} in the last")
        if abs(now - was) >= FDS_DIFFER:
            bad.append(f"{field} went from {was:.0f} to {now:.0f}")
    return bad


def load(soak, seconds):
    """The samples of a run under load."""
    began, every = time.monotonic(), max(1.0, min(5.0, seconds / 10))
    shown_every = max(every, seconds / 40)
    samples = [sample(soak, began)]
    print_row([name for name, _ in COLUMNS])
    shown = samples[0]
    soak.start()
    while time.monotonic() - began < seconds and not soak.errors:
        time.sleep(every)  # the pace of the samples; nothing is waited for here
        samples.append(sample(soak, began))
        if samples[-1]["s"] - shown["s"] >= shown_every:
            print_sample(soak, samples[-1], shown)
            shown = samples[-1]
    soak.stop()
    return samples


def main():
    parser = argparse.ArgumentParser(description="mixed load on one server, then: was memory flat, is anything lost?")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"{options.minutes:g} minutes, seed {options.seed}", flush=True)
    soak = Soak(options, random.Random(options.seed))
    samples = load(soak, options.minutes * 60)
    bad = list(soak.errors)
    if not bad:
        soak.drain()
        print(f"drained: {len(soak.accepted)} accepted, all pulled and taken by the stranger ({soak.stranger.pushes} pushes), {len(soak.for_own)} by the service")
    print("load: " + ", ".join(f"{v} {k}" for k, v in sorted(soak.counts.items())))
    asked = sum(v for k, v in soak.counts.items() if k.endswith("xx"))
    if soak.counts.get("2xx", 0) < SERVED_PART * asked:
        bad.append(f"only {soak.counts.get('2xx', 0)} of {asked} requests were served")
    for what in ("killed", "churned", "misbehaved", "deployed"):
        if options.minutes >= 1 and not soak.counts.get(what):
            bad.append(f"nothing was {what}: this tests nothing")
    if SLOW == 1 and max(x["rss_kb"] for x in samples) > RSS_MAX_KB:
        bad.append(f"more than {RSS_MAX_KB} KB of memory")
    if SLOW == 1 and options.minutes >= FLAT_FROM_MINUTES:
        bad += judge(samples)
    else:
        print("too short, or under a sanitizer: memory is not judged")
    below = [p["pid"] for p in descendants(soak.server.process.pid)]
    soak.server.stop()
    wait_for(lambda: not any(harness.alive(p) for p in below), f"all of {below} to end with the server")
    if bad:
        print("\n".join(bad))
        sys.exit(f"not flat, or not right (seed {options.seed})")
    print("flat, nothing lost, ended cleanly" if options.minutes >= FLAT_FROM_MINUTES else "nothing lost, ended cleanly")


try:
    main()
finally:
    for cleanup in reversed(harness.cleanups):
        cleanup()
