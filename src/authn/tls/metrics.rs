//! Metric of the expiry of certificates, roots and revocation lists.

use std::sync::Arc;

use super::Tls;
use super::certificate;
use super::window::seconds;
use crate::metrics::Registry;

/// The expiry of certificates that never expire, in seconds since 1970.
const END_OF_9999: u64 = 253_402_300_800;

impl Tls {
    /// Exposes when the files in effect expire.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        let tls = Arc::clone(self);
        registry.on_scrape(move |scrape| {
            let expiries = tls.expiries().map(|(kind, expires)| ([("kind", kind)], expires));
            let help = "First expiry of the TLS files in effect, in Unix time";
            scrape.gauges("ecr_broker_certificate_expiry_timestamp_seconds", help, expiries)
        });
    }

    /// Returns the first expiry of each kind of file, in Unix time.
    fn expiries(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let generation = self.generations.current();
        let certificates = generation.files().certificates(&self.settings.certificate).unwrap_or_default();
        let own = certificates.first().and_then(|leaf| certificate::expiry(leaf).ok());
        let verifier = generation.verifier();
        let kinds = [
            ("server", own.map(seconds)),
            ("client_ca", verifier.first_end_of_roots()),
            ("client_crl", verifier.first_next_update()),
        ];
        kinds.into_iter().filter_map(|(kind, expires)| Some((kind, expires?.min(END_OF_9999))))
    }
}
