//! The status page: HTML without script, for light and dark screens and for phones.
//!
//! maud escapes every inserted text. [`Status`] holds no secret, so neither does the page.

use std::sync::LazyLock;

use data_encoding::BASE64;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use self::text::{fingerprint, moment};
use super::query::link;
use crate::status::{COMMIT, CheckName, PolicyMode, Status, VERSION};
use crate::time_text::short;

mod glance;
mod keys;
mod level;
mod summary;
mod text;

const STYLE: &str = include_str!("status_page/style.css");

/// What a browser may do with the page: show it in its own style, and send its form back.
pub(super) static CONTENT_SECURITY_POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = BASE64.encode(&Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
});

/// Returns the page.
pub(super) fn page(status: &Status) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title(status)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (header(status))
                main {
                    (glance::section(status))
                    (checks(status))
                    (keys::section(status))
                    (summary::regions(status))
                    (summary::cards(status))
                }
                (footer())
            }
        }
    };
    page.into_string()
}

/// Returns the title, which a browser shows in its list of tabs.
fn title(status: &Status) -> String {
    let failing = match status.keys.failing {
        0 => String::new(),
        failing => format!(", {failing} failing"),
    };
    format!("ecr-broker: {}{failing}", if status.ready { "ready" } else { "not ready" })
}

fn header(status: &Status) -> Markup {
    let (badge, word) = if status.ready { ("badge good", "Ready") } else { ("badge bad", "Not ready") };
    html! {
        header {
            div.title {
                h1 { "ecr-broker" }
                span class=(badge) { (word) }
            }
            p {
                "Version " (VERSION) ", commit " (COMMIT) " · up " (short(status.uptime)) " · "
                (mode(status.mode)) ", policy " (fingerprint(&status.policy))
                @if let Some(configuration) = &status.configuration { ", configuration " (fingerprint(configuration)) }
            }
            @if let Some(expires) = status.identity_expires {
                p { "AWS credentials of the broker until " (moment(expires)) }
            }
            p {
                "As of " (moment(status.time)) " · "
                a href=(link(&status.query.filter, status.query.order)) { "Refresh" }
            }
        }
    }
}

fn mode(mode: PolicyMode) -> &'static str {
    match mode {
        PolicyMode::Open => "open: no grants",
        PolicyMode::Enforce => "grants enforced",
        PolicyMode::Observe => "grants observed only",
    }
}

fn checks(status: &Status) -> Markup {
    html! {
        section aria-labelledby="checks" {
            h2.unseen id="checks" { "Readiness checks" }
            ul.checks {
                @for (name, passed) in status.checks {
                    li class=(if passed { "good" } else { "bad" }) {
                        span aria-hidden="true" { (if passed { "✓" } else { "✕" }) }
                        " " (check_name(name))
                        @if !passed { ": failed" }
                    }
                }
            }
        }
    }
}

fn check_name(name: CheckName) -> &'static str {
    match name {
        CheckName::Configuration => "Configuration",
        CheckName::Identity => "AWS identity",
        CheckName::Serving => "Serving",
        CheckName::Audit => "Audit log",
        CheckName::KeepWarm => "Keep-warm",
        CheckName::Running => "Running",
    }
}

fn footer() -> Markup {
    html! {
        footer {
            nav aria-label="Other pages" {
                a href="/status.json" { "JSON" }
                a href="/metrics" { "Metrics" }
                a href="/readyz?verbose" { "Readiness" }
            }
        }
    }
}

#[cfg(test)]
mod tests;
