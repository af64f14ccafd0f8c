//! Registry credentials: user name, password, ID and validity, and the key under which they are cached.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::caller::Principal;
use crate::moment::Moment;
use crate::quoted::Quoted;
use crate::registry::{AccountId, Registry};

#[cfg(feature = "server")]
mod leaked;
mod lifetime;
mod origin;
mod password;

#[cfg(feature = "server")]
pub use self::leaked::{LeakedPassword, passwords_in};
pub use self::lifetime::Lifetime;
pub use self::origin::{Minter, ParentName, SourceName, UnknownSource};
pub use self::password::{ExposedPassword, Password};

/// The user name of every ECR password.
pub const USERNAME: &str = "AWS";
/// Longest validity that AWS issues. A longer time to the expiry means that this machine's clock is behind.
const MAX_LIFETIME: Duration = Duration::from_hours(12);
/// Longest time to an expiry. A longer one is a broken response, such as milliseconds read as seconds. The limit is wide, because
/// this machine's clock may be days behind.
const MAX_TIME_TO_EXPIRY: Duration = Duration::from_hours(7 * 24);
/// Maximum size of a token. AWS documents no limit, and tokens have 5 KB today.
const MAX_TOKEN_BYTES: usize = 64 * 1024;
/// Prefix that separates credential IDs from other SHA-256 digests of the same bytes.
const ID_DOMAIN: &[u8] = b"ecr-broker credential id v1\0";

/// The name of a profile: a configured way to mint credentials.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProfileName(Box<str>);

/// The definition of a profile among those that its name had in this process. Credentials of one definition never serve another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(u32);

impl Revision {
    /// Returns the revision of the next definition.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// The key of a credential: everything that AWS's response depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialKey {
    /// The registry: service, partition, account, region and endpoint variant.
    pub registry: Registry,
    /// The profile by which the credential is minted.
    pub profile: ProfileName,
    /// The definition of the profile, which a reload may replace.
    pub revision: Revision,
    /// The caller that the role session names to AWS; `None`: it names the broker, and all callers share the credential.
    pub caller: Option<Principal>,
    /// The lifetime that the deciding grant sets; `None`: that of AWS's authorization tokens.
    pub lifetime: Option<Lifetime>,
}

/// The ID of a credential, safe to log: the first 128 bits of a SHA-256 over the token, the same on every replica and tier.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialId([u8; 16]);

/// A user name and password for a registry.
#[derive(Debug)]
pub struct Credential {
    password: Password,
    id: CredentialId,
    account: Option<AccountId>,
    source: SourceName,
    minter: Minter,
    upstream_request_id: Option<Box<str>>,
    issued: SystemTime,
    received: Moment,
    /// On the wall clock the expiry that AWS states.
    end: Moment,
    source_refresh: Option<Duration>,
}

/// Why a token or a password is not a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The token is not base64-encoded text.
    #[error("the authorization token is not base64-encoded text")]
    NotBase64,
    /// The token is larger than any that AWS issues.
    #[error("the authorization token has more than {MAX_TOKEN_BYTES} bytes")]
    TooLarge,
    /// The token has another user name, or no password.
    #[error("the authorization token is not \"AWS:\" and a password")]
    NoPassword,
    /// The token expires later than any that AWS issues.
    #[error("the authorization token expires too late; check this machine's clock")]
    TooFar,
    /// The token has expired.
    #[error("the authorization token has expired; check this machine's clock")]
    Expired,
}

impl ProfileName {
    /// The longest name in bytes.
    const LONGEST: usize = 32;

    /// Returns the profile of the broker's own AWS identity.
    #[must_use]
    pub fn default_profile() -> Self {
        Self("default".into())
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The error for a text that cannot name a profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a profile name; write 1 to 32 letters, digits, \"-\" and \"_\"", Quoted(text))]
pub struct ProfileNameError {
    text: String,
}

/// Parses a caller's or an operator's text, so that no longer or stranger one reaches a log, a key or an error.
impl FromStr for ProfileName {
    type Err = ProfileNameError;

    fn from_str(text: &str) -> Result<Self, ProfileNameError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let fits = (1..=Self::LONGEST).contains(&text.len()) && text.bytes().all(is_allowed);
        if fits { Ok(Self(text.into())) } else { Err(ProfileNameError { text: text.to_owned() }) }
    }
}

