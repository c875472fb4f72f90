"""Much of something, and nothing at all: 1,000 services, 1,000,000 messages, 10,000 subscriptions, an empty server."""
import collections
import time

from clients import json_text, load
from measure import measurement
from measure_messages import IN_FLIGHT, drain, publish_waiting, settle
from programs import cpu_us, resident_mb, wait_for
from results import Row, at_most, ratio_at_least
from servers import PROJECT, REGION, Responder, Runnel

SERVICES, MESSAGES, SUBSCRIPTIONS = 1000, 1000000, 10000
REST_S = 4


def idle_percent(server, b):
    """CPU of the server and its warden while nobody asks for anything, in percent of a core."""
    pids, seconds = server.with_warden(), max(1, REST_S * min(1, b.scale))
    before, began = cpu_us(*pids), time.monotonic()
    time.sleep(seconds)  # the thing that is measured
    return (cpu_us(*pids) - before) / 1e4 / (time.monotonic() - began)


@measurement("services", "1,000 services at rest: memory and CPU")
def services(b):
    server, count, s = Runnel(b.area, "--idle=1s"), b.n(SERVICES), b.samples
    empty = resident_mb(*server.with_warden())
    made = load("http", server.port, method="POST", path=f"/v2/projects/{PROJECT}/locations/{REGION}/services?serviceId=s-%d", body=json_text(server.service_body()),
                requests=count, clients=16, timeout_ms=60000)
    wait_for(lambda: server.metric("runnel_services") == count, f"{count} services")
    wait_for(lambda: server.service_state(f"s-{count - 1}") == "CONDITION_SUCCEEDED" and server.instances() == 0, "all services at zero", seconds=120, pause_s=0.2)
    for _ in b.rounds():
        s["cpu"].append(idle_percent(server, b))
        s["memory"].append(resident_mb(*server.with_warden()))
    b.note(f"services: {count:,} were created at {made['per_second']:,.0f}/s; each holds {(s['memory'][-1] - empty) * 1024 / count:.1f} KB")
    return [Row(f"{count:,} services at rest: memory", "MB", s["memory"], goal=at_most(64)), Row(f"{count:,} services at rest: CPU", "%", s["cpu"], goal=at_most(1))]


def mean_rate(rates):
    """Of pieces of the same size."""
    return len(rates) / sum(1 / r for r in rates)


def rates(b, servers, responder, count):
    """Publish and push rates of two servers, in the order one, other, other, one: what drifts meanwhile (disk, host) meets both alike."""
    got = collections.defaultdict(list)
    for name, server in [*servers.items(), *reversed(servers.items())]:
        made = b.cost(name + " publish", [server.pid], lambda s=server: load("publish", s.port, requests=count, clients=IN_FLIGHT))
        got[name + " publish"].append(made["per_second"])
        got[name + " push"].append(b.cost(name + " push", [server.pid], lambda s=server: drain(s, responder, count))["per_second"])
        if name == "full":
            server.push_no_more()
        else:
            settle(server)
    for name, both in got.items():
        b.samples[name].append(mean_rate(both))


def rate_rows(b, what, name):
    """`name` against the empty server; CPU says whether a difference is work or chance."""
    s, rows = b.samples, []
    for work in ("publish", "push"):
        rows += [Row(f"{what}: {work}", "/s", s[f"{name} {work}"], "empty server", s[f"empty {work}"], ratio_at_least(0.9)),
                 Row(f"{what}: {work}, CPU each", "us", s[f"{name} {work} cpu"], "empty server", s[f"empty {work} cpu"])]
    return rows


@measurement("waiting", "1,000,000 waiting messages: publish and push rates against an empty server, memory")
def waiting(b):
    responder, s = Responder(b.area), b.samples
    servers = {"full": Runnel(b.area), "empty": Runnel(b.area)}
    for server in servers.values():
        server.topic()
        server.subscription()
    full, count = b.n(MESSAGES, 5000), b.n(40000, 1000)
    publish_waiting(servers["full"], full, batch=500)
    for _ in b.rounds():
        rates(b, servers, responder, count)
        s["memory"].append(resident_mb(servers["full"].pid))
    s["idle"].append(idle_percent(servers["full"], b))
    name = f"{full:,} waiting"
    return [*rate_rows(b, name, "full"), Row(f"{name}: memory", "MB", s["memory"], goal=at_most(300)), Row(f"{name}: CPU at rest", "%", s["idle"], goal=at_most(1))]


@measurement("subscriptions", "10,000 subscriptions of ten topics: publish and push rates of another topic against an empty server, memory")
def subscriptions(b):
    responder, s = Responder(b.area), b.samples
    servers = {"many": Runnel(b.area), "empty": Runnel(b.area)}
    for server in servers.values():
        server.topic()
        server.subscription()
    many, each = servers["many"], b.n(SUBSCRIPTIONS) // 10
    before = resident_mb(many.pid)
    began = time.monotonic()
    for t in range(10):
        many.topic(f"t-{t}")
        load("http", many.port, method="PUT", path=f"/v1/projects/{PROJECT}/subscriptions/s-{t}-%d", body=json_text({"topic": f"projects/{PROJECT}/topics/t-{t}"}),
             requests=each, clients=IN_FLIGHT)
    b.note(f"subscriptions: {10 * each:,} were created at {10 * each / (time.monotonic() - began):,.0f}/s")
    count = b.n(40000, 1000)
    for _ in b.rounds():
        s["memory"].append(resident_mb(many.pid))
        rates(b, servers, responder, count)
    s["idle"].append(idle_percent(many, b))
    name = f"{10 * each:,} subscriptions"
    return [*rate_rows(b, name, "many"), Row(f"{name}: memory of each", "KB", [max(0.0, m - before) * 1024 / (10 * each) for m in s["memory"][:1]]),
            Row(f"{name}: CPU at rest", "%", s["idle"], goal=at_most(1))]


@measurement("empty", "an empty server: time until it is ready, memory")
def empty(b):
    s = b.samples
    for _ in range(b.rounds_wanted * 3):
        server = Runnel(b.area)
        s["ready"].append(server.ready_ms)
        server.web("GET", "/healthz")
        s["memory"].append(resident_mb(*server.with_warden()))
        server.stop()
    return [Row("empty server: until ready", "ms", s["ready"], goal=at_most(50)), Row("empty server: memory", "MB", s["memory"], goal=at_most(16))]
