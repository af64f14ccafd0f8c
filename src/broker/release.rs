//! Release of credentials, after their audit record (P11).

use std::num::NonZeroUsize;

use super::authorization::Authorization;
use super::record;
use super::released::{Released, account};
use super::request::CredentialRequest;
use crate::audit::{AuditLog, Record, RecordTemplate, Time, Unwritten};
use crate::cache::Found;
use crate::credential::CredentialKey;
use crate::error::BrokerError;
use crate::registry::AccountId;

/// Releases credentials, and records each release.
#[derive(Debug)]
pub(super) struct Releaser {
    audit: Option<AuditLog>,
}

impl Releaser {
    pub(super) fn new(audit: Option<AuditLog>) -> Self {
        Self { audit }
    }

    /// Releases a credential, once its record is written. Nothing else in the broker releases one, but [`Self::release_each`].
    pub(super) async fn release(
        &self,
        request: &CredentialRequest,
        authorization: Authorization,
        found: Found,
    ) -> Result<Released, BrokerError> {
        let (host, account) = registry_of(&authorization.key, &found)?;
        // P11: no credential is released before its audit record is written.
        self.record(request, &authorization, (&host, &found), None).await?;
        let host = request.target.alias.as_ref().map_or(host, ToString::to_string);
        Ok(Released { found, key: authorization.key, host, account })
    }

    /// Releases one credential to several items of a request that ask for the same, once one record about all of them is written.
    pub(super) async fn release_each(
        &self,
        request: &CredentialRequest,
        authorization: &Authorization,
        found: Vec<Found>,
    ) -> Result<Vec<Released>, BrokerError> {
        let Some(first) = found.first() else { return Ok(Vec::new()) };
        let (host, account) = registry_of(&authorization.key, first)?;
        let count = NonZeroUsize::new(found.len()).filter(|count| count.get() > 1);
        // P11: no credential is released before its audit record is written.
        self.record(request, authorization, (&host, first), count).await?;
        let host = request.target.alias.as_ref().map_or(host, ToString::to_string);
        let released = |found| Released { found, key: authorization.key.clone(), host: host.clone(), account };
        Ok(found.into_iter().map(released).collect())
    }

    async fn record(
        &self,
        request: &CredentialRequest,
        authorization: &Authorization,
        about: (&str, &Found),
        count: Option<NonZeroUsize>,
    ) -> Result<(), BrokerError> {
        let Some(audit) = &self.audit else { return Ok(()) };
        let record = record_of(request, authorization, about, count);
        audit.write(&record, &request.context.caller).await.map_err(|Unwritten| BrokerError::AuditUnavailable)
    }

    /// Returns the record of a release as later releases of the same credential to the same caller repeat it. `None`: there is no
    /// audit log.
    pub(super) fn template(
        &self,
        request: &CredentialRequest,
        authorization: &Authorization,
        found: &Found,
    ) -> Result<Option<RecordTemplate>, BrokerError> {
        if self.audit.is_none() {
            return Ok(None);
        }
        let (host, _) = registry_of(&authorization.key, found)?;
        let record = record_of(request, authorization, (&host, found), None);
        RecordTemplate::new(record).map(Some).map_err(|_| BrokerError::AuditUnavailable)
    }
}

fn record_of<'a>(
    request: &'a CredentialRequest,
    Authorization { key, grant, policy, outcome }: &'a Authorization,
    (host, found): (&str, &'a Found),
    count: Option<NonZeroUsize>,
) -> Record<'a> {
    let profile = policy.profiles().find(&key.profile);
    let credential = &found.credential;
    Record {
        registry: Some(host.to_owned()),
        profile: key.profile.as_str(),
        role_session: profile
            .filter(|profile| !profile.role_chain.is_empty())
            .map(|profile| profile.session_name(key.caller.as_ref())),
        grant: grant.as_deref(),
        credential_id: Some(credential.id().to_string()),
        expires: Some(Time(credential.expires())),
        source: Some(credential.source().id()),
        minted_by: credential.minter().arn(),
        aws_request_id: credential.upstream_request_id(),
        count,
        ..record::of_request(request, *outcome, policy)
    }
}

/// Returns the plain host of a key's registry, and its account.
fn registry_of(key: &CredentialKey, found: &Found) -> Result<(String, Option<AccountId>), BrokerError> {
    let account = account(&key.registry, &found.credential);
    let host = key.registry.host_in(account).ok_or(BrokerError::Internal)?;
    Ok((host, account))
}