/// Takes a name that this program writes itself.
impl From<&str> for ProfileName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl CredentialId {
    /// Digests the authorization token of a user name and password, as AWS encodes it.
    fn of(username: &str, password: &str) -> Result<Self, CredentialError> {
        let clear = Zeroizing::new(format!("{username}:{password}"));
        let token = Zeroizing::new(BASE64.encode(clear.as_bytes()));
        if token.len() > MAX_TOKEN_BYTES {
            return Err(CredentialError::TooLarge);
        }
        let digest = Sha256::new().chain_update(ID_DOMAIN).chain_update(token.as_bytes()).finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Ok(Self(id))
    }

    /// Returns the ID as bytes, for an index of audit records.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// Returns the ID of [`CredentialId::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Parses the format of [`fmt::Display`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Credential {
    /// Decodes an authorization token of AWS: base64 of `AWS:` and the password. AWS issues a token when it is fetched, so the time
    /// of the issue is `received`.
    ///
    /// # Errors
    /// Returns why the token is malformed or expired. It would otherwise fail later, at the registry.
    pub fn from_aws_token(token: &str, expires: SystemTime, received: Moment) -> Result<Self, CredentialError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(CredentialError::TooLarge);
        }
        let clear = Zeroizing::new(BASE64.decode(token.as_bytes()).map_err(|_| CredentialError::NotBase64)?);
        let clear = std::str::from_utf8(&clear).map_err(|_| CredentialError::NotBase64)?;
        let (username, password) = clear.split_once(':').ok_or(CredentialError::NoPassword)?;
        Self::new(SourceName::Aws, username, password, received.wall, expires, received)
    }

    /// Returns a credential that AWS issued at `issued` and that this broker received from `source` at `received`. The two times differ
    /// if the source is another broker, whose cached credential may be hours old.
    ///
    /// # Errors
    /// The user name is not [`USERNAME`], the password is empty or too large, or the credential has expired.
    pub fn new(
        source: SourceName,
        username: &str,
        password: &str,
        issued: SystemTime,
        expires: SystemTime,
        received: Moment,
    ) -> Result<Self, CredentialError> {
        if username != USERNAME || password.is_empty() {
            return Err(CredentialError::NoPassword);
        }
        let id = CredentialId::of(username, password)?;
        let lifetime = match expires.duration_since(received.wall) {
            Err(_) | Ok(Duration::ZERO) => return Err(CredentialError::Expired),
            Ok(lifetime) if lifetime > MAX_TIME_TO_EXPIRY => return Err(CredentialError::TooFar),
            Ok(lifetime) => lifetime.min(MAX_LIFETIME),
        };
        Ok(Self {
            password: Password::new(password),
            id,
            account: None,
            source,
            minter: Minter::default(),
            upstream_request_id: None,
            issued,
            received,
            end: Moment { wall: expires, steady: received.steady + lifetime },
            source_refresh: None,
        })
    }

    /// Returns a copy for the registry of `account`, which the same token opens. Without an account the copy keeps its own.
    #[must_use]
    pub fn copied_for(&self, account: Option<AccountId>) -> Self {
        Self {
            password: self.password.copied(),
            account: account.or(self.account),
            minter: self.minter.clone(),
            upstream_request_id: self.upstream_request_id.clone(),
            source: self.source.clone(),
            ..*self
        }
    }

    /// Ends the validity on the monotonic clock at `end`, if that is earlier. For another broker's credential: that broker counts what
    /// is left on its own monotonic clock, and this machine's wall clock may be wrong (P14).
    #[must_use]
    pub fn ending_by(self, end: Duration) -> Self {
        let end = Moment { steady: self.end.steady.min(end), ..self.end };
        Self { end, ..self }
    }

    /// Sets the account whose registry AWS named with the token.
    #[must_use]
    pub fn for_account(self, account: Option<AccountId>) -> Self {
        Self { account, ..self }
    }

    /// Sets the identity that minted the credential.
    #[must_use]
    pub fn minted_by(self, minter: Minter) -> Self {
        Self { minter, ..self }
    }

    /// Returns the identity that minted the credential.
    #[must_use]
    pub fn minter(&self) -> &Minter {
        &self.minter
    }

    /// Returns the source that answered.
    #[must_use]
    pub fn source(&self) -> &SourceName {
        &self.source
    }

    /// Sets the source's ID of the call that returned the credential.
    #[must_use]
    pub fn with_upstream_request_id(self, id: Option<Box<str>>) -> Self {
        Self { upstream_request_id: id, ..self }
    }

    /// Sets the time from the receipt to the refresh by the source itself, which a parent broker states.
    #[must_use]
    pub fn with_source_refresh(self, after: Duration) -> Self {
        Self { source_refresh: Some(after), ..self }
    }

    /// Returns the time from the receipt to the refresh by the source itself, if the source refreshes it.
    #[must_use]
    pub fn source_refresh(&self) -> Option<Duration> {
        self.source_refresh
    }

    /// Returns the source's ID of the call that returned the credential.
    #[must_use]
    pub fn upstream_request_id(&self) -> Option<&str> {
        self.upstream_request_id.as_deref()
    }

    /// Returns the password.
    #[must_use]
    pub fn password(&self) -> &Password {
        &self.password
    }

    /// Returns the ID for answers and logs.
    #[must_use]
    pub fn id(&self) -> CredentialId {
        self.id
    }

    /// Returns the account whose registry AWS named with the token, if it named one.
    #[must_use]
    pub fn account(&self) -> Option<AccountId> {
        self.account
    }

    /// Returns when AWS issued the credential.
    #[must_use]
    pub fn issued(&self) -> SystemTime {
        self.issued
    }

    /// Returns when this broker received the credential.
    #[must_use]
    pub fn received(&self) -> Moment {
        self.received
    }

    /// Returns the expiry that AWS states.
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        self.end.wall
    }

    /// Returns when the validity ends, on both clocks.
    #[must_use]
    pub fn end(&self) -> Moment {
        self.end
    }

    /// Returns the validity that is left, on the clock with less (P14).
    #[must_use]
    pub fn remaining(&self, now: Moment) -> Duration {
        now.until(self.end)
    }

    /// Returns the time since AWS issued the credential, on the clock with more.
    #[must_use]
    pub fn age(&self, now: Moment) -> Duration {
        // Zero if the other broker's clock is ahead.
        let age_when_received = self.received.wall.duration_since(self.issued).unwrap_or_default();
        age_when_received + now.since(self.received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn at(seconds: u64) -> Moment {
        Moment {
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds),
            steady: Duration::from_secs(seconds),
        }
    }

    fn token(clear: &str) -> String {
        BASE64.encode(clear.as_bytes())
    }

    fn from_token(token: &str, lifetime: u64) -> Result<Credential, CredentialError> {
        Credential::from_aws_token(token, at(lifetime).wall, at(0))
    }

    #[test]
    fn password_is_everything_after_the_first_colon() {
        let credential = from_token(&token("AWS:a:b:c"), 60).expect("a valid token");
        assert_eq!(credential.password().expose(), "a:b:c");
    }

    #[test]
    fn malformed_token_is_rejected() {
        for (name, text, error) in [
            ("not base64", "AWS:secret".to_owned(), CredentialError::NotBase64),
            ("empty", String::new(), CredentialError::NoPassword),
            ("no colon", token("AWSsecret"), CredentialError::NoPassword),
            ("another user", token("root:secret"), CredentialError::NoPassword),
            ("no password", token("AWS:"), CredentialError::NoPassword),
            ("bytes that are not text", BASE64.encode(b"AWS:\xff\xfe"), CredentialError::NotBase64),
            ("a megabyte", token(&format!("AWS:{}", "x".repeat(1 << 20))), CredentialError::TooLarge),
        ] {
            assert_eq!(from_token(&text, 60).err(), Some(error), "{name}");
        }
        assert_eq!(from_token(&token("AWS:x"), 0).err(), Some(CredentialError::Expired));
        assert_eq!(from_token(&token("AWS:x"), 1_795_346_855_432).err(), Some(CredentialError::TooFar));
    }

    #[test]
    fn token_at_a_limit_is_accepted_and_one_above_is_not() {
        let of_size = |size: usize| {
            // Four letters encode three bytes. Four bytes are the user name and the colon.
            let text = token(&format!("AWS:{}", "x".repeat(size / 4 * 3 - 4)));
            assert_eq!(text.len(), size);
            from_token(&text, 60)
        };
        assert!(of_size(64 * 1024).is_ok());
        assert_eq!(of_size(64 * 1024 + 4).err(), Some(CredentialError::TooLarge));
        let password =
            |size: usize| Credential::new(SourceName::Aws, "AWS", &"x".repeat(size), at(0).wall, at(60).wall, at(0));
        assert!(password(48 * 1024 - 4).is_ok());
        assert_eq!(password(48 * 1024 - 3).err(), Some(CredentialError::TooLarge));
        let week = 7 * 24 * 3600;
        assert!(from_token(&token("AWS:x"), week).is_ok());
        assert_eq!(from_token(&token("AWS:x"), week + 1).err(), Some(CredentialError::TooFar));
        assert!(from_token(&token("AWS:x"), 1).is_ok());
    }

    #[test]
    fn credential_keeps_the_account_and_the_request_id() {
        let account: Option<AccountId> = "123456789012".parse().ok();
        let credential = from_token(&token("AWS:x"), 3600).expect("a valid token");
        assert_eq!((credential.account(), credential.upstream_request_id()), (None, None));
        let credential = credential.for_account(account).with_upstream_request_id(Some("call-1".into()));
        assert_eq!((credential.account(), credential.upstream_request_id()), (account, Some("call-1")));
        assert_eq!((credential.issued(), credential.expires()), (at(0).wall, at(3600).wall));
        assert_eq!(credential.received(), at(0));
    }

    #[test]
    fn credential_ends_on_the_clock_that_reaches_its_end_first() {
        let credential = from_token(&token("AWS:x"), 3600).expect("a valid token");
        let stepped_back = Moment { wall: at(3000).wall - 6 * HOUR, steady: at(3000).steady };
        assert_eq!(credential.remaining(stepped_back), Duration::from_mins(10));
        let stepped_on = Moment { wall: at(0).wall + 6 * HOUR, steady: at(0).steady };
        assert_eq!(credential.remaining(stepped_on), Duration::ZERO);
    }

    #[test]
    fn clock_that_is_behind_does_not_extend_a_credential() {
        let credential =
            Credential::from_aws_token(&token("AWS:x"), at(0).wall + 18 * HOUR, at(0)).expect("a valid token");
        assert_eq!(credential.remaining(at(0)), 12 * HOUR);
    }

    #[test]
    fn age_counts_from_the_issue_and_remaining_and_age_add_up() {
        let five_hours = 5 * 3600;
        let received = at(five_hours);
        let credential =
            Credential::new(SourceName::Aws, "AWS", "x", at(0).wall, at(12 * 3600).wall, received).expect("valid");
        assert_eq!((credential.age(received), credential.remaining(received)), (5 * HOUR, 7 * HOUR));
        let later = at(five_hours + 3600);
        let stepped_back = Moment { wall: later.wall - 3 * HOUR, steady: later.steady };
        let stepped_on = Moment { wall: later.wall + 3 * HOUR, steady: later.steady };
        for now in [later, stepped_back, stepped_on] {
            assert_eq!(credential.age(now) + credential.remaining(now), 12 * HOUR, "{now:?}");
        }
        let ahead = Credential::new(SourceName::Aws, "AWS", "x", at(60).wall, at(3600).wall, at(0)).expect("valid");
        assert_eq!(ahead.age(at(0)), Duration::ZERO, "the issuer's clock is ahead");
    }

    #[test]
    fn p14_validity_of_another_broker_ends_on_the_clock_that_is_first() {
        let of = |end: u64| {
            from_token(&token("AWS:x"), 3600)
                .expect("a valid token")
                .ending_by(Duration::from_secs(end))
                .remaining(at(0))
        };
        assert_eq!((of(60), of(7200)), (Duration::from_mins(1), HOUR));
    }

    #[test]
    fn credential_id_is_the_same_on_every_tier_and_can_be_parsed() {
        let credential = from_token(&token("AWS:x"), 60).expect("a valid token");
        let id = credential.id().to_string();
        assert_eq!(id, from_token(&token("AWS:x"), 90).expect("a valid token").id().to_string());
        let of_parts = Credential::new(SourceName::Aws, "AWS", "x", at(0).wall, at(60).wall, at(30)).expect("valid");
        assert_eq!(of_parts.id(), credential.id());
        // The digest over AWS's own text of the token, as it was before other sources existed.
        let digest = Sha256::new().chain_update(ID_DOMAIN).chain_update(token("AWS:x")).finalize();
        assert_eq!(id, HEXLOWER.encode(&digest[..16]));
        assert_eq!(id.len(), 32);
        assert_eq!(CredentialId::parse(&id), Some(credential.id()));
        assert_eq!(CredentialId::parse("xyz"), None);
    }

    #[test]
    fn credential_debug_hides_the_password() {
        let credential = from_token(&token("AWS:very-secret"), 60).expect("a valid token");
        let printed = format!("{credential:?} {credential:#?}");
        assert!(!printed.contains("very-secret"));
        assert!(printed.contains("[redacted]") && printed.contains(&credential.id().to_string()), "{printed}");
    }
}
