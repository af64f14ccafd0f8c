#!/bin/sh
# Before the removal, for dpkg ("remove" or "upgrade") and rpm (the number of versions that stay).
set -e

case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac
[ -d /run/systemd/system ] || exit 0
systemctl --no-reload disable --now ecr-broker.socket ecr-broker.service
