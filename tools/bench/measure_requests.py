"""Requests to services: ingress against the proxies, cold start against posix_spawn, an idle instance against a warm one."""
from clients import load, spawn
from measure import measurement
from programs import program, wait_for
from results import Row, at_most_more, ratio_at_least, ratio_at_most
from servers import Proxy, Responder, Runnel

CLIENTS = 64
ANSWER = ("--status", "200", "--body", "64")
COLD_SERVICES = 8
PAUSE_MS = 300


@measurement("ingress", "300 B POSTs to a service by 64 clients, against nginx and haproxy in front of the same program")
def ingress(b):
    responder, server, s = Responder(b.area, *ANSWER), Runnel(b.area), b.samples
    server.deploy("bench", *ANSWER, least=1)
    ways = {"ours": (server.port, server.pids, server.host("bench"))}
    for name in ("nginx", "haproxy"):
        proxy = b.optional(name, lambda: Proxy(b.area, name, responder.port))
        if proxy:
            ways[name] = (proxy.port, proxy.pids, f"bench.localhost:{proxy.port}")
    count = b.n(60000, 1000)
    for turn in b.turns(ways):
        for name, (port, pids, host) in turn:
            got = b.cost(name, pids, lambda: load("post", port, host=host, clients=CLIENTS, requests=count))
            s[name].append(got["per_second"])
            s[name + " p99"].append(got["p99_us"])
    rows = []
    for name in list(ways)[1:]:
        goal = name == "nginx"
        rows += [Row("ingress", "/s", s["ours"], name, s[name], ratio_at_least(1.0) if goal else None),
                 Row("ingress: p99", "us", s["ours p99"], name, s[name + " p99"], ratio_at_most(1.0) if goal else None),
                 Row("ingress: CPU each", "us", s["ours cpu"], name, s[name + " cpu"])]
        if s["ours instructions"]:
            rows.append(Row("ingress: instructions each", "instr", s["ours instructions"], name, s[name + " instructions"]))
    return rows or [Row("ingress", "/s", s["ours"]), Row("ingress: p99", "us", s["ours p99"]), Row("ingress: CPU each", "us", s["ours cpu"])]


@measurement("cold-start", "the first answer of a service that is scaled to zero, against posix_spawn of the same program")
def cold_start(b):
    server, s = Runnel(b.area, "--idle=1s"), b.samples
    services = [f"cold-{i}" for i in range(COLD_SERVICES)]
    for name in services:
        server.deploy(name, *ANSWER)
    for _ in b.rounds():
        wait_for(lambda: server.instances() == 0, "all services to be at zero")
        times = sorted(load("http", server.port, host=server.host(name), clients=1, requests=1)["p50_us"] for name in services)
        s["ours"].append(times[len(times) // 2] / 1000)
        s["spawn"].append(spawn(COLD_SERVICES * 2, program("responder"), *ANSWER)["p50_us"] / 1000)
    return [Row("cold start from zero", "ms", s["ours"], "posix_spawn to first answer", s["spawn"], at_most_more(1.0))]


@measurement("wake-up", "a request to an instance that was idle, against one that is warm")
def wake_up(b):
    server, responder, s = Runnel(b.area), Responder(b.area, *ANSWER), b.samples
    server.deploy("bench", *ANSWER, least=1)
    for _ in b.rounds():
        for name, port, host in (("ours", server.port, server.host("bench")), ("direct", responder.port, "direct")):
            s[name + " warm"].append(load("http", port, host=host, clients=1, requests=b.n(2000), warmup=50)["p50_us"] / 1000)
            s[name + " idle"].append(load("http", port, host=host, clients=1, requests=b.n(12, 5), pause_ms=PAUSE_MS)["p50_us"] / 1000)
    return [Row(f"idle for {PAUSE_MS} ms, then asked", "ms", s["ours idle"], "warm, one after the other", s["ours warm"], at_most_more(0.5)),
            Row("  the program without us", "ms", s["direct idle"], "warm, one after the other", s["direct warm"])]
