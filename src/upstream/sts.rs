//! What STS gives whoever assumes a role, as the SDK has it.

use aws_credential_types::Credentials;
use aws_credential_types::provider;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::types;

/// A session's credentials; `way` is how they were come by.
pub(super) fn session(given: Option<&types::Credentials>, way: &'static str) -> provider::Result {
    let given = given.ok_or_else(|| CredentialsError::unhandled("STS gave no credentials"))?;
    let end = (*given.expiration()).try_into().map_err(CredentialsError::unhandled)?;
    let token = Some(given.session_token().to_owned());
    Ok(Credentials::new(given.access_key_id(), given.secret_access_key(), token, Some(end), way))
}
