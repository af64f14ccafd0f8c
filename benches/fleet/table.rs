//! The result as one Markdown table.

use crate::model::{Calls, Farm, Outcome, Scope, Shape};

const COLUMNS: [&str; 12] = [
    "shape",
    "`token_scope`",
    "ECR calls",
    "peak ECR/s",
    "peak Public/s",
    "peak STS/s",
    "throttled",
    "first credential p50, p99",
    "all p99",
    "later ECR/s, STS/s",
    "memory: nodes, central",
    "Valkey/s: peak, later",
];

/// Returns the head of the table, with the quotas that the peaks count against.
pub(crate) fn heading(farm: &Farm) -> String {
    let quotas = [(3, farm.quotas.ecr), (4, farm.quotas.public), (5, farm.quotas.sts)];
    let name = |(index, name): (usize, &&str)| {
        let quota = quotas.iter().find(|(column, _)| *column == index);
        quota.map_or_else(|| (*name).to_owned(), |(_, quota)| format!("{name} of {quota}"))
    };
    let names: Vec<_> = COLUMNS.iter().enumerate().map(name).collect();
    format!("{}\n|{}", line(&names), "---|".repeat(COLUMNS.len()))
}

pub(crate) fn row(farm: &Farm, shape: Shape, scope: Scope, outcome: &Outcome) -> String {
    let throttled = outcome.ecr.throttled + outcome.public.throttled + outcome.sts.throttled;
    let valkey = outcome.tier.as_ref().map_or_else(|| "none".to_owned(), |ops| format!("{}, {}", ops.peak, rate(ops)));
    line(&[
        shape.name(farm.parents),
        scope.name().to_owned(),
        outcome.ecr.joining.to_string(),
        outcome.ecr.peak.to_string(),
        outcome.public.peak.to_string(),
        outcome.sts.peak.to_string(),
        throttled.to_string(),
        format!("{}, {}", time(outcome.first.median), time(outcome.first.p99)),
        time(outcome.all.p99),
        format!("{}, {}", rate(&outcome.ecr), rate(&outcome.sts)),
        format!("{}, {}", size(outcome.memory.nodes), size(outcome.memory.central)),
        valkey,
    ])
}

fn line(cells: &[String]) -> String {
    format!("| {} |", cells.join(" | "))
}

fn rate(calls: &Calls) -> String {
    format!("{:.2}", calls.later_per_second)
}

fn time(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

fn size(bytes: f64) -> String {
    if bytes < 1e9 { format!("{:.0} MB", bytes / 1e6) } else { format!("{:.1} GB", bytes / 1e9) }
}
