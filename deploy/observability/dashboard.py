#!/usr/bin/env python3
"""Prints dashboard.json, a dashboard for Grafana 10.1 or later: deploy/observability/dashboard.py >deploy/observability/dashboard.json

Grafana's own library builds it, so that every field is one that Grafana knows. deploy/check compares its output with the file.
"""

import json

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
GET = 'rpc_method="ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials"'
# What every query selects by. Recording rules keep the job only.
OURS = 'job=~"$job", instance=~"$instance"'
HEIGHT = 8


def query(expr, legend, ref="A"):
    return prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(ref).datasource(SOURCE)


def graph(title, description, unit, *queries, span=8):
    """A graph of (expression, legend) pairs."""
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True)
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .fill_opacity(10)
        .span(span)
        .height(HEIGHT)
        .legend(legend)
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    for ref, (expr, name) in zip("ABCDEF", queries):
        panel.with_target(query(expr, name, ref))
    return panel


def figure(title, description, unit, expr, steps, span=4):
    """The present value, coloured from green on by (bound, colour) steps."""
    bounds = [Threshold(color="green", value=None)] + [Threshold(color=color, value=value) for value, color in steps]
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .span(span)
        .height(HEIGHT // 2)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(bounds))
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .with_target(query(expr, ""))
    )


def slo_row(board):
    board.with_row(dashboard.Row("Service level objectives"))
    board.with_panel(
        figure("Brokers", "Brokers that answer their scrapes.", "short", f"count(ecr_broker_build_info{{{OURS}}})", [])
    )
    board.with_panel(
        figure(
            "Runway",
            "Time until the first cached credential expires. Credentials that callers use have more than 10 hours.",
            "s",
            f"min(ecr_broker_credential_expiry_timestamp_seconds{{{OURS}}}) - time()",
            [],
        )
    )
    for slo, title, text in [
        ("availability", "Budget: availability", "99.95 % of calls do not fail"),
        ("latency_25ms", "Budget: 25 ms", "99 % of calls take less than 25 ms"),
        ("latency_2s", "Budget: 2 s", "99.9 % of calls take less than 2 s"),
    ]:
        board.with_panel(
            figure(
                title,
                f"Burn rate of the last 3 days; 1 uses the error budget exactly up. {text}.",
                "short",
                f'max(job:ecr_broker_slo:burn3d{{job=~"$job", slo="{slo}"}})',
                [(1, "orange"), (3, "red")],
            )
        )
    board.with_panel(
        figure("Failed refreshes, 1 h", "By any cause. Cached credentials still work.", "short",
               f"sum(increase(ecr_broker_refresh_failures_total{{{OURS}}}[1h]))", [(1, "orange")])
    )
    for window, factor in [("1h", 14.4), ("6h", 6)]:
        board.with_panel(
            graph(
                f"Burn rate, {window}",
                f"Share of bad calls, as a multiple of what the objective allows. Above {factor} it pages.",
                "short",
                (f'job:ecr_broker_slo:burn{window}{{job=~"$job"}}', "{{job}} {{slo}}"),
                ("vector(%s)" % factor, "pages"),
                span=12,
            )
        )


def call_row(board):
    board.with_row(dashboard.Row("Calls"))
    calls = "rpc_server_call_duration_seconds"
    board.with_panel(
        graph("Calls by status", "Calls per second of every method.", "reqps",
              (f"sum by (rpc_response_status_code) (rate({calls}_count{{{OURS}}}[$__rate_interval]))", "{{rpc_response_status_code}}"))
    )
    board.with_panel(
        graph("Calls by method", "Streams count when they end.", "reqps",
              (f"sum by (rpc_method) (rate({calls}_count{{{OURS}}}[$__rate_interval]))", "{{rpc_method}}"))
    )
    quantiles = [
        (f"histogram_quantile({q}, sum by (le) (rate({calls}_bucket{{{OURS}, {GET}}}[$__rate_interval])))", f"p{name}")
        for q, name in [(0.5, "50"), (0.99, "99"), (0.999, "99.9")]
    ]
    board.with_panel(
        graph("Duration of GetRegistryCredentials", "Cold registries wait for AWS; hits do not.", "s", *quantiles)
    )
    board.with_panel(
        graph("In flight", "Streams included.", "short",
              (f"sum by (instance) (ecr_broker_rpcs_in_flight{{{OURS}}})", "{{instance}} calls"),
              (f"sum by (instance) (ecr_broker_watches{{{OURS}}})", "{{instance}} watched registries"), span=12)
    )
    board.with_panel(
        graph("Connections", "Unproved: the peer has shown no valid certificate or token.", "short",
              (f"sum by (listener, state) (ecr_broker_connections{{{OURS}}})", "{{listener}} {{state}}"), span=12)
    )


