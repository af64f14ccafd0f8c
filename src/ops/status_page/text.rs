//! Texts of the status page.

use std::time::SystemTime;

use maud::{Markup, html};

use crate::status::Fingerprint;
use crate::time_text::rfc3339_seconds;

/// Letters of a time in RFC 3339 up to its minutes, and up to its seconds.
const MINUTE: usize = 16;
const SECOND: usize = 19;

/// Returns a time for people and for programs.
pub(super) fn moment(time: SystemTime) -> Markup {
    shown(time, SECOND, " UTC")
}

/// Returns a time for people, in minutes of UTC, and for programs.
pub(super) fn minute(time: SystemTime) -> Markup {
    shown(time, MINUTE, "")
}

fn shown(time: SystemTime, length: usize, zone: &str) -> Markup {
    let text = rfc3339_seconds(time).unwrap_or_default();
    html! {
        time datetime=(text) { (text.get(..length).unwrap_or_default().replace('T', " ")) (zone) }
    }
}

pub(super) fn fingerprint(fingerprint: &Fingerprint) -> Markup {
    html! { code { (fingerprint.as_str()) } }
}
