//! Bearer tokens: JSON Web Tokens of configured issuers, verified locally.
//!
//! Where the standards leave a choice, the verification is strict. It accepts only one audience, only public-key algorithms, no header
//! that says where to fetch a key, and no duplicate claim.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;

use self::claims::{Claims, LEEWAY};
use self::header::Header;
use self::issuer_keys::IssuerKeys;
use self::token_cache::TokenCaches;
use self::token_parts::TokenParts;
use crate::caller::ClaimNames;
use crate::clock::Clock;
use crate::follow_file::FilesInEffect;
use crate::metrics::Registry;
use crate::supervise;

mod claim_value;
mod claims;
mod header;
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
    known: Vec<Issuer>,
    verified: TokenCaches,
    /// The names of the claims that are kept of a verified token: a watch keeps its caller for an hour.
    kept_claims: ArcSwap<ClaimNames>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Issuer {
    settings: Settings,
    keys: Arc<IssuerKeys>,
}

impl Issuers {
    /// Loads the key files. Keys that must be fetched arrive once [`Self::follow`] runs.
    ///
    /// # Errors
    /// If a key file or a CA bundle cannot be used.
    pub fn load(settings: Vec<Settings>, clock: Arc<dyn Clock>) -> Result<Self, KeySetError> {
        // Choose the backend: if a second one is compiled in, the library panics because it cannot choose.
        _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let load = |settings: Settings| {
            let keys = Arc::new(IssuerKeys::load(&settings, Arc::clone(&clock))?);
            Ok(Issuer { settings, keys })
        };
        let issuers = settings.into_iter().map(load).collect::<Result<Vec<_>, _>>()?;
        let verified = TokenCaches::new(issuers.len());
        Ok(Self { known: issuers, verified, kept_claims: ArcSwap::default(), clock })
    }

    /// Exposes the age of the keys of each issuer that publishes them.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        let issuers = Arc::clone(self);
        registry.on_scrape(move |scrape| {
            let ages = issuers.known.iter().filter_map(|issuer| {
                let age = issuer.keys.age_seconds()?;
                Some(([("issuer", issuer.settings.name.clone())], age))
            });
            let help = "Time since the last successful fetch of the keys of an issuer; infinite: never";
            scrape.gauges("ecr_broker_jwks_age_seconds", help, ages.collect::<Vec<_>>())
        });
    }

    /// Keeps the keys up to date for as long as it is polled. Each issuer has a task, so that one failure affects no other issuer.
    pub async fn follow(self: Arc<Self>, in_effect: FilesInEffect) {
        let keys = self.known.iter().map(|issuer| &issuer.keys);
        let tasks =
            keys.map(|keys| supervise::run("issuer key refresh", || Arc::clone(keys).follow(in_effect.clone())));
        join_all(tasks).await;
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
        let issuer = self.known.iter().position(|issuer| issuer.settings.issuer == claims.issuer);
        let issuer = issuer.ok_or(TokenRejected::Issuer)?;
        let Issuer { settings, keys } = &self.known[issuer];
        let key = keys.get(&header.key_id).await?;
        key.verify(&parts, header.algorithm)?;
        let now = self.clock.now();
        claims.check(settings, now.wall)?;
        let valid_for = claims.valid_for(now.wall);
        let caller = Arc::new(claims.into_caller(settings.name.clone(), ClaimNames::clone(&self.kept_claims.load()))?);
        let verified = VerifiedToken { caller, issuer, key: Arc::new(key.fingerprint(&header.key_id)) };
        self.verified.insert(token, &verified, now, valid_for);
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
        let verified = (token.len() <= MAX_TOKEN_BYTES).then(|| self.verified.get(token, self.clock.now())).flatten();
        verified.filter(is_current)
    }

    fn has_key_of(&self, token: &VerifiedToken) -> bool {
        self.known.get(token.issuer).is_some_and(|issuer| issuer.keys.has(&token.key))
    }
}
