"""Messages: push, push end to end, durable publish, pull."""
import statistics
import subprocess
import threading
import time

from clients import load, sqlite
from measure import measurement
from programs import Trouble, wait_for
from results import Row, ratio_at_least
from servers import Responder, Runnel

IN_FLIGHT = 64


def publish_waiting(server, count, batch=100):
    """Messages that nobody takes yet; how many."""
    requests = -(-count // batch)
    load("publish", server.port, requests=requests, batch=batch, clients=8)
    return requests * batch


def drain(server, responder, count):
    """Push what waits in subscription `bench`: the rate from the call that names the endpoint to the arrival of the last message."""
    responder.reset()
    began = time.monotonic_ns()
    server.push_to(responder.port)
    seen = responder.wait_count(count, 20 + count / 1000)
    return {"requests": seen["count"], "per_second": seen["count"] / (seen["last_ns"] - began) * 1e9}


def settle(server):
    """Wait until nothing is under way or waiting in subscription `bench`, then make it a pull subscription again."""
    full = "projects/local-project/subscriptions/bench"
    wait_for(lambda: server.metric("runnel_backlog_messages", subscription=full) == 0, "an empty subscription", pause_s=0.02)
    server.push_no_more()


def costs(b, what, ours, against, theirs):
    """CPU, and where it can be counted user instructions, a request: no goals, but they say why a rate is what it is."""
    s = b.samples
    rows = [Row(f"{what}: CPU each", "us", s[ours + " cpu"], against, s[theirs + " cpu"])]
    if s[ours + " instructions"]:
        rows.append(Row(f"{what}: instructions each", "instr", s[ours + " instructions"], against, s[theirs + " instructions"]))
    return rows


def raw_client(b, responder, count):
    """The load generator itself is what is measured: it says its own CPU, perf would have to start it."""
    raw = load("push", responder.port, clients=IN_FLIGHT, requests=count, warmup=count // 10)
    b.samples["raw"].append(raw["per_second"])
    b.samples["raw cpu"].append(raw["user_us"] + raw["system_us"])


@measurement("push", "messages that wait are pushed to a remote endpoint: durable, 300 B, with token")
def push(b):
    responder, server = Responder(b.area), Runnel(b.area)
    undici, count, s, repeated = b.undici(), b.n(100000, 2000), b.samples, 0
    server.topic()
    server.subscription()
    for _ in b.rounds():
        waiting = publish_waiting(server, count)
        s["ours"].append(b.cost("ours", server.pids, lambda: drain(server, responder, waiting))["per_second"])
        settle(server)
        repeated += responder.stats()["count"] - waiting
        s["connections"].append(responder.stats()["connections_peak"])
        raw_client(b, responder, count)
        if undici:
            node = undici.push(responder.port, b.n(30000, 2000), IN_FLIGHT)
            s["undici"].append(node["per_second"])
            s["undici cpu"].append(node["user_us"] + node["system_us"])
    b.note(f"push: at most {max(s['connections'])} connections were open at once; the window is ours to choose, raw client and undici keep {IN_FLIGHT} in flight")
    failed = server.metric("runnel_push_requests_total", code_class="none")
    if repeated or failed:
        b.note(f"push: {repeated} messages came twice, {failed:.0f} attempts ended without an answer (of {len(s['ours']) * waiting})")
    rows = [Row("push", "/s", s["ours"], "raw epoll client", s["raw"], ratio_at_least(0.6))]
    if undici:
        rows.append(Row("push", "/s", s["ours"], "undici", s["undici"], ratio_at_least(2.5)))
    rows += costs(b, "push", "ours", "raw epoll client", "raw")
    return rows


def publish_and_push(server, responder, count):
    """Publishers and pushes at once: the rate from the first publish to the arrival of the last message."""
    responder.reset()
    outcome = {}

    def publisher():
        try:
            outcome.update(load("publish", server.port, requests=count, clients=IN_FLIGHT))
        except (Trouble, subprocess.SubprocessError) as e:
            outcome["trouble"] = e
    thread = threading.Thread(target=publisher)
    thread.start()
    try:
        seen = responder.wait_count(count, 30 + count / 1000)
    finally:
        thread.join()
    if "trouble" in outcome:
        raise outcome["trouble"]
    return {"requests": seen["count"], "per_second": seen["count"] / (seen["last_ns"] - outcome["begin_ns"]) * 1e9,
            "behind_ms": (seen["last_ns"] - outcome["end_ns"]) / 1e6}


@measurement("end-to-end", "64 publishers and the pushes of what they publish at the same time")
def end_to_end(b):
    responder, server = Responder(b.area), Runnel(b.area)
    count, s = b.n(60000, 1000), b.samples
    server.topic()
    server.subscription()
    server.push_to(responder.port)
    for _ in b.rounds():
        seen = b.cost("ours", server.pids, lambda: publish_and_push(server, responder, count))
        s["ours"].append(seen["per_second"])
        s["behind"].append(seen["behind_ms"])
        raw_client(b, responder, count)
    return [Row("publish and push at once", "/s", s["ours"], "raw epoll client", s["raw"]),
            Row("  last push after last publish", "ms", s["behind"]), *costs(b, "  both", "ours", "raw epoll client", "raw")]


@measurement("publish", "durable publish, one message a request, by 1 and by 64 clients")
def publish(b):
    server, s = Runnel(b.area), b.samples
    server.topic()
    for _ in b.rounds():
        for clients, count in ((1, b.n(3000)), (IN_FLIGHT, b.n(100000, 2000))):
            commits = server.metric("runnel_store_commits_total")
            got = b.cost(f"ours {clients}", server.pids, lambda: load("publish", server.port, requests=count, clients=clients))
            s[f"ours {clients}"].append(got["per_second"])
            s[f"p99 {clients}"].append(got["p99_us"])
            group = count / max(1, server.metric("runnel_store_commits_total") - commits)
            s[f"group {clients}"].append(group)
            s[f"sqlite {clients}"].append(sqlite(b.area.sub("sqlite"), count, max(1, round(group)))["per_second"])
        s["sqlite full"].append(sqlite(b.area.sub("sqlite"), count, IN_FLIGHT)["per_second"])
    rows = []
    for clients in (1, IN_FLIGHT):
        name = f"publish, {clients} client{'s' if clients > 1 else ''}"
        b.note(f"{name}: {statistics.median(s[f'group {clients}']):.1f} messages came into one commit")
        rows += [Row(name, "/s", s[f"ours {clients}"], "SQLite, groups as ours", s[f"sqlite {clients}"], ratio_at_least(0.5))]
        if clients > 1:
            rows.append(Row(name, "/s", s[f"ours {clients}"], f"SQLite, groups of {clients}", s["sqlite full"]))
        rows += [Row(f"{name}: p99", "us", s[f"p99 {clients}"]), Row(f"{name}: CPU each", "us", s[f"ours {clients} cpu"])]
        if s[f"ours {clients} instructions"]:
            rows.append(Row(f"{name}: instructions each", "instr", s[f"ours {clients} instructions"]))
    return rows


@measurement("pull", "pull and acknowledge, 100 a request, 16 clients")
def pull(b):
    server, s, count = Runnel(b.area), b.samples, b.n(200000, 5000)
    server.topic()
    server.subscription()
    for _ in b.rounds():
        waiting = publish_waiting(server, count)
        got = b.cost("ours", server.pids, lambda: load("pull", server.port, requests=waiting, batch=100, clients=16), requests=waiting)
        s["ours"].append(got["messages_per_second"])
    return [Row("pull and acknowledge", "/s", s["ours"]), Row("pull and acknowledge: CPU each", "us", s["ours cpu"])]
