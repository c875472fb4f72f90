"""The gate: user instructions of the server for each request, counted by callgrind, against tools/bench/recorded.json. More than 10 %
above fails. Instructions hardly depend on the machine or on what else runs on it; other compilers and libraries do change them, so
the record says with which it was made. Each number is the least of three, of one server that was warmed up before: what disturbs
(a thread that is woken late, so that a batch is smaller) can only add."""
import json
import os
import platform
import subprocess
import sys

from clients import load
from counted import Counted
from programs import BUILD, HERE, Area, Missing, Trouble, run as run_program
from results import table
from servers import Responder

RECORDED = os.path.join(HERE, "recorded.json")
LIMIT = 1.10
TIMES = 3
REQUESTS = 2000
CLIENTS = 64
DRAIN = 256  # so few that the push window, and with it the number of connections, is the same each time
DRAINS = 6
TASKS, TASK_QUEUES = 512, 8
ANSWER = ("--status", "200", "--body", "64")


def publish(counted, responder):
    load("publish", counted.server.port, requests=REQUESTS, clients=CLIENTS)
    return REQUESTS


def pull(counted, responder):
    """What publish has left behind."""
    return load("pull", counted.server.port, requests=REQUESTS, clients=8, batch=50)["messages"]


def ingress(counted, responder):
    load("post", counted.server.port, host=counted.server.host("bench"), requests=REQUESTS, clients=CLIENTS)
    return REQUESTS


def push(counted, responder):
    """Publishing is not counted: it is done, and asked for, before each drain."""
    each = []
    for _ in range(DRAINS):
        load("publish", counted.server.port, requests=DRAIN, clients=CLIENTS)
        counted.since()
        responder.reset()
        counted.server.push_to(responder.port)
        responder.wait_count(DRAIN, 60)
        counted.settle()  # the acknowledgements are stored
        counted.server.push_no_more()
        each.append(counted.since())
    return DRAIN, min(each)


def task(counted, responder):
    """In so many queues that the first burst of each is enough for its tasks: none waits for its rate."""
    responder.reset()
    load("task", counted.server.port, queue="bench", queues=TASK_QUEUES, target=responder.port, requests=TASKS, clients=CLIENTS)
    responder.wait_count(TASKS, 60)
    return TASKS


WORK = (("publish", publish, "publish, 64 clients"), ("pull", pull, "pull and acknowledge, a message"),
        ("push", push, "push to a remote endpoint, with token"), ("ingress", ingress, "ingress, 300 B POST"),
        ("task", task, "create and dispatch a task, with token"))


def count_all():
    """The least instructions a request by name, and how far apart the three were."""
    each = {name: [] for name, _, _ in WORK}
    with Area() as area:
        counted, responder = Counted(area), Responder(area, *ANSWER)
        counted.server.topic()
        counted.server.subscription()
        counted.server.queues("bench", TASK_QUEUES)
        counted.server.deploy("bench", *ANSWER, least=1)
        for time in range(TIMES + 1):
            for name, work, _ in WORK:
                done = work(counted, responder)
                requests, instructions = done if isinstance(done, tuple) else (done, counted.since())
                if time:  # the first opens connections, prepares statements, signs the token
                    each[name].append(instructions / requests)
    return {name: {"instructions": round(min(x)), "spread": round(max(x) / min(x) - 1, 4)} for name, x in each.items()}


def first_line(*args):
    try:
        return run_program(args, timeout=30).splitlines()[0]
    except (OSError, Trouble, IndexError):
        return "unknown"


def build_facts():
    """From CMake's cache: the compiler, and that this is the build that people run."""
    values = {}
    with open(os.path.join(BUILD, "CMakeCache.txt"), encoding="utf-8", errors="replace") as f:
        for line in f:
            key, _, value = line.strip().partition("=")
            values[key.partition(":")[0]] = value
    if values.get("CMAKE_BUILD_TYPE") != "Release" or values.get("RUNNEL_SANITIZE"):
        raise Trouble(f"{BUILD} is not the release build: cmake --preset release && cmake --build --preset release")
    return {"compiler": first_line(values.get("CMAKE_C_COMPILER", "cc"), "--version"), "valgrind": first_line("valgrind", "--version"),
            "machine": platform.machine()}


def write_record(facts, counts):
    with open(RECORDED, "w", encoding="utf-8") as f:
        json.dump({**facts, "instructions": {name: c["instructions"] for name, c in counts.items()}}, f, indent=1)
        f.write("\n")


def compare(was, counts):
    """Rows of the table and how many are too high; a number without a record is one of them."""
    rows, failed = [], 0
    for name, _, what in WORK:
        old, new = was.get(name), counts[name]["instructions"]
        bad = not old or new > old * LIMIT
        failed += bad
        rows.append([what, f"{old:,}" if old else "no record", f"{new:,}", f"{(new / old - 1) * 100:+.1f} %" if old else "",
                     f"{counts[name]['spread'] * 100:.1f} % apart", "too many" if bad else "record it?" if new < old / LIMIT else ""])
    return rows, failed


def run(record):
    try:
        facts, counts = build_facts(), count_all()
    except (Missing, Trouble, OSError, subprocess.SubprocessError) as e:
        print(f"the gate could not count: {e}\n0 passed, {len(WORK)} failed")
        return 1
    if record:
        write_record(facts, counts)
    with open(RECORDED, encoding="utf-8") as f:
        recorded = json.load(f)
    rows, failed = compare(recorded["instructions"], counts)
    print("\n".join(table(rows, ["instructions for each", "was", "now", "change", "three runs", ""], right={1, 2, 3, 4})))
    for key, value in facts.items():
        if recorded.get(key) != value:
            print(f"recorded with {key} {recorded.get(key)}, counted with {value}: a change may come from that")
    if failed:
        print(f"more than {(LIMIT - 1) * 100:.0f} % above the record: find out why (tools/bench/README.md), or record it: tools/bench/run --gate --record")
    sys.stdout.flush()
    print(f"{len(WORK) - failed} passed, {failed} failed")
    return 1 if failed else 0
