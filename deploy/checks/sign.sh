# shellcheck shell=bash disable=SC2154 # variables of deploy/check
# Signing a release with a key: the signature is a Sigstore bundle, and cosign verifies it without a network.

# It takes three minutes to build, and only a release needs it.
if ! command -v cosign >/dev/null; then
    printf 'SKIPPED  cosign is not in PATH: no signature was made and verified; install it with: deploy/release/tools cosign\n'
    return 0
fi
export COSIGN_PASSWORD=secret COSIGN_KEY=$work/cosign.key
(cd "$work" && cosign generate-key-pair >generated 2>&1) || fail "cosign: $(<"$work/generated")"
printf '{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}\n' >"$work/root.json"
mkdir "$work/release"
printf 'the checksums of a release\n' >"$work/release/SHA256SUMS"

verified() { # DIRECTORY: as `sign --help` says
    cosign verify-blob --new-bundle-format --bundle "$1/SHA256SUMS.sigstore.json" --key "$work/cosign.pub" --insecure-ignore-tlog \
        --trusted-root "$work/root.json" "$1/SHA256SUMS" >"$work/verified" 2>&1 || { cat "$work/verified"; return 1; }
}
signed() { # SCRIPT
    "$1" "$work/release" >"$work/signed" 2>&1 || { cat "$work/signed"; return 1; }
    grep -q '"mediaType": *"application/vnd.dev.sigstore.bundle' "$work/release/SHA256SUMS.sigstore.json" || { echo 'not a Sigstore bundle'; return 1; }
    verified "$work/release"
}
passes 'sign: a Sigstore bundle, which cosign verifies' signed deploy/release/sign
cp --recursive "$work/release" "$work/changed"
printf 'another line\n' >>"$work/changed/SHA256SUMS"
catches 'a changed file' verified "$work/changed"
# shellcheck disable=SC2016 # the script's own text
replaced deploy/release/sign ' --new-bundle-format --bundle "$1' ' --bundle "$1' >"$work/sign"
chmod +x "$work/sign"
catches "cosign's older format" signed "$work/sign"
