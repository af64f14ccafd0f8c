#!/usr/bin/env python3
"""Holds alerts and dashboard to what the broker exposes and to the pages.

verify.py expressions DASHBOARD: prints the dashboard's expressions as rules, for promtool to parse.
verify.py names RULES DASHBOARD METRICS SCRAPE: every metric, label and label value exists in a scrape; every metric is on the page.
Every histogram ends with +Inf, without which its quantiles are NaN.
verify.py pages RULES RUNBOOK METRICS TEST...: every alert has a section in the runbook, is named by its metrics' rows, and fires in a
test. Every section and every name in a row has an alert.
"""

import json
import re
import sys

import yaml

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\[[^\]]*\]|[a-zA-Z_:][\w:]*|\d[\w.]*|=~|!~|!=|==|[^\s]')
NAME = re.compile(r"[a-zA-Z_:][\w:]*$")
SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
WORDS = {"and", "or", "unless", "offset", "bool"}
LISTS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
# Prometheus adds these to every series.
ADDED = {"job", "instance"}
# Where every runbook_url leads until an operator replaces it by the sed of docs/operations.md.
BASE = "https://git.example/ecr-broker"
# A code is in a scrape only after a call ended with it.
CODES = {"OK", "UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN", "RESOURCE_EXHAUSTED"}


class Metrics:
    """The labels of each metric, and the values of each label."""

    def __init__(self):
        self.labels, self.values = {"up": set(ADDED), "ALERTS": set(ADDED)}, {"rpc_response_status_code": set(CODES)}
        self.endless = set()

    def add(self, name, pairs):
        if pairs.get("le") == "+Inf":
            self.endless.add(name)
        self.labels.setdefault(name, set(ADDED)).update(pairs)
        for label, value in pairs.items():
            self.values.setdefault(label, set()).add(value)

    def has_value(self, operator, label, value):
        """Whether a matcher can match. The classes of a refresh are those of a call's result, which is exposed once it occurred."""
        known = self.values.get(label, set()) | (self.values.get("class", set()) if label == "result" else set())
        if "$" in value or operator in ("!=", "!~"):
            return True
        if operator == "=":
            return value in known
        alternatives = value.split("|") if re.fullmatch(r"[\w|]+", value) else [value]
        return all(any(re.fullmatch(one, it) for it in known) for one in alternatives)


def selectors(expression):
    """Returns [(metric, [(label, operator, value)])], and the labels in lists such as by (…)."""
    tokens, found, listed, at = TOKEN.findall(expression), [], set(), 0
    while at < len(tokens):
        token, after = tokens[at], tokens[at + 1] if at + 1 < len(tokens) else ""
        at += 1
        if token in LISTS:
            end = tokens.index(")", at)
            listed.update(one for one in tokens[at:end] if NAME.match(one))
            at = end
        elif NAME.match(token) and token not in WORDS and after not in ("(", "by", "without"):
            matchers = []
            if after == "{":
                end = tokens.index("}", at)
                inside = [one for one in tokens[at + 1 : end] if one != ","]
                matchers = [(inside[i], inside[i + 1], inside[i + 2].strip('"')) for i in range(0, len(inside), 3)]
                at = end
            found.append((token, matchers))
    return found, listed


def rules(path):
    with open(path, encoding="utf-8") as file:
        return [rule for group in yaml.safe_load(file)["groups"] for rule in group["rules"]]


def dashboard(path):
    """Returns (panel, expression) of every query, with Grafana's variables replaced."""
    with open(path, encoding="utf-8") as file:
        board = json.load(file)
    queries = [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel.get("targets", [])]
    variables = [(it["name"], re.sub(r"label_values\((.*), \w+\)", r"\1", it["query"])) for it in board["templating"]["list"]]
    queries += [(f"variable {name}", query) for name, query in variables if name != "datasource"]
    return [(title, expr.replace("$__rate_interval", "5m")) for title, expr in queries]


def scraped(path):
    metrics = Metrics()
    with open(path, encoding="utf-8") as file:
        for line in file:
            if sample := SAMPLE.match(line.strip()):
                metrics.add(sample[1], dict(LABEL.findall(sample[2] or "")))
    return metrics


