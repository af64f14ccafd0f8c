//! Who makes a call: by what the connection has proved, for as long as that holds, or by the bearer token that comes with the call.
//!
//! One caller a call. A token takes the place of what a connection shows without being asked, a user or loopback: whoever sends one
//! speaks for whom it is about, as kubelet does for a pod. A certificate is shown on purpose, and a token beside it has to name the
//! same SPIFFE id.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

use self::jwt::{Issuers, Refusal, Vouched};
use self::tls::Proof;
use crate::caller::{Caller, TokenCaller};
use crate::error::BrokerError;
use crate::limits::{Limits, Origin, RetryAfter};

pub mod jwt;
pub mod tls;

/// An issuer is asked for its keys no more often.
const KEYS_WAIT: Duration = Duration::from_secs(10);

/// Whoever is at the other end of a connection.
#[derive(Debug, Clone)]
pub enum Peer {
    /// It is known who, for as long as the connection lasts.
    Known(Caller),
    /// A certificate says who.
    Certified(Arc<Proof>),
    /// It is not known; why, and what would help.
    Unknown(&'static str),
}

impl Peer {
    /// Who makes a call now.
    pub(crate) fn caller(&self) -> Result<Caller, BrokerError> {
        match self {
            Self::Known(caller) => Ok(caller.clone()),
            Self::Certified(proof) => proof.caller().map_err(BrokerError::unauthenticated),
            Self::Unknown(problem) => Err(BrokerError::unauthenticated(problem)),
        }
    }
}

/// What proved who makes a call, for as long as the call lasts.
#[derive(Debug, Clone)]
pub(crate) struct AuthnState {
    pub(crate) peer: Peer,
    pub(crate) token: Option<(Arc<Issuers>, Vouched)>,
}

impl AuthnState {
    /// Whether it still does.
    pub(crate) fn check(&self) -> Result<(), BrokerError> {
        if let Peer::Certified(_) = &self.peer {
            self.peer.caller()?;
        }
        let ended = "the bearer token has expired since the call began, or its issuer has other keys now; call again with a new one";
        match self.token_left() {
            Some(Duration::ZERO) => Err(BrokerError::unauthenticated(ended)),
            _ => Ok(()),
        }
    }

    /// How long the token lasts, if there is one.
    pub(crate) fn token_left(&self) -> Option<Duration> {
        self.token.as_ref().map(|(issuers, vouched)| issuers.left(vouched))
    }
}

/// Whose tokens are taken, and how many bad ones are looked at.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    pub(crate) issuers: Option<Arc<Issuers>>,
    pub(crate) limits: Limits,
}

/// A bearer token: whoever has it is its caller. It cannot be printed, and is wiped when it goes.
pub(crate) struct BearerToken(Zeroizing<String>);

/// The token that came with a call, or why what came is none.
pub(crate) type Bearer = Result<BearerToken, &'static str>;

/// Takes the token out of a call's headers: nothing behind this sees it.
pub(crate) fn take_bearer(headers: &mut HeaderMap) -> Option<Bearer> {
    let mut values: Vec<_> = headers.get_all(AUTHORIZATION).iter().cloned().collect();
    headers.remove(AUTHORIZATION);
    let value = values.pop()?;
    if !values.is_empty() {
        return Some(Err("the call has several authorization headers; send one"));
    }
    let text = value.to_str().unwrap_or_default();
    let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let problem = "the call's authorization header is not of the form \"Bearer <token>\"";
    let token = token.map(|(_, token)| BearerToken(Zeroizing::new(token.trim().to_owned())));
    Some(token.ok_or(problem))
}

/// Whom a call with a token comes from, and what vouches for that; where too many tokens from `origin` were bad, that is not looked at.
pub(crate) async fn by_token(
    tokens: &Tokens,
    peer: &Peer,
    origin: Origin,
    bearer: Bearer,
) -> Result<(Caller, AuthnState), BrokerError> {
    tokens.limits.listen(origin).map_err(|RetryAfter(retry_after)| BrokerError::CallerRateLimited {
        what: "too many calls from where you are came with bad tokens",
        retry_after,
    })?;
    let caller = tokens.weigh(peer, bearer).await;
    if matches!(caller, Err(BrokerError::CallerUnauthenticated { retry_after: None, .. })) {
        tokens.limits.note_failure(origin);
    }
    caller
}

impl Tokens {
    async fn weigh(&self, peer: &Peer, bearer: Bearer) -> Result<(Caller, AuthnState), BrokerError> {
        let BearerToken(token) = bearer.map_err(BrokerError::unauthenticated)?;
        let none_taken = "the broker takes no bearer tokens ([[authentication.jwt]]); call without one";
        let issuers = self.issuers.as_ref().ok_or_else(|| BrokerError::unauthenticated(none_taken))?;
        let vouched = issuers.vouch(&token).await.map_err(unauthenticated)?;
        let of_token = Arc::clone(&vouched.caller);
        let caller = match peer {
            Peer::Certified(_) => same(peer.caller()?, &of_token)?,
            Peer::Known(_) | Peer::Unknown(_) => Caller::Token(of_token),
        };
        Ok((caller, AuthnState { peer: peer.clone(), token: Some((Arc::clone(issuers), vouched)) }))
    }
}

/// The keys of a good token may be on their way.
fn unauthenticated(refusal: Refusal) -> BrokerError {
    let retry_after = matches!(refusal, Refusal::KeysUnavailable).then_some(KEYS_WAIT);
    BrokerError::CallerUnauthenticated { problem: refusal.as_str(), retry_after }
}

fn same(by_certificate: Caller, by_token: &TokenCaller) -> Result<Caller, BrokerError> {
    if matches!(&by_certificate, Caller::Spiffe(id) if id.to_string() == by_token.subject) {
        return Ok(by_certificate);
    }
    let problem = "the client certificate and the bearer token name different callers; use one of them";
    Err(BrokerError::unauthenticated(problem))
}
