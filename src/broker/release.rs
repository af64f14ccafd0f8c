//! Release of credentials, after their audit record (P11).

use super::authorization::Authorization;
use super::profiles::Profiles;
use super::record;
use super::released::{Released, account};
use super::request::CredentialRequest;
use crate::audit::{AuditLog, Record, Unwritten};
use crate::cache::Found;
use crate::error::BrokerError;

/// Releases credentials, and records each release.
#[derive(Debug)]
pub(super) struct Releaser {
    profiles: Profiles,
    audit: Option<AuditLog>,
}

impl Releaser {
    pub(super) fn new(profiles: Profiles, audit: Option<AuditLog>) -> Self {
        Self { profiles, audit }
    }

    /// Releases a credential, once its record is written. Nothing else in the broker releases one.
    pub(super) async fn release(
        &self,
        request: &CredentialRequest,
        authorization: Authorization,
        found: Found,
    ) -> Result<Released, BrokerError> {
        let account = account(&authorization.key.registry, &found.credential);
        let host = authorization.key.registry.host_in(account).ok_or(BrokerError::Internal)?;
        // P11: no credential is released before its audit record is written.
        self.record(request, &authorization, &host, &found).await?;
        let host = request.target.alias.as_ref().map_or(host, ToString::to_string);
        Ok(Released { found, key: authorization.key, host, account })
    }

    async fn record(
        &self,
        request: &CredentialRequest,
        Authorization { key, grant, policy, outcome }: &Authorization,
        host: &str,
        found: &Found,
    ) -> Result<(), BrokerError> {
        let Some(audit) = &self.audit else { return Ok(()) };
        let profile = self.profiles.find(&key.profile);
        let record = Record {
            registry: Some(host.to_owned()),
            profile: key.profile.as_str(),
            role_session: profile.map(|profile| profile.session_name(key.caller.as_ref())),
            grant: grant.as_deref(),
            credential_id: Some(found.credential.id().to_string()),
            aws_request_id: found.credential.upstream_request_id(),
            ..record::of_request(request, *outcome, &policy.name)
        };
        audit.write(&record).await.map_err(|Unwritten| BrokerError::AuditUnavailable)
    }
}
