#!/usr/bin/env python3
"""Rehearses an outage of AWS with real alerts: outage.py ECR_BROKER unreachable|throttle|denied [SPEED]

It runs a broker in front of a simulated AWS, Prometheus with alerts.yaml, and Alertmanager with alertmanager.yaml. Callers ask for
ten registries, and from the fault on also for registries that are not cached. It prints when each alert reached its receiver, and
when the first build failed. All durations are divided by SPEED (180), except those in the broker that have no setting: the failure
backoff of at most 30 s. The printed times are multiplied again; a call stands for SPEED calls.

Needs Debian's prometheus and prometheus-alertmanager, and PyPI's grpcio.
"""

import contextlib
import http.server
import json
import os
import pathlib
import re
import socket
import sys
import tempfile
import threading
import time

import grpc

from scrape import address, start

FOLDER = pathlib.Path(__file__).parent
GET = "/ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials"
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
WARM = [f"{account}.dkr.ecr.eu-central-1.amazonaws.com" for account in range(123456789000, 123456789010)]
LIFETIME = 12 * 3600
# The outage begins shortly after the first fetch.
HEALTHY = 600
# Its bucket is not a duration of the rules, so at any speed it would fire.
IGNORED = "EcrBrokerShortCredential"
SETTINGS = """
[server]
listen = ["unix:{directory}/broker.sock"]
ops_listen = "127.0.0.1:0"

[cache]
refresh_after = "{refresh_after}"
safety_margin = "{safety_margin}"
"""


class Clock:
    """Durations divided by the speed, and times since the fault multiplied by it."""

    def __init__(self, speed):
        self.speed, self.fault = speed, None

    def duration(self, seconds):
        return f"{max(1, round(seconds * 1000 / self.speed))}ms"

    def sleep(self, seconds):
        time.sleep(seconds / self.speed)

    def since_fault(self):
        return None if self.fault is None else (time.monotonic() - self.fault) * self.speed

    def faster(self, text):
        """Returns rules or a configuration with every duration divided."""

        def divided(match):
            return match[1] + self.duration(int(match[2]) * UNITS[match[3]])

        text = re.sub(r"(\[|offset |for: |interval: |group_wait: |_interval: )(\d+)(ms|s|m|h|d)\b", divided, text)
        return re.sub(r"\b(3600|86400|900)\b", lambda it: str(int(it[1]) / self.speed), text)


class Timeline:
    """What happened first, and when."""

    def __init__(self, clock):
        self.clock, self.first, self.lock = clock, {}, threading.Lock()

    def note(self, event):
        after = self.clock.since_fault()
        with self.lock:
            if after is None:
                raise SystemExit(f"before the fault: {event}")
            if event not in self.first:
                self.first[event] = after
                print(f"{int(after) // 3600} h {int(after) // 60 % 60:02} min  {event}", flush=True)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def receiver(timeline, stack):
    """Receives Alertmanager's messages, and returns the port."""

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            for alert in message["alerts"]:
                labels = alert["labels"]
                if alert["status"] == "firing" and labels["alertname"] != IGNORED:
                    timeline.note(f"{labels['severity']} {labels['alertname']}")
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stack.callback(server.shutdown)
    return server.server_port


def monitoring(clock, timeline, directory, target, stack):
    """Starts Prometheus and Alertmanager."""
    own, manager, hooks = free_port(), free_port(), receiver(timeline, stack)
    (directory / "alerts.yaml").write_text(clock.faster((FOLDER / "alerts.yaml").read_text()))
    config = clock.faster((FOLDER / "prometheus.yaml").read_text())
    (directory / "prometheus.yaml").write_text(config.replace("127.0.0.1:9464", target).replace(":9093", f":{manager}"))
    routes = clock.faster((FOLDER / "alertmanager.yaml").read_text())
    # A first message per alert, and no inhibition: the rehearsal shows everything.
    routes = routes.replace(":9095", f":{hooks}").partition("# The page")[0].replace("[alertname, job]", "['...']")
    (directory / "alertmanager.yaml").write_text(routes)
    files = [f"--config.file={directory}/alertmanager.yaml", f"--storage.path={directory}/alertmanager"]
    start(["prometheus-alertmanager", *files, "--cluster.listen-address=", f"--web.listen-address=127.0.0.1:{manager}"], stack, directory)
    files = [f"--config.file={directory}/prometheus.yaml", f"--storage.tsdb.path={directory}/prometheus"]
    start(["prometheus", *files, f"--web.listen-address=127.0.0.1:{own}"], stack, directory)


def simulated_aws(broker, clock, port, faults, stack, directory):
    lifetime = ["--token-lifetime", clock.duration(LIFETIME)]
    aws = start([broker, "simulate-aws", "--listen", f"127.0.0.1:{port}", *lifetime, *faults], stack, directory)
    address(aws, "http")
    return aws


class Caller:
    """Builds that ask for registries, one after the other."""

    def __init__(self, directory):
        self.call = grpc.insecure_channel(f"unix:{directory}/broker.sock").unary_unary(GET)

    def get(self, registry):
        """Returns the status of a call, or nothing after a success."""
        try:
            self.call(b"\x0a" + bytes([len(registry)]) + registry.encode(), timeout=10)
        except grpc.RpcError as error:
            return error.code().name
        return None


def builds(clock, timeline, directory, over):
    """Ten calls a second for cached registries, and one for a registry that is not, as long as the outage lasts."""
    caller, number = Caller(directory), 0
    while not over.is_set():
        if failed := caller.get(WARM[number % len(WARM)]):
            timeline.note(f"first failed build of a cached registry: {failed}")
            over.set()
        if clock.fault and number % 10 == 0 and (failed := caller.get(f"{200000000000 + number}.dkr.ecr.eu-central-1.amazonaws.com")):
            timeline.note(f"first failed build of another registry: {failed}")
        number += 1
        time.sleep(0.1)


def rehearse(broker, fault, clock, directory, stack):
    port, over, timeline = free_port(), threading.Event(), Timeline(clock)
    aws = simulated_aws(broker, clock, port, [], stack, directory)
    margins = {"refresh_after": clock.duration(3600), "safety_margin": clock.duration(300)}
    (directory / "config.toml").write_text(SETTINGS.format(directory=directory, **margins))
    keys = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "none", "AWS_REGION": "eu-central-1"}
    environment = {"PATH": os.environ["PATH"], "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", **keys}
    serve = start([broker, "serve", "--config", str(directory / "config.toml")], stack, directory, environment)
    monitoring(clock, timeline, directory, address(serve, "ops+http"), stack)
    calls = threading.Thread(target=builds, args=(clock, timeline, directory, over))
    stack.callback(calls.join)
    stack.callback(over.set)
    calls.start()
    clock.sleep(HEALTHY)
    aws.kill()
    aws.wait()
    if fault != "unreachable":
        simulated_aws(broker, clock, port, ["--fault", f"{fault}=1"], stack, directory)
    clock.fault = time.monotonic()
    over.wait(2 * LIFETIME / clock.speed)
    clock.sleep(1200)


def main():
    broker, fault, *speed = sys.argv[1:]
    clock = Clock(float(*speed or [180]))
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        rehearse(broker, fault, clock, pathlib.Path(directory), stack)


main()
