#!/bin/sh
# Before the removal, for dpkg ("remove" or "upgrade") and rpm (the number of versions that stay).
set -e

case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac
[ -d /run/systemd/system ] || exit 0
# A package that cannot be removed helps less than a service that is left.
systemctl --no-reload disable --now ecr-broker.socket ecr-broker.service ||
    echo 'ecr-broker: the service was not stopped and disabled; see: systemctl status ecr-broker' >&2
