//! Client certificates that a handshake has verified.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::CertificateError as Unverified;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier as _;

use super::certificate::{self, CertificateError};
use super::generation::{Generation, Generations};
use super::unix_time::unix_time;
use super::window::{Window, seconds};
use crate::caller::Caller;

const EXPIRED: &str = "client certificate has expired since the connection began; reconnect with a new one";
const NO_ROOT: &str = "client certificate is no longer signed by a valid root of the broker; reconnect with a new one";
const REVOKED: &str = "client certificate was revoked by its CA; reconnect with a new one";

/// The client certificate of a connection. It is valid until a certificate of its chain expires, its CA revokes it, or no valid root
/// among the current ones has signed it.
#[derive(Debug)]
pub struct VerifiedCertificate {
    generations: Arc<Generations>,
    chain: Vec<CertificateDer<'static>>,
    caller: Caller,
    /// The first expiry in the chain.
    expiry: SystemTime,
    last: ArcSwap<Verification>,
}

/// The outcome of a verification, for one generation of the files, in the seconds in which no root becomes valid or expires.
#[derive(Debug)]
struct Verification {
    generation: u64,
    window: Window,
    outcome: Result<(), &'static str>,
}

impl VerifiedCertificate {
    /// Returns the certificate of a chain that `generation` has verified in a handshake since `started`; `None` for an empty chain.
    pub(super) fn of(
        chain: &[CertificateDer<'_>],
        generation: &Generation,
        generations: &Arc<Generations>,
        started: SystemTime,
    ) -> Result<Option<Self>, CertificateError> {
        let Some(leaf) = chain.first() else { return Ok(None) };
        let caller = generation.verifier().caller(leaf)?;
        let expiries = chain.iter().map(certificate::expiry).collect::<Result<Vec<_>, _>>()?;
        // If a root has expired during the handshake, the next call is outside this window.
        let window = generation.verifier().window(leaf, seconds(started))?;
        let last = Verification { generation: generation.number(), window, outcome: Ok(()) };
        Ok(Some(Self {
            generations: Arc::clone(generations),
            chain: chain.iter().map(|certificate| certificate.clone().into_owned()).collect(),
            caller,
            expiry: expiries.into_iter().min().unwrap_or(SystemTime::UNIX_EPOCH),
            last: ArcSwap::from_pointee(last),
        }))
    }

    /// Returns the caller, if the certificate is still valid.
    ///
    /// # Errors
    /// If it is not: why, and what to do about it.
    pub fn caller(&self) -> Result<Caller, &'static str> {
        let now = self.generations.clock().now().wall;
        if now > self.expiry {
            return Err(EXPIRED);
        }
        let (current, last) = (self.generations.current(), self.last.load());
        let outcome = if last.generation == current.number() && last.window.contains(seconds(now)) {
            last.outcome
        } else {
            self.verify_again(&current, now)
        };
        outcome.map(|()| self.caller.clone())
    }

    /// Returns the time until the first expiry in the chain.
    pub(crate) fn time_left(&self) -> Duration {
        self.expiry.duration_since(self.generations.clock().now().wall).unwrap_or_default()
    }

    /// Verifies the chain after a reload, or after a root has become valid or expired. The outcome is kept, because checking
    /// signatures is expensive.
    fn verify_again(&self, current: &Generation, now: SystemTime) -> Result<(), &'static str> {
        let [leaf, intermediates @ ..] = self.chain.as_slice() else { return Err(NO_ROOT) };
        let verifier = current.verifier();
        let outcome = match verifier.verify_client_cert(leaf, intermediates, unix_time(now)) {
            Ok(_) => Ok(()),
            Err(rustls::Error::InvalidCertificate(Unverified::Revoked)) => Err(REVOKED),
            Err(_) => Err(NO_ROOT),
        };
        let window = verifier.window(leaf, seconds(now)).map_err(|_| NO_ROOT)?;
        self.last.store(Arc::new(Verification { generation: current.number(), window, outcome }));
        outcome
    }
}
