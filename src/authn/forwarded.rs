//! Callers that a child broker forwards, in the metadata of its calls.
//!
//! The child proves itself by its client certificate. Its caller's bearer token is verified here like any other. What the child only
//! asserts is taken as that: grants say where it counts.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::peer::Peer;
use crate::bearer_token::BearerToken;
use crate::caller::{Caller, Via};
use crate::error::BrokerError;
use crate::protocol::{CALLER_ASSERTED, CALLER_METADATA, CALLER_TOKEN, CALLER_VIA};

/// Longest name of an asserted caller, and longest chain of brokers: SPIFFE IDs have at most 2,048 bytes.
const MAX_NAME_BYTES: usize = 3 * 2_048;

/// Why a peer may not forward callers.
pub(crate) const NO_CHILD_CERTIFICATE: &str =
    "only a client certificate lets a broker forward callers; set tls_cert of its parent";

/// What a child broker presents about one of its callers.
#[derive(Debug)]
pub(crate) struct Forwarded {
    pub(super) job: ForwardedJob,
    /// The brokers before the child, by its word.
    before: Option<Via>,
}

/// The proof or the name of the child's caller.
#[derive(Debug)]
pub(super) enum ForwardedJob {
    Token(BearerToken),
    Asserted(Caller),
}

/// Removes the metadata of a forwarded caller, so that nothing behind the middleware sees it. `None`: the caller is the peer.
///
/// Without its caller a call of a child would be decided by the child's own rights, so malformed metadata is an error.
pub(crate) fn take_forwarded(headers: &mut HeaderMap) -> Option<Result<Forwarded, BrokerError>> {
    let is_about_caller = |name: &HeaderName| name.as_str().starts_with(CALLER_METADATA);
    headers.keys().any(is_about_caller).then(|| read(headers))
}

fn read(headers: &mut HeaderMap) -> Result<Forwarded, BrokerError> {
    let token = take(headers, CALLER_TOKEN);
    let asserted = take(headers, CALLER_ASSERTED);
    let before = take(headers, CALLER_VIA);
    if headers.keys().any(|name| name.as_str().starts_with(CALLER_METADATA)) {
        return Err(invalid(
            CALLER_METADATA,
            "unknown metadata about a caller; upgrade this broker before its children",
        ));
    }
    let job = match (token?, asserted?) {
        (Some(token), None) => ForwardedJob::Token(BearerToken::from(text(&token).to_owned())),
        (None, Some(name)) => ForwardedJob::Asserted(asserted_caller(text(&name))?),
        _ => return Err(invalid(CALLER_METADATA, "send either the token or the asserted name of one caller")),
    };
    let before = before?.map(|value| chain(text(&value))).transpose()?;
    Ok(Forwarded { job, before })
}

/// Removes the value of a name, which may occur once.
fn take(headers: &mut HeaderMap, name: &'static str) -> Result<Option<HeaderValue>, BrokerError> {
    let several = headers.get_all(name).iter().nth(1).is_some();
    let value = headers.remove(name);
    if several { Err(invalid(name, "several values; send one")) } else { Ok(value) }
}

fn asserted_caller(name: &str) -> Result<Caller, BrokerError> {
    let caller = (name.len() <= MAX_NAME_BYTES).then(|| name.parse().ok()).flatten();
    let caller = caller.filter(|caller| !matches!(caller, Caller::Token(_) | Caller::Forwarded(_)));
    caller.ok_or_else(|| invalid(CALLER_ASSERTED, "not a caller that a broker can assert; forward its token instead"))
}

fn chain(text: &str) -> Result<Via, BrokerError> {
    let via = (text.len() <= MAX_NAME_BYTES).then(|| text.parse().ok()).flatten();
    via.ok_or_else(|| invalid(CALLER_VIA, "not a chain of one or two brokers; name them by SPIFFE IDs or DNS names"))
}

/// Returns the text of a value. Other bytes make it empty, which is neither a token nor a name.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

fn invalid(field: &'static str, problem: &str) -> BrokerError {
    BrokerError::RequestInvalid { field, problem: problem.to_owned() }
}

impl Forwarded {
    /// Returns the way of the caller, which ends with the peer. Only a client certificate proves who the peer is.
    pub(super) fn via(&self, peer: &Peer) -> Result<Via, BrokerError> {
        let no_certificate = || BrokerError::unauthenticated(NO_CHILD_CERTIFICATE);
        let Peer::Certified(_) = peer else { return Err(no_certificate()) };
        let broker = peer.caller()?.as_broker().ok_or_else(no_certificate)?;
        let too_long = || invalid(CALLER_VIA, "too many brokers: a caller may pass at most three");
        Via::ending_with(self.before.as_ref(), broker).ok_or_else(too_long)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(fields: &[(&'static str, &'static str)]) -> Option<Result<Forwarded, BrokerError>> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers.append("te", HeaderValue::from_static("trailers"));
        let taken = take_forwarded(&mut headers);
        if !matches!(&taken, Some(Err(BrokerError::RequestInvalid { field, .. })) if *field == CALLER_METADATA) {
            assert_eq!(headers.len(), 1, "{fields:?}");
        }
        taken
    }

    #[test]
    fn forwarded_caller_is_a_token_or_a_name_and_the_brokers_before() {
        assert!(taken(&[]).is_none());
        let token = taken(&[(CALLER_TOKEN, "a.b.c")]).unwrap().unwrap();
        assert!(
            matches!(token, Forwarded { job: ForwardedJob::Token(token), before: None } if token.expose() == "a.b.c")
        );
        let uid = taken(&[(CALLER_ASSERTED, "uid:1001,gid:5"), (CALLER_VIA, "dns:a.example")]).unwrap().unwrap();
        let ForwardedJob::Asserted(caller) = uid.job else { panic!("{uid:?}") };
        assert_eq!(
            (caller.to_string(), uid.before.unwrap().to_string()),
            ("uid:1001,gid:5".into(), "dns:a.example".into())
        );
    }

    #[test]
    fn malformed_metadata_of_a_caller_is_never_ignored() {
        for fields in [
            &[(CALLER_VIA, "dns:a.example")][..],
            &[(CALLER_TOKEN, "a.b.c"), (CALLER_TOKEN, "d.e.f")],
            &[(CALLER_TOKEN, "a.b.c"), (CALLER_ASSERTED, "uid:1,gid:1")],
            &[(CALLER_ASSERTED, "uid:1,gid:1"), (CALLER_ASSERTED, "uid:2,gid:2")],
            &[(CALLER_ASSERTED, "jwt:blue:ci")],
            &[(CALLER_ASSERTED, "via dns:a.example uid:1,gid:1")],
            &[(CALLER_ASSERTED, "root")],
            &[(CALLER_ASSERTED, "")],
            &[(CALLER_ASSERTED, "uid:1,gid:1"), (CALLER_VIA, "uid:1,gid:1")],
            &[(CALLER_ASSERTED, "uid:1,gid:1"), (CALLER_VIA, "dns:a.example"), (CALLER_VIA, "dns:b.example")],
            &[("x-ecr-broker-caller", "uid:1,gid:1")],
            &[(CALLER_TOKEN, "a.b.c"), ("x-ecr-broker-caller-proof", "x")],
        ] {
            let error = taken(fields).unwrap().unwrap_err();
            assert!(matches!(&error, BrokerError::RequestInvalid { .. }), "{fields:?} {error:?}");
        }
    }
}
