//! Calls of child brokers for their callers.

use std::sync::Arc;

use super::admitted::{AdmittedCall, Refusal};
use super::call::Call;
use crate::authn::{Authenticator, Forwarded, NO_CHILD_CERTIFICATE, Peer};
use crate::error::BrokerError;
use crate::limits::Origin;
use crate::protocol::CALLER_METADATA;

/// Admits the call of a child broker for the caller that it forwards. A peer without a certificate is refused unverified.
pub(super) async fn admit(
    authenticator: &Authenticator,
    (peer, origin): (&Peer, Origin),
    call: Call,
    forwarded: Result<Forwarded, BrokerError>,
    has_token: bool,
) -> Result<AdmittedCall, Refusal> {
    let mut call = call.forwarded();
    let forwarded = match forwarded {
        Ok(_) if has_token => return Err(Box::new((two_callers(), Arc::new(call)))),
        Ok(_) if !matches!(peer, Peer::Certified(_)) => return Err(Box::new(refuse_peer(authenticator, origin, call))),
        Ok(forwarded) => forwarded,
        Err(error) => return Err(Box::new((error, Arc::new(call)))),
    };
    let authenticated = authenticator.authenticate_forwarded(peer, origin, forwarded).await;
    call.caller = authenticated.map(|(caller, authn)| {
        call.authn = authn;
        caller
    });
    AdmittedCall::admit(&authenticator.limits, Arc::new(call))
}

/// Refuses a caller that a peer without a certificate forwards, and counts it as a failure of its origin.
fn refuse_peer(authenticator: &Authenticator, origin: Origin, mut call: Call) -> (BrokerError, Arc<Call>) {
    let limited = authenticator.record_missing(origin);
    let error = limited.err().unwrap_or_else(|| BrokerError::unauthenticated(NO_CHILD_CERTIFICATE));
    call.caller = Err(error.clone());
    (error, Arc::new(call))
}

/// Returns the error of a call with a token for the peer and a forwarded caller.
fn two_callers() -> BrokerError {
    let problem = "call names a caller beside its bearer token; send one of them".to_owned();
    BrokerError::RequestInvalid { field: CALLER_METADATA, problem }
}
