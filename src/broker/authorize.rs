//! Authorization of requests by the active policy.

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tracing::{field, info};

use super::active_policy::{ActivePolicy, ActiveSettings};
use super::authorization::Authorization;
use super::forwarding::Forwarding;
use super::profiles::Profiles;
use super::record;
use super::request::CredentialRequest;
use crate::audit::{Outcome, Record};
use crate::caller::Caller;
use crate::credential::{Lifetime, ProfileName};
use crate::error::BrokerError;
use crate::hops::InstanceId;
use crate::metrics::Registry;
use crate::policy::{Decision, Grant, Policy};
use crate::rejections::{Admitted, Kind, RejectionRecorder, Subject};

/// Retry delay after a change of the grants. The next call's token is verified for the new ones.
const CLAIMS_RETRY: Duration = Duration::from_millis(100);

/// Authorizes requests, and records denials.
#[derive(Debug)]
pub(super) struct Authorizer {
    policy: Arc<ArcSwap<ActivePolicy>>,
    forwarding: Forwarding,
    pub(super) settings: Settings,
    rejections: RejectionRecorder,
}

/// What every request is checked for, whatever the policy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) max_min_validity: Duration,
    pub(super) loopback_operates: bool,
    pub(super) instance: InstanceId,
}

impl Authorizer {
    pub(super) fn new(
        policy: Policy,
        (active, forwarding): (ActiveSettings, Forwarding),
        settings: Settings,
        rejections: RejectionRecorder,
    ) -> Self {
        let policy = Arc::new(ArcSwap::from_pointee(ActivePolicy::new(policy, Arc::new(active))));
        Self { policy, forwarding, settings, rejections }
    }

    /// Exposes the name of the active policy.
    pub(super) fn register(&self, registry: &mut Registry) {
        let policy = Arc::clone(&self.policy);
        registry.on_scrape(move |scrape| {
            let help = "The active grants and profiles by their hash, as in audit records, always 1";
            scrape.gauges("ecr_broker_policy_info", help, [([("hash", policy.load().name.clone())], 1_u64)])
        });
    }

    pub(super) fn active_policy(&self) -> Arc<ActivePolicy> {
        self.policy.load_full()
    }

    /// Returns whether a policy is the active one. Its memory is not used for another while `policy` exists.
    pub(super) fn is_active(&self, policy: &Weak<ActivePolicy>) -> bool {
        std::ptr::eq(policy.as_ptr(), Arc::as_ptr(&self.policy.load()))
    }

    /// Replaces the active policy and all that comes with it, in one step.
    pub(super) fn activate(&self, active: ActivePolicy) {
        self.policy.store(Arc::new(active));
    }

    pub(super) fn forwarding(&self) -> &Forwarding {
        &self.forwarding
    }

    /// Decides a request by `policy`. A denied caller learns only that it is denied; the log has the reason.
    pub(super) async fn authorize(
        &self,
        request: &CredentialRequest,
        policy: Arc<ActivePolicy>,
    ) -> Result<Authorization, BrokerError> {
        let (caller, registry) = (&request.context.caller, &request.target.registry);
        let profiles = policy.profiles();
        check_claims(caller, &policy)?;
        // Before the cache: this broker's own fetch waits for the answer to such a request.
        request.context.hops.check(self.settings.instance).map_err(BrokerError::Chain)?;
        let (profile, grant, outcome) = match policy.policy.decide(caller, registry, request.profile_name()) {
            Decision::Allow { grant: None } => (profiles.named(request.profile_name())?, None, Outcome::Released),
            Decision::Allow { grant: Some(grant) } => {
                let profile = grant.profile.clone().unwrap_or_else(ProfileName::default_profile);
                (profile, Some(grant), Outcome::Released)
            }
            Decision::Deny { grant } => (self.deny(request, grant, &policy).await?, grant, Outcome::Observed),
        };
        // Denials have none, so that an observed denial is served as without grants.
        let lifetime = grant.and_then(|grant| grant.max_lifetime);
        profiles.check_account(registry, &profile)?;
        Profiles::check_lifetime(registry, lifetime)?;
        self.check_validity(request.min_validity, lifetime)?;
        let grant = grant.map(|grant| grant.id.clone());
        let key = self.forwarding.key(profiles.key(request, (profile, lifetime))?, &request.context);
        Ok(Authorization { key, grant, policy, outcome })
    }

