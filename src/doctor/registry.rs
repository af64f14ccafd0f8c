//! The registry itself: whether it can be reached, and accepts the credential.

mod check;
mod transport;
mod url;

pub(super) use self::check::RegistryCheck;
pub use self::url::{RegistryUrl, RegistryUrlError};
