//! Settings of an issuer.

use std::path::PathBuf;
use std::time::Duration;

use crate::proxy::Proxies;

/// An issuer of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Name in grants and logs.
    pub name: String,
    /// The `iss` claim of its tokens, byte for byte.
    pub issuer: String,
    /// The one audience that its tokens must have.
    pub audience: String,
    /// Location of its keys.
    pub keys: KeyLocation,
    /// Certificates (PEM) to trust for fetching the keys, instead of the system's. Read once.
    pub ca_bundle: Option<PathBuf>,
    /// HTTP proxies for fetching the keys.
    pub proxies: Proxies,
    /// Longest accepted time between issue and expiry of a token.
    pub max_lifetime: Duration,
}

/// Location of an issuer's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyLocation {
    /// The URL in the issuer's discovery document (`OpenID` Connect Discovery 1.0).
    Discovery {
        /// The URL of the keys, which are then fetched without the document. `None`: the document names a URL of the issuer's origin.
        jwks_uri: Option<String>,
    },
    /// A file, which is read again when it changes.
    File(PathBuf),
}
