//! Step `/v2/`: whether the registry can be reached and accepts the credential.

mod check;
mod transport;
mod url;

pub(super) use self::check::RegistryCheck;
pub use self::url::{RegistryUrl, RegistryUrlError};
