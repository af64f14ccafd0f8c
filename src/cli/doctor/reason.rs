//! What to do about each of the reasons that a broker's errors name.

use crate::client::Failure;
use crate::registry::Registry;

pub(super) const NO_AWS_CREDENTIALS: &str = "have those who run the broker give it AWS credentials: a role of its instance, pod or task, or AWS_* variables or files; it takes them up without a restart";

/// For whichever registry was asked for, where it matters.
pub(super) fn fix(failure: &Failure, registry: Option<&Registry>) -> String {
    let fix = match failure.reason.as_deref() {
        Some("AWS_ACCESS_DENIED") => denied(registry),
        Some("AWS_UNAVAILABLE") => unavailable(registry),
        Some("AWS_CREDENTIALS_UNAVAILABLE") => NO_AWS_CREDENTIALS.to_owned(),
        Some(reason) => by_reason(reason).to_owned(),
        None => "see what it says, and the broker's log; allow more time with --timeout".to_owned(),
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
            "try again: the fetch goes on in the broker; where it stays so, AWS answers the broker too slowly"
        }
        "CALLER_UNAUTHENTICATED" => "say who you are, as the message tells",
        _ => "tell those who run the broker",
    }
}

fn denied(registry: Option<&Registry>) -> String {
    let actions = if let Some(Registry::Public { .. }) = registry {
        "ecr-public:GetAuthorizationToken and sts:GetServiceBearerToken"
    } else {
        "ecr:GetAuthorizationToken"
    };
    format!(
        "have those who run the broker allow {actions} on \"*\" to its IAM role, or to the last role of the profile's role_chain, which must be allowed to be assumed (sts:AssumeRole)"
    )
}

fn unavailable(registry: Option<&Registry>) -> String {
    let (host, endpoint) = match registry.and_then(Registry::region) {
        Some(region) => (format!("api.ecr.{region}.amazonaws.com"), format!("com.amazonaws.{region}.ecr.api")),
        None => ("api.ecr-public.us-east-1.amazonaws.com".to_owned(), "of its own".to_owned()),
    };
    format!(
        "have those who run the broker see that it reaches {host}:443: its route, HTTPS_PROXY, security groups, or the VPC endpoint {endpoint} (aws.ecr_endpoint)"
    )
}
