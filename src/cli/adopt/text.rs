//! Text and JSON of the report.

use serde_json::{Value, json};

use crate::adoption::{Failing, Latency, Summary, canary_from};
use crate::cli::table::{self, Align, Column};
use crate::quoted::Visible;

/// Failing requests that the text shows. JSON has all.
const MAX_ROWS: usize = 100;

/// Returns the lines of the report. `is_own`: it is that of this host.
pub(super) fn lines(summary: &mut Summary, is_own: bool) -> Vec<String> {
    let latencies = summary.latencies();
    let Summary { shadow, canary, not_asked, succeeded, failed, failed_alike, damaged, .. } = summary;
    let mut lines = vec![match &summary.times {
        Some((first, last)) => {
            format!(
                "requests       {shadow} in shadow mode, {canary} as a canary, {} to {}",
                Visible(first),
                Visible(last)
            )
        }
        None => "requests       none; set mode and fallback in client.toml, then pull".to_owned(),
    }];
    lines.push(format!("would succeed  {succeeded}{}", share(*succeeded, *succeeded + *failed)));
    lines.push(format!("would fail     {failed}, {failed_alike} of them at the fallback, too"));
    if *not_asked > 0 {
        lines.push(format!("not asked      {not_asked}, because eight questions were open"));
    }
    if *damaged > 0 {
        lines.push(format!("not read       {damaged} lines that are not records"));
    }
    for (name, latency) in ["broker", "fallback", "broker adds"].into_iter().zip(latencies) {
        let text = latency.map_or_else(|| "-".to_owned(), |Latency { p50, p99 }| format!("p50 {p50} ms, p99 {p99} ms"));
        lines.push(format!("{name:13}  {text}"));
    }
    if is_own {
        lines.push(format!("this host      canary from canary_percent = {} on", canary_from()));
    }
    lines.extend(failing(summary));
    lines
}

fn share(part: u64, whole: u64) -> String {
    let Some(tenths) = (part * 1_000).checked_div(whole) else { return String::new() };
    format!(" of {whole} ({}.{} %)", tenths / 10, tenths % 10)
}

/// Returns the table of failing requests, the most frequent first.
fn failing(summary: &Summary) -> Vec<String> {
    let mut rows: Vec<_> = summary.failing.iter().collect();
    rows.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    if rows.is_empty() {
        return Vec::new();
    }
    let hidden = rows.len().saturating_sub(MAX_ROWS);
    rows.truncate(MAX_ROWS);
    let column = |title, align, cell: &dyn Fn(&Failing, u64) -> String| {
        Column::new(title, align, rows.iter().map(|(failing, count)| cell(failing, **count)))
    };
    let columns = [
        column("COUNT", Align::Right, &|_, count| count.to_string()),
        column("REASON", Align::Left, &|failing, _| Visible(&failing.reason).to_string()),
        column("CALLER", Align::Left, &|failing, _| Visible(caller(failing)).to_string()),
        column("REGISTRY", Align::Left, &|failing, _| Visible(&failing.registry).to_string()),
        column("PROFILE", Align::Left, &|failing, _| Visible(&failing.profile).to_string()),
        column("NEEDS", Align::Left, &|failing, _| needs(&failing.reason).to_owned()),
    ];
    let mut lines = [vec![String::new()], table::lines(&columns)].concat();
    if hidden > 0 {
        lines.push(format!("… and {hidden} more; -o json prints all"));
    }
    lines
}

fn caller(failing: &Failing) -> &str {
    failing.caller.as_deref().unwrap_or("-")
}

/// Returns what a request needs to succeed at the broker.
fn needs(reason: &str) -> &'static str {
    match reason {
        "CALLER_NOT_ALLOWED" => "a grant for the caller and registry",
        "PARENT_DENIED" => "a grant at the parent",
        "CALLER_UNAUTHENTICATED" => "a proof of identity",
        "PROFILE_UNKNOWN" => "a profile of this name",
        "AWS_ACCESS_DENIED" => "AWS permissions of the broker",
        "NO_BROKER" | "TIMEOUT" => "a broker that answers: ecr-broker doctor",
        _ => "see docs/troubleshooting.md",
    }
}

/// Returns the report as an object.
pub(super) fn json(summary: &mut Summary, is_own: bool) -> Value {
    let latency =
        |latency: Option<Latency>| latency.map(|Latency { p50, p99 }| json!({ "p50_ms": p50, "p99_ms": p99 }));
    let [broker, fallback, added] = summary.latencies().map(latency);
    let failing = |(failing, count): (&Failing, &u64)| {
        let Failing { reason, caller, registry, profile } = failing;
        json!({
            "count": count, "reason": reason, "caller": caller, "registry": registry, "profile": profile,
            "needs": needs(reason),
        })
    };
    json!({
        "from": summary.times.as_ref().map(|(first, _)| first), "to": summary.times.as_ref().map(|(_, last)| last),
        "shadow": summary.shadow, "canary": summary.canary, "not_asked": summary.not_asked,
        "would_succeed": summary.succeeded, "would_fail": summary.failed, "failed_alike": summary.failed_alike,
        "damaged": summary.damaged, "broker": broker, "fallback": fallback, "added": added,
        "canary_from": is_own.then(canary_from),
        "failing": summary.failing.iter().map(failing).collect::<Vec<_>>(),
    })
}