def names(rules_path, dashboard_path, page_path, scrape_path):
    known, listed = scraped(scrape_path), set(rows(page_path))
    for metric in known.labels:
        if metric.endswith("_bucket") and metric not in known.endless:
            yield f"{metric} has no bucket +Inf in the scrape"
    recorded = [rule for rule in rules(rules_path) if "record" in rule]
    for rule in recorded:
        known.add(rule["record"], {**{"slo": "", "job": ""}, **rule.get("labels", {})})
    places = [(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules(rules_path)] + dashboard(dashboard_path)
    for place, expression in places:
        found, lists = selectors(expression)
        for metric, matchers in found:
            if metric not in known.labels:
                yield f"{place}: {metric} is not in the scrape"
                continue
            if ":" not in metric and metric != "up" and not {metric, base(metric)} & listed:
                yield f"{place}: {metric} is not in {page_path}"
            for label, operator, value in matchers:
                if label not in known.labels[metric]:
                    yield f"{place}: {metric} has no label {label}"
                elif not known.has_value(operator, label, value):
                    yield f"{place}: no {label} of {metric} matches {value}"
        for label in lists:
            if not any(label in known.labels.get(metric, ()) for metric, _ in found):
                yield f"{place}: no metric has the label {label}"


def rows(path):
    """Returns the row of each metric on the page."""
    with open(path, encoding="utf-8") as file:
        return dict(re.findall(r"^\| `(\w+)` (.*)$", file.read(), re.MULTILINE))


def base(metric):
    return re.sub(r"_(bucket|count|sum)$", "", metric)


def pages(rules_path, runbook_path, page_path, *test_paths):
    with open(runbook_path, encoding="utf-8") as file:
        runbook = file.read()
    headings = re.findall(r"^### (\w+)$", runbook, re.MULTILINE)
    for metric in re.findall(r"`((?:ecr_broker|rpc|process|tokio)_\w+)", runbook):
        if not {metric, base(metric)} & set(rows(page_path)):
            yield f"{runbook_path}: {metric} is not in {page_path}"
    fired = set()
    for path in test_paths:
        with open(path, encoding="utf-8") as file:
            tests = yaml.safe_load(file)["tests"]
        samples = [s for test in tests for it in test.get("promql_expr_test", []) for s in it["exp_samples"]]
        fired.update(name for sample in samples for name in re.findall(r'alertname="(\w+)"', sample["labels"]))
    alerts = {rule["alert"]: rule for rule in rules(rules_path) if "alert" in rule}
    for name, rule in alerts.items():
        if rule["labels"].get("severity") not in ("page", "ticket"):
            yield f"{name}: the severity is neither page nor ticket"
        if missing := {"summary", "description", "runbook_url"} - set(rule["annotations"]):
            yield f"{name}: without {missing}"
        if rule["annotations"].get("runbook_url") != f"{BASE}/docs/runbook.md#{name.lower()}":
            yield f"{name}: its runbook_url does not lead to its section"
        if name not in headings:
            yield f"{name}: no section in {runbook_path}"
        if name not in fired:
            yield f"{name}: fires in no test"
        for metric in {metric for metric, _ in selectors(rule["expr"])[0]} - {"up"}:
            if ":" not in metric and f"`{name}`" not in rows(page_path).get(base(metric), rows(page_path).get(metric, "")):
                yield f"{page_path}: the row of {metric} does not name {name}"
    named = re.findall(r"`(EcrBroker\w+)`", " ".join(rows(page_path).values()))
    for name in {*headings, *named} - set(alerts):
        yield f"{name} is not an alert"


def main():
    command, *paths = sys.argv[1:]
    if command == "expressions":
        queries = [expr.replace("$job", ".*").replace("$instance", ".*") for _, expr in dashboard(*paths)]
        listed = [{"record": f"dashboard:{number}", "expr": expr} for number, expr in enumerate(queries)]
        print(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": listed}]}))
        return
    problems = list({"names": names, "pages": pages}[command](*paths))
    print(*problems, sep="\n", end="\n" if problems else "")
    sys.exit(bool(problems))


main()
