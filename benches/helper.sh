#!/usr/bin/env bash
# Measures what docker waits for: the helper as a process, on a warm key, linked dynamically and statically, beside empty Rust programs
# linked in the same two ways. With $TOOLS it also runs Amazon's helper with a warm file cache, and the AWS CLI. All call the same
# broker. Prints medians in milliseconds, and their ratios to the empty program that is linked dynamically.
#
#     benches/helper.sh            needs musl-gcc and the target x86_64-unknown-linux-musl
#
# RUNS: rounds (300). BROKER: a broker that is built already. TOOLS: directory of the tools that .ci/tools installs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools=${TOOLS:-$PWD/target/tools} musl=x86_64-unknown-linux-musl helpers=${CARGO_TARGET_DIR:-target/helper}
registry=123456789012.dkr.ecr.eu-central-1.amazonaws.com

if [ -z "${BROKER:-}" ]; then
    cargo build --quiet --profile dist --bin ecr-broker
    BROKER=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/dist/ecr-broker
fi
build=(cargo build --quiet --profile dist --no-default-features --features client --bin docker-credential-ecr-broker --target-dir "$helpers")
"${build[@]}"
"${build[@]}" --target "$musl"

place=$(mktemp -d) broker=
trap 'kill $broker 2>/dev/null; wait; rm -rf "$place"' EXIT
echo 'fn main() {}' >"$place/empty.rs"
rustc -O -C strip=symbols -o "$place/empty" "$place/empty.rs"
rustc -O -C strip=symbols --target "$musl" -o "$place/empty-static" "$place/empty.rs"
rustc -O --edition 2024 -o "$place/interleave" benches/helper/interleave.rs
echo "$registry" >"$place/asked"

"$BROKER" serve --simulate --listen "unix:$place/broker.sock" --aws-api-listen 127.0.0.1:0 \
    --aws-api-secret-file "$place/secret" >"$place/listening" 2>"$place/log" &
broker=$!
until grep -q aws+http "$place/listening"; do sleep 0.05; done
api=$(sed -n 's/^listening on aws+//p' "$place/listening")

export HOME=$place ECR_BROKER_ADDRESS=unix:$place/broker.sock AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any
AWS_ENDPOINT_URL_ECR=$api/t/$(cat "$place/secret")
export AWS_ENDPOINT_URL_ECR AWS_REGION=eu-central-1 AWS_DEFAULT_REGION=eu-central-1 NO_PROXY=127.0.0.1

programs=(
    "empty, dynamic=$place/empty"
    "empty, static=$place/empty-static"
    "helper, dynamic=$helpers/dist/docker-credential-ecr-broker"
    "helper, static=$helpers/$musl/dist/docker-credential-ecr-broker"
)
amazons=$tools/bin/docker-credential-ecr-login
[ ! -x "$amazons" ] || programs+=("Amazon's helper=$amazons")
"$place/interleave" "${RUNS:-300}" "$place/asked" "${programs[@]}"

if [ -x "$tools/venv/bin/aws" ]; then
    hyperfine --style none --warmup 2 --runs 20 --export-csv "$place/long.csv" "$tools/venv/bin/aws ecr get-login-password"
    tail -n +2 "$place/long.csv" | awk -F, '{ printf "%-28s %10.3f\n", "the AWS CLI", $4 * 1000 }'
fi
