"""The servers under test: Runnel, what stands behind it (the responder), and the proxies that it is compared with."""
import getpass
import os
import re
import time

from clients import json_text, load
from programs import BENCH, BUILD, PATIENCE_S, Trouble, Web, children, first_line, free_port, program, trouble, wait_for

ACCOUNT = "pusher@local-project.iam.gserviceaccount.com"
PROJECT, REGION = "local-project", "europe-west1"
LOCATION = f"projects/{PROJECT}/locations/{REGION}"


class Responder:
    """Answers everything at once and counts."""

    def __init__(self, area, *options):
        self.process = area.start([program("responder"), *options], "responder")
        self.port = int(first_line(self.process).split()[1])
        self.pids = [self.process.pid]
        self.web = Web(self.port)

    def reset(self):
        self.web("POST", "/-/reset")

    def stats(self):
        return self.web.json("GET", "/-/stats")

    def wait_count(self, count, seconds):
        """The counts when at least so many requests came."""
        seen = {}

        def enough():
            seen.update(self.stats())
            return seen["count"] >= count
        wait_for(enough, f"{count} requests at the responder", seconds, pause_s=0.01)
        return seen


class Runnel:
    """`runnel serve` with one io thread and a fresh data folder, unless it is given one."""

    def __init__(self, area, *options, wrapper=(), data=None):
        self.area = area
        self.data = data or area.sub("data")
        began = time.monotonic()
        self.process = area.start([*wrapper, os.path.join(BUILD, "runnel"), "serve", "--listen=127.0.0.1:0", f"--data={self.data}", "--io-threads=1",
                                   "--log-level=warn", *options], "runnel")
        line = first_line(self.process)
        self.ready_ms = (time.monotonic() - began) * 1000
        found = re.match(r"ready http://127\.0\.0\.1:(\d+)", line)
        if not found:
            raise trouble(self.process, f"said {line!r} instead of being ready")
        self.port = int(found.group(1))
        self.pid = self.process.pid
        self.pids = [self.pid]
        self.web = Web(self.port)

    def with_warden(self):
        """The server and the process that starts programs for it, without the programs."""
        return [self.pid, *children(self.pid)]

    def stop(self):
        self.area.stop(self.process)

    # ---- messages

    def topic(self, name="bench"):
        self.web("PUT", f"/v1/projects/{PROJECT}/topics/{name}", {})

    def subscription(self, name="bench", topic="bench"):
        self.web("PUT", f"/v1/projects/{PROJECT}/subscriptions/{name}", {"topic": f"projects/{PROJECT}/topics/{topic}", "ackDeadlineSeconds": 60})

    def push_to(self, port, name="bench"):
        """From now on push to this port, with a token."""
        push = {"pushEndpoint": f"http://127.0.0.1:{port}/push", "oidcToken": {"serviceAccountEmail": ACCOUNT}}
        self.web("POST", f"/v1/projects/{PROJECT}/subscriptions/{name}:modifyPushConfig", {"pushConfig": push})

    def push_no_more(self, name="bench"):
        self.web("POST", f"/v1/projects/{PROJECT}/subscriptions/{name}:modifyPushConfig", {"pushConfig": {}})

    # ---- tasks and schedules

    def queues(self, name="bench", count=1):
        """NAME-0, NAME-1 and so on, as the load generator numbers them; with Google's defaults, which are its largest rate."""
        for i in range(count):
            self.web("POST", f"/v2/{LOCATION}/queues", {"name": f"{LOCATION}/queues/{name}-{i}"})

    def jobs(self, name, schedule, port, count):
        """Scheduled jobs that call this port, by 64 clients at once."""
        body = {"name": f"{LOCATION}/jobs/{name}-%d", "schedule": schedule, "timeZone": "Etc/UTC", "httpTarget": {"uri": f"http://127.0.0.1:{port}/job"}}
        return load("http", self.port, method="POST", path=f"/v1/{LOCATION}/jobs", body=json_text(body), requests=count, clients=min(count, 64), timeout_ms=60000)

    def histogram(self, name, **labels):
        """{upper bound: how many up to it} of a histogram, over all series that have these labels."""
        found = {}
        for line in self.web("GET", "/metrics").splitlines():
            m = re.match(name + r'_bucket\{(.*)le="([^"]+)"\} (\d+)$', line)
            if m and all(f'{k}="{v}"' in m.group(1) for k, v in labels.items()):
                found[float(m.group(2))] = found.get(float(m.group(2)), 0) + int(m.group(3))
        return found

    # ---- jobs

    def job(self, name, command, tasks, parallelism):
        container = {"image": "exec:///", "command": command[:1], "args": command[1:]}
        body = {"template": {"taskCount": tasks, "parallelism": parallelism, "template": {"containers": [container], "maxRetries": 0}}}
        self.web("POST", f"/v2/{LOCATION}/jobs?jobId={name}", body)

    def run_job(self, name):
        return self.web.json("POST", f"/v2/{LOCATION}/jobs/{name}:run", {})

    def execution(self, operation):
        return self.web.json("GET", "/v2/" + operation["metadata"]["name"])

    def wait(self, operation, seconds=PATIENCE_S * 5):
        """Until it is done; without asking again and again."""
        end = time.monotonic() + seconds
        while not operation.get("done"):
            if time.monotonic() > end:
                raise Trouble(f"{operation['name']} was not done within {seconds} s")
            operation = self.web.json("POST", f"/v2/{operation['name']}:wait", {"timeout": "20s"})
        if "error" in operation:
            raise Trouble(f"{operation['name']} failed: {operation['error']}")
        return operation

    def cancel(self, operation):
        self.wait(self.web.json("POST", f"/v2/{operation['metadata']['name']}:cancel", {}))

    # ---- services

    def service_body(self, *args):
        container = {"image": f"exec://{BENCH}", "command": ["responder"], "args": list(args)}
        return {"template": {"containers": [container], "scaling": {"maxInstanceCount": 1}, "maxInstanceRequestConcurrency": 1000}, "invokerIamDisabled": True}

    def deploy(self, name, *args, least=0):
        body = self.service_body(*args)
        body["template"]["scaling"]["minInstanceCount"] = least
        self.web("POST", f"/v2/projects/{PROJECT}/locations/{REGION}/services?serviceId={name}", body)
        wait_for(lambda: self.service_state(name) == "CONDITION_SUCCEEDED", f"service {name} to serve; it is {self.service_state(name)}")

    def service_state(self, name):
        return self.web.json("GET", f"/v2/projects/{PROJECT}/locations/{REGION}/services/{name}").get("terminalCondition", {}).get("state")

    def host(self, service):
        return f"{service}.localhost:{self.port}"

    # ---- what it says of itself

    def metric(self, name, **labels):
        """The sum over all series that have these labels."""
        total = 0.0
        for line in self.web("GET", "/metrics").splitlines():
            found = re.match(r"(\w+)(?:\{(.*)\})? (\S+)$", line)
            if found and found.group(1) == name and all(f'{k}="{v}"' in (found.group(2) or "") for k, v in labels.items()):
                total += float(found.group(3))
        return total

    def instances(self):
        return sum(self.metric("runnel_instances", state=s) for s in ("starting", "ready", "stopping"))


