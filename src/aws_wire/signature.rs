//! What a request's signature says: whose keys made it, and for which service and region. Its value is not checked.

use std::fmt;

use http::header::AUTHORIZATION;

use super::{Call, Refusal};
use crate::registry::Region;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The credential scope of a signature (AWS Signature Version 4).
pub struct Scope {
    /// The keys that signed, by their id.
    pub access_key: String,
    /// Where the call is meant for.
    pub region: Region,
    service: String,
}

impl Scope {
    /// The scope in the `Authorization` header.
    ///
    /// # Errors
    /// Where there is none, or none that can be read.
    pub fn of(call: &Call) -> Result<Self, Refusal> {
        let header = call.header(&AUTHORIZATION).ok_or_else(missing)?;
        let parameters = header.strip_prefix(ALGORITHM).ok_or_else(incomplete)?;
        let credential = parameters.split(',').find_map(|parameter| parameter.trim().strip_prefix("Credential="));
        Self::parse(credential.ok_or_else(incomplete)?)
    }

    /// A scope as `KEY/DATE/REGION/SERVICE/aws4_request`.
    ///
    /// # Errors
    /// Where it has another form, or the region is none of AWS's.
    pub fn parse(credential: &str) -> Result<Self, Refusal> {
        let parts: Vec<&str> = credential.split('/').collect();
        match parts[..] {
            [access_key, _date, region, service, "aws4_request"] => {
                let region = region.parse().map_err(|_| mismatch("Credential should be scoped to a valid region."))?;
                Ok(Self { access_key: access_key.into(), region, service: service.into() })
            }
            _ => Err(incomplete()),
        }
    }

    /// Refuses a signature that was made for another service than the one of this name.
    ///
    /// # Errors
    /// Where it was.
    pub fn expect(self, service: &str) -> Result<Self, Refusal> {
        if self.service != service {
            return Err(mismatch(format!("Credential should be scoped to correct service: '{service}'.")));
        }
        Ok(self)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("region", &self.region).finish_non_exhaustive()
    }
}

fn missing() -> Refusal {
    Refusal::forbidden("MissingAuthenticationTokenException", "Missing Authentication Token")
}

fn incomplete() -> Refusal {
    Refusal::forbidden(
        "IncompleteSignatureException",
        "Authorization header requires 'Credential' parameter, scoped to a date, a region and a service.",
    )
}

fn mismatch(problem: impl Into<String>) -> Refusal {
    Refusal::forbidden("InvalidSignatureException", problem)
}
