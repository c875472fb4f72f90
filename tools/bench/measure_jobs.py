"""Jobs: short tasks against xargs and GNU parallel, what a waiting task costs, and how long cancelling takes."""
import os
import time

from measure import measurement
from programs import Missing, program, resident_mb, run, wait_for
from results import Row, at_most, ratio_at_least
from servers import Runnel

TRUE = "/bin/true"
SLEEP = ["/bin/sh", "-c", "exec sleep 600"]
DEAF = ["/bin/sh", "-c", "trap '' TERM; exec sleep 600"]
GRACE_MS = 10000


def timed(work):
    began = time.monotonic()
    work()
    return time.monotonic() - began


def xargs(count, at_once):
    run([program("sh"), "-c", f"seq {count} | xargs -P {at_once} -n 1 {TRUE}"])


def gnu_parallel():
    path = program("parallel")
    if not run([path, "--version"]).startswith("GNU parallel"):
        raise Missing("parallel is another program of this name (tools/setup bench)")
    return path


def parallel(path, count, at_once):
    run([program("sh"), "-c", f"seq {count} | {path} --will-cite -j {at_once} {TRUE}"])


@measurement("jobs", "10,000 tasks of /bin/true, as many at once as twice the cores, against xargs -P; with durable state")
def jobs(b):
    server, s = Runnel(b.area), b.samples
    count, at_once = b.n(10000, 200), 2 * os.cpu_count()
    server.job("true", [TRUE], count, at_once)
    path = b.optional("GNU parallel", gnu_parallel)
    ways = {"ours": lambda: server.wait(server.run_job("true")), "xargs": lambda: xargs(count, at_once)}
    for turn in b.turns(ways):
        for name, work in turn:
            s[name].append(count / timed(work))
    name = f"{count:,} tasks of {TRUE}, {at_once} at once"
    rows = [Row(name, "/s", s["ours"], f"xargs -P {at_once}", s["xargs"], ratio_at_least(0.8))]
    if path:
        few = max(50, count // 10)  # it takes some milliseconds for each
        s["parallel"] = [few / timed(lambda: parallel(path, few, at_once)) for _ in b.rounds()]
        rows.append(Row(name, "/s", s["ours"], f"GNU parallel -j {at_once}", s["parallel"]))
    return rows


@measurement("waiting-tasks", "100,000 tasks that wait for their turn: memory of each")
def waiting_tasks(b):
    server, s, count = Runnel(b.area), b.samples, b.n(100000, 10000)
    server.job("wait", SLEEP, count, 2)
    server.job("warm", [TRUE], 200, 2)
    server.wait(server.run_job("warm"))
    for _ in b.rounds():
        before = resident_mb(server.pid)
        operation = server.run_job("wait")
        wait_for(lambda: server.execution(operation).get("runningCount") == 2, "two tasks to run")
        s["memory"].append(max(0.0, resident_mb(server.pid) - before) * 1048576 / (count - 2))
        server.cancel(operation)
    return [Row(f"{count:,} tasks wait: memory of each", "B", s["memory"], goal=at_most(200))]


@measurement("cancel-tasks", "cancelling 1,000 tasks that run, and 1,000 that ignore SIGTERM: until all have ended, after their grace")
def cancel_tasks(b):
    server, s, count = Runnel(b.area), b.samples, b.n(1000, 20)
    for name, args in (("quick", SLEEP), ("deaf", DEAF)):
        server.job(name, args, count, count)
        for _ in b.rounds():
            operation = server.run_job(name)
            wait_for(lambda: server.execution(operation).get("runningCount") == count, f"{count} tasks to run", seconds=120, pause_s=0.1)
            time.sleep(0.5)  # the last ones have set their trap
            s[name].append(timed(lambda: server.cancel(operation)) * 1000)
    late = [ms - GRACE_MS for ms in s["deaf"]]
    return [Row(f"{count:,} running tasks: cancelled, until all have ended", "ms", s["quick"], goal=at_most(1000)),
            Row(f"{count:,} that ignore SIGTERM: likewise, after their 10 s", "ms", late, goal=at_most(1000))]
