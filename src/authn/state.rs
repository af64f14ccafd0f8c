//! Authentication state of a call, for calls that last, such as watches.

use std::sync::Arc;
use std::time::Duration;

use super::jwt::{Issuers, VerifiedToken};
use super::kept_token::KeptToken;
use super::peer::Peer;
use crate::bearer_token::BearerToken;
use crate::error::BrokerError;

/// The proof that authenticated a call.
#[derive(Debug, Clone)]
pub(crate) struct AuthnState {
    peer: Peer,
    token: Option<(Arc<Issuers>, VerifiedToken)>,
    kept: Option<KeptToken>,
}

impl AuthnState {
    /// Returns the state of a call without a bearer token.
    pub(crate) fn of_connection(peer: Peer) -> Self {
        Self { peer, token: None, kept: None }
    }

    /// Returns the state of a call with a verified bearer token.
    pub(super) fn of_token(peer: Peer, issuers: Arc<Issuers>, token: VerifiedToken) -> Self {
        Self { peer, token: Some((issuers, token)), kept: None }
    }

    /// Returns the state with the token itself, if it has one.
    pub(super) fn keeping(self, token: Option<BearerToken>) -> Self {
        let digest = self.token.as_ref().map(|(_, verified)| verified.caller.digest);
        let kept = token.zip(digest).map(|(token, digest)| KeptToken { token: Arc::new(token), digest });
        Self { kept, ..self }
    }

    /// Returns the token itself, if it is kept.
    pub(crate) fn kept_token(&self) -> Option<KeptToken> {
        self.kept.clone()
    }

    /// Checks that the certificate and the token are still valid.
    pub(crate) fn check(&self) -> Result<(), BrokerError> {
        if let Peer::Certified(_) = &self.peer {
            self.peer.caller()?;
        }
        let ended = "bearer token expired during the call, or its issuer withdrew the key; call again with a new token";
        match self.token_left() {
            Some(Duration::ZERO) => Err(BrokerError::unauthenticated(ended)),
            _ => Ok(()),
        }
    }

    /// Returns the remaining validity of the client certificate, if the connection has one.
    pub(crate) fn certificate_left(&self) -> Option<Duration> {
        if let Peer::Certified(certificate) = &self.peer { Some(certificate.time_left()) } else { None }
    }

    /// Returns the remaining validity of the token, if the call carries one.
    pub(crate) fn token_left(&self) -> Option<Duration> {
        self.token.as_ref().map(|(issuers, token)| issuers.time_left(token))
    }
}
