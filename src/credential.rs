//! Registry credentials: what AWS gave, for which registry and profile, and until when it may be handed out.

use std::fmt;
use std::time::{Duration, SystemTime};

use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::caller::Principal;
use crate::moment::Moment;
use crate::registry::{AccountId, Registry};

/// The user name that goes with every password of ECR's.
pub const USERNAME: &str = "AWS";
/// AWS never gives a token for longer; a longer span means that this machine's clock is behind.
const LONGEST_LIFETIME: Duration = Duration::from_hours(12);
/// Beyond this an expiry is not a time of a token's end but a broken answer, such as milliseconds taken for seconds. Wide, for
/// the clock here may be days behind.
const FARTHEST_END: Duration = Duration::from_hours(7 * 24);
/// AWS promises no largest size; tokens of 5 KB are seen. Beyond this an answer is not a token.
const LARGEST_TOKEN: usize = 64 * 1024;
/// Sets these digests apart from every other SHA-256 of the same bytes.
const ID_DOMAIN: &[u8] = b"ecr-broker credential id v1\0";

/// The name of a configured way to mint credentials.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProfileName(Box<str>);

/// What one credential is for: everything that AWS's answer depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialKey {
    /// The registry: service, partition, account, region and endpoint variant.
    pub registry: Registry,
    /// Whose authority the credential carries.
    pub profile: ProfileName,
    /// Whom AWS is told that it is for; none where it is told of the broker alone, and all callers share the credential.
    pub caller: Option<Principal>,
}

/// A registry password. It cannot be printed, written out or copied, and its memory is wiped when it goes.
///
/// ```compile_fail,E0277
/// fn printed<T: std::fmt::Display>() {}
/// printed::<ecr_broker::credential::Password>();
/// ```
/// ```compile_fail,E0277
/// fn written<T: serde::Serialize>() {}
/// written::<ecr_broker::credential::Password>();
/// ```
/// ```compile_fail,E0277
/// fn copied<T: Clone>() {}
/// copied::<ecr_broker::credential::Password>();
/// ```
#[derive(PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

/// Names a credential without giving it away: the first 128 bits of a SHA-256 over the token, the same on every replica.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CredentialId([u8; 16]);

/// A user name and password for a registry, as AWS gave them.
#[derive(Debug)]
pub struct Credential {
    password: Password,
    id: CredentialId,
    account: Option<AccountId>,
    aws_request_id: Option<Box<str>>,
    issued: Moment,
    expires: SystemTime,
    end: Moment,
}

/// Why an authorization token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not base64, or not text inside.
    #[error("the authorization token is not base64 of a text")]
    NotBase64,
    /// Larger than any token can be.
    #[error("the authorization token has more than {LARGEST_TOKEN} bytes")]
    TooLarge,
    /// No `AWS:` before the password.
    #[error("the authorization token does not hold \"AWS:\" and a password")]
    NoPassword,
    /// Its end is further off than any token's.
    #[error("the authorization token ends later than any token does; is this machine's clock right?")]
    TooFar,
    /// Its end has passed.
    #[error("the authorization token has expired already; is this machine's clock right?")]
    Expired,
}

impl ProfileName {
    /// A text with more bytes names no profile, and is not repeated where names are.
    pub const LONGEST: usize = 32;

