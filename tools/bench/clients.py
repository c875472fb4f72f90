"""What sends requests: the load generator, undici, and the two references without a server (posix_spawn, SQLite)."""
import json
import os
import shutil

from programs import BENCH, Missing, Trouble, last_json, program, run

UNDICI = "undici@7"  # the last one for Node 20


def load(mode, port, check=True, **options):
    """One run of the load generator; options are its flags (`pause_ms=5` is --pause-ms 5)."""
    args = [program("load"), mode, "--port", str(port)]
    for name, value in options.items():
        args += ["--" + name.replace("_", "-"), value if isinstance(value, str) else str(int(value))]
    result = last_json(run(args), f"load {mode}")
    if check and result["failed"]:
        raise Trouble(f"load {mode}: {result['failed']} of {result['requests']} requests failed: {result['first_failure']}")
    return result


def spawn(rounds, *args):
    return last_json(run([program("spawn"), "--rounds", str(rounds), *args]), "spawn")


def sqlite(folder, rows, group):
    result = last_json(run([program("sqlite"), "--dir", folder, "--rows", str(int(rows)), "--group", str(group)]), "sqlite")
    shutil.rmtree(folder)
    return result


class Undici:
    """A push worker on Node. Its package is installed into the build folder once."""

    def __init__(self, area):
        node, npm = shutil.which("node"), shutil.which("npm")
        if not node or not npm:
            raise Missing("node or npm is not installed")
        self.node, self.folder = node, os.path.join(BENCH, "node")
        if not os.path.isdir(os.path.join(self.folder, "node_modules", "undici")):
            os.makedirs(self.folder, exist_ok=True)
            try:
                run([npm, "install", "--prefix", self.folder, "--no-save", "--no-audit", "--no-fund", UNDICI], timeout=120)
            except Trouble as e:
                raise Missing(f"npm install {UNDICI} failed: {e}") from None
        self.request = os.path.join(area.folder, "request")
        with open(self.request, "w", encoding="latin-1", newline="") as f:
            f.write(run([program("load"), "push", "--print"]))
        self.script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "undici_push.mjs")

    def push(self, port, requests, clients):
        return last_json(run([self.node, self.script, str(port), str(int(requests)), str(clients), self.request], cwd=self.folder), "undici")


def json_text(value):
    return json.dumps(value, separators=(",", ":"))
