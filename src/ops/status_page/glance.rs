//! Tiles that answer at one glance: how long the credentials last, and whether anything is wrong.

use std::time::Duration;

use maud::{Markup, html};

use super::level::Level;
use crate::cache::{KeyFilter, KeyOrder};
use crate::ops::query::link;
use crate::source::RegionStatus;
use crate::status::Status;
use crate::time_text::short;

pub(super) fn section(status: &Status) -> Markup {
    html! {
        section aria-labelledby="glance" {
            h2.unseen id="glance" { "At a glance" }
            dl.tiles {
                (first_expiry(status))
                (failing(status.keys.failing))
                (throttling(&status.regions))
                (waiting(status))
            }
        }
    }
}

fn tile(title: &str, level: Level, value: &Markup, more: &Markup) -> Markup {
    html! {
        div.tile {
            dt { (title) }
            dd class=(level.class()) { (value) }
            dd.where { (more) }
        }
    }
}

fn first_expiry(status: &Status) -> Markup {
    let level = status.keys.shortest.map_or(Level::None, Level::of);
    let left = status.keys.shortest.map_or_else(|| "–".to_owned(), short);
    let more = html! { (status.keys.cached) " cached of " (status.keys.capacity) };
    tile("First expiry in", level, &html! { (left) }, &more)
}

fn failing(keys: usize) -> Markup {
    let more = if keys == 0 {
        html! { "every last fetch succeeded" }
    } else {
        let only = KeyFilter { failing: true, ..KeyFilter::default() };
        html! { a href=(link(&only, KeyOrder::default())) { "Show them" } }
    };
    tile("Failing keys", if keys == 0 { Level::Good } else { Level::Bad }, &html! { (keys) }, &more)
}

/// Regions are paced from a throttled call on, until AWS has accepted calls for a while.
fn throttling(regions: &[RegionStatus]) -> Markup {
    let paced = regions.iter().filter(|region| region.interval > Duration::ZERO).count();
    let sum = |figure: fn(&RegionStatus) -> usize| regions.iter().map(figure).sum::<usize>();
    let more = html! { (sum(|region| region.in_flight)) " calls in flight, " (sum(|region| region.queued)) " queued" };
    match paced {
        0 => tile("Throttled by AWS", Level::Good, &html! { "no" }, &more),
        1 => tile("Throttled by AWS", Level::Low, &html! { "1 region" }, &more),
        _ => tile("Throttled by AWS", Level::Low, &html! { (paced) " regions" }, &more),
    }
}

fn waiting(status: &Status) -> Markup {
    let more = html! { (status.limits.requests.used) " requests in flight" };
    tile("Waiting callers", Level::None, &html! { (status.waiting) }, &more)
}
