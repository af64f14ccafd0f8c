//! What to do about each of the reasons that a broker's errors name.

use tonic::Code;

use crate::client::{Failure, RegistryCredentials, RegistryType};
use crate::registry::{EndpointVariant, PrivateRegistry, Registry};

pub(super) const NO_AWS_CREDENTIALS: &str = "have those who run the broker give it AWS credentials: a role of its instance, pod or task, or AWS_* variables or files; it takes them up without a restart";

/// Of a broker that is newer than this program.
const UNHEARD_OF: &str = "tell those who run the broker";

/// The registry that was asked for, or else that which the broker names; none behind a name of the broker's own.
pub(super) fn registry(asked: &str, failure: &Failure) -> Option<Registry> {
    let named = || failure.registry.as_ref()?.parse().ok();
    asked.parse().ok().or_else(named)
}

/// The registry that a credential is of, behind whichever name it was asked for by.
pub(super) fn registry_of(credentials: &RegistryCredentials) -> Option<Registry> {
    let private = || {
        let (account, region) = (credentials.account_id.parse().ok()?, credentials.region.parse().ok()?);
        PrivateRegistry::new(Some(account), region, EndpointVariant::default()).ok().map(Registry::Private)
    };
    credentials.registry.parse().ok().or_else(|| match credentials.registry_type() {
        RegistryType::Public => Some(Registry::PUBLIC),
        RegistryType::Private => private(),
        RegistryType::Unspecified => None,
    })
}

/// For whichever registry was asked for, where it matters and is known.
pub(super) fn fix(failure: &Failure, registry: Option<&Registry>) -> String {
    let fix = match failure.reason.as_deref() {
        Some("AWS_ACCESS_DENIED") => denied(registry),
        Some("AWS_UNAVAILABLE") => unavailable(registry),
        Some("AWS_CREDENTIALS_UNAVAILABLE") => NO_AWS_CREDENTIALS.to_owned(),
        Some(reason) => by_reason(reason).to_owned(),
        None if failure.code == Code::DeadlineExceeded => by_reason("DEADLINE").to_owned(),
        None => "see what it says, and the broker's log".to_owned(),
    };
    match &failure.request_id {
        Some(id) => format!("{fix}; the broker's log has more under request {id}"),
        None => fix,
    }
}

fn by_reason(reason: &str) -> &'static str {
    match reason {
        "AWS_THROTTLED" => {
            "wait, the broker asks again by itself; where it stays so, find out who else calls GetAuthorizationToken in that account and region, and have cache.keep_warm name the registry"
        }
        "AWS_RESPONSE_INVALID" => {
            "have those who run the broker see what stands between it and AWS: a proxy, or aws.ecr_endpoint that is no AWS"
        }
        "OVERLOADED" => {
            "try again shortly; where it stays so, have those who run the broker look at its load, and run more than one"
        }
        "CALLER_RATE_LIMITED" => {
            "ask less often, and keep what was answered until refresh_after; or have those who run the broker raise its [limits]"
        }
        "AUDIT_UNAVAILABLE" => {
            "have those who run the broker make audit.output writable, or make room on its disk: without a record nothing is given"
        }
        "VALIDITY_UNSATISFIABLE" => {
            "ask for less validity, or have those who run the broker raise cache.max_min_validity"
        }
        "SHUTTING_DOWN" => "try again when the broker is started again, or name another one in the address",
        "DEADLINE" => {
            "try again, for the fetch goes on in the broker; where it stays so, AWS answers the broker too slowly, or not at all"
        }
        "CALLER_UNAUTHENTICATED" => "say who you are, as the message tells",
        "REQUEST_INVALID" => "correct what it names",
        "INTERNAL_ERROR" => "report it, with the broker's log",
        _ => UNHEARD_OF,
    }
}

fn denied(registry: Option<&Registry>) -> String {
    let (private, public) =
        ("ecr:GetAuthorizationToken", "ecr-public:GetAuthorizationToken and sts:GetServiceBearerToken");
    let actions = match registry {
        Some(Registry::Private(_)) => private.to_owned(),
        Some(Registry::Public { .. }) => public.to_owned(),
        None => format!("{private} (where the name stands for a public registry, {public})"),
    };
    format!(
        "have those who run the broker allow {actions} on \"*\" (deploy/iam/mint.json) to its IAM role, or to the last role of the profile's role_chain, which must be allowed to be assumed (sts:AssumeRole)"
    )
}

