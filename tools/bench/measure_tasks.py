"""Task queues: created, dispatched, and started on time while much waits; a million of them."""
import os
import subprocess
import time

from clients import load
from measure import measurement
from measure_messages import IN_FLIGHT, publish_and_push
from measure_sizes import idle_percent
from programs import Trouble, program, resident_mb, wait_for, wait_for_rest
from results import Row, at_most
from servers import LOCATION, Responder, Runnel

QUEUE_RATE = 500  # Google's largest, and ours
BURST = 100
QUEUES = 100
AHEAD_S = 7 * 24 * 3600  # of tasks that are not to run
ETA_HEADER = "X-CloudTasks-TaskETA"
MILLION = 1000000


def full(queue):
    return f"{LOCATION}/queues/{queue}"


def wall_ms(seconds_ahead):
    return (time.time() + seconds_ahead) * 1000


# ---- created

def created(b, server, turn, clients, count):
    """Tasks that are not due, and messages that nobody takes: what does a durable one cost?"""
    for what, options in turn:
        got = b.cost(f"{what} {clients}", server.pids, lambda w=what, o=options: load(w, server.port, requests=count, clients=clients, **o))
        b.samples[f"{what} {clients}"].append(got["per_second"])
        b.samples[f"{what} {clients} p99"].append(got["p99_us"])


@measurement("task-create", "durable creation of delayed tasks, one a request, by 1 and by 64 clients, beside publish")
def task_create(b):
    server, s = Runnel(b.area), b.samples
    server.topic()
    server.queues("create")
    ways = {"task": {"queue": "create", "due_ms": wall_ms(AHEAD_S), "step_us": 1000}, "publish": {}}
    load("publish", server.port, requests=b.n(400), batch=100, clients=8)  # until the log is as long as it gets: from then on it is written over
    for turn in b.turns(ways):
        for clients, count in ((1, b.n(3000)), (IN_FLIGHT, b.n(60000, 2000))):
            created(b, server, turn, clients, count)
    rows = []
    for clients in (1, IN_FLIGHT):
        task, publish, name = f"task {clients}", f"publish {clients}", f"create a task, {clients} client{'s' if clients > 1 else ''}"
        rows += [Row(name, "/s", s[task], "publish", s[publish]), Row(f"{name}: p99", "us", s[task + " p99"], "publish", s[publish + " p99"]),
                 Row(f"{name}: CPU each", "us", s[task + " cpu"], "publish", s[publish + " cpu"])]
        if s[task + " instructions"]:
            rows.append(Row(f"{name}: instructions each", "instr", s[task + " instructions"], "publish", s[publish + " instructions"]))
    return rows


# ---- dispatched

def switch(server, queues, verb):
    """Pause or resume `queues` queues."""
    load("http", server.port, method="POST", path=f"/v2/{full('many')}-%d:{verb}", body="{}", requests=queues, clients=min(queues, 16))


