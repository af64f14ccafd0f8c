//! Fixes by the reason of the broker's error.

use tonic::Code;

use super::shared_fixes::NO_AWS_CREDENTIALS;
use crate::client::Failure;
use crate::registry::Registry;

/// Reasons whose fix depends on nothing else.
const FIXES: [(&str, &str); 15] = [
    (
        "AWS_THROTTLED",
        "wait, the broker retries by itself; if it persists, find what else calls GetAuthorizationToken in that account and region, and list the registry in cache.keep_warm",
    ),
    (
        "AWS_CLOCK_SKEWED",
        "ask the operator to set the clock of the broker's host: timedatectl or chronyc tracking shows whether it is synchronized",
    ),
    (
        "BROKER_MISCONFIGURED",
        "ask the operator to correct the broker's AWS settings, such as aws.region, which STS needs, or its [[parents]]: the log names what is wrong, and config check may too",
    ),
    (
        "AWS_RESPONSE_INVALID",
        "ask the operator to check what answers in place of AWS: a proxy, or a wrong aws.ecr_endpoint",
    ),
    (
        "OVERLOADED",
        "retry shortly; if it persists, ask the operator to check the broker's load and to run more than one",
    ),
    (
        "CALLER_RATE_LIMITED",
        "send fewer requests, and keep each answer until its refresh_after; or ask the operator to raise [limits]",
    ),
    (
        "AUDIT_UNAVAILABLE",
        "ask the operator to make audit.output writable or to free disk space: the broker releases only what it can record",
    ),
    (
        "PARENT_DENIED",
        "ask the operator to allow this broker the registry in the grants of its parent broker, or to renew the certificate or token of [[parents]]; the parent's log has the reason",
    ),
    (
        "PARENT_UNAVAILABLE",
        "ask the operator to check the parent broker: its address in [[parents]], the route to it, its certificate, and its log",
    ),
    ("VALIDITY_UNSATISFIABLE", "request less validity, or ask the operator to raise cache.max_min_validity"),
    ("SHUTTING_DOWN", "retry after the broker's restart, or add another broker to the address after a comma"),
    (
        DEADLINE,
        "retry, the broker continues the fetch; if it persists, AWS answers the broker too slowly, or not at all",
    ),
    ("CALLER_UNAUTHENTICATED", "authenticate as the message says"),
    ("REQUEST_INVALID", "correct what the message names"),
    ("INTERNAL_ERROR", "report it, with the broker's log"),
];
const DEADLINE: &str = "DEADLINE";
const UNKNOWN_REASON: &str = "ask the operator: this program does not know the reason, the broker may be newer";

/// Returns the fix for an error about a registry, or about one that is not known.
pub(super) fn fix(failure: &Failure, registry: Option<&Registry>) -> String {
    let fix = match failure.reason.as_deref() {
        Some("AWS_ACCESS_DENIED") => {
            denied_role(failure).or_else(|| denied_token(failure)).unwrap_or_else(|| access_denied(registry))
        }
        Some("AWS_UNAVAILABLE") => unavailable(registry),
        Some("AWS_CREDENTIALS_UNAVAILABLE") => no_credentials(failure),
        Some(reason) => by_reason(reason).to_owned(),
        None if failure.code == Code::DeadlineExceeded => by_reason(DEADLINE).to_owned(),
        None => "check the message, and the broker's log".to_owned(),
    };
    match &failure.request_id {
        Some(id) => format!("{fix}; the broker's log has more under request {id}"),
        None => fix,
    }
}

fn by_reason(reason: &str) -> &'static str {
    FIXES.iter().find(|(known, _)| *known == reason).map_or(UNKNOWN_REASON, |(_, fix)| fix)
}

/// Beginnings of the messages by which AWS denies a role, and the actions that the role's trust policy needs.
const DENIED_ROLES: [(&str, &str); 3] = [
    ("AWS denied the broker a role", "\"sts:AssumeRole\""),
    ("AWS denied the broker session tags", "\"sts:AssumeRole\", \"sts:TagSession\""),
    ("AWS denied the broker a source identity", "\"sts:AssumeRole\", \"sts:SetSourceIdentity\""),
];

/// Returns the fix for a role that AWS denies, with the statement that its trust policy needs.
fn denied_role(failure: &Failure) -> Option<String> {
    let (_, actions) = DENIED_ROLES.iter().find(|(start, _)| failure.message.contains(start))?;
    let tags = if actions.contains("TagSession") {
        "; tags of EKS Pod Identity are transitive, so each role of the chain needs sts:TagSession, unless the association has disableSessionTags"
    } else {
        ""
    };
    Some(format!(
        "ask the operator to add this statement to the trust policy of each role in the profile's role_chain, and to allow the actions to what assumes it (ecr-broker config check --roles prints each in full): {{ \"Effect\": \"Allow\", \"Principal\": {{ \"AWS\": \"ARN-OF-WHAT-ASSUMES-IT\" }}, \"Action\": [{actions}] }}{tags}"
    ))
}

/// Returns the fix for a short-lived token that AWS denies.
fn denied_token(failure: &Failure) -> Option<String> {
    let fix = "ask the operator to allow signin:CreateBearerToken on \"*\" for the broker's IAM role, or for the last role of the profile's role_chain, because the grant has max_lifetime";
    failure.message.contains("AWS denied the broker a short-lived token").then(|| fix.to_owned())
}

