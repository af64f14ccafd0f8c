#!/bin/sh
# Installs a release archive of ecr-broker, or removes what it installed. POSIX sh, because build hosts differ.
set -eu
# The broker's user and other users read what root installs, also where root's files are private.
umask 022

usage() {
    cat <<'END'
usage: install.sh --from URL_OR_DIRECTORY [--version VERSION] [--checksum SHA256] [--prefix DIRECTORY]
                  [--helper-only] [--without-service]
       install.sh --uninstall [--prefix DIRECTORY]
  --from URL_OR_DIRECTORY  the release: its archives beside SHA256SUMS
  --version VERSION        such as 0.2.0 (default: the only one that SHA256SUMS names)
  --checksum SHA256        of SHA256SUMS itself, as sha256sum prints it: a release that is not this one is refused
  --prefix DIRECTORY       default: /usr/local; the systemd unit is installed with it only as root, and not below /home and /root
  --helper-only            docker's credential helper alone, for hosts without a broker
  --without-service        no systemd unit, also as root: for hosts that only run clients
  --uninstall              remove the programs, pages and units; the configuration, what you edited and the user stay
The archive must have the checksum of SHA256SUMS. Fetch that file from where you trust it, or name its checksum.
END
}

fail() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

from='' version='' checksum='' prefix=/usr/local helper_only=false service=true uninstall=false
while [ $# -gt 0 ]; do
    case $1 in
    --from | --version | --checksum | --prefix)
        [ $# -ge 2 ] || { usage >&2; exit 2; }
        case $1 in
        --from) from=$2 ;;
        --version) version=$2 ;;
        --prefix) prefix=$2 ;;
        --checksum)
            # Also the whole line that sha256sum prints. An empty variable would switch the check off.
            checksum=${2%% *}
            printf '%s\n' "$checksum" | grep -Eqx '[0-9a-fA-F]{64}' ||
                fail "--checksum: '$checksum' is not a SHA-256; pass what \`sha256sum SHA256SUMS\` prints"
            ;;
        esac
        shift 2
        ;;
    --helper-only) helper_only=true; shift ;;
    --without-service) service=false; shift ;;
    --uninstall) uninstall=true; shift ;;
    -h | --help) usage; exit ;;
    *) usage >&2; exit 2 ;;
    esac
