#!/bin/sh
# After the installation and each upgrade, for dpkg ("configure", the version before) and rpm (the number of installed versions).
set -e

# Callers join the group; without systemd the administrator makes the user.
if command -v systemd-sysusers >/dev/null; then
    systemd-sysusers ecr-broker.conf
fi
# The unit of install.sh runs its own program, so upgrades of the package would have no effect.
[ ! -e /etc/systemd/system/ecr-broker.service ] ||
    echo 'ecr-broker: /etc/systemd/system/ecr-broker.service hides the unit of the package; run: install.sh --uninstall &&' \
        'systemctl enable --now ecr-broker' >&2
[ -d /run/systemd/system ] || exit 0
# What systemd refuses is not a reason to leave the package, and what depends on it, unconfigured.
systemctl daemon-reload || echo 'ecr-broker: run: systemctl daemon-reload' >&2

case "$1" in
configure) before=$2 ;;
*) [ "$1" -gt 1 ] && before=$1 || before='' ;;
esac
# A running broker becomes the new one: calls in flight finish first, and its cached credentials stay.
[ -z "$before" ] || systemctl try-restart ecr-broker.service ||
    echo 'ecr-broker: the service does not start after the upgrade; see: journalctl -u ecr-broker' >&2
