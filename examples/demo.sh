#!/usr/bin/env bash
# A pull from start to end without AWS: a broker with a simulated AWS, which is also a registry, and a real client.
set -euo pipefail

usage() {
    cat <<'END'
usage: examples/demo.sh [--client NAME] [--keep]
  --client NAME  push and pull with skopeo, crane or podman (default: the first that is installed)
  --keep         leave everything running until Ctrl-C, with variables for a second terminal
ECR_BROKER names the program (default: the newest build in target/, else in PATH); docker-credential-ecr-broker stands beside it.
Everything runs on free ports of loopback and in a temporary directory. The script ends and removes all of it.
END
}

fail() {
    printf 'demo.sh: %s\n' "$*" >&2
    exit 1
}

clients=(skopeo crane podman)
keep=false
while (($#)); do
    case $1 in
    --client) clients=("${2:?--client needs a name}"); shift 2 ;;
    --keep) keep=true; shift ;;
    -h | --help) usage; exit ;;
    *) usage >&2; exit 2 ;;
    esac
done

client=''
for name in "${clients[@]}"; do
    if command -v "$name" >/dev/null; then client=$name; break; fi
done
[[ -n $client ]] || fail "${clients[*]}: not installed; install one with: apt-get install skopeo"

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
program=${ECR_BROKER:-}
if [[ -z $program ]]; then
    for build in "$repository"/target/{release,dist,debug}/ecr-broker; do
        [[ ! -x $build || $program -nt $build ]] || program=$build
    done
    program=${program:-$(command -v ecr-broker || true)}
fi
[[ -x $program ]] || fail 'ecr-broker: not found; build it with: cargo build (or name it in ECR_BROKER)'
programs=$(cd "$(dirname "$program")" && pwd)
[[ -x $programs/docker-credential-ecr-broker ]] || fail "$programs: no docker-credential-ecr-broker beside ecr-broker; build both"