done
case $prefix in /*) ;; *) fail "--prefix: $prefix is not an absolute path" ;; esac
prefix=${prefix%/}
record=$prefix/share/ecr-broker
manifest=$record/installed
unit=/etc/systemd/system/ecr-broker.service
rotation=/etc/logrotate.d/ecr-broker

with_systemd() {
    [ "$(id -u)" = 0 ] && [ -d /run/systemd/system ]
}

# has FILE: the installation below the prefix has it.
has() {
    [ -r "$manifest" ] && grep -Fqx "$1" "$manifest"
}

# packaged: prints the unit of a package, if there is one.
packaged() {
    for file in /usr/lib/systemd/system/ecr-broker.service /lib/systemd/system/ecr-broker.service; do
        [ ! -e "$file" ] || { echo "$file"; return; }
    done
    return 1
}

# unedited: the operator did not change the settings of logrotate. The record has what was installed.
unedited() {
    cmp -s "$rotation" "$record/logrotate"
}

if $uninstall; then
    [ -r "$manifest" ] || fail "$manifest is missing: install.sh installed nothing below $prefix"
    if with_systemd && has "$unit"; then
        systemctl --no-reload disable --now ecr-broker.socket ecr-broker.service 2>/dev/null || true
    fi
    if has "$record/logrotate" && unedited && ! packaged >/dev/null; then
        rm -f "$rotation"
    fi
    while read -r file; do
        rm -f "$file" "$file.new"
    done <"$manifest"
    directories=$(LC_ALL=C sort -ru "$record/directories" 2>/dev/null) || true
    rm -f "$manifest" "$manifest.new" "$record/directories" "$record/directories.new"
    # Those that the installation made, the deepest first; others have put files into some.
    printf '%s\n' "$directories" "$record" | while read -r directory; do
        rmdir "$directory" 2>/dev/null || true
    done
    ! with_systemd || systemctl daemon-reload
    echo "removed; /etc/ecr-broker and the user ecr-broker stay"
    exit
fi

[ -n "$from" ] || { usage >&2; exit 2; }
case $(uname -s) in Linux) system=linux ;; Darwin) system=macos ;; *) fail "no release for $(uname -s)" ;; esac
case $(uname -m) in
x86_64 | amd64) arch=amd64 ;;
aarch64 | arm64) arch=arm64 ;;
*) fail "no release for $(uname -m)" ;;
esac
[ $system = linux ] || helper_only=true
with_service=false
if $service && ! $helper_only && with_systemd; then
    with_service=true
    # Units of /etc replace those of a package, so its upgrades would have no effect.
    ! owned=$(packaged) || fail "$owned: a package owns the service; remove the package, or add --without-service"
    starts=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$unit" 2>/dev/null) || true
    case $starts in
    '' | "$prefix/bin/ecr-broker") ;;
    *) fail "$unit: it starts $starts; uninstall that installation first, or add --without-service" ;;
    esac
    case $prefix/ in
    /home/* | /root/* | /run/user/*) fail "--prefix: $prefix: the unit hides it (ProtectHome=); choose another, or add --without-service" ;;
    esac
fi
# A narrower installation would take files from under a running broker.
if has "$unit" && ! $with_service; then
    fail "$manifest: this installation has the service; run install.sh --uninstall first"
fi
if has "$prefix/bin/ecr-broker" && $helper_only; then
    fail "$manifest: this installation has both programs; run install.sh --uninstall first"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# fetch NAME: gets a file of the release. Only TLS, or a directory or loopback that the user names.
fetch() {
    case $from in
    https://*) curl --fail --silent --show-error --location --proto '=https' --output "$work/$1" "$from/$1" ;;
    http://127.0.0.1:* | http://localhost:*) curl --fail --silent --show-error --output "$work/$1" "$from/$1" ;;
    *://*) fail "--from: $from is neither https nor a directory" ;;
    *) cp "$from/$1" "$work/$1" ;;
    esac || fail "cannot fetch $1 from $from"
}

if command -v sha256sum >/dev/null; then sum=sha256sum; else sum='shasum -a 256'; fi
fetch SHA256SUMS
[ -z "$checksum" ] || (cd "$work" && echo "$checksum  SHA256SUMS" | $sum -c - >/dev/null 2>&1) ||
    fail "SHA256SUMS of $from is not the one of --checksum; fetch it again, and do not use it"
name=ecr-broker
! $helper_only || name=docker-credential-ecr-broker
archives=$(sed -n "s/^[0-9a-f]\{64\}  \($name-${version:-[0-9][^ ]*}-$system-$arch\.tar\.gz\)\$/\1/p" "$work/SHA256SUMS")
case $archives in
'') fail "SHA256SUMS names no $name-${version:-VERSION}-$system-$arch.tar.gz" ;;
*"
"*) fail "SHA256SUMS names several versions; choose one with --version" ;;
esac
fetch "$archives"
(cd "$work" && grep "  $archives\$" SHA256SUMS | $sum -c - >/dev/null) ||
    fail "$archives does not have the checksum of SHA256SUMS; fetch it again, and do not use it"
mkdir "$work/content"
tar -xzf "$work/$archives" -C "$work/content"

content=$work/content
(cd "$content" && find share -type f 2>/dev/null) >"$work/share" || true
if $with_service; then
    for name in ecr-broker.service ecr-broker.socket; do
        sed "s|/usr/bin/ecr-broker|$prefix/bin/ecr-broker|g" "$content/systemd/$name" >"$work/$name"
    done
fi

# each ACTION: calls ACTION MODE FILE TARGET for each file of the installation.
each() {
    for program in "$content"/bin/*; do
        "$1" 0755 "$program" "$prefix/bin/$(basename "$program")"
    done
    while read -r file; do
        "$1" 0644 "$content/$file" "$prefix/$file"
    done <"$work/share"
    $with_service || return 0
    "$1" 0644 "$work/ecr-broker.service" "$unit"
    "$1" 0644 "$work/ecr-broker.socket" /etc/systemd/system/ecr-broker.socket
    "$1" 0644 "$content/systemd/sysusers.d/ecr-broker.conf" /etc/sysusers.d/ecr-broker.conf
    "$1" 0644 "$content/host/logrotate.d/ecr-broker" "$record/logrotate"
}

# note MODE FILE TARGET: lists the file, and the directories that are missing on its way.
note() {
    printf '%s\n' "$3" >>"$work/installed"
    note_directories "$3"
}

# note_directories FILE: lists those that are missing on its way.
note_directories() {
    directory=$(dirname "$1")
    while [ ! -d "$directory" ]; do
        printf '%s\n' "$directory" >>"$work/directories"
        directory=$(dirname "$directory")
    done
}

# put MODE FILE TARGET: installs a file under another name first, so that a running program is replaced at once.
put() {
    mkdir -p "$(dirname "$3")"
    install -m "$1" "$2" "$3.new"
    mv -f "$3.new" "$3"
}

# Before the first file, with those of the last installation: --uninstall removes what an aborted run has put, too.
each note
note_directories "$manifest"
for list in installed directories; do
    cat "$record/$list" "$work/$list" 2>/dev/null | sort -u >"$work/union"
    put 0644 "$work/union" "$record/$list"
done
if [ ! -e "$rotation" ] || unedited; then rotate=true; else rotate=false; fi
each put
# Files of the last installation that this one no longer has.
grep -Fvx -f "$work/installed" "$manifest" >"$work/stale" || true
while read -r file; do
    rm -f "$file"
done <"$work/stale"
put 0644 "$work/installed" "$manifest"

if $with_service; then
    # The operator's: neither is replaced once it is edited.
    [ -e /etc/ecr-broker/config.toml ] || put 0644 "$content/systemd/config.toml" /etc/ecr-broker/config.toml
    ! $rotate || put 0644 "$content/host/logrotate.d/ecr-broker" "$rotation"
    systemd-sysusers ecr-broker.conf || fail "systemd-sysusers: it made no user ecr-broker; mend that, and run install.sh again"
    systemctl daemon-reload
fi
echo "installed $archives below $prefix"
$with_service || exit 0
systemctl try-restart ecr-broker.service ||
    fail "ecr-broker.service: the new broker does not start; see: journalctl -u ecr-broker"
echo 'next: edit /etc/ecr-broker/config.toml, then: systemctl enable --now ecr-broker'
