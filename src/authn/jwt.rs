//! Bearer tokens: JSON Web Tokens of issuers that the configuration names, verified here, without asking anybody.
//!
//! Strict where the standards leave room: one audience, no algorithm but those of public keys, no header that says where a key is
//! to be had, no claim twice.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use futures_util::future::join_all;

use self::claims::{Claims, LEEWAY};
use self::header::Header;
use self::keys::KeyMark;
pub use self::keys::{KeySet, KeySetError};
use self::source::Source;
pub use self::source::{Keys, is_safe_url};
use self::verified::{Remembered, Verified};
use crate::caller::TokenCaller;
use crate::clock::Clock;
use crate::supervise;

mod claims;
mod header;
mod keys;
mod source;
mod verified;

/// No token is larger; GitHub's are about 2 KB.
const LARGEST_TOKEN: usize = 8 * 1024;

/// An issuer of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its name in grants and logs.
    pub name: String,
    /// Its own name: `iss`, byte for byte.
    pub issuer: String,
    /// Whom its tokens must be meant for: the broker.
    pub audience: String,
    /// Where its keys are.
    pub keys: Keys,
    /// Certificates (PEM) to trust for it instead of the system's, where its keys are fetched; read once.
    pub ca_bundle: Option<PathBuf>,
    /// How long its tokens may last from their issue to their end.
    pub max_lifetime: Duration,
}

/// The issuers whose tokens are taken.
#[derive(Debug)]
pub struct Issuers {
    trusted: Vec<(Settings, Arc<Source>)>,
    verified: Verified,
    clock: Arc<dyn Clock>,
}

/// Why a token is not taken. None of the texts holds anything of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Not three parts of base64url, or too large.
    Malformed,
    /// A header that is no JSON object, or holds what is not taken.
    Header,
    /// An algorithm that is not taken.
    Algorithm,
    /// No key id.
    NoKeyId,
    /// Claims that are no JSON object, of a wrong type, or there twice.
    Claims,
    /// No issuer of this name.
    Issuer,
    /// The issuer has no such key.
    KeyUnknown,
    /// The issuer's keys cannot be had.
    KeysUnavailable,
    /// The key is of another algorithm.
    KeyMismatch,
    /// Not signed by that key.
    Signature,
    /// Meant for somebody else, or for others too.
    Audience,
    /// Past its end.
    Expired,
    /// Not begun yet.
    NotYet,
    /// Lasts too long.
    Lifetime,
    /// About nobody that can be named.
    Subject,
}

impl Refusal {
    /// What is wrong, and what would help.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "the bearer token is not a JSON Web Token of at most 8 KiB",
            Self::Header => "the bearer token's header is not an object with alg, kid, typ and no more that matters",
            Self::Algorithm => "the bearer token's algorithm is none of RS256, PS256, ES256, ES384, EdDSA",
            Self::NoKeyId => "the bearer token's header names no key (kid)",
            Self::Claims => {
                "the bearer token's claims are not well-formed: it needs iss, sub, aud, exp and iat, each once and of its type"
            }
            Self::Issuer => "the bearer token's issuer is none of those that the broker's configuration names",
            Self::KeyUnknown => "the bearer token's key is none of its issuer's",
            Self::KeysUnavailable => {
                "the broker does not have the keys of the bearer token's issuer; try again, or tell those who run it"
            }
            Self::KeyMismatch => "the bearer token's algorithm is not the one of its key",
            Self::Signature => "the bearer token's signature is wrong",
            Self::Audience => {
                "the bearer token's audience is not the broker's alone; ask its issuer for a token with that audience"
            }
            Self::Expired => "the bearer token has expired; ask its issuer for a new one",
            Self::NotYet => "the bearer token is of the future; are the clocks right?",
            Self::Lifetime => {
                "the bearer token lasts longer than the broker takes; ask its issuer for one that ends sooner"
            }
            Self::Subject => "the bearer token's subject is empty, too long, or not printable ASCII",
        }
    }
}

impl Issuers {
    /// Takes tokens of these. Keys that are fetched come a moment later: see [`Self::follow`].
    ///
    /// # Errors
    /// Where a file of keys cannot be used.
    pub fn load(settings: Vec<Settings>, clock: Arc<dyn Clock>) -> Result<Self, KeySetError> {
        // Were another backend ever compiled in beside it, the library would panic over which to take.
        _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let with_source = |settings: Settings| {
            let source = Source::load(&settings, Arc::clone(&clock))?;
            Ok((settings, Arc::new(source)))
        };
        let trusted = settings.into_iter().map(with_source).collect::<Result<_, _>>()?;
        Ok(Self { trusted, verified: Verified::new(), clock })
    }