def cache_row(board):
    board.with_row(dashboard.Row("Cache and coalescing"))
    outcomes = "ecr_broker_credentials_total"
    board.with_panel(
        graph("Requests by outcome", "Coalesced requests share another one's AWS call. Stale: AWS failed the refresh.", "reqps",
              (f"sum by (outcome) (rate({outcomes}{{{OURS}}}[$__rate_interval]))", "{{outcome}}"))
    )
    board.with_panel(
        graph("Requests served without an AWS call", "Share of hits, stale ones and coalesced ones.", "percentunit",
              (f'sum(rate({outcomes}{{{OURS}, outcome=~"hit|stale|coalesced"}}[$__rate_interval]))'
               f' / sum(rate({outcomes}{{{OURS}, outcome!="denied"}}[$__rate_interval]))', "share"))
    )
    board.with_panel(
        graph("Cached credentials", "By region.", "short",
              (f"sum by (region) (ecr_broker_cache_entries{{{OURS}}})", "{{region}}"))
    )
    board.with_panel(
        graph("Evictions", "Capacity: raise cache.capacity. Revoked: AWS denied the refresh.", "short",
              (f"sum by (cause) (increase(ecr_broker_cache_evictions_total{{{OURS}}}[$__rate_interval]))", "{{cause}}"), span=12)
    )
    remaining = "ecr_broker_credential_remaining_seconds_bucket"
    board.with_panel(
        graph("Validity at release", "Quantiles of the time that a released credential had left. It is never below 5 minutes.", "s",
              *[(f"histogram_quantile({q}, sum by (le) (rate({remaining}{{{OURS}}}[$__rate_interval])))", name)
                for q, name in [(0.01, "lowest 1 %"), (0.5, "median")]], span=12)
    )


def runway_row(board):
    board.with_row(dashboard.Row("Runway"))
    expiry = f"ecr_broker_credential_expiry_timestamp_seconds{{{OURS}}}"
    board.with_panel(
        graph("Time until the first expiry", "Below 3 hours with failing refreshes it pages.", "s",
              (f"min by (region) ({expiry}) - time()", "{{region}}"), ("vector(3 * 3600)", "pages"), span=12)
    )
    board.with_panel(
        table.Panel()
        .title("First expiry")
        .description("By region; with metrics.per_key also by account and profile.")
        .datasource(SOURCE)
        .unit("s")
        .span(12)
        .height(HEIGHT)
        .show_header(True)
        .with_target(
            query(f"sort(min by (region, account_id, profile) ({expiry}) - time())", "").instant().format(PromQueryFormat.TABLE)
        )
        .with_transformation(
            DataTransformerConfig(
                id_val="organize",
                options={"excludeByName": {"Time": True}, "renameByName": {"Value": "remaining", "account_id": "account"}},
            )
        )
        .override_by_name("remaining", [DynamicConfigValue(id_val="unit", value="s")])
    )


def upstream_row(board):
    board.with_row(dashboard.Row("AWS"))
    calls = "ecr_broker_upstream_call_duration_seconds"
    board.with_panel(
        graph("Calls by result", "Each attempt. ECR allows 500 GetAuthorizationToken per second, account and region.", "reqps",
              (f"sum by (service, result) (rate({calls}_count{{{OURS}}}[$__rate_interval]))", "{{service}} {{result}}"))
    )
    board.with_panel(
        graph("Duration, p99", "Without the time in the queue.", "s",
              (f"histogram_quantile(0.99, sum by (le, service) (rate({calls}_bucket{{{OURS}}}[$__rate_interval])))", "{{service}}"))
    )
    board.with_panel(
        graph("Failed refreshes", "By class.", "short",
              (f"sum by (class) (increase(ecr_broker_refresh_failures_total{{{OURS}}}[$__rate_interval]))", "{{class}}"))
    )
    board.with_panel(
        graph("In flight and limit", "Throttling halves the limit.", "short",
              (f"sum by (region) (ecr_broker_upstream_in_flight{{{OURS}}})", "{{region}} in flight"),
              (f"sum by (region) (ecr_broker_upstream_limit{{{OURS}}})", "{{region}} limit"))
    )
    board.with_panel(
        graph("Queue", "Fetches that wait for a call.", "short",
              (f"sum by (region) (ecr_broker_upstream_queued{{{OURS}}})", "{{region}}"))
    )
    board.with_panel(
        graph("Pacing and retry budget", "The pause between two calls after throttling, and the retries that are left.", "short",
              (f"max by (region) (ecr_broker_upstream_interval_seconds{{{OURS}}})", "{{region}} pause, s"),
              (f"min by (region) (ecr_broker_upstream_retry_budget{{{OURS}}})", "{{region}} retries"))
    )


