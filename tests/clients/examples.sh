#!/usr/bin/env bash
# Builds the clients of examples/ in a directory, with the archives of deploy/release/stubs: examples.sh DIRECTORY.
#
# .ci/tools runs it to fill the caches of Go and Maven, tests/real_programs/examples.rs to compile what it runs.
set -euo pipefail
TOOLS=$(realpath "${TOOLS:-target/tools}")
export TOOLS
mkdir -p "$1"
work=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

deploy/release/stubs --output "$work/stubs"
cp --recursive examples/{go,java,node,python} "$work/"
unpack() { # LANGUAGE DIRECTORY
    mkdir -p "$2"
    tar -xf "$work/stubs/"*-"$1".tar.gz -C "$2"
}
unpack go "$work/go/ecrbroker"
unpack java "$work/java/stubs"
unpack python "$work/python"
unpack typescript "$work/node"

ln -s "$TOOLS/node/node_modules" "$work/node/node_modules"
"$TOOLS/node/node_modules/.bin/tsc" --noEmit --strict --module commonjs --target es2022 "$work/node/"{operator,registry_credentials}.ts

(cd "$work/go" && diff /dev/null <(gofmt -d .) && go vet . && go build -o client .) &
go=$!
# As users do, whose Maven generates the stubs; then the archive's, with which the test runs the client.
mvn --quiet --batch-mode --file "$work/java" "-Dprotos=$PWD/proto" compile dependency:build-classpath -Dmdep.outputFile="$work/java/classpath"
javac -proc:none -d "$work/java/classes" -cp "$(cat "$work/java/classpath")" \
    "$work"/java/stubs/ecrbroker/v1/*.java "$work/java/src/main/java/Client.java"
wait "$go"
