//! Authentication of a call by its bearer token, within the failure limit of its origin.

use std::sync::Arc;

use super::bearer::Bearer;
use super::forwarded::{Forwarded, ForwardedJob};
use super::jwt::{FETCH_COOLDOWN, Issuers, TokenRejected, VerifiedToken};
use super::peer::Peer;
use super::state::AuthnState;
use crate::caller::{Caller, TokenCaller};
use crate::error::{AuthnCause, BrokerError};
use crate::limits::{Attempt, Limits, Origin, RetryAfter};

/// Authenticates calls by their bearer tokens.
#[derive(Debug, Clone)]
pub(crate) struct Authenticator {
    /// The accepted issuers; `None` if no bearer token is accepted.
    pub(crate) issuers: Option<Arc<Issuers>>,
    /// Whether tokens are kept for a parent broker that verifies them, too.
    pub(crate) keeps_tokens: bool,
    /// Limits of failed authentications per origin.
    pub(crate) limits: Limits,
}

/// A verified token, and the issuers that verified it.
type Verified = (Arc<Issuers>, VerifiedToken);

impl Authenticator {
    /// Returns the caller of a call that carries a bearer token. While `origin` is over its failure limit, rejects the token
    /// unverified, unless it was verified a moment ago.
    pub(crate) async fn authenticate(
        &self,
        peer: &Peer,
        origin: Origin,
        bearer: Bearer,
    ) -> Result<(Caller, AuthnState), BrokerError> {
        let accept = |verified| Self::accept(peer, verified);
        self.verify_and_accept(origin, Attempt::Token, bearer, accept).await
    }

    /// Returns the caller that a child broker forwards. Its token is verified within a failure limit for forwarded tokens only: a
    /// job of a node with a bad token does not block the node, nor the direct callers of its address.
    pub(crate) async fn authenticate_forwarded(
        &self,
        peer: &Peer,
        origin: Origin,
        forwarded: Forwarded,
    ) -> Result<(Caller, AuthnState), BrokerError> {
        let via = forwarded.via(peer)?;
        let accept = |job| Caller::forwarded(job, via).ok_or(BrokerError::Internal);
        match forwarded.job {
            ForwardedJob::Asserted(job) => Ok((accept(job)?, AuthnState::of_connection(peer.clone()))),
            ForwardedJob::Token(token) => {
                let accept = |(issuers, token): Verified| {
                    let caller = accept(Caller::Token(Arc::clone(&token.caller)))?;
                    Ok((caller, AuthnState::of_token(peer.clone(), issuers, token)))
                };
                self.verify_and_accept(origin, Attempt::Forwarded, Ok(token), accept).await
            }
        }
    }

    async fn verify_and_accept(
        &self,
        origin: Origin,
        attempt: Attempt,
        bearer: Bearer,
        accept: impl FnOnce(Verified) -> Result<(Caller, AuthnState), BrokerError>,
    ) -> Result<(Caller, AuthnState), BrokerError> {
        let kept = bearer.as_ref().ok().filter(|_| self.keeps_tokens).cloned();
        let accept = |verified| accept(verified).map(|(caller, state)| (caller, state.keeping(kept)));
        if let Some(token) = self.recently_verified(&bearer) {
            return accept(token);
        }
        self.check_origin(origin, attempt)?;
        let caller = self.verify(bearer).await.and_then(accept);
        // If a retry may help, the failure is the broker's or the issuer's, not the caller's, and does not count.
        if matches!(caller, Err(BrokerError::CallerUnauthenticated { retry_after: None, .. })) {
            self.limits.record_failure(origin, attempt);
        }
        caller
    }

    /// Counts a call without any proof as a failure of its origin. Fails while the origin is over its failure limit.
    pub(crate) fn record_missing(&self, origin: Origin) -> Result<(), BrokerError> {
        self.check_origin(origin, Attempt::Missing)?;
        self.limits.record_failure(origin, Attempt::Missing);
        Ok(())
    }

    fn check_origin(&self, origin: Origin, attempt: Attempt) -> Result<(), BrokerError> {
        let what = "too many failed authentications from your address or user";
        let limited = |RetryAfter(retry_after)| BrokerError::CallerRateLimited { what, retry_after };
        self.limits.check_origin(origin, attempt).map_err(limited)
    }

    fn recently_verified(&self, bearer: &Bearer) -> Option<Verified> {
        let (issuers, bearer) = (self.issuers.as_ref()?, bearer.as_ref().ok()?);
        Some((Arc::clone(issuers), issuers.recently_verified(bearer.expose())?))
    }

    async fn verify(&self, bearer: Bearer) -> Result<Verified, BrokerError> {
        let token = bearer.map_err(BrokerError::unauthenticated)?;
        let not_accepted =
            "the broker accepts no bearer tokens ([[authentication.jwt]] is not configured); call without one";
        let cause = Some(AuthnCause::TokensNotAccepted);
        let not_accepted = || BrokerError::CallerUnauthenticated { problem: not_accepted, cause, retry_after: None };
        let issuers = self.issuers.as_ref().filter(|issuers| !issuers.is_empty()).ok_or_else(not_accepted)?;
        let token = issuers.verify_signature(token.expose()).await.map_err(unauthenticated)?;
        Ok((Arc::clone(issuers), token))
    }

    /// Returns the caller that a verified token names, which must be that of a client certificate.
    fn accept(peer: &Peer, (issuers, token): Verified) -> Result<(Caller, AuthnState), BrokerError> {
        let subject = Arc::clone(&token.caller);
        let caller = match peer {
            Peer::Certified(_) => same(peer.caller()?, &subject)?,
            Peer::Known(_) | Peer::Unknown(_) => Caller::Token(subject),
        };
        Ok((caller, AuthnState::of_token(peer.clone(), issuers, token)))
    }
}

/// Returns the error of a rejected token. It has a retry delay if the issuer's keys are missing: the next fetch may bring them.
fn unauthenticated(rejected: TokenRejected) -> BrokerError {
    let retry_after = matches!(rejected, TokenRejected::KeysUnavailable).then_some(FETCH_COOLDOWN);
    let cause = match rejected {
        TokenRejected::Expired => Some(AuthnCause::TokenExpired),
        TokenRejected::NotYet => Some(AuthnCause::TokenNotYetValid),
        _ => None,
    };
    BrokerError::CallerUnauthenticated { problem: rejected.as_str(), cause, retry_after }
}

/// Returns the caller that the certificate and the token both name.
fn same(certified: Caller, token: &TokenCaller) -> Result<Caller, BrokerError> {
    if matches!(&certified, Caller::Spiffe(id) if id.to_string() == token.subject) {
        return Ok(certified);
    }
    let problem = "client certificate and bearer token name different callers; use one of them";
    Err(BrokerError::unauthenticated(problem))
}
