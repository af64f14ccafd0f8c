//! Texts of the status page.

use std::time::SystemTime;

use maud::{Markup, html};

use crate::status::PolicyFingerprint;
use crate::time_text::rfc3339_seconds;

/// Returns a time for people and for programs.
pub(super) fn moment(time: SystemTime) -> Markup {
    let text = rfc3339_seconds(time).unwrap_or_default();
    html! {
        time datetime=(text) { (text.trim_end_matches('Z').replace('T', " ")) " UTC" }
    }
}

pub(super) fn fingerprint(policy: &PolicyFingerprint) -> Markup {
    html! { code { (policy.as_str()) } }
}
