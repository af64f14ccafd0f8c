# shellcheck shell=bash disable=SC2154 # variables of deploy/check
# The Containerfile: hadolint.

need hadolint "$pip_install"

passes 'Containerfile: hadolint' hadolint deploy/container/Containerfile
replaced deploy/container/Containerfile 'ENTRYPOINT ["/ecr-broker"]' 'ENTRYPOINT /ecr-broker' >"$work/Containerfile"
catches 'an ENTRYPOINT that needs a shell' hadolint "$work/Containerfile"