started=$EPOCHREALTIME
work=$(mktemp --directory)
broker=''
clean_up() {
    if [[ -n $broker ]]; then
        kill -TERM "$broker" 2>/dev/null || true
        wait "$broker" || true
    fi
    # The image's files can be read-only.
    chmod -R u+w "$work" || true
    rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$work"

# say TEXT: a headline.
say() {
    printf '\n# %s\n' "$*"
}

# run COMMAND…: prints a command, then runs it.
run() {
    printf '$ %s\n' "$*"
    "$@"
}

# refuses COMMAND…: runs what must fail; shows the command and its last line.
refuses() {
    if "$@" >refused 2>&1; then fail "this was allowed: $(head -n 1 refused)"; fi
    head -n 1 refused
    tail -n 1 refused
}

# set_variable NAME VALUE: exports a variable, also for the second terminal.
set_variable() {
    printf '$ export %s=%q\n' "$1" "$2"
    printf 'export %s=%q\n' "$1" "$2" >>environment
    export "$1=$2"
}

# make_image DIRECTORY: an OCI image of one file.
make_image() {
    local layer config manifest
    mkdir -p "$1/blobs/sha256"
    printf 'Pulled with a credential of ecr-broker.\n' >hello.txt
    tar --create --file hello.tar --owner=0 --group=0 --numeric-owner --mtime=@0 hello.txt
    layer=$(gzip --no-name <hello.tar | blob "$1")
    config=$(printf '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$(sha256sum hello.tar | cut -d' ' -f1)" | blob "$1")
    manifest=$(printf '{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"%s",%s},"layers":[{"mediaType":"%s",%s}]}' \
        application/vnd.oci.image.manifest.v1+json application/vnd.oci.image.config.v1+json "$(reference "$config")" \
        application/vnd.oci.image.layer.v1.tar+gzip "$(reference "$layer")" | blob "$1")
    printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s",%s,"annotations":{"org.opencontainers.image.ref.name":"v1"}}]}' \
        application/vnd.oci.image.manifest.v1+json "$(reference "$manifest")" >"$1/index.json"
    printf '{"imageLayoutVersion":"1.0.0"}' >"$1/oci-layout"
}

# blob DIRECTORY: stores stdin and prints its digest and size.
blob() {
    local digest
    cat >content
    digest=$(sha256sum content | cut -d' ' -f1)
    printf 'sha256:%s %s\n' "$digest" "$(stat --format=%s content)"
    mv content "$1/blobs/sha256/$digest"
}

# reference "DIGEST SIZE": the two fields of a descriptor.
reference() {
    printf '"digest":"%s","size":%s' "${1% *}" "${1#* }"
}

# push_CLIENT IMAGE and pull_CLIENT IMAGE write the image's digest to the files pushed and pulled.
push_skopeo() {
    run skopeo --insecure-policy copy --quiet --dest-tls-verify=false --digestfile pushed oci:image:v1 "docker://$1"
}
pull_skopeo() {
    run skopeo --insecure-policy copy --quiet --src-tls-verify=false --digestfile pulled "docker://$1" oci:copy:v1
}
push_crane() {
    run crane push --insecure image "$1" | tee output
    sed -n 's/.*@\(sha256:.*\)/\1/p' output >pushed
}
pull_crane() {
    run crane pull --insecure --format oci "$1" copy && grep -o 'sha256:[0-9a-f]*' copy/index.json >pulled
}
# In a store that the script removes.
store=(--root "$work/storage" --runroot "$work/run" --storage-driver vfs)
push_podman() {
    run podman "${store[@]}" pull --quiet oci:image:v1
    run podman "${store[@]}" push --quiet --tls-verify=false --digestfile pushed "$(podman "${store[@]}" images --quiet)" "docker://$1"
    run podman "${store[@]}" rmi --all
}
pull_podman() {
    run podman "${store[@]}" pull --quiet --tls-verify=false "$1" &&
        podman "${store[@]}" image inspect --format '{{.Digest}}' "$1" >pulled
}

registry=123456789012.dkr.ecr.eu-central-1.amazonaws.com
other=210987654321.dkr.ecr.eu-central-1.amazonaws.com
image=$registry/team/app:v1

printf 'program  %s\nclient   %s\n' "$("$program" --version)" "$("$client" --version 2>/dev/null || "$client" version)"

say 'A broker with a simulated AWS. One grant: this user may have one account.'
cat >broker.toml <<END
[server]
ops_listen = "127.0.0.1:0"

[[grants]]
id         = "demo"
callers    = [{ uid = $(id -u) }]
registries = [{ accounts = ["123456789012"], regions = ["eu-central-1"] }]
END
# shellcheck disable=SC2016 # for the second terminal
printf 'export PATH=%q:$PATH\n' "$programs" >environment
sed 's/^/$ /' environment
export PATH=$programs:$PATH
set_variable ECR_BROKER_ADDRESS "unix:$work/broker.sock"
mkfifo stdout
serve=(ecr-broker serve --simulate --simulate-listen 127.0.0.1:0 --config broker.toml --listen "unix:$work/broker.sock")
printf '$ %s &\n' "${serve[*]}"
"${serve[@]}" >stdout 2>broker.log &
broker=$!
# It stays open: a broker that prints to a closed pipe would end.
exec {lines}<stdout
aws='' ops=''
while [[ -z $aws ]] && read -r -u "$lines" line; do
    printf '%s\n' "$line"
    case $line in
    *ops+http://*) ops=${line#*ops+} ;;
    *simulated-aws+http://*) aws=${line#*simulated-aws+} ;;
    esac
done
[[ -n $aws ]] || fail "the broker did not start: $(tail -n 1 broker.log)"

say 'A credential.'
run ecr-broker get "$registry"

say 'A client, which gets its credential from docker'"'"'s helper.'
set_variable DOCKER_CONFIG "$work/docker"
set_variable REGISTRY_AUTH_FILE "$work/docker/config.json"
run ecr-broker configure docker "$registry" "$other"

say 'A push and a pull. As HTTP proxy, the simulated AWS answers for the registry'"'"'s host name.'
for variable in http_proxy https_proxy; do set_variable "$variable" "$aws"; done
set_variable no_proxy 127.0.0.1
make_image image
"push_$client" "$image"
"pull_$client" "$image"
printf 'pushed   %s\npulled   %s\n' "$(<pushed)" "$(<pulled)"
[[ $(<pushed) == "$(<pulled)" ]] || fail 'another image was pulled'

say 'Without a credential the registry refuses, and for another account the broker does.'
mkdir none
echo '{}' >none/config.json
DOCKER_CONFIG=$work/none REGISTRY_AUTH_FILE=$work/none/config.json refuses "pull_$client" "$image"
refuses run ecr-broker get "$other"

say 'The state of the broker: one call to AWS served all of this.'
run ecr-broker doctor "$registry" --registry-url "$aws"
run ecr-broker status
run curl --silent --show-error --output metrics "$ops/metrics"
run grep call_duration_seconds_count metrics
printf 'status page: %s/status\n' "$ops"
printf '\nThis took %.1f s.\n' "$(awk "BEGIN { print $EPOCHREALTIME - $started }")"

if $keep; then
    say 'In a second terminal:'
    printf 'source %s/environment\necr-broker status\n' "$work"
    say 'Ctrl-C ends the broker.'
    wait "$broker"
fi
