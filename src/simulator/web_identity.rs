//! `GetWebIdentityToken`: signed tokens by which an IAM identity authenticates to other services, and the documents with which
//! those services verify them.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::call::AuthenticatedCall;
use super::parameter::{constraint, required};
use super::query::Form;
use super::simulated_aws::SimulatedAws;
use crate::aws_wire::{AwsError, AwsRequest, AwsResponse};

const DURATIONS: RangeInclusive<u64> = 60..=3600;
const DEFAULT_DURATION: u64 = 300;
const MAX_AUDIENCES: usize = 10;
const MAX_AUDIENCE_LENGTH: usize = 1000;
/// A web identity token and its expiry.
pub(super) struct WebIdentityToken {
    pub(super) text: String,
    pub(super) end: SystemTime,
}

/// Returns a token about the caller, signed for the audience that the request names.
pub(super) fn token(aws: &SimulatedAws, call: &AuthenticatedCall, form: &Form) -> Result<WebIdentityToken, AwsError> {
    let audiences = audiences(form)?;
    let algorithm = required(form, "SigningAlgorithm")?;
    let duration = duration(form)?;
    let now = aws.now();
    let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let subject = &call.principal.role_arn;
    let claims = json!({
        "iss": call.endpoint,
        "sub": subject,
        "aud": if let [one] = audiences.as_slice() { json!(one) } else { json!(audiences) },
        "iat": seconds(now),
        "exp": seconds(now + duration),
        "jti": format!("{:032x}", fastrand::u128(..)),
        "https://sts.amazonaws.com/": {
            "aws_account": call.principal.account.to_string(),
            "source_region": call.region_name(),
            "principal_id": subject,
        },
    });
    let text = aws.issuer_keys().sign(algorithm, &claims)?;
    Ok(WebIdentityToken { text, end: now + duration })
}

fn audiences(form: &Form) -> Result<Vec<&str>, AwsError> {
    let numbered = (1..=MAX_AUDIENCES + 1).map_while(|number| form.get(&format!("Audience.member.{number}")));
    let audiences: Vec<_> = numbered.collect();
    let each = audiences.iter().all(|audience| (1..=MAX_AUDIENCE_LENGTH).contains(&audience.len()));
    if !(1..=MAX_AUDIENCES).contains(&audiences.len()) || !each {
        return Err(constraint("Audience", "Member must have 1 to 10 texts of 1 to 1000 characters"));
    }
    Ok(audiences)
}

fn duration(form: &Form) -> Result<Duration, AwsError> {
    let Some(text) = form.get("DurationSeconds") else { return Ok(Duration::from_secs(DEFAULT_DURATION)) };
    let seconds = text.parse().ok().filter(|seconds| DURATIONS.contains(seconds));
    let problem = || constraint("DurationSeconds", "Member must have value between 60 and 3600");
    seconds.map(Duration::from_secs).ok_or_else(problem)
}

/// Returns a document that verifiers of a token fetch. Their requests are not signed.
pub(super) fn document(aws: &SimulatedAws, request: &AwsRequest) -> Option<AwsResponse> {
    let endpoint = request.endpoint();
    let document = match request.head.uri.path() {
        "/.well-known/openid-configuration" => json!({
            "issuer": endpoint,
            "jwks_uri": format!("{endpoint}/.well-known/jwks.json"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES384"],
        }),
        "/.well-known/jwks.json" => aws.issuer_keys().public_keys()?,
        _ => return None,
    };
    Some(AwsResponse::success("application/json", document.to_string()))
}