    /// The broker's own AWS identity.
    #[must_use]
    pub fn default_profile() -> Self {
        Self("default".into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

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

impl Password {
    /// The password in clear, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl CredentialId {
    fn of(token: &[u8]) -> Self {
        let digest = Sha256::new().chain_update(ID_DOMAIN).chain_update(token).finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }

    /// Reads what [`fmt::Display`] writes.
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
    /// Opens an authorization token (base64 of `AWS:` and the password) that AWS gave at `issued` and that ends at `expires`.
    ///
    /// # Errors
    /// A token that is no such thing, or that has ended already, is refused: it would only fail later, at the registry.
    pub fn open(token: &str, expires: SystemTime, issued: Moment) -> Result<Self, TokenError> {
        if token.len() > LARGEST_TOKEN {
            return Err(TokenError::TooLarge);
        }
        let clear = Zeroizing::new(BASE64.decode(token.as_bytes()).map_err(|_| TokenError::NotBase64)?);
        let clear = std::str::from_utf8(&clear).map_err(|_| TokenError::NotBase64)?;
        let password = match clear.split_once(':') {
            Some((USERNAME, password)) if !password.is_empty() => Password(Zeroizing::new(password.to_owned())),
            _ => return Err(TokenError::NoPassword),
        };
        let lifetime = match expires.duration_since(issued.wall) {
            Err(_) | Ok(Duration::ZERO) => return Err(TokenError::Expired),
            Ok(lifetime) if lifetime > FARTHEST_END => return Err(TokenError::TooFar),
            Ok(lifetime) => lifetime.min(LONGEST_LIFETIME),
        };
        let end = Moment { wall: expires, steady: issued.steady + lifetime };
        let id = CredentialId::of(token.as_bytes());
        Ok(Self { password, id, account: None, aws_request_id: None, issued, expires, end })
    }

    /// Notes the account whose registry AWS named with the token.
    #[must_use]
    pub fn for_account(self, account: Option<AccountId>) -> Self {
        Self { account, ..self }
    }

    /// Notes the id of AWS's answer that brought it.
    #[must_use]
    pub fn from_answer(self, aws_request_id: Option<String>) -> Self {
        Self { aws_request_id: aws_request_id.map(Into::into), ..self }
    }

    /// The id of AWS's answer that brought it.
    #[must_use]
    pub fn aws_request_id(&self) -> Option<&str> {
        self.aws_request_id.as_deref()
    }

    /// The password.
    #[must_use]
    pub fn password(&self) -> &Password {
        &self.password
    }

    /// Its name in answers and logs.
    #[must_use]
    pub fn id(&self) -> CredentialId {
        self.id
    }

    /// The account whose registry AWS named with the token, if it named one.
    #[must_use]
    pub fn account(&self) -> Option<AccountId> {
        self.account
    }

    /// When it was received.
    #[must_use]
    pub fn issued(&self) -> Moment {
        self.issued
    }

    /// When AWS says that it ends.
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        self.expires
    }

    /// How long it lasts from its issue, on both clocks.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        self.issued.until(self.end)
    }

    /// How long it is still good for.
    #[must_use]
    pub fn remaining(&self, now: Moment) -> Duration {
        now.until(self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment {
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds),
            steady: Duration::from_secs(seconds),
        }
    }

    fn token(clear: &str) -> String {
        BASE64.encode(clear.as_bytes())
    }

    fn open(token: &str, lifetime: u64) -> Result<Credential, TokenError> {
        Credential::open(token, at(lifetime).wall, at(0))
    }

    #[test]
    fn the_password_is_all_that_follows_the_first_colon() {
        let credential = open(&token("AWS:a:b:c"), 60).expect("a good token");
        assert_eq!(credential.password().expose(), "a:b:c");
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for (name, text, error) in [
            ("not base64", "AWS:secret".to_owned(), TokenError::NotBase64),
            ("empty", String::new(), TokenError::NoPassword),
            ("no colon", token("AWSsecret"), TokenError::NoPassword),
            ("another user", token("root:secret"), TokenError::NoPassword),
            ("no password", token("AWS:"), TokenError::NoPassword),
            ("bytes that are no text", BASE64.encode(b"AWS:\xff\xfe"), TokenError::NotBase64),
            ("a megabyte", token(&format!("AWS:{}", "x".repeat(1 << 20))), TokenError::TooLarge),
        ] {
            assert_eq!(open(&text, 60).err(), Some(error), "{name}");
        }
        assert_eq!(open(&token("AWS:x"), 0).err(), Some(TokenError::Expired));
        assert_eq!(open(&token("AWS:x"), 1_795_346_855_432).err(), Some(TokenError::TooFar));
    }

    #[test]
    fn a_limit_is_within_and_one_more_is_not() {
        let of_size = |size: usize| {
            // Four letters hold three bytes, four of which are the user and the colon.
            let text = token(&format!("AWS:{}", "x".repeat(size / 4 * 3 - 4)));
            assert_eq!(text.len(), size);
            open(&text, 60)
        };
        assert!(of_size(64 * 1024).is_ok());
        assert_eq!(of_size(64 * 1024 + 4).err(), Some(TokenError::TooLarge));
        let week = 7 * 24 * 3600;
        assert!(open(&token("AWS:x"), week).is_ok());
        assert_eq!(open(&token("AWS:x"), week + 1).err(), Some(TokenError::TooFar));
        assert!(open(&token("AWS:x"), 1).is_ok());
    }

    #[test]
    fn what_the_answer_said_beside_the_token_stays_with_it() {
        let account: Option<AccountId> = "123456789012".parse().ok();
        let credential = open(&token("AWS:x"), 3600).expect("a good token");
        assert_eq!((credential.account(), credential.aws_request_id()), (None, None));
        let credential = credential.for_account(account).from_answer(Some("answer-1".to_owned()));
        assert_eq!((credential.account(), credential.aws_request_id()), (account, Some("answer-1")));
        assert_eq!(credential.lifetime(), Duration::from_hours(1));
        assert_eq!((credential.issued(), credential.expires()), (at(0), at(3600).wall));
    }

    #[test]
    fn it_ends_by_whichever_clock_comes_first() {
        let credential = open(&token("AWS:x"), 3600).expect("a good token");
        let hour = Duration::from_hours(1);
        let stepped_back = Moment { wall: at(3000).wall - 6 * hour, steady: at(3000).steady };
        assert_eq!(credential.remaining(stepped_back), Duration::from_mins(10));
        let stepped_on = Moment { wall: at(0).wall + 6 * hour, steady: at(0).steady };
        assert_eq!(credential.remaining(stepped_on), Duration::ZERO);
    }

    #[test]
    fn a_clock_that_is_behind_does_not_stretch_a_credential() {
        let issued = at(0);
        let credential =
            Credential::open(&token("AWS:x"), issued.wall + Duration::from_hours(18), issued).expect("a good token");
        assert_eq!(credential.remaining(issued), Duration::from_hours(12));
    }

    #[test]
    fn an_id_is_the_same_everywhere_and_can_be_read_back() {
        let credential = open(&token("AWS:x"), 60).expect("a good token");
        let id = credential.id().to_string();
        assert_eq!(id, open(&token("AWS:x"), 90).expect("a good token").id().to_string());
        assert_eq!(id.len(), 32);
        assert_eq!(CredentialId::parse(&id), Some(credential.id()));
        assert_eq!(CredentialId::parse("xyz"), None);
    }

    #[test]
    fn a_credential_cannot_be_printed() {
        let credential = open(&token("AWS:very-secret"), 60).expect("a good token");
        let printed = format!("{credential:?} {credential:#?}");
        assert!(!printed.contains("very-secret"));
        assert!(printed.contains("[redacted]") && printed.contains(&credential.id().to_string()), "{printed}");
    }
}