def policy_row(board):
    board.with_row(dashboard.Row("Audit, limits, denials"))
    board.with_panel(
        graph("Audit records", "Failed: nothing was released. Dropped: denials were only counted.", "short",
              (f"sum by (result) (rate(ecr_broker_audit_records_total{{{OURS}}}[$__rate_interval]))", "{{result}}"))
    )
    board.with_panel(
        graph("Limits reached", "Requests and connections that a limit refused or ended.", "short",
              (f"sum by (limit) (increase(ecr_broker_limit_hits_total{{{OURS}}}[$__rate_interval])) > 0", "{{limit}}"))
    )
    board.with_panel(
        graph("Denials", "By reason. Observed: allowed, because policy.mode is observe.", "short",
              (f"sum by (reason) (increase(ecr_broker_denials_total{{{OURS}}}[$__rate_interval])) > 0", "{{reason}}"))
    )


def process_row(board):
    board.with_row(dashboard.Row("Process and exporter"))
    board.with_panel(
        graph("CPU", "", "short",
              (f"rate(process_cpu_seconds_total{{{OURS}}}[$__rate_interval])", "{{instance}}"),
              (f"rate(tokio_workers_busy_seconds_total{{{OURS}}}[$__rate_interval])", "{{instance}} async workers"))
    )
    board.with_panel(
        graph("Memory", "Resident.", "bytes", (f"process_resident_memory_bytes{{{OURS}}}", "{{instance}}"))
    )
    board.with_panel(
        graph("File descriptors in use", "Share of the limit.", "percentunit",
              (f"process_open_fds{{{OURS}}} / process_max_fds{{{OURS}}}", "{{instance}}"))
    )
    board.with_panel(
        graph("Tasks", "Queued: no worker is free.", "short",
              (f"tokio_alive_tasks{{{OURS}}}", "{{instance}} alive"),
              (f"tokio_global_queue_depth{{{OURS}}}", "{{instance}} queued"))
    )
    board.with_panel(
        graph("Telemetry lost", "Builds are not affected.", "short",
              (f"sum by (signal) (increase(ecr_broker_otlp_dropped_total{{{OURS}}}[$__rate_interval]))", "OTLP {{signal}}"),
              (f"sum(increase(ecr_broker_log_lines_dropped_total{{{OURS}}}[$__rate_interval]))", "log lines"))
    )
    board.with_panel(
        graph("Time until files and keys expire", "Certificates, revocation lists, the broker's AWS identity.", "s",
              (f"min by (kind) (ecr_broker_certificate_expiry_timestamp_seconds{{{OURS}}}) - time()", "{{kind}}"),
              (f"min(ecr_broker_aws_identity_expiry_timestamp_seconds{{{OURS}}}) - time()", "AWS identity"))
    )
    board.with_panel(
        graph("Age of issuer keys", "Fetched every 10 minutes, valid for a day.", "s",
              (f"max by (issuer) (ecr_broker_jwks_age_seconds{{{OURS}}})", "{{issuer}}"))
    )
    board.with_panel(
        graph("Reloads", "Failed: the last valid files stay active.", "short",
              (f"sum by (result) (increase(ecr_broker_reloads_total{{{OURS}}}[$__rate_interval]))", "{{result}}"),
              (f"sum(1 - ecr_broker_config_last_reload_successful{{{OURS}}})", "brokers with a broken file"))
    )
    board.with_panel(
        graph("Versions and configurations", "Brokers by version and by hash of the configuration.", "short",
              (f"count by (version) (ecr_broker_build_info{{{OURS}}})", "version {{version}}"),
              (f"count by (hash) (ecr_broker_config_info{{{OURS}}})", "configuration {{hash}}"))
    )


def variable(name, label, expr):
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(expr)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
    )


def build():
    board = (
        dashboard.Dashboard("ecr-broker")
        .uid("ecr-broker")
        .description("How long credentials last, which regions and callers suffer, and what to do: docs/runbook.md.")
        .tags(["ecr-broker"])
        .time("now-6h", "now")
        .refresh("1m")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(variable("job", "Job", "label_values(ecr_broker_build_info, job)"))
        .with_variable(variable("instance", "Instance", 'label_values(ecr_broker_build_info{job=~"$job"}, instance)'))
    )
    for row in [slo_row, call_row, cache_row, runway_row, upstream_row, policy_row, process_row]:
        row(board)
    built = board.build()
    for number, panel in enumerate(built.panels, 1):
        panel.id_val = number
    return built


print(json.dumps(build(), cls=JSONEncoder, indent=1, sort_keys=True))
