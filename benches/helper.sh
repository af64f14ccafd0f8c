#!/usr/bin/env bash
# Measures what docker waits for: the helper as a process, on a warm key, beside an empty Rust program, Amazon's helper with a warm
# file cache, and the AWS CLI. All call the same broker. Prints medians of one run in milliseconds.
#
#     benches/helper.sh            needs hyperfine, musl-gcc, the target x86_64-unknown-linux-musl, and the tools that .ci/tools installs
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools=${TOOLS:-$PWD/target/tools} musl=x86_64-unknown-linux-musl
registry=123456789012.dkr.ecr.eu-central-1.amazonaws.com

cargo build --quiet --profile dist --bin ecr-broker
build=(cargo build --quiet --profile dist --no-default-features --features client --bin docker-credential-ecr-broker --target-dir target/helper)
"${build[@]}"
"${build[@]}" --target "$musl"

place=$(mktemp -d)
trap 'kill "$broker" 2>/dev/null; wait; rm -rf "$place"' EXIT
echo 'fn main() {}' >"$place/empty.rs"
rustc -O -C strip=symbols -o "$place/empty" "$place/empty.rs"
echo "$registry" >"$place/asked"

target/dist/ecr-broker serve --simulate --listen "unix:$place/broker.sock" --aws-api-listen 127.0.0.1:0 \
    --aws-api-secret-file "$place/secret" >"$place/listening" 2>"$place/log" &
broker=$!
until grep -q aws+http "$place/listening"; do sleep 0.05; done
api=$(sed -n 's/^listening on aws+//p' "$place/listening")

export HOME=$place ECR_BROKER_ADDRESS=unix:$place/broker.sock AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any
AWS_ENDPOINT_URL_ECR=$api/t/$(cat "$place/secret")
export AWS_ENDPOINT_URL_ECR AWS_REGION=eu-central-1 AWS_DEFAULT_REGION=eu-central-1 NO_PROXY=127.0.0.1

names=('an empty program' 'the helper' 'the helper, linked statically' "Amazon's helper" 'the AWS CLI')
hyperfine --style none --warmup 20 --runs "${RUNS:-300}" --export-csv "$place/short.csv" \
    "$place/empty" \
    "target/helper/dist/docker-credential-ecr-broker get <$place/asked" \
    "target/helper/$musl/dist/docker-credential-ecr-broker get <$place/asked" \
    "$tools/bin/docker-credential-ecr-login get <$place/asked"
hyperfine --style none --warmup 2 --runs 20 --export-csv "$place/long.csv" "$tools/venv/bin/aws ecr get-login-password"
tail -q -n +2 "$place/short.csv" "$place/long.csv" | awk -F, '{ printf "%.3f\n", $4 * 1000 }' | paste -d' ' - <(printf '%s\n' "${names[@]}")
