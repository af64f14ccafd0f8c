# shellcheck shell=bash disable=SC2154 # variables of deploy/check
# The container image: hadolint, and the build with small programs in place of the real ones, whose build takes minutes.
# `deploy/container/build --run` runs an image of the real ones.

need hadolint "$pip_install"
need buildah 'apt-get install buildah'
need skopeo 'apt-get install skopeo'
need docker-registry 'apt-get install docker-registry'
need musl-gcc 'apt-get install musl-tools'

passes 'Containerfile: hadolint' hadolint deploy/container/Containerfile
replaced deploy/container/Containerfile 'ENTRYPOINT ["/ecr-broker"]' 'ENTRYPOINT /ecr-broker' >"$work/Containerfile"
catches 'an ENTRYPOINT that needs a shell' hadolint "$work/Containerfile"

# Pages build with the programs of an architecture; the build's own usage says so.
complete() { # FILE_OR_DIRECTORY...
    ! grep -rnE '^ *\$ (.*&& )?(\.\./ecr-broker/)?deploy/container/build ' "$@" | grep -vE ' (amd64|arm64)=[^ ]|\\$'
}
passes 'pages: commands that build the image name its programs' complete README.md CONTRIBUTING.md docs deploy examples
# shellcheck disable=SC2016 # the page's own text
replaced examples/README.md ' amd64=$programs' '' >"$work/page.md"
catches 'a page whose build has no programs' complete "$work/page.md"

