//! Who makes a call: by what the connection has proved, and only for as long as that holds.

use std::sync::Arc;

use crate::caller::Caller;
use crate::tls::Proof;

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
    pub(super) fn caller(&self) -> Result<Caller, &'static str> {
        match self {
            Self::Known(caller) => Ok(caller.clone()),
            Self::Certified(proof) => proof.caller(),
            Self::Unknown(problem) => Err(problem),
        }
    }
}
