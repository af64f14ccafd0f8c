//! What a request's signature says: whose keys made it, and for which service and region. Its value is not checked.

use http::header::AUTHORIZATION;

use super::wire::{Call, Refusal};
use super::world::Service;
use crate::registry::Region;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The credential scope of a signature (AWS Signature Version 4).
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) access_key: String,
    pub(super) region: Region,
    service: String,
}

impl Scope {
    /// The scope in the `Authorization` header.
    pub(super) fn of(call: &Call) -> Result<Self, Refusal> {
        let header = call.header(&AUTHORIZATION).ok_or_else(missing)?;
        let parameters = header.strip_prefix(ALGORITHM).ok_or_else(incomplete)?;
        let credential = parameters.split(',').find_map(|parameter| parameter.trim().strip_prefix("Credential="));
        Self::parse(credential.ok_or_else(incomplete)?)
    }

    /// A scope as `KEY/DATE/REGION/SERVICE/aws4_request`.
    pub(super) fn parse(credential: &str) -> Result<Self, Refusal> {
        let parts: Vec<&str> = credential.split('/').collect();
        match parts[..] {
            [access_key, _date, region, service, "aws4_request"] => {
                let region = region.parse().map_err(|_| mismatch("Credential should be scoped to a valid region."))?;
                Ok(Self { access_key: access_key.into(), region, service: service.into() })
            }
            _ => Err(incomplete()),
        }
    }

    /// Refuses a signature that was made for another service.
    pub(super) fn expect(self, service: Service) -> Result<Self, Refusal> {
        if self.service != service.to_string() {
            return Err(mismatch(format!("Credential should be scoped to correct service: '{service}'.")));
        }
        Ok(self)
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
