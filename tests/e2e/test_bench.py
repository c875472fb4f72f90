"""The measuring instrument itself: tiny runs of tools/bench/run, its options, its arithmetic, and what its programs send and count."""
import calendar
import json
import os
import socket
import subprocess
import sys
import time

from harness import BUILD, PROJECT, ROOT, SLOW, Server, case, equal, run, temp_dir, wait_for

BENCH = os.path.join(ROOT, "tools", "bench")
sys.path.insert(0, BENCH)
import counting  # noqa: E402
import gate  # noqa: E402
from programs import Area, Web  # noqa: E402
from results import Row, at_most, at_most_more, ratio_at_least, table  # noqa: E402
from servers import Responder  # noqa: E402

LOAD = os.path.join(BUILD, "bench", "load")


def bench(*args, want=0):
    done = subprocess.run([os.path.join(BENCH, "run"), *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
    equal(done.returncode, want, f"exit code of tools/bench/run {' '.join(args)}:\n{done.stdout}{done.stderr}\n")
    return done


def load(*args):
    return subprocess.run([LOAD, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True, timeout=60).stdout


@case("a wrong name, number or combination is wrong usage and says what there is")
def _():
    said = bench("--only", "pushh", want=2).stderr
    assert "pushh" in said and "end-to-end" in said, said
    for wrong in (("--rounds", "0"), ("--scale", "-1"), ("--record",), ("--unknown",)):
        bench(*wrong, want=2)


@case("--list names every measurement once")
def _():
    names = [line.split()[0] for line in bench("--list").stdout.splitlines()]
    equal(len(names), len(set(names)), "names")
    for name in ("push", "end-to-end", "publish", "pull", "task-create", "task-dispatch", "task-lateness", "delayed-tasks", "schedules", "jobs", "waiting-tasks", "cancel-tasks", "ingress", "cold-start", "wake-up", "services", "waiting", "subscriptions", "empty"):
        assert name in names, name


@case("a tiny run measures both sides, prints one table and writes its samples")
def _():
    path = os.path.join(temp_dir(), "out.json")
    done = bench("--rounds", "2", "--scale", "0.01", "--only", "end-to-end", "--only", "publish", "--only", "empty", "--json", path)
    with open(path, encoding="utf-8") as f:
        out = json.load(f)
    rows = {(r["name"], r["against"]): r for r in out["rows"]}
    both = rows[("publish and push at once", "raw epoll client")]
    equal((len(both["ours"]), len(both["reference"])), (2, 2), "samples of two rounds")
    assert all(x > 0 for x in both["ours"] + both["reference"]) and both["ratio"] > 0, both
    assert rows[("publish, 64 clients", "SQLite, groups as ours")]["met"] in (True, False)
    equal(rows[("publish, 64 clients", "SQLite, groups of 64")]["met"], None, "a goal for another group size than ours")
    assert any(note.startswith("publish, 64 clients: ") and note.endswith(" messages came into one commit") for note in out["notes"]), out["notes"]
    assert rows[("empty server: memory", None)]["ours_median"] > 1
    equal(out["failures"], [], "failures")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("what") and any(line.startswith("publish and push at once") for line in lines), done.stdout


@case("a tiny run measures tasks and schedules: created, dispatched, late, at rest")
def _():
    names = ("task-create", "task-dispatch", "task-lateness", "delayed-tasks", "schedules")
    out = json.loads(bench("--rounds", "1", "--scale", "0.01", "--json", "-", *(word for name in names for word in ("--only", name))).stdout)
    rows = {r["name"]: r for r in out["rows"]}
    equal(out["failures"], [], "failures")
    assert rows["create a task, 64 clients"]["reference_median"] > 0
    assert rows["dispatch tasks of 4 queues"]["ours_median"] > 100
    assert rows["dispatch tasks of one queue, after its burst"]["ours_median"] < 550, "more than Google's rule allows"
    for what in ("1 task waits: late, p99", "3,000 tasks wait: late, p99"):
        assert rows[what]["met"] in (True, False) and rows[what]["ours_median"] > 0, rows[what]
    equal(rows["  pushes meanwhile, of its own rate"]["unit"], "%")
    assert rows["20,000 delayed tasks: on disk, each"]["ours_median"] > 0.3, "less than the tasks themselves"
    if SLOW == 1:  # a sanitizer keeps what is freed
        assert rows["20,000 delayed tasks: memory after a restart"]["ours_median"] < 100
    assert rows["200 schedules in 5 s: late, p99"]["ours_median"] > 0
    assert rows["200 schedules not due: CPU"]["met"] in (True, False)


@case("a tiny run measures jobs: short tasks, waiting ones, cancelled ones")
def _():
    names = ("jobs", "waiting-tasks", "cancel-tasks")
    out = json.loads(bench("--rounds", "1", "--scale", "0.02", "--json", "-", *(word for name in names for word in ("--only", name))).stdout)
    rows = {r["name"]: r for r in out["rows"]}
    equal(out["failures"], [], "failures")
    short = [r for r in out["rows"] if r["name"] == f"200 tasks of /bin/true, {2 * os.cpu_count()} at once"]
    assert [r["against"].split(" -")[0] for r in short] == ["xargs", "GNU parallel"][: len(short)] and short, short  # the latter where it is installed
    assert all(r["ours_median"] > 5 and r["reference_median"] > 5 for r in short) and short[0]["met"] in (True, False), short
    assert rows["10,000 tasks wait: memory of each"]["ours_median"] < 10000, rows
    assert 0 < rows["20 running tasks: cancelled, until all have ended"]["ours_median"] < 9000, rows
    assert 0 < rows["20 that ignore SIGTERM: likewise, after their 10 s"]["ours_median"] < 20000 * SLOW, rows


@case("the load generator keeps its rate, and gives each task its own queue and time")
def _():
    server = Server()
    topic = server.topic("bench")
    server.subscription("bench", topic)
    done = json.loads(load("publish", "--port", str(server.port), "--requests", "60", "--clients", "4", "--rate", "100"))
    assert done["seconds"] > 0.5, done
    parent = f"projects/{PROJECT}/locations/europe-west1/queues"
    for i in range(2):
        server.api("POST", f"/v2/{parent}", {"name": f"{parent}/q-{i}"})
    due_ms = int(time.time() + 3600) * 1000
    load("task", "--port", str(server.port), "--queue", "q", "--queues", "2", "--batch", "2", "--requests", "3", "--clients", "1", "--due-ms", str(due_ms), "--step-us", "1500000")
    times = {i: sorted(calendar.timegm(time.strptime(t["scheduleTime"][:19], "%Y-%m-%dT%H:%M:%S")) - due_ms // 1000
                       for t in server.api("GET", f"/v2/{parent}/q-{i}/tasks")["tasks"]) for i in range(2)}
    equal(times, {0: [0, 1, 6, 7], 1: [3, 4]}, "seconds from the first")
    server.stop()


@case("the responder tells how late requests come by the time in their header, in either form")
def _():
    with Area() as area:
        responder = Responder(area, "--due", "X-Due")
        def send(value):
            with socket.create_connection(("127.0.0.1", responder.port), timeout=20) as s:
                s.sendall(f"POST / HTTP/1.1\r\nHost: h\r\nx-due: {value}\r\nContent-Length: 0\r\n\r\n".encode())
                assert s.recv(100).startswith(b"HTTP/1.1 204 ")
        send(f"{time.time() - 2:.6f}")
        send(time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() - 2)))
        send(f"{time.time() + 60:.6f}")
        stats = responder.stats()
        equal((stats["due"], stats["early"]), (3, 1), "counts")
        assert 1.9e6 < stats["late_p50_us"] < 60e6 and 1.9e6 < stats["late_max_us"] < 60e6, stats


@case("the raw client sends what Runnel pushes: the same headers, the same sizes")
def _():
    server = Server()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        topic = server.topic("bench")
        account = f"pusher@{PROJECT}.iam.gserviceaccount.com"
        server.subscription("bench", topic, pushConfig={"pushEndpoint": f"http://127.0.0.1:{port}/push", "oidcToken": {"serviceAccountEmail": account}})
        server.publish(topic, "x" * 300)
        listener.settimeout(20)
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(20)
            ours = b""
            while b"\r\n\r\n" not in ours or not ours.endswith(b"}"):
                ours += peer.recv(65536)
            peer.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
    theirs = load("push", "--port", str(port), "--print")
    names = lambda text: sorted(line.split(b":")[0].lower() for line in text.split(b"\r\n\r\n")[0].split(b"\r\n")[1:])
    equal(names(theirs), names(ours), "names of headers")
    keys = lambda text: sorted(json.loads(text.split(b"\r\n\r\n", 1)[1])["message"])
    equal(keys(theirs), keys(ours), "fields of the envelope")
    assert abs(len(theirs) - len(ours)) <= 16, f"{len(theirs)} bytes, Runnel sends {len(ours)}"
    server.stop()


@case("the load generator numbers its requests, and tells refusals from answers")
def _():
    server = Server()
    made = json.loads(load("http", "--port", str(server.port), "--method", "PUT", "--path", f"/v1/projects/{PROJECT}/topics/topic-%d", "--body", "{}",
                           "--requests", "20", "--clients", "4"))
    equal((made["requests"], made["failed"]), (20, 0), "created")
    topics = server.api("GET", f"/v1/projects/{PROJECT}/topics")["topics"]
    equal(sorted(t["name"].rsplit("/", 1)[1] for t in topics), sorted(f"topic-{i}" for i in range(20)), "topics")
    refused = json.loads(load("http", "--port", str(server.port), "--path", f"/v1/projects/{PROJECT}/topics/no-such-topic", "--requests", "5", "--clients", "1"))
    equal(refused["failed"], 5, "refused")
    assert refused["first_failure"].startswith("404 "), refused
    server.stop()


@case("the load generator pulls and acknowledges all there is")
def _():
    server = Server()
    topic = server.topic("bench")
    server.subscription("bench", topic)
    load("publish", "--port", str(server.port), "--requests", "30", "--batch", "10", "--clients", "3")
    got = json.loads(load("pull", "--port", str(server.port), "--requests", "300", "--batch", "50", "--clients", "2"))
    equal(got["messages"], 300, "messages")
    wait_for(lambda: server.metric("runnel_backlog_messages") == 0, "an empty subscription")
    server.stop()


@case("the responder counts pipelined requests and bodies that come in pieces, and not those of the script")
def _():
    with Area() as area:
        responder = Responder(area, "--status", "200", "--body", "10")
        with socket.create_connection(("127.0.0.1", responder.port), timeout=20) as s:
            one = b"POST /x HTTP/1.1\r\nHost: h\r\ncontent-length: 5\r\n\r\nhello"
            s.sendall(one * 99 + one[:-2])
            s.sendall(one[-2:])
            got = b""
            while got.count(b"HTTP/1.1 200 OK") < 100 or not got.endswith(b"x" * 10):
                got += s.recv(65536)
        stats = responder.stats()
        equal((stats["count"], stats["body_bytes"]), (100, 500), "counts")
        responder.reset()
        equal(responder.stats()["count"], 0, "after a reset")
        with socket.create_connection(("127.0.0.1", responder.port), timeout=20) as s:
            s.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert s.recv(100).startswith(b"HTTP/1.1 411 "), "chunks are refused, not miscounted"


@case("what an area started is gone when it is left, also by an error")
def _():
    try:
        with Area() as area:
            responder = Responder(area)
            folder, pid = area.folder, responder.process.pid
            raise KeyError("on purpose")
    except KeyError:
        pass
    assert not os.path.exists(folder) and not os.path.exists(f"/proc/{pid}"), (folder, pid)
    try:
        Web(responder.port)("GET", "/")
        raise AssertionError("the responder still answers")
    except OSError:
        pass


@case("a goal is met by ratios of the same round, by a difference, or by a value")
def _():
    equal(Row("x", "/s", [50, 100, 90], "r", [100, 100, 100], ratio_at_least(0.9)).met, True, "ratio")
    equal(Row("x", "/s", [50, 100, 80], "r", [100, 100, 100], ratio_at_least(0.9)).met, False, "ratio")
    equal(Row("x", "ms", [1.5, 2.5, 1.9], "r", [1, 1, 1], at_most_more(1)).met, True, "difference")
    equal(Row("x", "ms", [2.1], "r", [1], at_most_more(1)).met, False, "difference")
    equal((Row("x", "MB", [64], goal=at_most(64)).met, Row("x", "MB", [64.1], goal=at_most(64)).met), (True, False), "value")
    equal(Row("x", "MB", [1]).met, None, "no goal")
    equal(len({line.find("ref") for line in table([["a", "1", "ref"], ["bbb", "22", "ref"]], ["h", "n", "ref"], {1}) if "ref" in line}), 1, "columns")


@case("a sample of the profile is filed by what the kernel does, by library, by folder of ours")
def _():
    import profiling
    ours = profiling.folders()
    equal((ours["http_respond"], ours["on_publish"], ours["encode64"]), ("ours: core/http", "ours: broker", "ours: core/base"), "folders")
    kernel, us = "([kernel.kallsyms])", "(/x/build/runnel)"
    equal(profiling.what_of([f"ffff tcp_ack {kernel}", f"ffff __sys_sendto {kernel}", f"55 http_respond {us}"], ours), "kernel: send, with delivery to the peer", "send")
    equal(profiling.what_of([f"ffff do_syscall_64 {kernel}"], ours), "kernel: other", "a kernel function that says nothing")
    equal(profiling.what_of(["7f sqlite3_step (/lib/libsqlite3.so.0)", f"55 store_sql_commit {us}"], ours), "SQLite", "a library")
    equal(profiling.what_of(["7f _int_free (/lib/libc.so.6)", f"55 on_publish {us}"], ours), "malloc and free", "memory")
    equal(profiling.what_of([f"55 envelope_wrap.part.0 {us}"], ours), "ours: dispatcher", "a function of which the compiler made a part")
    lines = profiling.rows_of([("io-0", [f"55 http_respond {us}"])] * 3 + [("engine", [f"55 on_publish {us}"])], ours)
    equal([line.split() for line in lines[2:]], [["ours:", "core/http", "75.0", "75.0"], ["ours:", "broker", "25.0", "25.0"], ["all", "100.0", "75.0", "25.0"]], "the table")


@case("the gate fails above 10 %, and where nothing is recorded")
def _():
    counts = {name: {"instructions": 1000, "spread": 0.01} for name, _, _ in gate.WORK}
    was = {name: 1000 for name in counts}
    equal(gate.compare(was, counts)[1], 0, "the same")
    counts["push"]["instructions"] = 1100
    equal(gate.compare(was, counts)[1], 0, "10 %")
    counts["push"]["instructions"] = 1101
    rows, failed = gate.compare(was, counts)
    equal((failed, [r[5] for r in rows if r[5]]), (1, ["too many"]), "more than 10 %")
    del was["ingress"]
    equal(gate.compare(was, counts)[1], 2, "no record")


@case("instructions are read from perf, and not supported is no number")
def _():
    equal(counting.parse("\n123456,,instructions:u,1000,100.00,,\n"), 123456, "counted")
    equal(counting.parse("<not supported>,,instructions:u,0,100.00,,\n"), None, "not supported")
    equal(counting.parse("perf: command failed"), None, "nothing")


run()
