"""`tools/bench/run --profile PATH`: where the server's CPU time goes on one path, by what it does and by thread.

`perf record -e cpu-clock` samples the server while it works; each sample is filed under the first rule that fits its stack. Shares
are of the server's own CPU time, kernel included; what the load generator and the responder use is not in them."""
import collections
import os
import re
import shutil
import signal
import subprocess

from clients import load
from measure_messages import IN_FLIGHT, drain, publish_waiting
from measure_requests import ANSWER, CLIENTS
from measure_tasks import AHEAD_S, QUEUES, fill, let_go, switch, wall_ms
from programs import BUILD, Area, Missing, Trouble, cpu_us, run as run_program
from results import table
from servers import Responder, Runnel

SAMPLES_A_SECOND = "2999"
KERNEL = (  # rows of the table for what the kernel does, by a function of the stack
    ("send, with delivery to the peer", re.compile(r"__sys_send|sock_write")),
    ("receive", re.compile(r"__sys_recv|sock_read")),
    ("wait for events", re.compile(r"epoll_wait|epoll_ctl")),
    ("wake and wait between threads", re.compile(r"eventfd|futex")),
    ("the database file: sync", re.compile(r"fsync|fdatasync")),
    ("the database file: write and read", re.compile(r"vfs_write|vfs_read|pwrite64|pread64")),
    ("open and close connections", re.compile(r"accept|connect|sock_close|__fput")),
)
LIBRARIES = (("SQLite", "libsqlite3"), ("OpenSSL", "libcrypto"), ("libcurl", "libcurl"), ("libev", "libev"), ("http_parser", "libhttp_parser"))
OURS = re.compile(r"/(core/\w+|broker|executor|dispatcher|schedules|tools/\w+)/[^/]+\.c:")
ALLOCATION = re.compile(r"\b(malloc|calloc|realloc|free|_int_\w+|unlink_chunk|malloc_consolidate)\b")


def ingress(area, count):
    server = Runnel(area)
    server.deploy("bench", *ANSWER, least=1)
    def work(n): load("post", server.port, host=server.host("bench"), clients=CLIENTS, requests=n)
    work(count // 10)
    return server, work


def publish(area, count):
    server = Runnel(area)
    server.topic()
    def work(n): load("publish", server.port, clients=IN_FLIGHT, requests=n)
    work(count // 10)
    return server, work


def pull(area, count):
    server = Runnel(area)
    server.topic()
    server.subscription()
    waiting = publish_waiting(server, count)
    return server, lambda n: load("pull", server.port, requests=waiting, batch=100, clients=16)


def push(area, count):
    server, responder = Runnel(area), Responder(area)
    server.topic()
    server.subscription()
    waiting = publish_waiting(server, count)
    return server, lambda n: drain(server, responder, waiting)


def task_create(area, count):
    server = Runnel(area)
    server.queues()
    def work(n): load("task", server.port, clients=IN_FLIGHT, requests=n, due_ms=wall_ms(AHEAD_S), step_us=1000)
    work(count // 10)
    return server, work


def task_dispatch(area, count):
    server, responder = Runnel(area), Responder(area)
    server.queues("many", QUEUES)
    switch(server, QUEUES, "pause")
    count = fill(server, responder, QUEUES, count // QUEUES // 100 * 100)
    return server, lambda n: let_go(server, responder, QUEUES, count)


PATHS = {"task-create": (task_create, 100000), "task-dispatch": (task_dispatch, 200000), "push": (push, 300000), "publish": (publish, 200000), "ingress": (ingress, 200000), "pull": (pull, 400000)}


def folders():
    """Name of each of our functions -> the folder that it is in. A compiler cache may have kept the path of another checkout."""
    found = {}
    for line in run_program(["nm", "-l", os.path.join(BUILD, "runnel")], timeout=60).splitlines():
        name, _, where = line.partition("\t")
        folder = OURS.search(where)
        if folder:
            found[name.split()[-1].partition(".")[0]] = "ours: " + folder.group(1)
    return found


def what_of(stack, ours):
    """The row of a sample: `stack` is its lines `address function (object)`, innermost first."""
    if "kernel" in stack[0].rpartition("(")[2]:
        text = "\n".join(stack)
        return "kernel: " + next((what for what, rule in KERNEL if rule.search(text)), "other")
    inner = "\n".join(stack[:3])
    name = stack[0].partition(" ")[2].partition("+")[0].rpartition(" (")[0] or stack[0]
    for what, library in LIBRARIES:
        if library in inner:
            return what
    if ALLOCATION.search(stack[0]):
        return "malloc and free"
    return ours.get(name.partition(".")[0], "C library" if "libc.so" in stack[0] else "other")


def samples(path):
    """(thread, stack) of each sample."""
    text = run_program(["perf", "script", "-i", path, "-F", "comm,ip,sym,dso"], timeout=300)
    for block in text.split("\n\n"):
        lines = block.strip("\n").splitlines()
        if len(lines) > 1:
            thread = lines[0].strip()
            yield "engine" if thread == "runnel" else thread, [line.strip() for line in lines[1:]]


def record(area, server, work, count):
    """The file of samples, and CPU µs a request."""
    path = os.path.join(area.folder, "samples")
    args = ["perf", "record", "-q", "-e", "cpu-clock", "-F", SAMPLES_A_SECOND, "-g", "-o", path, "-p", str(server.pid)]
    perf = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    before = cpu_us(server.pid)
    try:
        work(count)
    finally:
        each = (cpu_us(server.pid) - before) / count
        perf.send_signal(signal.SIGINT)
        _, words = perf.communicate(timeout=60)
    if not os.path.exists(path):
        raise Trouble(f"perf record wrote nothing: {words.decode(errors='replace').strip()[-300:]}")
    return path, each


def rows_of(found, ours):
    """Lines of the table: a row for each kind of work, a column for each thread, in percent of all samples."""
    counts, threads, total = collections.Counter(), collections.Counter(), 0
    for thread, stack in found:
        counts[what_of(stack, ours), thread] += 1
        threads[thread] += 1
        total += 1
    if not total:
        raise Trouble("perf took no sample of the server")
    columns = [t for t, n in threads.most_common() if n * 500 >= total]
    each = collections.Counter()
    for (what, _), n in counts.items():
        each[what] += n
    def percent(n): return f"{100 * n / total:.1f}" if n else ""
    rows = [[what, percent(n), *(percent(counts[what, t]) for t in columns)] for what, n in each.most_common() if n * 500 >= total]
    rows.append(["all", "100.0", *(percent(threads[t]) for t in columns)])
    return table(rows, ["% of the server's CPU time", "all", *columns], right=set(range(1, len(columns) + 2)))


def profile(name):
    if not shutil.which("perf"):
        raise Missing("perf is not installed (tools/setup bench)")
    prepare, count = PATHS[name]
    with Area() as area:
        server, work = prepare(area, count)
        path, each = record(area, server, work, count)
        print("\n".join(rows_of(samples(path), folders())))
    print(f"\n{name}: {each:.1f} µs of CPU each (while sampled), {count:,} of them")
