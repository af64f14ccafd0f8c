#!/bin/sh
# After the removal, for dpkg ("remove", "purge" or "upgrade") and rpm (the number of versions that stay). The audit log stays, and
# so does the user, who owns it.
set -e

# Only the directory of dpkg's purge: what the operator put into it is not the package's to delete.
[ "$1" != purge ] || rmdir --ignore-fail-on-non-empty /etc/ecr-broker 2>/dev/null || true
[ ! -d /run/systemd/system ] || systemctl daemon-reload || echo 'ecr-broker: run: systemctl daemon-reload' >&2
