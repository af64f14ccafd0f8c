//! Client certificates that a handshake has verified.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier as _;

use super::certificate::{self, CertificateError};
use super::generation::{Generation, Generations};
use super::unix_time::unix_time;
use crate::caller::Caller;

const EXPIRED: &str = "client certificate has expired since the connection began; reconnect with a new one";
const NO_ROOT: &str = "client certificate is no longer signed by a root of the broker; reconnect with a new one";
/// Placeholder for "no generation": no generation has this number.
const NONE: u64 = u64::MAX;

/// The client certificate of a connection. It is valid until a certificate of its chain expires, or the current roots no longer
/// include one that signed it.
#[derive(Debug)]
pub struct VerifiedCertificate {
    generations: Arc<Generations>,
    chain: Vec<CertificateDer<'static>>,
    caller: Caller,
    /// The first expiry in the chain.
    expiry: SystemTime,
    /// Number of the generation that accepted the certificate last.
    accepted_by: AtomicU64,
    /// Number of the generation that rejected the certificate last.
    rejected_by: AtomicU64,
}

impl VerifiedCertificate {
    /// Returns the certificate of a chain that `generation` has verified; `None` for an empty chain.
    pub(super) fn of(
        chain: &[CertificateDer<'_>],
        generation: &Generation,
        generations: &Arc<Generations>,
    ) -> Result<Option<Self>, CertificateError> {
        let Some(leaf) = chain.first() else { return Ok(None) };
        let caller = generation.verifier().caller(leaf)?;
        let expiries = chain.iter().map(certificate::expiry).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Self {
            generations: Arc::clone(generations),
            chain: chain.iter().map(|certificate| certificate.clone().into_owned()).collect(),
            caller,
            expiry: expiries.into_iter().min().unwrap_or(SystemTime::UNIX_EPOCH),
            accepted_by: generation.number().into(),
            rejected_by: NONE.into(),
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
        let current = self.generations.current();
        if self.accepted_by.load(Ordering::Relaxed) != current.number() {
            self.verify_again(&current, now)?;
        }
        Ok(self.caller.clone())
    }

    /// Verifies the chain with roots that were reloaded after the handshake. Runs once per generation, because checking signatures is
    /// expensive.
    fn verify_again(&self, current: &Generation, now: SystemTime) -> Result<(), &'static str> {
        let [leaf, intermediates @ ..] = self.chain.as_slice() else { return Err(NO_ROOT) };
        if self.rejected_by.load(Ordering::Relaxed) == current.number() {
            return Err(NO_ROOT);
        }
        if current.verifier().verify_client_cert(leaf, intermediates, unix_time(now)).is_err() {
            self.rejected_by.store(current.number(), Ordering::Relaxed);
            return Err(NO_ROOT);
        }
        self.accepted_by.store(current.number(), Ordering::Relaxed);
        Ok(())
    }
}
