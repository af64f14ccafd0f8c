#!/usr/bin/env python3
"""Compares a miss without a shared cache with one that has it: on loopback, found there, dead, and stopped by SIGSTOP.

Each round asks all brokers for the same new registry, one after the other. AWS is simulated and answers at once. Needs
redis-server.

    benches/miss.py target/dist/ecr-broker [ROUNDS]
"""

import os
import re
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

BROKER = sys.argv[1]
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 400
WARM_UP = 60
METHOD = b"/ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials"
CONFIG = """
[server]
listen = ["127.0.0.1:0"]
[authentication]
loopback = true
[audit]
output = "{work}/{name}.jsonl"
[[grants]]
id = "all"
callers = [{{ loopback = true }}]
registries = [{{ accounts = ["*"], regions = ["*"] }}]
"""
SHARED_CACHE = """
[shared_cache]
url = "redis://127.0.0.1:{port}"
keys_file = "{work}/keys"
identity = "farm"
"""
# HTTP/2 frames and the only flags of them that matter here.
DATA, HEADERS, RESET, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
ACK = END_STREAM = 1
END_HEADERS = 4
started = []


def start(command, output=subprocess.DEVNULL, **options):
    started.append(subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL, **options))
    return started[-1]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(what):
    for _ in range(400):
        if found := what():
            return found
        time.sleep(0.05)
    sys.exit("miss.py: a program did not start; run it by hand")


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    except OSError:
        return False


def redis():
    port = free_port()
    server = start(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""])
    wait_for(lambda: accepts(port))
    return server, port


def broker(work, name, aws, shared_cache=None):
    text = CONFIG.format(work=work, name=name)
    if shared_cache:
        text += SHARED_CACHE.format(work=work, port=shared_cache)
    config, output = f"{work}/{name}.toml", f"{work}/{name}.out"
    with open(config, "w") as file:
        file.write(text)
    variables = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{aws}", "AWS_REGION": "us-east-1"}
    variables |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    start([BROKER, "serve", "--config", config], open(output, "w"), env=os.environ | variables)
    address = wait_for(lambda: re.search(r"grpc://127.0.0.1:(\d+)", open(output).read()))
    return Client(int(address[1]))


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def field(text):
    return bytes([len(text)]) + text


class Client:
    """One HTTP/2 connection with one call at a time. It does little, so that its own time hardly counts."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        window = frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**30))
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, b"") + window)
        self.stream, self.read = 1, self.socket.makefile("rb").read
        content = b"\0" + field(b"content-type") + field(b"application/grpc") + b"\0" + field(b"te") + field(b"trailers")
        self.headers = b"\x83\x86\x04" + field(METHOD) + b"\x01" + field(b"localhost") + content

    def call(self, account):
        """Returns the time of one call, in milliseconds."""
        message = b"\x0a" + field(f"{account}.dkr.ecr.eu-central-1.amazonaws.com".encode())
        request = frame(HEADERS, END_HEADERS, self.stream, self.headers)
        request += frame(DATA, END_STREAM, self.stream, b"\0" + struct.pack(">I", len(message)) + message)
        begin, size = time.perf_counter(), 0
        self.socket.sendall(request)
        while True:
            head = self.read(9)
            kind, flags, payload = head[3], head[4], self.read(int.from_bytes(head[:3], "big"))
            if kind in (SETTINGS, PING) and not flags & ACK:
                self.socket.sendall(frame(kind, ACK, 0, payload if kind == PING else b""))
            elif kind == DATA:
                size += len(payload)
            if kind == RESET or (kind == HEADERS and flags & END_STREAM):
                break
        self.stream += 2
        if size < 500:
            sys.exit(f"miss.py: a call failed: {payload!r}")
        return (time.perf_counter() - begin) * 1000


def measure(work):
    aws = free_port()
    start([BROKER, "simulate-aws", "--listen", f"127.0.0.1:{aws}"])
    wait_for(lambda: accepts(aws))
    with open(os.open(f"{work}/keys", os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
        file.write(subprocess.check_output([BROKER, "keygen"]))
    (_, live), (stopped, stopped_port) = redis(), redis()
    clients = {
        "no shared cache": broker(work, "none", aws),
        "stored": broker(work, "stored", aws, live),
        "found": broker(work, "found", aws, live),
        "dead": broker(work, "dead", aws, free_port()),
        "stopped": broker(work, "halted", aws, stopped_port),
    }
    accounts = iter(range(100_000_000_000, 999_999_999_999))
    for account, _ in zip(accounts, range(WARM_UP)):
        for client in clients.values():
            client.call(account)
    stopped.send_signal(signal.SIGSTOP)
    first = [clients["stopped"].call(account) for account, _ in zip(accounts, range(5))]
    print("first misses after SIGSTOP, ms:", " ".join(f"{time:.1f}" for time in first))
    rounds = [{name: client.call(account) for name, client in clients.items()} for account, _ in zip(accounts, range(ROUNDS))]
    for name in clients:
        more = statistics.median(times[name] - times["no shared cache"] for times in rounds)
        print(f"{name:16} {statistics.median(times[name] for times in rounds):6.2f} ms, {more:+.2f} ms")


with tempfile.TemporaryDirectory() as directory:
    try:
        measure(directory)
    finally:
        for process in started:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
