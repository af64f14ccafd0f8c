# shellcheck shell=bash disable=SC2154 # variables of deploy/check
# Alerts, routes and dashboard, also against a scrape of a broker.

need promtool 'apt-get install prometheus'
need amtool 'apt-get install prometheus-alertmanager'
for python in python3 "$TOOLS/venv/bin/python3" ''; do
    [[ -n $python ]] || fail "grafana-foundation-sdk is missing; install it with: $pip_install"
    if "$python" -c 'import grafana_foundation_sdk, yaml' 2>/dev/null; then break; fi
done

observability=deploy/observability
# Both tools speak when they succeed, too.
promtool_quietly() {
    promtool "$@" >"$work/promtool" 2>&1 || { cat "$work/promtool"; return 1; }
}
amtool_quietly() {
    amtool "$@" >"$work/amtool" 2>&1 || { cat "$work/amtool"; return 1; }
}
passes 'alerts.yaml: promtool check rules' promtool_quietly check rules --lint-fatal "$observability/alerts.yaml"
passes 'prometheus.yaml: promtool check config' promtool_quietly check config "$observability/prometheus.yaml"
passes 'alertmanager.yaml: amtool check-config' amtool_quietly check-config "$observability/alertmanager.yaml"
passes 'alerts.yaml: promtool test rules' promtool_quietly test rules "$observability"/alerts*_test.yaml
mkdir "$work/rules"
cp "$observability"/alerts*_test.yaml "$work/rules"
replaced "$observability/alerts.yaml" 'rate5m[1h]' 'rate5m[1x]' >"$work/rules/alerts.yaml"
catches 'a broken expression' promtool_quietly check rules "$work/rules/alerts.yaml"
replaced "$observability/alerts.yaml" '{kind="client_crl"} - time() < 86400' '{kind="client_crl"} - time() < 8640' >"$work/rules/alerts.yaml"
catches 'a wrong threshold' promtool_quietly test rules "$work/rules/alerts_files_test.yaml"
replaced "$observability/prometheus.yaml" rule_files rules_files >"$work/prometheus.yaml"
catches 'a misspelt key of Prometheus' promtool_quietly check config "$work/prometheus.yaml"
replaced "$observability/alertmanager.yaml" 'receiver: pages' 'receiver: pagers' >"$work/alertmanager.yaml"
catches 'a route without a receiver' amtool_quietly check-config "$work/alertmanager.yaml"

generates() { # SCRIPT: it prints the committed dashboard
    "$python" "$1" | diff "$observability/dashboard.json" -
}
passes 'dashboard.json: as dashboard.py makes it' generates "$observability/dashboard.py"
replaced "$observability/dashboard.py" '.unit(unit)' '.units(unit)' >"$work/dashboard.py"
catches 'a field that Grafana does not have' generates "$work/dashboard.py"
expressions() { # DASHBOARD: promtool parses them
    "$python" "$observability/verify.py" expressions "$1" >"$work/expressions" && promtool_quietly check rules "$work/expressions"
}
passes 'dashboard.json: expressions' expressions "$observability/dashboard.json"
replaced "$observability/dashboard.json" 'sum by (class) (' 'sum by class (' >"$work/dashboard.json"
catches 'a broken expression of the dashboard' expressions "$work/dashboard.json"

"$python" "$observability/scrape.py" "$ECR_BROKER" >"$work/scrape" || fail 'no scrape of a broker'
names() { # RULES DASHBOARD [SCRAPE]
    "$python" "$observability/verify.py" names "$1" "$2" docs/metrics.md "${3-$work/scrape}"
}
passes 'alerts and dashboard: names of a real scrape and of docs/metrics.md' names "$observability"/{alerts.yaml,dashboard.json}
replaced "$observability/alerts.yaml" ecr_broker_jwks_age_seconds ecr_broker_jwks_age >"$work/alerts.yaml"
catches 'a misspelt metric' names "$work/alerts.yaml" "$observability/dashboard.json"
replaced "$observability/alerts.yaml" 'result="throttled"' 'result="throtled"' >"$work/alerts.yaml"
catches 'a misspelt value of a label' names "$work/alerts.yaml" "$observability/dashboard.json"
replaced "$observability/dashboard.json" 'sum by (outcome)' 'sum by (outcom)' >"$work/dashboard.json"
catches 'a misspelt label' names "$observability/alerts.yaml" "$work/dashboard.json"
grep -v +Inf "$work/scrape" >"$work/finite"
catches 'a histogram without an end' names "$observability"/{alerts.yaml,dashboard.json} "$work/finite"

# The sed of the page, with a host.
placeholder=$(sed -n "s#^\$ \(sed -i 's|.*|' alerts.yaml\)\$#\1#p" docs/operations.md)
replaces_placeholder() { # RULES
    cp "$1" "$work/rules/alerts.yaml" && (cd "$work/rules" && eval "${placeholder/YOUR-HOST/git.corp.invalid}") &&
        [[ $(grep -c 'runbook_url: https://git.corp.invalid/PATH/docs/runbook.md#' "$work/rules/alerts.yaml") -ge 20 ]] &&
        ! grep -q git.example "$work/rules/alerts.yaml" && promtool_quietly check rules "$work/rules/alerts.yaml"
}
passes 'alerts.yaml: the sed of docs/operations.md replaces every placeholder' replaces_placeholder "$observability/alerts.yaml"
replaced "$observability/alerts.yaml" 'git.example/ecr-broker/docs/runbook.md#ecrbrokerdown' 'git.example/docs/runbook.md#ecrbrokerdown' >"$work/alerts.yaml"
catches 'an address that it leaves' replaces_placeholder "$work/alerts.yaml"

pages() { # RULES
    "$python" "$observability/verify.py" pages "$1" docs/runbook.md docs/metrics.md "$observability"/alerts*_test.yaml
}
passes 'alerts.yaml: docs/runbook.md, docs/metrics.md and tests name every alert' pages "$observability/alerts.yaml"
replaced "$observability/alerts.yaml" 'alert: EcrBrokerDown' 'alert: EcrBrokerGone' >"$work/alerts.yaml"
catches 'an alert without a section' pages "$work/alerts.yaml"
