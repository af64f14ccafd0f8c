#!/usr/bin/env bash
# Builds the OpenTelemetry Collector and Jaeger into $TOOLS/bin, for tests/real_programs/otel.rs. Takes eight minutes of one core.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=${TOOLS:-$PWD/target/tools}
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
cd "$build"
export GOBIN=$build/bin GOFLAGS=-mod=mod
mkdir -p "$tools/bin"

if [ ! -x "$tools/bin/otelcol" ]; then
    go install go.opentelemetry.io/collector/cmd/builder@v0.161.0
    cat >ocb.yaml <<END
dist: {name: otelcol, output_path: $build/otelcol, module: otelcol.test/otelcol}
receivers: [{gomod: go.opentelemetry.io/collector/receiver/otlpreceiver v0.161.0}]
exporters: [{gomod: github.com/open-telemetry/opentelemetry-collector-contrib/exporter/prometheusexporter v0.161.0}]
END
    bin/builder --config ocb.yaml --skip-compilation
    (cd otelcol && go build -trimpath -ldflags=-s -o "$tools/bin/otelcol" .)
fi
if [ ! -x "$tools/bin/jaeger" ]; then
    mkdir jaeger
    cd jaeger
    go mod init jaeger.test
    go get github.com/jaegertracing/jaeger@v1.76.0
    go build -trimpath -ldflags='-s -w' -o "$tools/bin/jaeger" github.com/jaegertracing/jaeger/cmd/jaeger
fi
