#!/usr/bin/env bash
# A job that pushes images for JOB_SECONDS, with three clients at once: the docker helper, `exec` around many pushes, and `sync`.
# It writes into JOB_REPORT what each did. With an argument it pushes with one client, at least twice, until the time is over or
# a push fails.
set -euo pipefail
registry=123456789012.dkr.ecr.eu-central-1.amazonaws.com

report() {
    echo "$*" >>"$JOB_REPORT"
}

push_with() { # CLIENT
    local n=0 end=$((SECONDS + JOB_SECONDS))
    while ((n < 2 || SECONDS < end)); do
        n=$((n + 1))
        # Another repository each time: nothing of the image is there yet.
        if ! crane push "$JOB_IMAGE" "$registry/team/$1-$n:v1" >&2; then
            report failed "$1" "$SECONDS"
            return
        fi
        report pushed "$1" "$SECONDS"
        sleep "$JOB_PAUSE"
    done
}

if (($#)); then
    push_with "$1"
    exit
fi

# The test's token endpoint records the parameter.
ACTIONS_ID_TOKEN_REQUEST_URL="${ACTIONS_ID_TOKEN_REQUEST_URL-}&client=sync" \
    BUILDKITE_AGENT_ENDPOINT="${BUILDKITE_AGENT_ENDPOINT-}&client=sync" \
    ecr-broker sync "$registry" --docker-config synced &
sync=$!
# A recipe that configures docker names its directory.
if [ -z "${DOCKER_CONFIG-}" ]; then
    export DOCKER_CONFIG=$PWD/docker
    mkdir "$DOCKER_CONFIG"
    echo "{\"credHelpers\": {\"$registry\": \"ecr-broker\"}}" >"$DOCKER_CONFIG/config.json"
fi
push_with helper &
helper=$!
ecr-broker exec "$registry" -- "$0" exec &
under_exec=$!
until [ -e synced/config.json ] || ! kill -0 "$sync"; do sleep 0.1; done
DOCKER_CONFIG=synced push_with sync
wait "$helper" "$under_exec"

status=0
ecr-broker get "$registry" -o json >/dev/null || status=$?
report get ended with "$status"
kill "$sync" || true
status=0
wait "$sync" || status=$?
report sync ended with "$status"
