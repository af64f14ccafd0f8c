# shellcheck shell=bash disable=SC2154 # variables of deploy/check
# checkov: Kubernetes' objects as they are rendered, the Terraform modules, and the Containerfile. Waivers are annotations of the objects,
# or below, and have a reason.

PATH=$PATH:$tools/checkov-venv/bin
# A separate venv, because checkov pins older versions of what other tools need.
need checkov "python3 -m venv $TOOLS/checkov-venv && $TOOLS/checkov-venv/bin/pip install -r deploy/checkov.txt"
need kubectl "$pip_install"
need helm "$pip_install"
need jq 'apt-get install jq'

# CHECK OBJECT REASON
waived=(
    'CKV2_K8S_6 ecr-secrets-sync sync listens on nothing, and the address of an API server differs in each cluster'
)
kubernetes=deploy/kubernetes chart=deploy/helm/ecr-broker
read_by_checkov=$work/read
mkdir -p "$read_by_checkov/objects" "$read_by_checkov/terraform"

# objects NAME OVERLAY [COMPONENT]: the overlay, with the component.
objects() {
    local directory=$work/k/$1 root
    mkdir -p "$directory"
    root=$(realpath --relative-to "$directory" "$kubernetes")
    printf 'resources: [%s]\n' "$root/$2" >"$directory/kustomization.yaml"
    [[ -z ${3-} ]] || printf 'components: [%s]\n' "$root/components/$3" >>"$directory/kustomization.yaml"
    kubectl kustomize "$directory" >"$read_by_checkov/objects/$1.yaml" || fail "kubectl kustomize: $1"
}
for overlay in central node-local sidecar; do
    objects "$overlay" "overlays/$overlay"
done
# Valkey is a workload by itself, and a node's broker takes every component.
objects central-valkey overlays/central valkey
for component in "$kubernetes"/components/*/; do
    component=$(basename "$component")
    objects "node-local-$component" overlays/node-local "$component"
done
for sync in "$kubernetes"/secrets-sync/*/; do
    sync=$(basename "$sync")
    [[ $sync == base ]] || objects "secrets-sync-$sync" "secrets-sync/$sync"
done
for mode in central node-local; do
    helm template ecr-broker "$chart" --namespace ecr-broker --set "mode=$mode,valkey.enabled=true" \
        >"$read_by_checkov/objects/chart-$mode.yaml" 2>"$work/helm" || fail "helm template: $(<"$work/helm")"
done
cp --recursive deploy/terraform/. "$read_by_checkov/terraform"
# By this name checkov knows what it is.
cp deploy/container/Containerfile "$read_by_checkov/Dockerfile"

# found DIRECTORY: prints what fails and is not waived, and waivers without a reason. Each kind of file must have been read.
found() {
    # It fails if a check fails. What counts is what it says.
    checkov --framework kubernetes terraform dockerfile --skip-download --output json --directory "$1" >"$work/report" 2>"$work/log" || true
    jq --raw-output '
        (map({(.check_type): .summary.passed}) | add) as $passed |
        ("dockerfile", "kubernetes", "terraform" | select(($passed[.] // 0) == 0) | "\(.): nothing was read"),
        (.[].results.parsing_errors[] | "\(.): cannot be read"),
        (.[].results.failed_checks[] | "\(.check_id) \(.resource) \(.file_path): \(.check_name)"),
        (.[].results.skipped_checks[] | select(.check_result.suppress_comment | test("^(No comment provided)?$")) | "\(.check_id) \(.resource): a waiver without a reason")
    ' "$work/report" >"$work/findings" || { cat "$work/log"; return 1; }
    local waiver check object
    for waiver in "${waived[@]}"; do
        read -r check object _ <<<"$waiver"
        sed --in-place "/^$check [^ ]*$object/d" "$work/findings"
    done
    cat "$work/findings"
}
passes 'checkov: objects, modules, Containerfile' found "$read_by_checkov"
jq --raw-output '.[].results.skipped_checks[] | "waived  \(.check_id): \(.check_result.suppress_comment)"' "$work/report" | sort --unique
printf 'waived  %s\n' "${waived[@]}"

mistakes=$work/mistakes
cp --recursive "$read_by_checkov" "$mistakes"
replaced "$read_by_checkov/objects/central.yaml" 'allowPrivilegeEscalation: false' 'allowPrivilegeEscalation: true' >"$mistakes/objects/central.yaml"
replaced "$read_by_checkov/objects/chart-node-local.yaml" 'readOnlyRootFilesystem: true' 'readOnlyRootFilesystem: false' >"$mistakes/objects/chart-node-local.yaml"
replaced "$read_by_checkov/objects/secrets-sync-named.yaml" 'CKV_K8S_9=nothing calls sync, so nothing waits for its readiness' 'CKV_K8S_9=' >"$mistakes/objects/secrets-sync-named.yaml"
replaced deploy/container/Containerfile $'USER 65532:65532\n' $'\n' >"$mistakes/Dockerfile"
printf 'resource "aws_sns_topic" "planted" {\n  name = "planted"\n}\n' >"$mistakes/terraform/modules/planted.tf"
found "$mistakes" >"$work/caught"
catches_mistake() { # WHAT PATTERN
    grep --quiet --extended-regexp "$2" "$work/caught" || fail "$1 was not caught"
    printf 'ok  %s is caught\n' "$1"
}
catches_mistake 'a container that may gain privileges' '^CKV_K8S_20 .*/central\.yaml'
catches_mistake 'a writable root of the chart' '^CKV_K8S_22 .*/chart-node-local\.yaml'
catches_mistake 'a waiver without a reason' 'ecr-secrets-sync: a waiver without a reason'
catches_mistake 'an image that runs as root' '^CKV_DOCKER_(3|8) '
catches_mistake 'a topic without encryption' '^CKV_AWS_26 '
