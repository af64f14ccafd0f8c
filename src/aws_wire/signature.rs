//! Signatures of requests: the key, service and region that they are scoped to. The signature's value is not checked.

use std::fmt;

use http::header::AUTHORIZATION;

use super::error::AwsError;
use super::request::AwsRequest;
use crate::registry::Region;

/// AWS's longest access key ID.
const MAX_ACCESS_KEY: usize = 128;
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The credential scope of a signature (AWS Signature Version 4).
pub struct CredentialScope {
    /// The ID of the access key that signed.
    pub access_key: String,
    /// The region that the request is signed for.
    pub region: Region,
    service: String,
}

impl CredentialScope {
    /// Returns the scope in the `Authorization` header.
    ///
    /// # Errors
    /// If the header is missing or malformed.
    pub fn of(request: &AwsRequest) -> Result<Self, AwsError> {
        let header = request.header(&AUTHORIZATION).ok_or_else(missing)?;
        let parameters = header.strip_prefix(ALGORITHM).ok_or_else(incomplete)?;
        let credential = parameters.split(',').find_map(|parameter| parameter.trim().strip_prefix("Credential="));
        Self::parse(credential.ok_or_else(incomplete)?)
    }

    /// Parses a scope of the form `KEY/DATE/REGION/SERVICE/aws4_request`.
    ///
    /// # Errors
    /// If the text has another form, or the region is not an AWS region.
    pub fn parse(credential: &str) -> Result<Self, AwsError> {
        let parts: Vec<&str> = credential.split('/').collect();
        match parts[..] {
            [access_key, _date, region, service, "aws4_request"] if access_key.len() <= MAX_ACCESS_KEY => {
                let region = region.parse().map_err(|_| mismatch("Credential should be scoped to a valid region."))?;
                Ok(Self { access_key: access_key.into(), region, service: service.into() })
            }
            _ => Err(incomplete()),
        }
    }

    /// Checks that the request was signed for `service`.
    ///
    /// # Errors
    /// If it was signed for another service.
    pub fn expect(self, service: &str) -> Result<Self, AwsError> {
        if self.service != service {
            return Err(mismatch(format!("Credential should be scoped to correct service: '{service}'.")));
        }
        Ok(self)
    }
}

impl fmt::Debug for CredentialScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialScope").field("region", &self.region).finish_non_exhaustive()
    }
}

fn missing() -> AwsError {
    AwsError::forbidden("MissingAuthenticationTokenException", "Missing Authentication Token")
}

fn incomplete() -> AwsError {
    AwsError::forbidden(
        "IncompleteSignatureException",
        "Authorization header requires 'Credential' parameter, scoped to a date, a region and a service.",
    )
}

fn mismatch(problem: impl Into<String>) -> AwsError {
    AwsError::forbidden("InvalidSignatureException", problem)
}
