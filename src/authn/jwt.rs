//! Bearer tokens: JSON Web Tokens of configured issuers, verified locally.
//!
//! Where the standards leave a choice, the verification is strict. It accepts only one audience, only public-key algorithms, no header
//! that says where to fetch a key, and no duplicate claim.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use self::claims::{Claims, LEEWAY};
use self::header::Header;
use self::issuer::{Issuer, IssuerSet, KeyTasks};
use self::token_parts::TokenParts;
use crate::caller::ClaimNames;
use crate::clock::Clock;
use crate::follow_file::FilesInEffect;
use crate::metrics::Registry;

mod claim_value;
mod claims;
mod header;
mod issuer;
mod issuer_keys;
mod key;
mod key_set;
mod rejected;
mod settings;
mod token_cache;
mod token_parts;
mod verified_token;

pub(super) use self::issuer_keys::FETCH_COOLDOWN;
pub use self::issuer_keys::{is_safe_url, may_have_keys_at};
pub use self::key_set::{KeySet, KeySetError};
pub use self::rejected::TokenRejected;
pub use self::settings::{KeyLocation, Settings};
pub use self::verified_token::VerifiedToken;

/// Largest accepted token. GitHub's are about 2 KB.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The issuers whose tokens are accepted.
#[derive(Debug)]
pub struct Issuers {
    /// Replaced whole, so that a token is verified by one set from begin to end.
    active: ArcSwap<IssuerSet>,
    changes: watch::Sender<()>,
    /// The names of the claims that are kept of a verified token: a watch keeps its caller for an hour.
    kept_claims: ArcSwap<ClaimNames>,
    clock: Arc<dyn Clock>,
}

/// Issuers whose key files are loaded, and that are not in effect yet.
#[derive(Debug)]
pub struct LoadedIssuers(IssuerSet);

impl LoadedIssuers {
    /// Returns the IDs of the issuers, as callers have them.
    #[must_use]
    pub fn ids(&self) -> Vec<usize> {
        self.0.ids()
    }
}

impl Issuers {
    /// Loads the key files. Keys that must be fetched arrive once [`Self::follow`] runs.
    ///
    /// # Errors
    /// If a key file or a CA bundle cannot be used.
    pub fn load(settings: Vec<Settings>, clock: Arc<dyn Clock>) -> Result<Self, KeySetError> {
        // Choose the backend: if a second one is compiled in, the library panics because it cannot choose.
        _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let issuers = IssuerSet::default().reloaded(settings, &clock)?;
        let (active, changes) = (ArcSwap::from_pointee(issuers), watch::Sender::new(()));
        Ok(Self { active, changes, kept_claims: ArcSwap::default(), clock })
    }

    /// Loads the issuers of a new configuration. Those that have not changed keep their keys.
    ///
    /// # Errors
    /// If a key file or a CA bundle cannot be used.
    pub fn prepare(&self, settings: Vec<Settings>) -> Result<LoadedIssuers, KeySetError> {
        self.active.load().reloaded(settings, &self.clock).map(LoadedIssuers)
    }

    /// Puts issuers into effect. Tokens of an issuer that was changed or removed are no longer accepted, and calls that last end.
    pub fn activate(&self, LoadedIssuers(issuers): LoadedIssuers) {
        if !self.active.load().is_same(&issuers) {
            self.active.store(Arc::new(issuers));
            self.changes.send_replace(());
        }
    }

    /// Returns the IDs of the issuers in effect, as callers have them.
    #[must_use]
    pub fn ids(&self) -> Vec<usize> {
        self.active.load().ids()
    }

    /// Returns whether no issuer is in effect.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.active.load().known.is_empty()
    }

    /// Exposes the age of the keys of each issuer that publishes them.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        let issuers = Arc::clone(self);
        registry.on_scrape(move |scrape| {
            let active = issuers.active.load();
            let ages = active.known.iter().filter_map(|issuer| {
                let age = issuer.keys.age_seconds()?;
                Some(([("issuer", issuer.settings.name.clone())], age))
            });
            let help = "Time since the last successful fetch of the keys of an issuer; infinite: never";
            scrape.gauges("ecr_broker_jwks_age_seconds", help, ages.collect::<Vec<_>>())
        });
    }

    /// Keeps the keys up to date for as long as it is polled. Each issuer has a task, so that one failure affects no other issuer.
    pub async fn follow(self: Arc<Self>, in_effect: FilesInEffect) {
        let mut changes = self.changes.subscribe();
        let mut tasks = KeyTasks::new(in_effect);
        loop {
            changes.mark_unchanged();
            tasks.update(&self.active.load().known);
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Keeps only claims of these names of tokens that are verified from now on.
    pub fn keep_claims(&self, names: ClaimNames) {
        self.kept_claims.store(Arc::new(names));
    }

    /// Verifies a token, or returns the cached result of its last verification.
    ///
    /// # Errors
    /// If the token is rejected.
    pub async fn verify(&self, token: &str) -> Result<VerifiedToken, TokenRejected> {
        match self.recently_verified(token) {
            Some(verified) => Ok(verified),
            None => self.verify_signature(token).await,
        }
    }

    /// Verifies a token whose result is not cached.
    pub(super) async fn verify_signature(&self, token: &str) -> Result<VerifiedToken, TokenRejected> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenRejected::Malformed);
        }
        let parts = TokenParts::split(token)?;
        let header = Header::read(&parts.header)?;
        let claims = Claims::read(&parts.claims)?;
        let active = self.active.load_full();
        let issuer = active.known.iter().find(|issuer| issuer.settings.issuer == claims.issuer);
        let Issuer { id, settings, keys } = &**issuer.ok_or(TokenRejected::Issuer)?;
        let key = keys.get(&header.key_id).await?;
        key.verify(&parts, header.algorithm)?;
        let now = self.clock.now();
        claims.check(settings, now.wall)?;
        let valid_for = claims.valid_for(now.wall);
        let kept = ClaimNames::clone(&self.kept_claims.load());
        let caller = Arc::new(claims.into_caller((settings.name.clone(), *id), kept)?);
        let verified = VerifiedToken { caller, issuer: *id, key: Arc::new(key.fingerprint(&header.key_id)) };
        active.verified.insert(token, &verified, now, valid_for);
        Ok(verified)
    }

    /// Returns how long a verified token is still accepted: zero once its issuer has withdrawn the key.
    #[must_use]
    pub fn time_left(&self, token: &VerifiedToken) -> Duration {
        if !self.has_key_of(token) {
            return Duration::ZERO;
        }
        let end = token.caller.expires.and_then(|end| end.checked_add(LEEWAY));
        end.and_then(|end| end.duration_since(self.clock.now().wall).ok()).unwrap_or_default()
    }

    /// Returns the cached result of a token's last verification, which costs no signature.
    pub(super) fn recently_verified(&self, token: &str) -> Option<VerifiedToken> {
        let is_current = |verified: &VerifiedToken| {
            self.has_key_of(verified) && verified.caller.kept.include(&self.kept_claims.load())
        };
        let verified = (token.len() <= MAX_TOKEN_BYTES)
            .then(|| self.active.load().verified.get(token, self.clock.now()))
            .flatten();
        verified.filter(is_current)
    }

    fn has_key_of(&self, token: &VerifiedToken) -> bool {
        self.active.load().known.iter().any(|issuer| issuer.id == token.issuer && issuer.keys.has(&token.key))
    }
}