    /// Keeps the keys up to date, for as long as it is polled: what becomes of one issuer's is nothing to the others'.
    pub async fn follow(self: Arc<Self>) {
        let sources = self
            .trusted
            .iter()
            .map(|(_, source)| supervise::run("following an issuer's keys", || Arc::clone(source).follow()));
        join_all(sources).await;
    }

    /// Whom a token is about.
    ///
    /// # Errors
    /// Where it is not taken.
    pub async fn verify(&self, token: &str) -> Result<Arc<TokenCaller>, Refusal> {
        self.vouch(token).await.map(|vouched| vouched.caller)
    }

    /// The same, and what shows later whether that still holds.
    ///
    /// # Errors
    /// As there.
    pub async fn vouch(&self, token: &str) -> Result<Vouched, Refusal> {
        if token.len() > LARGEST_TOKEN {
            return Err(Refusal::Malformed);
        }
        if let Some(vouched) = self.verified_before(token) {
            return Ok(vouched);
        }
        let parts = Parts::of(token)?;
        let header = Header::read(&parts.header)?;
        let claims = Claims::read(&parts.claims)?;
        let issuer = self.trusted.iter().position(|(settings, _)| settings.issuer == claims.issuer);
        let issuer = issuer.ok_or(Refusal::Issuer)?;
        let (settings, source) = &self.trusted[issuer];
        let key = source.key(&header.key_id).await?;
        if !key.is_for(header.algorithm) {
            return Err(Refusal::KeyMismatch);
        }
        if !key.verify(parts.signature, parts.signed.as_bytes(), header.algorithm) {
            return Err(Refusal::Signature);
        }
        let now = self.clock.now();
        claims.check(settings, now.wall)?;
        let left = claims.left(now.wall);
        let (name, subject) = (settings.name.clone(), claims.subject.clone());
        let caller =
            Arc::new(TokenCaller { issuer: name, subject, expires: claims.expires(), claims: claims.texts()? });
        let key = Arc::new(key.mark(&header.key_id));
        self.verified.remember(token, Arc::clone(&caller), (issuer, Arc::clone(&key)), (now, left));
        Ok(Vouched { caller, issuer, key })
    }

    /// How long a token that was taken is taken from now; not at all where its issuer has taken the key away.
    #[must_use]
    pub fn left(&self, vouched: &Vouched) -> Duration {
        if !self.trusted.get(vouched.issuer).is_some_and(|(_, source)| source.has(&vouched.key)) {
            return Duration::ZERO;
        }
        let end = vouched.caller.expires.and_then(|end| end.checked_add(LEEWAY));
        end.and_then(|end| end.duration_since(self.clock.now().wall).ok()).unwrap_or_default()
    }

    /// Whom it is about, where that was found out a moment ago by keys that are still the issuer's.
    fn verified_before(&self, token: &str) -> Option<Vouched> {
        let Remembered { caller, issuer, key, .. } = self.verified.get(token, self.clock.now())?;
        let (_, source) = self.trusted.get(issuer)?;
        source.has(&key).then_some(Vouched { caller, issuer, key })
    }
}

/// Whom a token is about, and who said so by which keys.
#[derive(Debug, Clone)]
pub struct Vouched {
    /// Whom it is about.
    pub caller: Arc<TokenCaller>,
    issuer: usize,
    key: Arc<KeyMark>,
}

/// A token, taken apart.
struct Parts<'a> {
    header: Vec<u8>,
    claims: Vec<u8>,
    signature: &'a str,
    /// What the signature is over.
    signed: &'a str,
}

impl<'a> Parts<'a> {
    fn of(token: &'a str) -> Result<Self, Refusal> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Refusal::Malformed)?;
        // A dot is no letter of base64url, so that a fourth part is found here.
        let decode = |part: &str| {
            let part = BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| Refusal::Malformed)?;
            if part.is_empty() { Err(Refusal::Malformed) } else { Ok(part) }
        };
        decode(signature)?;
        Ok(Self { header: decode(header)?, claims: decode(claims)?, signature, signed })
    }
}