    /// Denies a request. In observe mode, if the profile exists, only logs the denial and returns the profile.
    async fn deny(
        &self,
        request: &CredentialRequest,
        grant: Option<&Grant>,
        policy: &ActivePolicy,
    ) -> Result<ProfileName, BrokerError> {
        match policy.profiles().named(request.profile_name()) {
            Ok(profile) if policy.policy.is_observed() => {
                if self.admit_record(&request.context.caller, Kind::Observed).is_some() {
                    log_denial(request, grant, "denial observed");
                }
                Ok(profile)
            }
            _ => {
                self.record_denial(request, grant, policy).await;
                Err(BrokerError::CallerNotAllowed)
            }
        }
    }

    /// Records a denial, or counts it. The request stays denied if the record cannot be written.
    async fn record_denial(&self, request: &CredentialRequest, grant: Option<&Grant>, policy: &ActivePolicy) {
        let Some(admitted) = self.admit_record(&request.context.caller, Kind::Denied) else { return };
        log_denial(request, grant, "request denied");
        let grant = grant.map(|grant| grant.id.as_str());
        self.write_record(&admitted, &Record { grant, ..record::of_request(request, Outcome::Denied, policy) }).await;
    }

    pub(super) fn admit_record(&self, caller: &Caller, kind: Kind) -> Option<Admitted> {
        self.rejections.admit(Subject::Caller(caller.principal()), kind)
    }

    pub(super) async fn write_record(&self, admitted: &Admitted, record: &Record<'_>) {
        if let Some(queued) = self.rejections.queue(admitted, record) {
            queued.written().await;
        }
    }

    /// Checks `min_validity` against its limit. A caller that requests the whole lifetime of a new token would otherwise cause an AWS
    /// call per request; so would one for more than half of a short lifetime, at which the broker refreshes the token anyway.
    fn check_validity(&self, min_validity: Duration, lifetime: Option<Lifetime>) -> Result<(), BrokerError> {
        let of_lifetime = lifetime.map(|lifetime| (lifetime.duration() / 2, "half of the grant's max_lifetime"));
        let general = (self.settings.max_min_validity, "cache.max_min_validity");
        let (limit, of) = of_lifetime.filter(|(limit, _)| *limit < general.0).unwrap_or(general);
        if min_validity <= limit {
            return Ok(());
        }
        let limit = format!("the broker allows at most {} ({of})", humantime::format_duration(limit));
        Err(BrokerError::ValidityUnsatisfiable { asked: min_validity.into(), limit })
    }
}

/// Checks that the caller has all claims by which the policy decides. Without one of them, a deny that names it would not match.
///
/// Grants name an issuer by its name. A token of the issuer that had the name before a reload must not be decided by the new grants.
pub(super) fn check_claims(caller: &Caller, policy: &ActivePolicy) -> Result<(), BrokerError> {
    let is_of_another_issuer =
        caller.issuer_id().zip(policy.settings.issuers.as_ref()).is_some_and(|(id, issuers)| !issuers.contains(&id));
    let problem = if is_of_another_issuer {
        "the issuer of the token was reloaded during the call; call again"
    } else if caller.has_kept(&policy.claim_names) {
        return Ok(());
    } else {
        "the grants have changed and name other claims of the token; call again"
    };
    Err(BrokerError::CallerUnauthenticated { problem, cause: None, retry_after: Some(CLAIMS_RETRY) })
}

/// Logs a denial with its reason, which the caller does not learn.
fn log_denial(request: &CredentialRequest, grant: Option<&Grant>, event: &'static str) {
    info!(
        request_id = %request.context.id,
        trace_id = request.context.trace_id,
        caller = %request.context.caller,
        registry = request.target.registry.host(),
        alias = request.target.alias,
        account_id = request.target.registry.account().map(field::display),
        region = request.target.registry.region().map(field::display),
        profile = request.profile.as_ref().map(field::display),
        denied_by = grant.map_or("no grant allows it", |grant| &grant.id),
        "{event}"
    );
}
