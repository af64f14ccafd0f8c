#!/usr/bin/env bash
# Measures the time from the start of `serve --simulate` to its first response, and its memory when idle. Needs python3.
#
# benches/start.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-11}

cargo build --profile dist --quiet
target=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
exec python3 - "$target/dist/ecr-broker" "$rounds" <<'PYTHON'
import re, signal, statistics, subprocess, sys, time

program, rounds = sys.argv[1], int(sys.argv[2])
registry = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"


def memory(pid):
    """Returns the resident memory in kB."""
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read()).group(1))


def start():
    """Starts a broker and calls it once; returns the time in ms, with the client's own start, and the memory after it."""
    started = time.monotonic()
    broker = subprocess.Popen([program, "serve", "--simulate", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    try:
        address = broker.stdout.readline().split()[-1]
        subprocess.run([program, "get", registry, "--address", address], check=True, stdout=subprocess.DEVNULL)
        elapsed = (time.monotonic() - started) * 1000
        return elapsed, memory(broker.pid)
    finally:
        broker.send_signal(signal.SIGTERM)
        broker.wait()


start()
results = [start() for _ in range(rounds)]
times, memories = zip(*results)
print(f"start to first response: median {statistics.median(times):.0f} ms, worst {max(times):.0f} ms of {rounds}")
print(f"resident memory after it: median {statistics.median(memories) / 1024:.1f} MB")
PYTHON
