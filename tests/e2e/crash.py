"""The crash test: the real server killed with -9 at random moments under publish and push load, round after round.

Publishers note each message id that the server gave them; a receiver notes each id that is pushed to it and that it took,
answering some with 500; a puller notes what it acknowledged and the server said yes to. After the last round every id must
have been taken by all of them, and what was acknowledged so must not have been pulled again; each start must find its
database whole.
A failing run is repeated with `crash.py --rounds N --seed S`, as far as chance outside this program allows.
"""
import argparse
import json
import random
import sqlite3
import sys
import threading
import time

import harness
from harness import PROJECT, Receiver, Server, b64

PUBLISHERS = 4
BACKLOG_MAX = 10000  # messages accepted and not yet delivered: more would only make the end long
STALLED_S = 120      # nothing new for so long means lost: push backoff ends at 60 s


def until_all(count, wanted):
    """Waits until count() reaches wanted; False when it stands still. A slow machine may take as long as it needs."""
    last, moved = count(), time.monotonic()
    while last < wanted and time.monotonic() - moved < STALLED_S:
        time.sleep(0.05)
        now = count()
        if now != last:
            last, moved = now, time.monotonic()
    return last >= wanted


class Load:
    """Publishers that go on over crashes; `accepted` is what the server said yes to."""

    def __init__(self, server, topic):
        self.server, self.topic, self.delivered = server, topic, lambda: 0
        self.accepted, self.lock, self.stopping = {}, threading.Lock(), False
        self.threads = [threading.Thread(target=self.publish, args=(n,), daemon=True) for n in range(PUBLISHERS)]
        [t.start() for t in self.threads]

    def publish(self, n):
        count = 0
        while not self.stopping:
            if len(self.accepted) - self.delivered() > BACKLOG_MAX:
                time.sleep(0.02)
                continue
            texts = [f"{n}-{count}-{i}" for i in range(1 + count % 20)]
            count += 1
            body = json.dumps({"messages": [{"data": b64(t)} for t in texts]})
            try:
                answer = self.server.http("POST", f"/v1/{self.topic}:publish", body, {"Content-Type": "application/json"}, timeout=5)
                if answer.status == 200:
                    with self.lock:
                        self.accepted.update(zip(answer.json["messageIds"], texts))
                    time.sleep(0.002)
                    continue
            except (OSError, ValueError, harness.http.client.HTTPException):
                pass
            time.sleep(0.02)

    def stop(self):
        self.stopping = True
        [t.join() for t in self.threads]


class Puller:
    """Pulls and acknowledges over all the crashes."""

    def __init__(self, server, subscription):
        self.server, self.path = server, f"/v1/{subscription}"
        self.pulled, self.acked, self.repeated, self.stopping = set(), set(), set(), False
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def ask(self, verb, **body):
        answer = self.server.http("POST", f"{self.path}:{verb}", json.dumps(body), {"Content-Type": "application/json"}, timeout=30)
        return answer.json if answer.status == 200 else None

    def work(self):
        while not self.stopping:
            try:
                self.turn()
            except (OSError, ValueError, harness.http.client.HTTPException):
                time.sleep(0.02)

    def turn(self):
        life = self.server.process
        received = (self.ask("pull", maxMessages=100, returnImmediately=True) or {}).get("receivedMessages", [])
        ids = {m["message"]["messageId"] for m in received}
        self.pulled |= ids
        self.repeated |= ids & self.acked
        if not received:
            time.sleep(0.01)
        elif self.ask("acknowledge", ackIds=[m["ackId"] for m in received]) is not None and self.server.process is life:
            self.acked |= ids  # an ack id means nothing to the next life of the server

    def stop(self):
        self.stopping = True
        self.thread.join()


def check_database(folder):
    """The file opens and is whole, before the server looks at it."""
    for path in harness.os.listdir(folder):
        if path.endswith(".db"):
            db = sqlite3.connect(harness.os.path.join(folder, path))
            result = db.execute("pragma quick_check").fetchone()[0]
            db.close()
            harness.equal(result, "ok", path)


def check_pull(server, accepted, seed):
    """The subscription that nobody pulled from over all the crashes has everything too."""
    path, pulled, end = f"/v1/projects/{PROJECT}/subscriptions/crash-pull", set(), time.monotonic() + 120
    while not pulled >= accepted:
        got = server.api("POST", path + ":pull", {"maxMessages": 1000, "returnImmediately": True}).get("receivedMessages", [])
        pulled |= {m["message"]["messageId"] for m in got}
        if got:
            server.api("POST", path + ":acknowledge", {"ackIds": [m["ackId"] for m in got]})
        elif time.monotonic() > end:
            sys.exit(f"LOST {len(accepted - pulled)} of {len(accepted)} for the pull subscription (seed {seed})")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"{options.rounds} rounds, seed {options.seed}", flush=True)
    chance = random.Random(options.seed)
    server = Server()
    receiver = Receiver()
    topic = server.topic("crash")
    server.subscription("crash-push", topic, pushConfig={"pushEndpoint": receiver.url}, ackDeadlineSeconds=10)
    server.subscription("crash-pull", topic, ackDeadlineSeconds=600)
    drained = server.subscription("crash-drained", topic, ackDeadlineSeconds=600)
    load, puller = Load(server, topic), Puller(server, drained)
    load.delivered = lambda: min(len(receiver.got), len(puller.pulled))
    for number in range(options.rounds):
        receiver.statuses = [500] * chance.randrange(4)
        time.sleep(chance.uniform(0.02, 0.6))  # the random moment is the point; nothing is waited for here
        port = server.port
        server.kill()
        if number % 2:  # else the server is the first to open what the crash left
            check_database(server.data)
        server.start(port)
        if (number + 1) % 10 == 0:
            print(f"round {number + 1}: {len(load.accepted)} accepted, {len(receiver.got)} pushes", flush=True)
    load.stop()
    accepted = set(load.accepted)
    assert len(accepted) >= options.rounds, f"only {len(accepted)} messages were accepted: this tests nothing"

    received, looked_at = {}, 0

    def missing():
        nonlocal looked_at
        for got in receiver.got[looked_at:]:
            message = json.loads(got["body"])["message"]
            if got["status"] == 204:
                received.setdefault(message["messageId"], message["data"])
            looked_at += 1
        return accepted - received.keys()
    if not until_all(lambda: len(accepted) - len(missing()), len(accepted)):
        lost = sorted(missing(), key=int)
        sys.exit(f"LOST {len(lost)} of {len(accepted)} accepted messages, e.g. {[(i, load.accepted[i]) for i in lost[:10]]} (seed {options.seed})")
    for identifier, text in load.accepted.items():
        harness.equal(received[identifier], b64(text), f"the data of message {identifier}")
    if not until_all(lambda: len(puller.pulled & accepted), len(accepted)):
        sys.exit(f"LOST {len(accepted - puller.pulled)} of {len(accepted)} for the puller (seed {options.seed})")
    puller.stop()
    if puller.repeated:
        sys.exit(f"REPEATED {len(puller.repeated)} that were acknowledged, e.g. {sorted(puller.repeated, key=int)[:10]} (seed {options.seed})")
    assert len(puller.acked) >= options.rounds, f"only {len(puller.acked)} were acknowledged: this tests nothing"
    check_pull(server, accepted, options.seed)
    server.stop()
    print(f"{len(accepted)} accepted, {len(receiver.got)} pushes, {len(puller.acked)} pulled and acknowledged, nothing lost or repeated")


try:
    main()
finally:
    for cleanup in reversed(harness.cleanups):
        cleanup()
