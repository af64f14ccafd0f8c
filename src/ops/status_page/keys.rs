//! The table of keys, and the form that sorts and filters it.

use maud::{Markup, html};

use super::level::Level;
use super::text::minute;
use crate::cache::{CachedTimes, KeyFailure, KeyFilter, KeyOrder, KeyQuery, KeyStatus, KeysStatus};
use crate::credential::SourceName;
use crate::ops::query::{ORDERS, link, page_link};
use crate::status::{Status, next_page_token};
use crate::time_text::short;

pub(super) fn section(status: &Status) -> Markup {
    let KeysStatus { keys, matching, cached, failing, .. } = &status.keys;
    html! {
        section aria-labelledby="keys" {
            h2 id="keys" { "Credentials" }
            (form(&status.query))
            @if keys.is_empty() {
                p.empty { "No key " @if *cached + *failing > 0 { "meets the conditions." } @else { "is cached yet." } }
            } @else {
                (table(keys, &status.query))
                (pages(&status.query, keys.len(), *matching))
            }
        }
    }
}

fn form(query: &KeyQuery) -> Markup {
    let KeyFilter { account, region, profile, failing } = &query.filter;
    let account = account.map(|account| account.to_string()).unwrap_or_default();
    let region = region.as_ref().map(ToString::to_string).unwrap_or_default();
    let profile = profile.as_ref().map(ToString::to_string).unwrap_or_default();
    html! {
        form method="get" action="/status" {
            label {
                "Sort by"
                select name="order" {
                    @for (name, order, title) in ORDERS {
                        option value=(name) selected[order == query.order] { (title) }
                    }
                }
            }
            (field("Account", "account", &account, 12))
            (field("Region", "region", &region, 32))
            (field("Profile", "profile", &profile, 32))
            label.check {
                input type="checkbox" name="failing" value="1" checked[*failing];
                "Failing only"
            }
            div.buttons {
                button type="submit" { "Apply" }
                a href="/status" { "Clear" }
            }
        }
    }
}

fn field(title: &str, name: &str, value: &str, max: u32) -> Markup {
    html! {
        label {
            (title)
            input type="text" name=(name) value=(value) maxlength=(max) placeholder="any" autocomplete="off";
        }
    }
}

fn table(keys: &[KeyStatus], query: &KeyQuery) -> Markup {
    html! {
        table {
            caption.unseen { "Cached credentials and failing fetches" }
            thead {
                tr {
                    @for title in ["Registry", "Profile", "Left", "Refresh in", "Expires (UTC)"] {
                        th scope="col" { (title) }
                    }
                    th.number scope="col" { "Hits" }
                    th scope="col" { "Last error" }
                }
            }
            tbody {
                @for key in keys { (row(key, &query.filter)) }
            }
        }
    }
}

fn row(key: &KeyStatus, filter: &KeyFilter) -> Markup {
    let cached = key.cached.as_ref();
    html! {
        tr {
            th scope="row" { (registry(key, filter)) }
            td data-label="Profile" { (profile(key, filter)) }
            td.left data-label="Left" { (left(cached)) }
            td data-label="Refresh in" { (of(cached, |cached| html! { (short(cached.refresh_in)) })) }
            td.time data-label="Expires (UTC)" {
                (of(cached, |cached| html! { (minute(cached.expires)) span.where { "issued " (minute(cached.issued)) } }))
            }
            td.number data-label="Hits" {
                (of(cached, |cached| html! { (cached.hits) span.where { (cached.coalesced) " coalesced" } }))
            }
            td data-label="Last error" { (error(key)) }
        }
    }
}

/// Returns the host, with links to the keys of its account and region.
fn registry(key: &KeyStatus, filter: &KeyFilter) -> Markup {
    let host = key.host();
    let of_account = KeyFilter { account: key.account, ..filter.clone() };
    let of_region = KeyFilter { region: key.registry.region().cloned(), ..filter.clone() };
    html! {
        span.host {
            // A long host breaks after its dots, and not after the hyphens of its region.
            @for label in (if host.is_empty() { "own account" } else { &host }).split_inclusive('.') {
                span { (label) }
                wbr;
            }
        }
        span.where {
            @if let Some(account) = key.account {
                a href=(link(&of_account, KeyOrder::default())) { (account) }
                " "
            }
            @match key.registry.region() {
                Some(region) => a href=(link(&of_region, KeyOrder::default())) { (region) },
                None => "ECR Public",
            }
            @if key.of_one_caller { " · one caller" }
            @if let Some(SourceName::Parent(name)) = &key.source { " · via " (name) }
        }
    }
}

fn profile(key: &KeyStatus, filter: &KeyFilter) -> Markup {
    let of_profile = KeyFilter { profile: Some(key.profile.clone()), ..filter.clone() };
    html! { a href=(link(&of_profile, KeyOrder::default())) { (key.profile) } }
}

fn of(cached: Option<&CachedTimes>, text: impl Fn(&CachedTimes) -> Markup) -> Markup {
    cached.map_or_else(|| html! { span.none { "–" } }, text)
}

/// Returns the validity that is left, with a bar of its part of the lifetime.
fn left(cached: Option<&CachedTimes>) -> Markup {
    let Some(cached) = cached else { return html! { strong.bad { "no credential" } } };
    let level = Level::of(cached.remaining).class();
    html! {
        span { (short(cached.remaining)) }
        svg class={ "bar " (level) } viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" {
            rect width=(percent_left(cached)) height="6" {}
        }
    }
}

fn percent_left(cached: &CachedTimes) -> u64 {
    let lifetime = cached.expires.duration_since(cached.issued).unwrap_or_default().as_secs().max(1);
    (cached.remaining.as_secs().saturating_mul(100) / lifetime).min(100)
}

fn error(key: &KeyStatus) -> Markup {
    let is_stale = key.cached.as_ref().is_some_and(|cached| cached.is_stale);
    html! {
        @if let Some(KeyFailure { reason, age, retry_in }) = key.failure {
            strong.bad { (reason) }
            span.where {
                (short(age)) " ago"
                @if !retry_in.is_zero() { ", retry in " (short(retry_in)) }
            }
        } @else if is_stale {
            strong.low { "stale" }
        } @else {
            span.none { "–" }
        }
    }
}

fn pages(query: &KeyQuery, shown: usize, matching: usize) -> Markup {
    let next = next_page_token(query, matching);
    html! {
        nav.pages aria-label="Pages" {
            span { "Keys " (query.skip + 1) " to " (query.skip + shown) " of " (matching) }
            @if query.skip > 0 { a href=(link(&query.filter, query.order)) { "First page" } }
            @if !next.is_empty() { a href=(page_link(query, &next)) { "Next page" } }
        }
    }
}
