"""Schedules: how late many of them fire, and what they cost while none is due."""
from measure import measurement
from measure_sizes import idle_percent
from measure_tasks import run_late
from programs import resident_mb, wait_for_rest
from results import Row, at_most
from servers import Responder, Runnel

SCHEDULES = 10000
TIME_HEADER = "X-CloudScheduler-ScheduleTime"
PERIODS_S = (60, 30, 15, 5)
NEVER_SOON = "0 0 29 2 *"


def spread(server, port, count, period):
    """`count` schedules that fire each once in `period` seconds, as many in every second."""
    for second in range(period):
        each = count // period + (second < count % period)
        server.jobs(f"s{second}", f"{','.join(str(s) for s in range(second, 60, period))} * * * * *", port, each)


@measurement("schedules", "10,000 schedules: how late each fires at its second of the minute; memory and CPU while none is due")
def schedules(b):
    responder, server, quiet, s = Responder(b.area, "--due", TIME_HEADER), Runnel(b.area), Runnel(b.area), b.samples
    count = b.n(SCHEDULES, 200)
    before = resident_mb(quiet.pid)
    made = quiet.jobs("quiet", NEVER_SOON, responder.port, count)
    s["memory"].append((resident_mb(quiet.pid) - before) * 1024 / count)
    wait_for_rest(quiet.pid)
    s["idle"] += [idle_percent(quiet, b) for _ in b.rounds()]
    quiet.stop()
    period = next((p for p in PERIODS_S if p <= 60 * b.scale), PERIODS_S[-1])
    spread(server, responder.port, count, period)
    for _ in b.rounds():
        run_late(b, "firing", server, responder, count, lambda: None, "runnel_schedule_lateness_seconds")
    b.note(f"schedules: {count:,} were created at {made['per_second']:,.0f}/s")
    what = f"{count:,} schedules in {period} s: late"
    return [Row(f"{what}, p50", "ms", s["firing p50"]), Row(f"{what}, p99", "ms", s["firing p99"]), Row(f"{what}, p99.9", "ms", s["firing p999"]),
            Row("  p99 by the server's own histogram: at most", "ms", s["firing own"]),
            Row(f"{count:,} schedules not due: CPU", "%", s["idle"], goal=at_most(1)), Row(f"{count:,} schedules not due: memory of each", "KB", s["memory"])]
