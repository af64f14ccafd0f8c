//! `audit live`: valid credentials and their holders.

use serde_json::{Value, json};

use super::found::{Found, time};
use crate::audit::live::{Holding, Releases};
use crate::cli::table::{Align, table};
use crate::quoted::Visible;
use crate::terminal::{Format, print_line};
use crate::time_text::{rfc3339_millis, short};

const HEADINGS: [(&str, Align); 7] = [
    ("VALID UNTIL", Align::Left),
    ("LEFT", Align::Right),
    ("CALLER", Align::Left),
    ("REGISTRY", Align::Left),
    ("PROFILE", Align::Left),
    ("RELEASES", Align::Right),
    ("CREDENTIAL ID", Align::Left),
];

pub(super) fn print(found: &Found, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => print_line(as_json(found)),
        Format::Text => [vec![found.extent(), found.summary()], rows(found)].concat().iter().try_for_each(print_line),
    }
}

fn rows(found: &Found) -> Vec<String> {
    if found.held.is_empty() {
        return Vec::new();
    }
    let row = |(holding, releases): (&Holding, &Releases)| {
        let left = releases.expires.duration_since(found.at).unwrap_or_default();
        let bound = if releases.is_latest { " at most" } else { "" };
        [
            time(releases.expires) + bound,
            short(left),
            Visible(&holding.caller).to_string(),
            Visible(&holding.registry).to_string(),
            Visible(&releases.profile).to_string(),
            releases.count.to_string(),
            Visible(&holding.credential_id).to_string(),
        ]
    };
    [vec![String::new()], table(HEADINGS, &found.held.iter().map(row).collect::<Vec<_>>())].concat()
}

fn as_json(found: &Found) -> Value {
    let (from, to) = &found.read.times;
    json!({
        "records": found.read.records, "damaged": found.read.damaged, "from": from, "to": to, "at": rfc3339_millis(found.at),
        "credentials": found.held.iter().map(credential).collect::<Vec<_>>(),
    })
}

fn credential((holding, releases): (&Holding, &Releases)) -> Value {
    let Holding { caller, registry, credential_id } = holding;
    let Releases { is_latest, count, profile, role_session, source, minted_by, .. } = releases;
    json!({
        "caller": caller, "registry": registry, "credential_id": credential_id,
        "expires": rfc3339_millis(releases.expires), "expires_is_latest": is_latest,
        "releases": count, "first_release": rfc3339_millis(releases.first), "last_release": rfc3339_millis(releases.last),
        "profile": profile, "role_session": role_session, "source": source, "minted_by": minted_by,
    })
}
