//! Permissions of a role session, as far as its session policy narrows them, and denials by a repository's policy.

use std::time::SystemTime;

use serde_json::Value;

use super::principal::Principal;

/// An action on a repository.
#[derive(Debug)]
pub(super) struct Access<'a> {
    pub(super) action: &'static str,
    /// The repository's ARN.
    pub(super) resource: &'a str,
}

/// Returns whether the session policy allows the access. Without one, the role's own permissions count, which allow everything here.
pub(super) fn session_allows(principal: &Principal, access: &Access<'_>) -> bool {
    let policy = principal.session.as_ref().and_then(|session| session.policy.as_ref());
    policy.is_none_or(|policy| statements(policy, "Allow").any(|one| covers(one, access, true)))
}

/// Returns whether the repository's policy denies sessions from before a time, and the session is one of them. A user has no issue
/// time, so that the condition never matches.
pub(super) fn repository_revokes(policy: &Value, principal: &Principal, access: &Access<'_>) -> bool {
    let Some(session) = &principal.session else { return false };
    statements(policy, "Deny").filter(|one| covers(one, access, false)).any(|one| {
        let before = one["Condition"]["DateLessThan"]["aws:TokenIssueTime"].as_str();
        let before = before.and_then(|text| humantime::parse_rfc3339(text).ok());
        before.is_some_and(|before: SystemTime| session.issued < before)
    })
}

fn statements<'a>(policy: &'a Value, effect: &'static str) -> impl Iterator<Item = &'a Value> {
    let all = policy["Statement"].as_array().into_iter().flatten();
    all.filter(move |statement| statement["Effect"] == effect)
}

fn covers(statement: &Value, access: &Access<'_>, has_resource: bool) -> bool {
    let any = |key: &str, wanted: &str| texts(&statement[key]).any(|pattern| matches(pattern, wanted));
    any("Action", access.action) && (!has_resource || any("Resource", access.resource))
}

/// Returns the texts of a list, or the one text.
fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().chain(std::iter::once(value)).filter_map(Value::as_str)
}

/// Returns whether a text matches a pattern with asterisks.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            let ends = text.char_indices().map(|(at, _)| at).chain(std::iter::once(text.len()));
            ends.into_iter().any(|at| matches(rest, &text[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_matches_as_in_iam() {
        for (pattern, text, matched) in [
            ("*", "", true),
            ("ecr:*", "ecr:PutImage", true),
            ("ecr:Put*", "ecr:PutImage", true),
            ("ecr:*Image", "ecr:PutImageTag", false),
            ("arn:aws:ecr:*:1:repository/a/*", "arn:aws:ecr:eu-west-1:1:repository/a/b", true),
            ("arn:aws:ecr:*:1:repository/a/*", "arn:aws:ecr:eu-west-1:1:repository/ab", false),
            ("ecr:PutImage", "ecr:PutImageTag", false),
        ] {
            assert_eq!(matches(pattern, text), matched, "{pattern} {text}");
        }
    }
}
