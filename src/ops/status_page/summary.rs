//! Calls to AWS by region, and the cards of connections, limits, reloads and the audit log.

use maud::{Markup, html};

use super::text::moment;
use crate::audit::AuditStatus;
use crate::credential::SourceName;
use crate::descriptor_store::StoreStatus;
use crate::limits::Used;
use crate::source::RegionStatus;
use crate::source::shared_cache::valkey::{NodeState, NodeStatus};
use crate::status::{ReloadsStatus, Status};
use crate::time_text::short;

pub(super) fn regions(status: &Status) -> Markup {
    html! {
        section aria-labelledby="regions" {
            h2 id="regions" { "Calls to AWS" }
            @if status.regions.is_empty() {
                p.empty { "No region was called yet." }
            } @else {
                table {
                    caption.unseen { "Calls to AWS by region" }
                    thead {
                        tr {
                            th scope="col" { "Region" }
                            @for title in ["In flight", "Limit", "Queued", "Backoffs", "Retries left"] {
                                th.number scope="col" { (title) }
                            }
                            @for title in ["Interval", "Throttled"] {
                                th scope="col" { (title) }
                            }
                        }
                    }
                    tbody {
                        @for one in &status.regions { (region(one, status.backoffs(one))) }
                    }
                }
            }
        }
    }
}

fn region(one: &RegionStatus, backoffs: usize) -> Markup {
    html! {
        tr {
            th scope="row" {
                @match &one.region {
                    Some(region) => (region),
                    None => "ECR Public",
                }
                @if let SourceName::Parent(name) = &one.source { " via " (name) }
            }
            td.number data-label="In flight" { (one.in_flight) }
            td.number data-label="Limit" { (one.limit) }
            td.number data-label="Queued" { (one.queued) }
            td.number data-label="Backoffs" {
                @if backoffs > 0 { strong.low { (backoffs) } } @else { "0" }
            }
            td.number data-label="Retries left" { (one.retries_left) }
            td data-label="Interval" {
                @if one.interval.is_zero() { span.none { "none" } }
                @else { strong.low { (one.interval.as_millis()) " ms" } }
            }
            td data-label="Throttled" {
                @match one.throttled_ago {
                    Some(ago) => strong.low { (short(ago)) " ago" },
                    None => span.none { "never" },
                }
            }
        }
    }
}

pub(super) fn cards(status: &Status) -> Markup {
    let (connections, limits) = (status.connections, status.limits);
    html! {
        section aria-labelledby="broker" {
            h2 id="broker" { "Broker" }
            div.cards {
                (card("Connections", &html! {
                    (used("TCP", connections.tcp)) (used("Unix sockets", connections.unix))
                    (used("ECR API", connections.aws_api)) (used("Not authenticated", limits.unproved))
                }))
                (card("Limits", &html! {
                    (used("Requests in flight", limits.requests)) (used("Watched registries", limits.watches))
                    (used("Memory of watches, MiB", in_mib(limits.watch_bytes)))
                }))
                (card("Reloads", &reloads(status.reloads)))
                (card("Audit log", &audit(status.audit)))
                (card("Kept over a restart", &store(status.descriptor_store)))
                @if !status.shared_cache.is_empty() {
                    (card("Shared cache", &html! { @for server in &status.shared_cache { (shared_cache(server)) } }))
                }
            }
        }
    }
}

fn card(title: &str, facts: &Markup) -> Markup {
    html! {
        div.card {
            h3 { (title) }
            dl { (facts) }
        }
    }
}

fn fact(name: &str, value: &Markup) -> Markup {
    html! {
        div { dt { (name) } dd { (value) } }
    }
}

fn used(name: &str, Used { used, max }: Used) -> Markup {
    fact(name, &html! { (used) " of " (max) })
}

fn in_mib(Used { used, max }: Used) -> Used {
    Used { used: used >> 20, max: max >> 20 }
}

fn reloads(reloads: ReloadsStatus) -> Markup {
    html! {
        (fact("Succeeded", &html! { (reloads.succeeded) }))
        (fact("Failed", &html! { (reloads.failed) }))
        (fact("Last", &match reloads.last {
            Some((time, true)) => html! { (moment(time)) ", succeeded" },
            Some((time, false)) => html! { (moment(time)) ", " strong.bad { "failed" } },
            None => html! { "none since the start" },
        }))
    }
}

fn shared_cache(server: &NodeStatus) -> Markup {
    let age = short(server.for_);
    fact(
        &server.name,
        &match (server.state, server.last_fault) {
            (NodeState::Connected, _) => html! { "connected for " (age) },
            (NodeState::Connecting, _) => html! { strong.low { "connecting for " (age) } },
            (NodeState::BreakerOpen, fault) => html! {
                strong.bad { "unavailable for " (age) } @if let Some(fault) = fault { ", " (fault.as_str()) }
            },
        },
    )
}

fn audit(audit: Option<AuditStatus>) -> Markup {
    let Some(audit) = audit else { return fact("State", &html! { "off" }) };
    html! {
        (fact("State", &match (audit.is_failing, audit.is_below_reserve) {
            (true, _) if audit.releases => html! { strong.bad { "failing: released without records" } },
            (true, _) => html! { strong.bad { "failing: nothing is released" } },
            (false, true) => html! { strong.low { "below the reserve" } },
            (false, false) => html! { "ok" },
        }))
        (fact("Written", &html! { (audit.written) }))
        (fact("Failed", &html! { (audit.failed) }))
        (fact("Queued", &html! { (audit.queued) }))
        @if audit.releases {
            (fact("Buffered", &html! { (audit.buffered) }))
            (fact("Lost", &html! { (audit.lost) }))
        }
    }
}

fn store(store: Option<StoreStatus>) -> Markup {
    let Some(StoreStatus { written, failed, restored, dropped }) = store else {
        return fact("State", &html! { "off" });
    };
    html! {
        (fact("Credentials", &html! { (written.map_or(0, |written| written.credentials)) }))
        (fact("Size, KiB", &html! { (written.map_or(0, |written| written.bytes).div_ceil(1024)) }))
        (fact("Failed writes", &html! { @if failed > 0 { strong.bad { (failed) } } @else { "0" } }))
        (fact("At the start", &html! { (restored) " restored, " (dropped) " dropped" }))
    }
}
