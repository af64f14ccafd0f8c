//! The parser of callers' names.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use super::{Caller, ClaimNames, ClaimsDigest, TokenCaller};
use crate::quoted::Quoted;

/// The error for a text that does not name a caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is not a caller; write uid:1001,gid:1001, loopback, aws-api, spiffe://DOMAIN/PATH, dns:NAME or jwt:ISSUER:SUBJECT",
    Quoted(text)
)]
pub struct CallerError {
    text: String,
}

/// Parses the name that a caller is written with. The broker never identifies a caller by such a text.
impl FromStr for Caller {
    type Err = CallerError;

    fn from_str(text: &str) -> Result<Self, CallerError> {
        parse(text).ok_or_else(|| CallerError { text: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<Caller> {
    match text {
        "loopback" => return Some(Caller::Loopback),
        "aws-api" => return Some(Caller::AwsApi),
        _ => {}
    }
    if let Some((via, job)) = text.strip_prefix("via ").and_then(|rest| rest.split_once(' ')) {
        return Caller::forwarded(parse(job)?, via.parse().ok()?);
    }
    if let Some(name) = text.strip_prefix("dns:") {
        return name.parse().ok().map(Caller::Dns);
    }
    if let Some((issuer, subject)) = text.strip_prefix("jwt:").and_then(|rest| rest.split_once(':')) {
        let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
        return Some(Caller::Token(Arc::new(TokenCaller {
            issuer,
            issuer_id: None,
            subject,
            claims: BTreeMap::new(),
            kept: ClaimNames::every(),
            digest: ClaimsDigest::default(),
            expires: None,
        })));
    }
    if text.starts_with("spiffe:") {
        return Caller::spiffe(text);
    }
    let (uid, gid) = text.split_once(',')?;
    Caller::process(uid.strip_prefix("uid:")?.parse().ok()?, gid.strip_prefix("gid:")?.parse().ok()?)
}
