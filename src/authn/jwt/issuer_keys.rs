//! The keys of one issuer, kept up to date.

use std::sync::Arc;

use self::discovered::DiscoveredKeys;
use self::discovery::DiscoveryClient;
use self::file::FileKeys;
use super::key::{Key, KeyFingerprint};
use super::key_set::KeySetError;
use super::rejected::TokenRejected;
use super::settings::{KeyLocation, Settings};
use crate::clock::Clock;
use crate::follow_file::FilesInEffect;

mod discovered;
mod discovery;
mod file;

pub(in crate::authn) use self::discovered::FETCH_COOLDOWN;
pub use self::discovery::{is_safe_url, may_have_keys_at};

/// The keys of one issuer.
#[derive(Debug)]
pub(super) enum IssuerKeys {
    Discovered(Box<DiscoveredKeys>),
    File(FileKeys),
}

impl IssuerKeys {
    pub(super) fn load(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, KeySetError> {
        Ok(match &settings.keys {
            KeyLocation::Discovery { jwks_uri } => {
                let client = DiscoveryClient::new(settings, jwks_uri.as_deref())?;
                Self::Discovered(Box::new(DiscoveredKeys::new(settings.name.clone(), client, clock)))
            }
            KeyLocation::File(path) => Self::File(FileKeys::load(settings.name.clone(), path)?),
        })
    }

    /// Returns a key by its ID.
    pub(super) async fn get(&self, id: &str) -> Result<Key, TokenRejected> {
        match self {
            Self::Discovered(keys) => keys.get(id).await,
            Self::File(keys) => keys.get(id),
        }
    }

    /// Returns whether the issuer still has a key.
    pub(super) fn has(&self, key: &KeyFingerprint) -> bool {
        match self {
            Self::Discovered(keys) => keys.has(key),
            Self::File(keys) => keys.has(key),
        }
    }

    /// Returns the seconds since the keys were fetched, infinite if they never were; `None`: they are in a file.
    pub(super) fn age_seconds(&self) -> Option<f64> {
        match self {
            Self::Discovered(keys) => Some(keys.age().map_or(f64::INFINITY, |age| age.as_secs_f64())),
            Self::File(_) => None,
        }
    }

    /// Keeps the keys up to date for as long as it is polled.
    pub(super) async fn follow(self: Arc<Self>, in_effect: FilesInEffect) {
        match &*self {
            Self::Discovered(keys) => keys.follow().await,
            Self::File(keys) => keys.follow(&in_effect).await,
        }
    }
}
