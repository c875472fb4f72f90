"""tools/quickstart as a newcomer runs it, on what is built already."""
import os
import subprocess

from harness import BUILD, ROOT, case, equal, run, Server


def quickstart(*args):
    return subprocess.run([os.path.join(ROOT, "tools", "quickstart"), *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240)


@case("once: three events arrive with verified claims, instances go 0 -> 1 -> 0, exit code 0")
def _():
    done = quickstart("--once", "--port=0", f"--build={BUILD}")
    equal(done.returncode, 0, done.stdout)
    lines = [line.split(None, 1) for line in done.stdout.splitlines() if line.strip()]
    equal([v.split()[0] for k, v in (x for x in lines if len(x) == 2) if k == "instances"], ["0", "1", "0"], done.stdout)
    equal(sum(x[0] == "arrived" for x in lines), 3, done.stdout)
    assert ["email", "pusher@local-project.iam.gserviceaccount.com"] in lines, done.stdout
    assert any(x[0] == "aud" and "http://hello.localhost:" in x[1] for x in lines if len(x) == 2), done.stdout


@case("a port that is taken is said")
def _():
    server = Server()
    done = quickstart("--once", f"--port={server.port}", f"--build={BUILD}")
    equal(done.returncode, 1, done.stdout)
    assert f"127.0.0.1:{server.port}" in done.stdout and "--port" in done.stdout, done.stdout


@case("wrong options end with 2")
def _():
    equal(quickstart("--prot=1").returncode, 2, "unknown")
    equal(quickstart("--port=x").returncode, 2, "no number")


run()