version=$("$ECR_BROKER" --version | cut --delimiter=' ' --fields=2)
# program DIRECTORY VERSION FLAG...: both programs of an architecture, which print a version and nothing else.
program() {
    local directory=$1 text="ecr-broker $2 (commit 0123456789ab; features: none)"
    shift 2
    mkdir -p "$directory"
    printf '#include <stdio.h>\nint main(void) { puts("%s"); }\n' "$text" | musl-gcc "$@" -x c -o "$directory/ecr-broker" -
    cp "$directory/ecr-broker" "$directory/docker-credential-ecr-broker"
}
program "$work/amd64" "$version" -static
program "$work/old" 0.0.1 -static
program "$work/dynamic" "$version"
# The same for another machine: only the header says so, and it does not run here. 183: EM_AARCH64.
cp --recursive "$work/amd64" "$work/arm64"
for file in "$work/arm64"/*; do
    printf '\267' | dd of="$file" bs=1 seek=18 conv=notrunc status=none
done
[[ $(uname --machine) == x86_64 ]] || fail 'the images of this check are built on amd64'

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "127.0.0.1:%s"}\n' "$work/registry" "$port" >"$work/registry.yaml"
docker-registry serve "$work/registry.yaml" >"$work/registry.log" 2>&1 &
registry=$!
trap 'kill "$registry" 2>/dev/null || true' EXIT
until (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
    kill -0 "$registry" || fail "the registry did not start: $(<"$work/registry.log")"
    sleep 0.05
done

image=127.0.0.1:$port/broker
images() { # DIRECTORY ARGUMENT...
    deploy/container/build --output "$work/$1" "${@:2}" >"$work/log" 2>&1 || { cat "$work/log"; return 1; }
}
passes 'image: built for two architectures, scanned and pushed' images one --push "$image" --plain-http amd64="$work/amd64" arm64="$work/arm64"
passes 'image: built again' images two amd64="$work/amd64" arm64="$work/arm64"
passes 'image: equal when built again' diff --recursive "$work/one" "$work/two"
has_texts() { # ARCHIVE NOTICE
    rm -rf "$work/unpacked"
    mkdir "$work/unpacked"
    local layer
    tar --extract --file "$1" --directory "$work/unpacked"
    while read -r layer; do
        tar --extract --file "$work/unpacked/$layer" --directory "$work/unpacked" --wildcards 'licenses/*' 2>/dev/null || true
    done < <(jq -r '.[0].Layers[]' "$work/unpacked/manifest.json")
    diff LICENSE "$work/unpacked/licenses/LICENSE" && diff "$2" "$work/unpacked/licenses/NOTICE" &&
        zgrep 'aws-lc-sys' "$work/unpacked/licenses/THIRD-PARTY-LICENSES.gz" >/dev/null
}
archive=$work/one/ecr-broker-$version-linux-amd64.image.tar
passes 'image: has the licences of its crates' has_texts "$archive" NOTICE
replaced NOTICE $'\n  moka\n' $'\n' >"$work/NOTICE"
catches 'an image with another NOTICE' has_texts "$archive" "$work/NOTICE"
pushed() { # the registry has both architectures, with health command, user and labels
    local arch
    [[ $(skopeo inspect --raw --tls-verify=false "docker://$image:$version" | jq -r '[.manifests[].platform.architecture] | sort | join(" ")') == 'amd64 arm64' ]] ||
        { echo 'the manifest list names other architectures'; return 1; }
    for arch in amd64 arm64; do
        skopeo --override-arch "$arch" inspect --config --raw --tls-verify=false "docker://$image:$version" | jq -e --arg version "$version" '
            .config.Healthcheck.Test == ["CMD", "/ecr-broker", "probe"] and .config.User == "65532:65532" and
            .config.Labels["org.opencontainers.image.version"] == $version and .config.Labels["org.opencontainers.image.revision"] == "0123456789ab"' >/dev/null ||
            { echo "the configuration for $arch is another"; return 1; }
    done
}
passes 'image: a manifest list with health command, user and labels' pushed

built() { # MISTAKE TEXT ARGUMENT...: the build fails and says so
    catches "$1" images mistakes "${@:3}"
    grep --quiet --fixed-strings -- "$2" "$work/log" || fail "the build failed otherwise: $(<"$work/log")"
}
built 'a program of another version' "but Cargo.toml $version" amd64="$work/old"
built 'a program that needs a loader' 'is not static' amd64="$work/dynamic"
built 'a program for another machine' 'is not for arm64' amd64="$work/amd64" arm64="$work/amd64"

# scanned MISTAKE TEXT: an image with a mistake, which the files in $work/mistake make, is found.
scanned() {
    rm -rf "$work/store" "$work/mistake.tar"
    printf 'FROM docker-archive:%s\n%s\n' "$work/one/ecr-broker-$version-linux-amd64.image.tar" "$3" >"$work/mistake/Containerfile"
    buildah --root "$work/store" --runroot "$work/store.run" --storage-driver vfs bud --quiet --layers --isolation chroot --format docker \
        --tag mistake "$work/mistake" >/dev/null
    buildah --root "$work/store" --runroot "$work/store.run" --storage-driver vfs push --quiet mistake "docker-archive:$work/mistake.tar:mistake:1"
    catches "$1" deploy/container/scan "$work/mistake.tar"
    deploy/container/scan "$work/mistake.tar" >"$work/log" || true
    grep --quiet --fixed-strings -- "$2" "$work/log" || fail "the scan found something else: $(<"$work/log")"
}
mkdir "$work/mistake"
cp "$work/amd64/ecr-broker" "$work/mistake/plain"
openssl genpkey -algorithm ed25519 -out "$work/mistake/key" 2>/dev/null
scanned 'a setuid file in an image' '/ecr-broker: is setuid or setgid' 'COPY --chmod=4555 plain /ecr-broker'
scanned 'a shell in an image' '/bin/sh: is a shell' 'COPY plain /bin/sh'
scanned 'a file that nothing needs' '/licenses/plain: is not expected' 'COPY plain /licenses/plain'
scanned 'a key in an image' '/run/ecr-broker/key: has a secret (private key)' 'COPY key /run/ecr-broker/key'
scanned 'a secret in a layer that another one hides' '/ecr-broker: has a secret (private key)' $'COPY key /ecr-broker\nCOPY plain /ecr-broker'
scanned 'a variable with a secret in an image' 'the variable API_TOKEN' 'ENV API_TOKEN=0123456789abcdef'
scanned 'root as the user of an image' 'the user is root' 'USER 0'
kill "$registry"
wait "$registry" || true
trap - EXIT
