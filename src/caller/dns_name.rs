//! DNS names of hosts.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::quoted::Quoted;

/// The limits of DNS (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// A host's full name, in lower case and without a dot at its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(Arc<str>);

/// The error for a text that is not a DNS name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is not a DNS name; write a full lower-case name without \"*\", such as \"build-1.corp.example\"",
    Quoted(text)
)]
pub struct DnsNameError {
    text: String,
}

impl FromStr for DnsName {
    type Err = DnsNameError;

    fn from_str(text: &str) -> Result<Self, DnsNameError> {
        let fits = text.len() <= MAX_NAME && text.split('.').all(is_label);
        // A last label of digits would make it an IP address.
        let named = text.rsplit('.').next().is_some_and(|last| !last.bytes().all(|byte| byte.is_ascii_digit()));
        if fits && named { Ok(Self(text.into())) } else { Err(DnsNameError { text: text.to_owned() }) }
    }
}

impl DnsName {
    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
