#!/usr/bin/env bash
# dockerd, its BuildKit and containerd pull and push by the helper, from a registry under a name of ECR.
#
# usage: unshare --mount --net tests/clients/engines.sh PROGRAM HELPER DIRECTORY
set -euo pipefail
program=$1 helper=$2 place=$3
registry=123456789012.dkr.ecr.eu-central-1.amazonaws.com
recipes=$(dirname "$0")/../../examples/ci

started=()
stop() {
    # The last one first: dockerd's containers end before the registry.
    for ((n = ${#started[@]} - 1; n >= 0; n--)); do
        kill "${started[n]}" || true
        wait "${started[n]}" || true
    done
}
trap stop EXIT
start() { # NAME COMMAND…
    "${@:2}" >"$place/$1.log" 2>&1 &
    started+=($!)
}
# ready NAME COMMAND…: waits until it succeeds.
ready() {
    local end=$((SECONDS + 60))
    until "${@:2}" >"$place/ready.log" 2>&1; do
        ((SECONDS < end)) || { cat "$place/$1.log" "$place/ready.log"; exit 1; }
        sleep 0.1
    done
}
# refused COMMAND…: it fails for want of credentials.
refused() {
    if "$@" >"$place/refused.log" 2>&1 || ! grep -Ei '401|no basic auth|authorization' "$place/refused.log"; then
        cat "$place/refused.log"
        exit 1
    fi
}

ip link set lo up
printf '127.0.0.1 localhost %s\n' "$registry" >"$place/hosts"
mount --bind "$place/hosts" /etc/hosts
mkdir "$place"/{bin,home,image,docker}
ln -s "$program" "$place/bin/ecr-broker"
ln -s "$helper" "$place/bin/docker-credential-ecr-broker"
# Debian's docker, whose BuildKit needs no plugin.
export PATH=$place/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH HOME=$place/home XDG_RUNTIME_DIR=$place/home
export DOCKER_CONFIG=$place/docker DOCKER_HOST=unix://$place/docker.sock CONTAINERD_ADDRESS=$place/containerd.sock
export ECR_BROKER_ADDRESS=unix:$place/broker.sock

start broker ecr-broker serve --simulate --listen "unix:$place/broker.sock"
ecr-broker probe --ready --wait 30s
password=$(ecr-broker get -o password "$registry")
# As many bytes as bcrypt compares.
htpasswd -Bbn AWS "${password:0:72}" | head -n 1 >"$place/htpasswd"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=registry" \
    -addext "subjectAltName=DNS:$registry" -keyout "$place/registry.key" -out "$place/registry.crt" 2>"$place/openssl.log"
export SSL_CERT_FILE=$place/registry.crt
cat >"$place/registry.yml" <<END
version: 0.1
storage: { filesystem: { rootdirectory: $place/data } }
http: { addr: '127.0.0.1:443', tls: { certificate: $place/registry.crt, key: $place/registry.key } }
auth: { htpasswd: { realm: test, path: $place/htpasswd } }
END
start registry docker-registry serve "$place/registry.yml"
ready registry curl --silent "https://$registry/v2/" --cacert "$SSL_CERT_FILE"

echo hello >"$place/image/hello"
tar -C "$place/image" -cf "$place/layer.tar" hello
ecr-broker exec "$registry" -- crane append --new_layer "$place/layer.tar" --new_tag "$registry/team/base:v1" 2>"$place/crane.log"

start dockerd dockerd --data-root "$place/engine" --exec-root "$place/exec" --pidfile "$place/dockerd.pid" --host "$DOCKER_HOST" \
    --iptables=false --bridge=none --storage-driver=vfs
ready dockerd docker version
printf 'FROM %s/team/base:v1\nCOPY hello /another\n' "$registry" >"$place/image/Dockerfile"
export DOCKER_BUILDKIT=1
refused docker build --tag "$registry/team/app:v1" "$place/image"
ecr-broker configure docker "$registry"
docker build --tag "$registry/team/app:v1" "$place/image"
docker push "$registry/team/app:v1"
docker image rm "$registry/team/app:v1"
docker pull "$registry/team/app:v1"
docker version --format 'docker {{.Client.Version}} built, pushed and pulled with dockerd {{.Server.Version}}'

cat >"$place/containerd.toml" <<END
version = 2
root = "$place/containerd"
state = "$place/containerd.state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "$CONTAINERD_ADDRESS"
END
start containerd containerd --config "$place/containerd.toml"
ready containerd ctr version
refused ctr image pull --snapshotter native "$registry/team/app:v1"
"$recipes/containerd/ctr-pull.sh" "$registry/team/app:v1" --snapshotter native
ctr image list --quiet | grep -Fx "$registry/team/app:v1"
[[ ! $(find "$XDG_RUNTIME_DIR" -name hosts.toml) ]] || { echo "ctr-pull.sh left its directory"; exit 1; }
echo "$(ctr --version) pulled"
