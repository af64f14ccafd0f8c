//! The table of keys, as wide as a terminal if need be.

use std::time::{Duration, SystemTime};

use super::text::{duration, region_name, via};
use crate::cli::table::{Align, Column, lines, width};
use crate::pb::{CachedCredential, KeyStatus};
use crate::quoted::Visible;
use crate::time_text::short;

/// Cells of the bar of what is left of a credential.
const BAR: usize = 10;
/// Title of its column.
const BAR_TITLE: &str = "";
/// Columns that a narrow terminal does not show, the least important first.
const DISPENSABLE: [&str; 5] = ["COALESCED", BAR_TITLE, "HITS", "REFRESH IN", "PROFILE"];

/// Returns the table of keys. Beyond `max_width`, registries are shortened, then columns left out.
pub(super) fn keys(keys: &[KeyStatus], max_width: Option<usize>) -> Vec<String> {
    if keys.is_empty() {
        return vec!["no keys".to_owned()];
    }
    let is_too_wide = |columns: &[Column]| max_width.is_some_and(|max_width| width(columns) > max_width);
    let mut columns = columns(keys, registry);
    if is_too_wide(&columns) {
        columns = self::columns(keys, short_registry);
    }
    for title in DISPENSABLE {
        if is_too_wide(&columns) {
            columns.retain(|column| column.title != title);
        }
    }
    lines(&columns)
}

fn columns(keys: &[KeyStatus], registry: fn(&KeyStatus) -> String) -> Vec<Column> {
    let column = |title, align, cell: &dyn Fn(&KeyStatus) -> String| Column::new(title, align, keys.iter().map(cell));
    let of_cached = |title, text: fn(&CachedCredential) -> String| {
        column(title, Align::Right, &|key| key.cached.as_ref().map_or_else(|| "-".to_owned(), text))
    };
    vec![
        column("REGISTRY", Align::Left, &|key| {
            registry(key) + if key.of_one_caller { " (one caller)" } else { "" } + &via(&key.source)
        }),
        column("PROFILE", Align::Left, &|key| Visible(&key.profile).to_string()),
        column(BAR_TITLE, Align::Left, &|key| bar(key.cached.as_ref())),
        of_cached("LEFT", |cached| short(duration(cached.remaining))),
        of_cached("REFRESH IN", |cached| short(duration(cached.refresh_in))),
        of_cached("HITS", |cached| cached.hits.to_string()),
        of_cached("COALESCED", |cached| cached.coalesced.to_string()),
        column("LAST ERROR", Align::Left, &error),
    ]
}

fn registry(key: &KeyStatus) -> String {
    if key.registry.is_empty() {
        return format!("own account, {}", region_name(&key.region));
    }
    Visible(&key.registry).to_string()
}

/// Returns the account and the region, which together tell a private registry.
fn short_registry(key: &KeyStatus) -> String {
    if key.account_id.is_empty() || key.region.is_empty() {
        return registry(key);
    }
    format!("{} {}", Visible(&key.account_id), region_name(&key.region))
}

fn error(key: &KeyStatus) -> String {
    let stale = key.cached.as_ref().is_some_and(|cached| cached.stale).then_some("stale");
    let failure = key
        .failure
        .as_ref()
        .map(|failure| format!("{} {} ago", Visible(&failure.reason), short(duration(failure.age))));
    let parts: Vec<_> = stale.map(str::to_owned).into_iter().chain(failure).collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}

/// Returns a bar of the part of the credential's lifetime that is left.
pub(super) fn bar(cached: Option<&CachedCredential>) -> String {
    let filled = cached.map_or(0, |cached| {
        let (remaining, lifetime) = (duration(cached.remaining).as_secs(), lifetime(cached).as_secs().max(1));
        usize::try_from(remaining.saturating_mul(10).div_ceil(lifetime)).unwrap_or(BAR).min(BAR)
    });
    format!("[{}{}]", "#".repeat(filled), "-".repeat(BAR - filled))
}

fn lifetime(cached: &CachedCredential) -> Duration {
    let time = |time: Option<prost_types::Timestamp>| SystemTime::try_from(time?).ok();
    let lifetime = time(cached.expire_time).zip(time(cached.issue_time));
    lifetime.and_then(|(expires, issued)| expires.duration_since(issued).ok()).unwrap_or_default()
}