def fill(server, responder, queues, each):
    """Tasks that wait in paused queues, a multiple of 100 in each; how many."""
    load("task", server.port, queue="many", queues=queues, target=responder.port, requests=queues * each // 100, batch=100, clients=8)
    return queues * each


def let_go(server, responder, queues, count):
    """Resume them: the rate from then to the last arrival, and of a queue what is beyond its first burst."""
    responder.reset()
    began = time.monotonic_ns()
    switch(server, queues, "resume")
    seen = responder.wait_count(count, 30 + count / 200)
    wait_for(lambda: server.metric("runnel_tasks") == 0, "empty queues", pause_s=0.02)
    switch(server, queues, "pause")
    span = seen["last_ns"] - seen["first_ns"]
    return {"requests": seen["count"], "per_second": seen["count"] / (seen["last_ns"] - began) * 1e9, "beyond_burst": (count - BURST) / span * 1e9 if span else 0}


@measurement("task-dispatch", "tasks that wait in paused queues are called: durable, 300 B, with token; many queues, and one at its limit")
def task_dispatch(b):
    server, responder, s = Runnel(b.area), Responder(b.area), b.samples
    queues, each, repeated = b.n(QUEUES, 4), b.n(10, 4) * 100, 0
    server.queues("many", queues)
    switch(server, queues, "pause")
    for _ in b.rounds():
        count = fill(server, responder, queues, each)
        s["many"].append(b.cost("many", server.pids, lambda: let_go(server, responder, queues, count))["per_second"])
        repeated += responder.stats()["count"] - count
        s["one"].append(let_go(server, responder, 1, fill(server, responder, 1, each))["beyond_burst"])
    b.note(f"task-dispatch: {each} tasks in each queue; {queues} queues may start {queues * QUEUE_RATE:,}/s and {queues * BURST:,} at once, by Google's rule of {QUEUE_RATE}/s a queue")
    if repeated:
        b.note(f"task-dispatch: {repeated} tasks came twice")
    return [Row(f"dispatch tasks of {queues} queues", "/s", s["many"]), Row(f"dispatch tasks of {queues} queues: CPU each", "us", s["many cpu"]),
            Row("dispatch tasks of one queue, after its burst", "/s", s["one"], "its limit", [QUEUE_RATE] * len(s["one"]))]


# ---- on time

class Pushing:
    """A server that pushes messages at half of what it reaches, while the block runs."""

    def __init__(self, server, responder, per_second):
        self.server, self.responder, self.per_second = server, responder, per_second
        self.process = None

    def __enter__(self):
        self.responder.reset()
        self.process = subprocess.Popen([program("load"), "publish", "--port", str(self.server.port), "--seconds", "3600", "--rate", str(int(self.per_second))],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_for(lambda: self.responder.stats()["count"] > self.per_second / 10, "pushes")
        self.begun = self.responder.stats()
        return self

    def __exit__(self, *error):
        seen = self.responder.stats()
        self.process.terminate()
        self.process.wait()
        self.reached = (seen["count"] - self.begun["count"]) / max(1, seen["last_ns"] - self.begun["last_ns"]) * 1e9


def bucket_ms(before, after, share):
    """The upper bound that `share` of what a histogram counted in between do not exceed."""
    counts = {bound: n - before.get(bound, 0) for bound, n in after.items()}
    total = max(counts.values(), default=0)
    return min((bound for bound, n in counts.items() if n >= share * total), default=0) * 1000


def run_late(b, name, server, responder, count, work, histogram="runnel_task_lateness_seconds"):
    """work() makes `count` requests come; how late they arrive, and how late they began by the server's own histogram."""
    before = server.histogram(histogram)
    responder.reset()
    work()
    seen = responder.wait_count(count, 120)
    if seen["due"] != seen["count"]:
        raise Trouble(f"{seen['count']} requests arrived, {seen['due']} said when they were due")
    if seen["early"]:
        b.note(f"{name}: {seen['early']} of {seen['count']} came before they were due")
    for p in ("p50", "p99", "p999"):
        b.samples[f"{name} {p}"].append(seen[f"late_{p}_us"] / 1000)
    b.samples[f"{name} own"].append(bucket_ms(before, server.histogram(histogram), 0.99))
    return seen


def one_by_one(server, responder, count):
    """One task waits at a time."""
    for i in range(count):
        load("task", server.port, queue="late", target=responder.port, requests=1, clients=1, due_ms=wall_ms(0.05))
        responder.wait_count(i + 1, 20)


def evenly(server, responder, count, per_second):
    """`count` tasks wait and come due evenly, a second from now."""
    batch = min(count, 500)
    load("task", server.port, queue="late", target=responder.port, requests=-(-count // batch), batch=batch, clients=1, due_ms=wall_ms(1 + count / 20000), step_us=1e6 / per_second)


def half_rate(b, server, responder, count):
    """Half of the rate at which 64 publishers and the pushes of what they publish go together."""
    publish_and_push(server, responder, count // 4)
    return max(100, publish_and_push(server, responder, count)["per_second"] / 2)


def waiting_server(b, count, target):
    """A server with `count` tasks in one queue that are due in a week and a push subscription."""
    server = Runnel(b.area)
    server.topic()
    server.subscription()
    server.queues("late")
    if count:
        load("task", server.port, queue="late", target=9, requests=-(-count // 500), batch=500, clients=4, due_ms=wall_ms(AHEAD_S), step_us=1000)
    server.push_to(target)
    return server


@measurement("task-lateness", "how late tasks start while 1, 1,000 and 100,000 wait and messages are pushed at half the server's rate")
def task_lateness(b):
    tasks, messages, s = Responder(b.area, "--due", ETA_HEADER), Responder(b.area), b.samples
    little = waiting_server(b, 0, messages.port)
    many, thousand, near = b.n(100000, 3000), b.n(1000), b.n(11000, 200)
    much = waiting_server(b, many - near, messages.port)
    wait_for_rest(much.pid)  # the log of what was created has gone into the file
    s["idle"] += [idle_percent(much, b) for _ in b.rounds()]
    s["memory"].append(resident_mb(much.pid))
    works = (("1", little, b.n(100, 10), lambda n: one_by_one(little, tasks, n)), (f"{thousand:,}", little, thousand, lambda n: evenly(little, tasks, n, 200)),
             (f"{many:,}", much, near, lambda n: evenly(much, tasks, n, 450)))
    for _ in b.rounds():
        for name, server, count, work in works:
            half = half_rate(b, server, messages, b.n(30000, 1000))
            with Pushing(server, messages, half) as pushing:
                run_late(b, name, server, tasks, count, lambda w=work, n=count: w(n))
            s[f"{name} share"].append(pushing.reached / half / 2 * 100)
    rows = []
    for name, _, count, _ in works:
        what = f"{name} task{'s wait' if name != '1' else ' waits'}: late"
        rows += [Row(f"{what}, p50 of {count:,}", "ms", s[f"{name} p50"]), Row(f"{what}, p99", "ms", s[f"{name} p99"], goal=at_most(50)),
                 Row(f"{what}, p99.9", "ms", s[f"{name} p999"]), Row("  p99 by the server's own histogram: at most", "ms", s[f"{name} own"]),
                 Row("  pushes meanwhile, of its own rate", "%", s[f"{name} share"])]
    return [*rows, Row(f"{many:,} tasks wait: CPU at rest", "%", s["idle"], goal=at_most(1)), Row(f"{many:,} tasks wait: memory", "MB", s["memory"])]


# ---- in great number

def on_disk_mb(folder):
    return sum(os.stat(os.path.join(at, f)).st_blocks * 512 for at, _, files in os.walk(folder) for f in files) / 1048576


@measurement("delayed-tasks", "1,000,000 delayed tasks: creation in batches, size on disk, memory, restart, CPU at rest")
def delayed_tasks(b):
    server, s, count = Runnel(b.area), b.samples, b.n(MILLION, 20000) // 500 * 500
    server.queues("late")
    made = b.cost("made", server.pids, lambda: load("task", server.port, queue="late", requests=count // 500, batch=500, clients=4, due_ms=wall_ms(3600),
                                                    step_us=1000, timeout_ms=60000), requests=count)
    s["created"].append(made["messages_per_second"])
    s["memory made"].append(resident_mb(server.pid))
    for _ in b.rounds():
        server.stop()
        s["disk"].append(on_disk_mb(server.data))
        server = Runnel(b.area, data=server.data)
        s["ready"].append(server.ready_ms)
        wait_for(lambda: server.metric("runnel_tasks") >= count, f"{count} tasks after the restart; there are {server.metric('runnel_tasks'):.0f}")
        wait_for_rest(server.pid)  # the near future has been read
        s["idle"].append(idle_percent(server, b))
        s["memory"].append(resident_mb(server.pid))
    name = f"{count:,} delayed tasks"
    return [Row(f"{name}: created, 500 a request", "/s", s["created"]), Row(f"{name}: created, CPU each", "us", s["made cpu"]), Row(f"{name}: on disk, each", "KB", [mb * 1024 / count for mb in s["disk"]]),
            Row(f"{name}: memory when created", "MB", s["memory made"]), Row(f"{name}: memory after a restart", "MB", s["memory"]),
            Row(f"{name}: until ready", "ms", s["ready"]), Row(f"{name}: CPU at rest", "%", s["idle"], goal=at_most(1))]