NGINX = """
{user}
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log warn;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    upstream responder {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://responder;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
        }}
    }}
}}
"""

HAPROXY = """
global
    nbthread 1
    maxconn 8192
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option http-keep-alive
    http-reuse always
    option forwardfor
frontend in
    bind 127.0.0.1:{port}
    default_backend responder
backend responder
    server responder 127.0.0.1:{upstream}
"""


class Proxy:
    """nginx or haproxy with one process (or thread) that works, kept connections on both sides, no access log."""

    def __init__(self, area, name, upstream):
        path, folder, self.port = program(name), area.sub(name), free_port()
        config = os.path.join(folder, "config")
        with open(config, "w", encoding="utf-8") as f:
            user = f"user {getpass.getuser()};" if os.getuid() == 0 else ""
            f.write((NGINX if name == "nginx" else HAPROXY).format(folder=folder, port=self.port, upstream=upstream, user=user))
        args = [path, "-p", folder, "-c", config, "-e", os.path.join(folder, "error.log")] if name == "nginx" else [path, "-db", "-f", config]
        self.process = area.start(args, name)
        web = Web(self.port)

        def answers():
            if self.process.poll() is not None:
                raise trouble(self.process, "ended at once")
            try:
                return web("GET", "/", want=None) is not None
            except OSError:
                return False
        wait_for(answers, f"{name} to answer")
        self.pids = [self.process.pid, *children(self.process.pid)]
