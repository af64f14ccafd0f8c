//! Texts of the status page.

use std::time::SystemTime;

use maud::{Markup, html};

use crate::status::Fingerprint;
use crate::time_text::rfc3339_seconds;

/// Returns a time for people and for programs.
pub(super) fn moment(time: SystemTime) -> Markup {
    let text = rfc3339_seconds(time).unwrap_or_default();
    html! {
        time datetime=(text) { (text.trim_end_matches('Z').replace('T', " ")) " UTC" }
    }
}

pub(super) fn fingerprint(fingerprint: &Fingerprint) -> Markup {
    html! { code { (fingerprint.as_str()) } }
}
