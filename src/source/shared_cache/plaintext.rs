//! Plaintext of a value: a credential as a protobuf message, so that a later version may add fields.

use std::time::{Duration, SystemTime};

use prost::Message;
use zeroize::{Zeroize as _, Zeroizing};

use crate::credential::{Credential, CredentialError, Minter, SourceName, USERNAME};
use crate::moment::Moment;

/// A credential. Numbers of fields are never used again. Times are milliseconds since 1970.
#[derive(Message)]
#[prost(skip_debug)]
pub(super) struct Plaintext {
    #[prost(string, tag = "1")]
    username: String,
    #[prost(string, tag = "2")]
    password: String,
    /// Account whose registry AWS named.
    #[prost(string, tag = "3")]
    account: String,
    #[prost(uint64, tag = "4")]
    issued_ms: u64,
    #[prost(uint64, tag = "5")]
    expires_ms: u64,
    /// ARN of the identity that minted the credential.
    #[prost(string, tag = "6")]
    minted_by: String,
    /// Unique ID of that identity, such as `AROA…`.
    #[prost(string, tag = "7")]
    minted_by_id: String,
    /// AWS's ID of the call.
    #[prost(string, tag = "8")]
    upstream_request_id: String,
}

impl Plaintext {
    pub(super) fn of(credential: &Credential) -> Self {
        let minter = credential.minter();
        Self {
            username: USERNAME.to_owned(),
            password: credential.password().expose().to_owned(),
            account: credential.account().map(|account| account.to_string()).unwrap_or_default(),
            issued_ms: milliseconds(credential.issued()),
            expires_ms: milliseconds(credential.expires()),
            minted_by: minter.arn().unwrap_or_default().to_owned(),
            minted_by_id: minter.unique_id().as_deref().unwrap_or_default().to_owned(),
            upstream_request_id: credential.upstream_request_id().unwrap_or_default().to_owned(),
        }
    }

    /// Returns the message, in memory that did not grow: a vector that grows leaves copies behind.
    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut encoded = Zeroizing::new(Vec::with_capacity(self.encoded_len()));
        self.encode_raw(&mut *encoded);
        encoded
    }

    /// Decodes the format of [`Self::encode`].
    pub(super) fn decode(message: &[u8]) -> Option<Self> {
        Message::decode(message).ok()
    }

    pub(super) fn issued(&self) -> SystemTime {
        time(self.issued_ms)
    }

    /// Returns the unique ID of the identity, if the broker that stored the value knew it.
    pub(super) fn minted_by_id(&self) -> Option<&str> {
        (!self.minted_by_id.is_empty()).then_some(&self.minted_by_id)
    }

    /// Returns the credential as received now.
    pub(super) fn credential(&self, received: Moment) -> Result<Credential, CredentialError> {
        let (issued, expires) = (self.issued(), time(self.expires_ms));
        let source = SourceName::SharedCache;
        let credential = Credential::new(source, &self.username, &self.password, issued, expires, received)?;
        let minter = if self.minted_by.is_empty() { Minter::default() } else { Minter::known(&self.minted_by) };
        minter.identify(&self.minted_by_id);
        let request_id = (!self.upstream_request_id.is_empty()).then(|| self.upstream_request_id.as_str().into());
        Ok(credential.for_account(self.account.parse().ok()).minted_by(minter).with_upstream_request_id(request_id))
    }
}

impl Drop for Plaintext {
    fn drop(&mut self) {
        self.password.zeroize();
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Returns a time; the start of 1970 if it is too far to be one.
fn time(milliseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}
