#!/usr/bin/env bash
# Counts the instructions of a cache hit with client certificates, a grant and the audit log, beside a bare tonic service with TLS
# and a constant response. valgrind counts the same in every run. Needs valgrind and openssl.
#
# benches/instructions.sh [REQUESTS]
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
requests=${1:-1000}
# Requests that are not counted: they pay for the connection and the start of the program.
before=100
command -v valgrind >/dev/null || { echo "instructions.sh: valgrind is missing; apt-get install valgrind" >&2; exit 1; }

cargo build --profile dist --quiet
bare=$(cargo bench --bench bare_tonic --no-run --message-format=json 2>/dev/null |
    python3 -c 'import json,sys
for line in sys.stdin:
    artifact = json.loads(line)
    if artifact.get("target", {}).get("name") == "bare_tonic" and artifact.get("executable"): print(artifact["executable"])')
broker=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')/dist/ecr-broker

work=$(mktemp -d)
pid=
aside=
stop() {
    for one in $pid $aside; do kill "$one" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT

tests/clients/certificates.sh "$work" >"$work/openssl" 2>&1
client=("$work/runner.crt" "$work/runner.key" "$work/a.pem")
cat >"$work/tls.toml" <<END
[server]
listen = ["127.0.0.1:0"]
[server.tls]
certificate = "$work/server.crt"
key = "$work/server.key"
[authentication]
client_ca = { "a.example" = "$work/a.pem" }
END
# valgrind slows the only AWS call down, so its time limits are wide.
cat "$work/tls.toml" - >"$work/full.toml" <<END
[aws]
connect_timeout = "10s"
attempt_timeout = "30s"
operation_timeout = "60s"
[audit]
output = "$work/audit.jsonl"
[[grants]]
id = "runners"
callers = [{ spiffe = "spiffe://a.example/ns/ci/sa/*" }]
registries = [{ accounts = ["123456789012"], regions = ["*"] }]
END

# address FILE: waits for the address that a server prints to the file.
address() {
    for _ in $(seq 1200); do
        grep -q listening "$1" && break
        sleep 0.1
    done
    sed -n 's/^listening on //p' "$1" | head -1
}

# count CALLS COMMAND…: prints the instructions of a server that answers that many calls.
count() {
    local calls=$1 url
    shift
    : >"$work/out"
    valgrind --tool=callgrind --callgrind-out-file="$work/callgrind" "$@" >"$work/out" 2>"$work/err" &
    pid=$!
    url=$(address "$work/out")
    "$bare" "$url" "${client[@]}" "$calls"
    kill "$pid"
    wait "$pid" 2>/dev/null || true
    pid=
    sed -n 's/^totals: //p' "$work/callgrind"
}

# each COMMAND…: prints the instructions of one request.
each() {
    local few many
    few=$(count "$before" "$@")
    many=$(count $((before + requests)) "$@")
    echo $(((many - few) / requests))
}

"$broker" serve --simulate --config "$work/full.toml" >"$work/aside" 2>/dev/null &
aside=$!
constant=$(each "$bare" "$(address "$work/aside")" "${client[@]}" "$work/server.crt" "$work/server.key")
full=$(each "$broker" serve --simulate --config "$work/full.toml")
echo "instructions per request, over $requests requests on one connection:"
echo "bare tonic with TLS, a constant:                                 $constant"
echo "the broker with a client certificate, a grant and the audit log: $full ($(python3 -c "print(round($full / $constant, 2))") times)"
