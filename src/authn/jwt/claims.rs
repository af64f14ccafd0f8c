//! The claims of a token, and the checks that do not need its key.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::claim_value::{ClaimObject, ClaimValue};
use super::rejected::TokenRejected;
use super::settings::Settings;
use crate::caller::{ClaimNames, ClaimsDigest, TokenCaller};

/// Tolerated difference between the clocks of the issuer and the broker.
pub(super) const LEEWAY: Duration = Duration::from_secs(30);
/// Longest accepted subject. Subjects of Kubernetes have at most 348 bytes, those of other issuers 255.
const MAX_SUBJECT_BYTES: usize = 512;

/// Maximum size of the other claims, with the full names of nested ones. Each nested claim repeats the names of its objects, so a small
/// token can expand to a hundred times its size.
const MAX_CLAIM_BYTES: usize = 16 * 1024;
/// Claims that differ in each token of a caller: the token's ID, and the time after which Kubernetes warns.
const RENEWED_CLAIMS: [&str; 2] = ["jti", "kubernetes.io.warnafter"];

/// The claims of a token; times in seconds since 1970.
pub(super) struct Claims {
    pub(super) issuer: String,
    subject: String,
    audiences: Vec<String>,
    expires: u64,
    issued_at: u64,
    not_before: Option<u64>,
    others: ClaimObject,
}

impl Claims {
    pub(super) fn read(json: &[u8]) -> Result<Self, TokenRejected> {
        let mut claims: ClaimObject = serde_json::from_slice(json).map_err(|_| TokenRejected::Claims)?;
        Ok(Self {
            issuer: take_text(&mut claims, "iss")?,
            subject: take_text(&mut claims, "sub")?,
            audiences: take_audiences(&mut claims)?,
            expires: take_time(&mut claims, "exp")?.ok_or(TokenRejected::Claims)?,
            issued_at: take_time(&mut claims, "iat")?.ok_or(TokenRejected::Claims)?,
            not_before: take_time(&mut claims, "nbf")?,
            others: claims,
        })
    }

    /// Checks that the token is valid now and has the broker as its only audience. If it had a second audience, that service could
    /// replay the token at the broker.
    pub(super) fn check(&self, settings: &Settings, now: SystemTime) -> Result<(), TokenRejected> {
        if self.issuer != settings.issuer {
            return Err(TokenRejected::Issuer);
        }
        if self.audiences != [settings.audience.as_str()] {
            return Err(TokenRejected::Audience);
        }
        self.check_times(settings.max_lifetime, since_1970(now))?;
        self.check_subject()
    }

    /// Returns the time until the token expires, without leeway.
    pub(super) fn valid_for(&self, now: SystemTime) -> Duration {
        Duration::from_secs(self.expires).saturating_sub(since_1970(now))
    }

    /// Returns the caller with the claims that are `kept`. Call this only after the signature is verified: an unverified small token could expand to large claims.
    pub(super) fn into_caller(
        self,
        (issuer, id): (String, usize),
        kept: ClaimNames,
    ) -> Result<TokenCaller, TokenRejected> {
        let (mut claims, mut room) = (BTreeMap::new(), MAX_CLAIM_BYTES);
        flatten(None, self.others, &mut claims, &mut room)?;
        let digest = digest(&self.issuer, &claims);
        claims.retain(|name, _| kept.contains(name));
        let expires = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.expires));
        Ok(TokenCaller { issuer, issuer_id: Some(id), subject: self.subject, claims, kept, digest, expires })
    }

    fn check_times(&self, max_lifetime: Duration, now: Duration) -> Result<(), TokenRejected> {
        let (now, leeway) = (now.as_secs(), LEEWAY.as_secs());
        if now >= self.expires.saturating_add(leeway) {
            return Err(TokenRejected::Expired);
        }
        if self.not_before.unwrap_or_default().max(self.issued_at) > now.saturating_add(leeway) {
            return Err(TokenRejected::NotYet);
        }
        if self.expires.saturating_sub(self.issued_at) > max_lifetime.as_secs() {
            return Err(TokenRejected::Lifetime);
        }
        Ok(())
    }

    /// Allows printable ASCII only: other Unicode could make one subject look like another in a log.
    fn check_subject(&self) -> Result<(), TokenRejected> {
        let printable = self.subject.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let fits = (1..=MAX_SUBJECT_BYTES).contains(&self.subject.len());
        if fits && printable { Ok(()) } else { Err(TokenRejected::Subject) }
    }
}

