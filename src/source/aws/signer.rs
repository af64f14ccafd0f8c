//! Identities that sign calls to AWS: the broker's own, and the sessions of roles.

use aws_config::SdkConfig;

use crate::credential::Minter;

/// The SDK configuration with an identity, and the identity's name for the audit log.
#[derive(Debug)]
pub(super) struct Signer {
    pub(super) sdk: SdkConfig,
    pub(super) minter: Minter,
}