fn unavailable(registry: Option<&Registry>) -> String {
    let host = registry.map_or_else(
        || "the API of the registry that its [aliases] have behind this name".to_owned(),
        |registry| format!("{}:443", registry.api_host()),
    );
    format!(
        "have those who run the broker see that it reaches {host}: its route, HTTPS_PROXY, security groups, or a VPC endpoint for ecr.api (aws.ecr_endpoint)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_the_broker_s_has_a_fix_of_its_own() {
        let proto = include_str!("../../proto/ecrbroker/v1/registry_credentials.proto");
        let head = proto.split("\nservice ").next().unwrap_or_default();
        let is_reason =
            |word: &&str| word.contains('_') && word.bytes().all(|one| one.is_ascii_uppercase() || one == b'_');
        let words = head.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').filter(is_reason);
        // Codes of gRPC's, and those that the grant's step tells of itself.
        let others = [
            "INVALID_ARGUMENT",
            "FAILED_PRECONDITION",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "DEADLINE_EXCEEDED",
            "REGISTRY_NOT_ECR",
            "REGISTRY_INVALID",
            "PROFILE_UNKNOWN",
            "CALLER_NOT_ALLOWED",
        ];
        let reasons: Vec<_> =
            words.filter(|word| !others.contains(word)).chain(["OVERLOADED", "DEADLINE", "INTERNAL_ERROR"]).collect();
        assert!(reasons.len() > 10, "{reasons:?}");
        for reason in reasons {
            let failure = Failure::from(tonic_types::Status { code: 14, message: String::new(), details: Vec::new() });
            let failure = Failure { reason: Some(reason.to_owned()), request_id: Some("4fe0".into()), ..failure };
            let fix = fix(&failure, None);
            assert!(!fix.starts_with(UNHEARD_OF) && fix.ends_with("under request 4fe0"), "{reason}: {fix}");
        }
    }

    #[test]
    fn aws_s_endpoint_is_that_of_the_registry_s_partition_and_kind() {
        for (host, api) in [
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "api.ecr.cn-north-1.amazonaws.com.cn"),
            ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", "api.ecr-fips.us-east-1.amazonaws.com"),
            ("123456789012.dkr-ecr.eu-west-1.on.aws", "ecr.eu-west-1.api.aws"),
            ("123456789012.dkr-ecr-fips.us-gov-west-1.on.aws", "ecr-fips.us-gov-west-1.api.aws"),
            (
                "123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn",
                "ecr.cn-north-1.api.amazonwebservices.com.cn",
            ),
            ("public.ecr.aws", "api.ecr-public.us-east-1.amazonaws.com"),
            ("ecr-public.aws.com", "ecr-public.us-east-1.api.aws"),
        ] {
            assert!(unavailable(Some(&host.parse().unwrap())).contains(&format!("reaches {api}:443")), "{host}");
        }
    }

    #[test]
    fn behind_a_name_of_the_broker_s_own_no_more_is_said_than_is_known() {
        let unknown = unavailable(None);
        assert!(!unknown.contains("amazonaws.com") && unknown.contains("[aliases]"), "{unknown}");
        assert!(denied(None).contains("ecr-public:") && !denied(Some(&Registry::PUBLIC)).contains("ecr:Get"));
        let alias = RegistryCredentials {
            registry: "registry.corp.example".into(),
            account_id: "123456789012".into(),
            region: "eu-central-1".into(),
            ..RegistryCredentials::default()
        };
        assert_eq!(registry_of(&alias), None);
        let private = RegistryCredentials { registry_type: RegistryType::Private.into(), ..alias.clone() };
        assert_eq!(registry_of(&private), "123456789012.dkr.ecr.eu-central-1.amazonaws.com".parse().ok());
        let public = RegistryCredentials { registry_type: RegistryType::Public.into(), ..alias };
        assert_eq!(registry_of(&public), Some(Registry::PUBLIC));
    }
}
