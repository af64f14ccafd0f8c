# shellcheck shell=bash disable=SC2154 # variables of deploy/check
# The unit, its socket, user and example configuration.

need systemd-analyze 'apt-get install systemd'
need systemd-sysusers 'apt-get install systemd'
unit=deploy/systemd/ecr-broker.service

# `verify` wants programs to exist, and the broker is not installed where this runs.
verifiable() {
    sed -E "s|^(Exec[A-Za-z]+)=/usr/bin/ecr-broker |\1=$(command -v true) |"
}
mkdir "$work/good" "$work/bad"
verifiable <"$unit" >"$work/good/ecr-broker.service"
replaced "$unit" PrivateTmp= PrivateTemp= | verifiable >"$work/bad/ecr-broker.service"
passes "$unit: systemd-analyze verify" systemd-analyze verify "$work/good/ecr-broker.service"
cp deploy/systemd/ecr-broker.socket "$work/good/"
passes 'ecr-broker.socket: systemd-analyze verify' systemd-analyze verify "$work/good/ecr-broker.socket"
replaced deploy/systemd/ecr-broker.socket SocketMode= SocketMod= >"$work/good/ecr-broker.socket"
catches 'a misspelt socket setting' systemd-analyze verify "$work/good/ecr-broker.socket"
catches 'a misspelt unit setting' systemd-analyze verify "$work/bad/ecr-broker.service"
# A restart costs callers milliseconds, and no number of them makes systemd give up.
restarts_at_once() { # SERVICE SOCKET
    grep -qx 'Restart=always' "$1" && grep -qx 'RestartSec=100ms' "$1" && grep -qx 'StartLimitIntervalSec=0' "$1" &&
        grep -qx 'TriggerLimitIntervalSec=0' "$2"
}
socket=deploy/systemd/ecr-broker.socket
passes "$unit: restarts at once and without limit" restarts_at_once "$unit" "$socket"
replaced "$unit" StartLimitIntervalSec=0 StartLimitIntervalSec=10 >"$work/bad/ecr-broker.service"
catches 'a limit of restarts' restarts_at_once "$work/bad/ecr-broker.service" "$socket"
replaced "$socket" TriggerLimitIntervalSec=0 TriggerLimitIntervalSec=2 >"$work/bad/ecr-broker.socket"
catches 'a limit of activations' restarts_at_once "$unit" "$work/bad/ecr-broker.socket"
# 20 is an exposure of 2.0 of 10.
secure() {
    systemd-analyze security --offline=true --threshold=20 "$1" >"$work/exposure" || { cat "$work/exposure"; return 1; }
}
passes "$unit: systemd-analyze security" secure "$unit"
replaced "$unit" $'CapabilityBoundingSet=\n' $'\n' >"$work/bad/ecr-broker.service"
catches 'a unit with every capability' secure "$work/bad/ecr-broker.service"
mkdir -p "$work/root/etc"
systemd-sysusers --root="$work/root" "$PWD/deploy/systemd/sysusers.d/ecr-broker.conf" 2>"$work/sysusers" ||
    fail "sysusers.d: $(<"$work/sysusers")"
for name in User Group; do
    value=$(sed -n "s/^$name=//p" "$unit")
    database=$([[ $name = User ]] && echo passwd || echo group)
    passes "sysusers.d: makes the unit's $name" grep -q "^$value:" "$work/root/etc/$database"
done

checked() {
    "$ECR_BROKER" config check --config "$1" >"$work/config" 2>&1 || { cat "$work/config"; return 1; }
}
passes 'deploy/systemd/config.toml: config check' checked deploy/systemd/config.toml
replaced deploy/systemd/config.toml drain_timeout drain_timeuot >"$work/config.toml"
catches 'a misspelt setting' checked "$work/config.toml"
