# shellcheck shell=bash disable=SC2154 # variables of deploy/check
# The examples: the demo's script, and its composition with the files that its containers read.

need check-jsonschema "$pip_install"
need hadolint "$pip_install"
need promtool 'apt-get install prometheus'

passes 'examples: shellcheck' shellcheck examples/*.sh
# shellcheck disable=SC2016 # the script's own text
replaced examples/demo.sh '"$line"' '$line' >"$work/demo.sh"
catches 'an unquoted variable of the demo' shellcheck "$work/demo.sh"

pinned() { # REQUIREMENTS PACKAGE_JSON: what CI runs the clients with
    local package
    while read -r package; do
        grep --quiet --line-regexp --fixed-strings "$package" .ci/requirements.txt || { echo "$1 has $package, CI another"; return 1; }
    done < <(grep -v '^#' "$1")
    while read -r package; do
        grep --quiet --fixed-strings " $package " .ci/tools || { echo "$2 has $package, CI another"; return 1; }
    done < <(jq -r '.dependencies | to_entries[] | "\(.key)@\(.value)"' "$2")
}
passes 'examples: versions of CI' pinned examples/python/requirements.txt examples/node/package.json
replaced examples/python/requirements.txt grpcio== grpcio==0. >"$work/requirements.txt"
catches 'another version of a package for Python' pinned "$work/requirements.txt" examples/node/package.json
replaced examples/node/package.json '"1.' '"0.' >"$work/package.json"
catches 'another version of a package for Node.js' pinned examples/python/requirements.txt "$work/package.json"

compose=examples/compose
# quietly COMMAND…: what it says counts only when it fails.
quietly() {
    "$@" >"$work/said" 2>&1 || { cat "$work/said"; return 1; }
}
composition() {
    quietly check-jsonschema --builtin-schema vendor.compose-spec "$1"
}
passes 'compose.yaml: schema' composition "$compose/compose.yaml"
replaced "$compose/compose.yaml" start_period start_perod >"$work/compose.yaml"
catches 'a misspelt key of the composition' composition "$work/compose.yaml"
passes 'compose: hadolint' hadolint "$compose/Containerfile"
# shellcheck disable=SC2016 # the file's own text
replaced "$compose/Containerfile" '${BROKER_IMAGE}' ecr-broker >"$work/Containerfile.demo"
catches 'an image without a version' hadolint "$work/Containerfile.demo"

# healthy COMPOSITION: the health command of the broker's image asks a broker, so other services of the image state theirs.
healthy() {
    "$python" - "$1" <<'END'
import sys, yaml
for name, service in yaml.safe_load(open(sys.argv[1]))['services'].items():
    if service['image'] == 'ecr-broker-demo' and service.get('command', ['serve'])[0] != 'serve' and 'healthcheck' not in service:
        print(f'{name} has the health command of a broker')
END
}

# mounted COMPOSITION: each file that a container mounts is there.
mounted() {
    local file
    while read -r file; do
        [[ -e $compose/$file ]] || echo "$file is missing"
    done < <(sed -n 's/^ *- \(\.[^:]*\):.*/\1/p' "$1")
}
passes 'compose.yaml: mounted files' mounted "$compose/compose.yaml"
replaced "$compose/compose.yaml" observability/dashboard.json observability/board.json >"$work/compose.yaml"
catches 'a mounted file that is missing' mounted "$work/compose.yaml"

passes 'compose: config check' quietly "$ECR_BROKER" config check --config "$compose/broker.toml"
replaced "$compose/broker.toml" 'loopback = true }]' 'loopback = yes }]' >"$work/broker.toml"
catches 'a grant that the broker cannot read' quietly "$ECR_BROKER" config check --config "$work/broker.toml"

mkdir "$work/prometheus"
cp "$compose/prometheus.yaml" deploy/observability/alerts.yaml "$work/prometheus"
passes 'compose: promtool check config' quietly promtool check config "$work/prometheus/prometheus.yaml"
replaced "$compose/prometheus.yaml" scrape_interval scrape_intervall >"$work/prometheus/prometheus.yaml"
catches 'a misspelt key of its Prometheus' quietly promtool check config "$work/prometheus/prometheus.yaml"

# provisioned COMPOSITION: Grafana reads its files at their places, and its sources are where the other containers listen.
provisioned() {
    "$python" - "$1" "$compose" <<'END'
import pathlib, sys, yaml
composition, directory = yaml.safe_load(open(sys.argv[1])), pathlib.Path(sys.argv[2])
services = composition['services']
targets = [volume.split(':')[1] for volume in services['grafana']['volumes']]
sources = yaml.safe_load((directory / 'grafana/datasources/datasources.yaml').read_text())['datasources']
provider, = yaml.safe_load((directory / 'grafana/dashboards/dashboards.yaml').read_text())['providers']
home = services['grafana']['environment']['GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH']
wanted = ['/etc/grafana/provisioning/datasources', '/etc/grafana/provisioning/dashboards', home]
missing = [target for target in wanted if target not in targets]
if missing or not home.startswith(provider['options']['path'] + '/'):
    print('Grafana does not find', missing or home)
if f"--web.listen-address={sources[0]['url'].removeprefix('http://')}" not in services['prometheus']['command']:
    print('Prometheus does not listen at', sources[0]['url'])
END
}
for python in python3 "$TOOLS/venv/bin/python3" ''; do
    [[ -n $python ]] || fail "PyYAML is missing; install it with: $pip_install"
    if "$python" -c 'import yaml' 2>/dev/null; then break; fi
done
passes 'compose: Grafana is provisioned' provisioned "$compose/compose.yaml"
replaced "$compose/compose.yaml" :9090 :9091 >"$work/compose.yaml"
catches 'a source of Grafana that does not listen' provisioned "$work/compose.yaml"
passes 'compose: health commands' healthy "$compose/compose.yaml"
replaced "$compose/compose.yaml" 'healthcheck: { disable: true }' 'restart: "no"' >"$work/compose.yaml"
catches 'a simulated AWS that is asked as a broker' healthy "$work/compose.yaml"
