//! ID token of a GitLab job: a variable, whose value is the same for the whole job.

use std::time::{Duration, SystemTime};

use super::audience;
use super::claims::Claims;
use crate::bearer_token::BearerToken;
use crate::client::failure::Failure;
use crate::environment;

/// The clock difference that the broker accepts.
const LEEWAY: Duration = Duration::from_secs(30);

pub(super) fn is_present(variable: &str) -> bool {
    environment::variable("GITLAB_CI").is_some() && environment::variable(variable).is_some()
}

/// Reads the token, unless it has ended: GitLab writes no other one for the job.
pub(super) fn read(variable: &str, expected: &str, now: SystemTime) -> Result<BearerToken, Failure> {
    let value = environment::variable(variable).ok_or_else(|| {
        let fix = format!("add `id_tokens: {{ {variable}: {{ aud: {expected} }} }}` to the job, or set token_variable");
        Failure::without_token(format!("token_source gitlab: {variable} is not set; {fix}"))
    })?;
    let token: BearerToken = value.into_string().unwrap_or_default().into();
    check(&token, variable, expected, now)?;
    Ok(token)
}

fn check(token: &BearerToken, variable: &str, expected: &str, now: SystemTime) -> Result<(), Failure> {
    audience::check(token, expected)
        .map_err(|problem| Failure::without_token(format!("token_source gitlab: {variable} {problem}")))?;
    let ended = Claims::of(token.expose().trim()).and_then(|claims| now.duration_since(claims.expires?).ok());
    let Some(ended) = ended.filter(|ended| *ended > LEEWAY) else { return Ok(()) };
    let ended = humantime::format_duration(Duration::from_secs(ended.as_secs()));
    let fix = "raise the job's `timeout`, or split the job: GitLab renews no ID token of a running job";
    Err(Failure::token_ended(format!("token_source gitlab: the token in {variable} ended {ended} ago; {fix}")))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use data_encoding::BASE64URL_NOPAD;
    use tonic::Code;

    use super::*;

    #[test]
    fn ended_token_is_an_error_that_says_what_to_do() {
        let claims = r#"{"aud":"ecr-broker","exp":1000,"sub":"s3cret"}"#;
        let token: BearerToken = format!("e30.{}.c2ln", BASE64URL_NOPAD.encode(claims.as_bytes())).into();
        let check = |audience: &str, now: u64| check(&token, "T", audience, UNIX_EPOCH + Duration::from_secs(now));
        assert_eq!(check("ecr-broker", 990), Ok(()));
        assert_eq!(check("ecr-broker", 1_030), Ok(()));
        let ended = check("ecr-broker", 1_120).unwrap_err();
        assert_eq!(ended.code, Code::Unauthenticated);
        assert!(ended.message.contains("the token in T ended 2m ago; raise the job's `timeout`"), "{ended}");
        let other = check("other", 990).unwrap_err();
        assert!(other.message.contains("T is for the audience \"ecr-broker\", not other;"), "{other}");
        assert!(!format!("{ended:?}{other:?}").contains(token.expose()));
    }
}
