#!/usr/bin/env bash
# Builds the OpenTelemetry Collector into $TOOLS/bin, for tests/real_programs/otel.rs: two minutes of one core. With --jaeger also Jaeger,
# which takes six more. Both are kept by version in ${XDG_CACHE_HOME:-~/.cache}/ecr-broker-ci; what is there is used without a build.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=${TOOLS:-$PWD/target/tools}
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
cd "$build"
export GOBIN=$build/bin GOFLAGS=-mod=mod
mkdir -p "$tools/bin"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ecr-broker-ci
otelcol=$cache/otelcol-0.161.0
jaeger=$cache/jaeger-1.76.0
mkdir -p "$cache"

# keep FILE AS: under another name first, so that an interrupted copy is not taken for a program.
keep() {
    cp "$1" "$2.new"
    mv -f "$2.new" "$2"
}

if [ ! -x "$otelcol" ]; then
    go install go.opentelemetry.io/collector/cmd/builder@v0.161.0
    cat >ocb.yaml <<END
dist: {name: otelcol, output_path: $build/otelcol, module: otelcol.test/otelcol}
receivers: [{gomod: go.opentelemetry.io/collector/receiver/otlpreceiver v0.161.0}]
exporters: [{gomod: github.com/open-telemetry/opentelemetry-collector-contrib/exporter/prometheusexporter v0.161.0}]
END
    bin/builder --config ocb.yaml --skip-compilation
    (cd otelcol && go build -trimpath -ldflags=-s -o "$build/otelcol-program" .)
    keep "$build/otelcol-program" "$otelcol"
fi
cp "$otelcol" "$tools/bin/otelcol"

if [ "${1:-}" = --jaeger ] && [ ! -x "$jaeger" ]; then
    mkdir jaeger
    cd jaeger
    go mod init jaeger.test
    go get github.com/jaegertracing/jaeger@v1.76.0
    go build -trimpath -ldflags='-s -w' -o "$build/jaeger-program" github.com/jaegertracing/jaeger/cmd/jaeger
    keep "$build/jaeger-program" "$jaeger"
fi
[ ! -x "$jaeger" ] || cp "$jaeger" "$tools/bin/jaeger"