/// Returns a digest of the issuer and the claims, but for those that each renewal of a token changes. The issuer's name in the
/// configuration may stand for another issuer after a restart, which puts kept credentials back.
fn digest(issuer: &str, claims: &BTreeMap<String, String>) -> ClaimsDigest {
    let lasting = claims.iter().filter(|(name, _)| !RENEWED_CLAIMS.contains(&name.as_str()));
    let lasting = lasting.flat_map(|(name, text)| [name.as_bytes(), text.as_bytes()]);
    ClaimsDigest::of(std::iter::once(issuer.as_bytes()).chain(lasting))
}

fn take_text(claims: &mut ClaimObject, name: &str) -> Result<String, TokenRejected> {
    match claims.0.remove(name) {
        Some(ClaimValue::Text(text)) => Ok(text),
        _ => Err(TokenRejected::Claims),
    }
}

fn take_audiences(claims: &mut ClaimObject) -> Result<Vec<String>, TokenRejected> {
    match claims.0.remove("aud") {
        Some(ClaimValue::Text(audience)) => Ok(vec![audience]),
        Some(ClaimValue::Texts(audiences)) => Ok(audiences),
        _ => Err(TokenRejected::Claims),
    }
}

fn take_time(claims: &mut ClaimObject, name: &str) -> Result<Option<u64>, TokenRejected> {
    match claims.0.remove(name) {
        None => Ok(None),
        Some(ClaimValue::Number(seconds)) => u64::try_from(seconds).map(Some).map_err(|_| TokenRejected::Claims),
        Some(_) => Err(TokenRejected::Claims),
    }
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Converts claims that are texts, numbers or booleans to text. A nested claim gets both names, joined by a dot; another claim with
/// that full name is a duplicate.
fn flatten(
    outer: Option<&str>,
    ClaimObject(claims): ClaimObject,
    into: &mut BTreeMap<String, String>,
    room: &mut usize,
) -> Result<(), TokenRejected> {
    for (name, value) in claims {
        if name.is_empty() {
            return Err(TokenRejected::Claims);
        }
        let name = outer.map_or_else(|| name.clone(), |outer| format!("{outer}.{name}"));
        let text = match value {
            ClaimValue::Text(text) => text,
            ClaimValue::Flag(flag) => flag.to_string(),
            ClaimValue::Number(number) => number.to_string(),
            ClaimValue::Object(inner) => {
                flatten(Some(&name), inner, into, room)?;
                continue;
            }
            ClaimValue::Texts(_) | ClaimValue::Other => continue,
        };
        *room = room.checked_sub(name.len() + text.len()).ok_or(TokenRejected::ClaimsSize)?;
        if into.insert(name, text).is_some() {
            return Err(TokenRejected::Claims);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_differs_with_the_issuer_and_stays_when_a_token_is_renewed() {
        let claims = |pairs: &[(&str, &str)]| -> BTreeMap<_, _> {
            pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
        };
        let (issuer, own) = ("https://a.example", claims(&[("ref", "main"), ("jti", "1")]));
        let renewed = claims(&[("ref", "main"), ("jti", "2"), ("kubernetes.io.warnafter", "3")]);
        assert_eq!(digest(issuer, &own), digest(issuer, &renewed));
        assert_ne!(digest(issuer, &own), digest(issuer, &claims(&[("ref", "other"), ("jti", "1")])));
        assert_ne!(digest(issuer, &own), digest("https://b.example", &own), "of another issuer");
    }
}
