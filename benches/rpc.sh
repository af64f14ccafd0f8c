#!/usr/bin/env bash
# Measures a cache hit over the wire beside a bare tonic service with a constant response of the same size: server CPU per
# request, throughput, and their ratios. Needs h2load (Debian: nghttp2-client) and python3.
#
# benches/rpc.sh [REQUESTS] [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/.."
requests=${1:-200000}
rounds=${2:-3}
command -v h2load >/dev/null || { echo "rpc.sh: h2load is missing; apt-get install nghttp2-client" >&2; exit 1; }

cargo build --profile dist --quiet
cargo bench --quiet --bench bare_tonic --no-run 2>/dev/null
bare=$(cargo bench --bench bare_tonic --no-run --message-format=json 2>/dev/null |
    python3 -c 'import json,sys
for line in sys.stdin:
    artifact = json.loads(line)
    if artifact.get("target", {}).get("name") == "bare_tonic" and artifact.get("executable"): print(artifact["executable"])')
broker=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')/dist/ecr-broker

work=$(mktemp -d)
pids=()
stop() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT

# start NAME COMMAND…: runs the command, and sets pid_NAME and port_NAME.
start() {
    local name=$1
    shift
    "$@" >"$work/$name.out" 2>"$work/$name.err" &
    local pid=$!
    pids+=("$pid")
    for _ in $(seq 600); do
        grep -q listening "$work/$name.out" && break
        sleep 0.05
    done
    grep -q listening "$work/$name.out" || { echo "rpc.sh: $name did not start" >&2; cat "$work/$name.err" >&2; exit 1; }
    local port
    port=$(sed -n 's/.*:\([0-9]*\)$/\1/p' "$work/$name.out" | head -1)
    declare -g "pid_$name=$pid" "port_$name=$port"
}

# The collector accepts spans and discards them.
python3 - >"$work/collector.out" 2>/dev/null <<'PYTHON' &
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Sink(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200); self.send_header("content-length", "0"); self.end_headers()
    def log_message(self, *_): pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
PYTHON
pids+=($!)
for _ in $(seq 100); do
    grep -q listening "$work/collector.out" && break
    sleep 0.05
done
collector=$(sed 's/listening on //' "$work/collector.out")

# The limit of local callers is not measured.
export ECR_BROKER_LIMITS_LOCAL_REQUESTS_PER_SECOND=1000000
serve=("$broker" serve --simulate --listen 127.0.0.1:0)
otlp=(env "OTEL_EXPORTER_OTLP_ENDPOINT=$collector" OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf OTEL_TRACES_SAMPLER=traceidratio)
start off "${serve[@]}"
start one "${otlp[@]}" OTEL_TRACES_SAMPLER_ARG=0.01 "${serve[@]}"
start all "${otlp[@]}" OTEL_TRACES_SAMPLER_ARG=1 "${serve[@]}"
# shellcheck disable=SC2154 # start sets them
start bare "$bare" "http://127.0.0.1:$port_off"

python3 -c '
import sys
name = b"123456789012.dkr.ecr.eu-central-1.amazonaws.com"
message = b"\x0a" + bytes([len(name)]) + name
sys.stdout.buffer.write(b"\0" + len(message).to_bytes(4, "big") + message)' >"$work/request"

# CPU time of a process, in clock ticks.
ticks() { awk '{print $14 + $15}' "/proc/$1/stat"; }

# load NAME: one round against a server; prints its CPU time in us, the requests, and the requests per second.
load() {
    local pid_name="pid_$1" port_name="port_$1" before after
    before=$(ticks "${!pid_name}")
    h2load -n "$requests" -c 10 -m 10 -t 1 -d "$work/request" \
        -H 'content-type: application/grpc' -H 'te: trailers' \
        "http://127.0.0.1:${!port_name}/ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials" >"$work/h2load" 2>&1 || true
    after=$(ticks "${!pid_name}")
    grep -q "$requests succeeded, 0 failed" "$work/h2load" || { cat "$work/h2load" >&2; exit 1; }
    local rate
    rate=$(sed -n 's/^finished in .*, \([0-9.]*\) req\/s.*/\1/p' "$work/h2load")
    echo "$(((after - before) * 1000000 / $(getconf CLK_TCK))) $requests $rate"
}

echo "$requests requests a round, $rounds rounds, 10 connections with 10 streams each, on $(nproc) cores shared with h2load"
for name in bare off one all; do load "$name" >/dev/null; done
for _ in $(seq "$rounds"); do
    for name in bare off one all; do echo "$name $(load "$name")"; done
done | python3 -c '
import collections, statistics, sys
cpu, rate = collections.defaultdict(list), collections.defaultdict(list)
for line in sys.stdin:
    name, ticks, requests, rps = line.split()
    cpu[name].append(float(ticks) / float(requests)); rate[name].append(float(rps))
labels = {"bare": "bare tonic", "off": "broker, no OTLP", "one": "broker, OTLP at 1 %", "all": "broker, OTLP at 100 %"}
print("%-22s %12s %12s %10s %10s" % ("", "CPU us/req", "req/s", "CPU ratio", "rate ratio"))
base_cpu, base_rate = statistics.median(cpu["bare"]), statistics.median(rate["bare"])
for name, label in labels.items():
    c, r = statistics.median(cpu[name]), statistics.median(rate[name])
    print("%-22s %12.1f %12.0f %10.2f %10.2f" % (label, c, r, c / base_cpu, r / base_rate))'