fn access_denied(registry: Option<&Registry>) -> String {
    let private = "ecr:GetAuthorizationToken";
    let public = "ecr-public:GetAuthorizationToken and sts:GetServiceBearerToken";
    let actions = match registry {
        Some(Registry::Private(_)) => private.to_owned(),
        Some(Registry::Public { .. }) => public.to_owned(),
        None => format!("{private} (if the name is an alias of a public registry, {public})"),
    };
    format!(
        "ask the operator to allow {actions} on \"*\" (deploy/iam/mint.json) for the broker's IAM role, or for the last role of the profile's role_chain, which the broker must be allowed to assume (sts:AssumeRole)"
    )
}

/// Returns the fix for a missing identity, or for one that AWS refuses with an error code.
fn no_credentials(failure: &Failure) -> String {
    let Some(code) = failure.metadata.get("aws_error_code") else { return NO_AWS_CREDENTIALS.to_owned() };
    match code.as_str() {
        "UnrecognizedClientException" | "InvalidClientTokenId" => unknown_key(failure),
        "ExpiredToken" | "ExpiredTokenException" => {
            "ask the operator to renew the broker's session where it comes from: aws sso login, a new token file, or new AWS_* variables".to_owned()
        }
        "InvalidIdentityToken" | "IDPRejectedClaim" => {
            "ask the operator to compare the issuer and audience of the broker's web identity token with the OIDC provider in IAM and the role's trust policy".to_owned()
        }
        _ => {
            "ask the operator to correct the broker's secret access key (AWS_SECRET_ACCESS_KEY, or its file), or the proxy that changes its requests".to_owned()
        }
    }
}

fn unknown_key(failure: &Failure) -> String {
    let region = failure.metadata.get("region").map_or("the registry's region", String::as_str);
    format!(
        "ask the operator to enable {region} for the broker's account if AWS lists it as opt-in (aws account enable-region); otherwise to give the broker a key that exists in that partition, with its session token if it has one"
    )
}

fn unavailable(registry: Option<&Registry>) -> String {
    let api = match registry {
        Some(registry) => format!("{}:443", registry.api_host()),
        None => "the API of the registry behind this name in [aliases]".to_owned(),
    };
    format!(
        "ask the operator to check that the broker reaches {api}: its route, HTTPS_PROXY, security groups, or a VPC endpoint for ecr.api (aws.ecr_endpoint)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_the_broker_has_its_own_fix() {
        let proto = include_str!("../../proto/ecrbroker/v1/registry_credentials.proto");
        let head = proto.split("\nservice ").next().unwrap_or_default();
        let is_reason =
            |word: &&str| word.contains('_') && word.bytes().all(|one| one.is_ascii_uppercase() || one == b'_');
        let words = head.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').filter(is_reason);
        // Codes of gRPC, causes, and the reasons that the step `grant` explains.
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
            "TOKENS_NOT_ACCEPTED",
            "TOKEN_EXPIRED",
            "TOKEN_NOT_YET_VALID",
            "BROKER_CIRCLE",
            "TOO_MANY_HOPS",
        ];
        let reasons: Vec<_> =
            words.filter(|word| !others.contains(word)).chain(["OVERLOADED", DEADLINE, "INTERNAL_ERROR"]).collect();
        assert!(reasons.len() > 10, "{reasons:?}");
        for reason in reasons {
            let failure = Failure::from(tonic_types::Status { code: 14, message: String::new(), details: Vec::new() });
            let failure = Failure { reason: Some(reason.to_owned()), request_id: Some("4fe0".into()), ..failure };
            let fix = fix(&failure, None);
            assert!(!fix.starts_with(UNKNOWN_REASON) && fix.ends_with("under request 4fe0"), "{reason}: {fix}");
        }
    }

    #[test]
    fn refused_identity_has_the_fix_of_its_error_code() {
        let fix_of = |code: &str| {
            let failure = Failure::from(tonic_types::Status { code: 14, message: String::new(), details: Vec::new() });
            let metadata = [("aws_error_code", code), ("region", "eu-south-1")];
            let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            fix(&Failure { reason: Some("AWS_CREDENTIALS_UNAVAILABLE".into()), metadata, ..failure }, None)
        };
        for (code, word) in [
            ("UnrecognizedClientException", "enable eu-south-1 for the broker's account"),
            ("InvalidClientTokenId", "enable eu-south-1"),
            ("ExpiredTokenException", "aws sso login"),
            ("InvalidIdentityToken", "trust policy"),
            ("SignatureDoesNotMatch", "secret access key"),
        ] {
            assert!(fix_of(code).contains(word), "{code}: {}", fix_of(code));
        }
    }

    #[test]
    fn denied_short_lived_token_names_its_own_action() {
        let message = "AWS denied the broker a short-lived token (AccessDeniedException); allow it".to_owned();
        let failure = Failure::from(tonic_types::Status { code: 9, message, details: Vec::new() });
        let failure = Failure { reason: Some("AWS_ACCESS_DENIED".to_owned()), ..failure };
        let fix = fix(&failure, None);
        assert!(fix.contains("signin:CreateBearerToken") && !fix.contains("GetAuthorizationToken"), "{fix}");
    }

    #[test]
    fn fix_without_a_known_registry_covers_both_kinds() {
        let unknown = unavailable(None);
        assert!(!unknown.contains("amazonaws.com") && unknown.contains("[aliases]"), "{unknown}");
        assert!(access_denied(None).contains("ecr-public:"));
        assert!(!access_denied(Some(&Registry::PUBLIC)).contains("ecr:Get"));
    }
}
