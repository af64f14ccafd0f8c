//! Key ring: the keys in effect, which a rotation replaces while fetches use them.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::envelope::Envelopes;
use super::keys::Keys;
use crate::seal::SealError;

/// The keys of a shared cache that are in effect.
#[derive(Debug)]
pub struct KeyRing(ArcSwap<Envelopes>);

impl KeyRing {
    /// Returns a ring with these keys.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn new(keys: &Keys) -> Result<Self, SealError> {
        Ok(Self(ArcSwap::from_pointee(Envelopes::new(keys)?)))
    }

    /// Puts other keys into effect.
    ///
    /// # Errors
    /// The cryptographic library failed, and the old keys stay in effect.
    pub fn replace(&self, keys: &Keys) -> Result<(), SealError> {
        self.0.store(Arc::new(Envelopes::new(keys)?));
        Ok(())
    }

    /// Returns the envelopes of the keys in effect.
    pub(super) fn current(&self) -> Arc<Envelopes> {
        self.0.load_full()
    }
}
