//! Principals that a caller pattern matches, where the group and the other claims of a call are unknown.

use super::caller::CallerPattern;
use crate::caller::Principal;

impl CallerPattern {
    /// Returns whether the pattern matches every call of a principal. A pattern of groups or of claims matches some calls only, so it
    /// matches no principal.
    #[must_use]
    pub fn matches_principal(&self, principal: &Principal) -> bool {
        match (self, principal) {
            (Self::Uid(wanted), Principal::Uid(uid)) => wanted == uid,
            (Self::Loopback, Principal::Loopback) | (Self::AwsApi, Principal::AwsApi) => true,
            (Self::Spiffe(pattern), Principal::Spiffe(id)) => pattern.matches(id),
            (Self::Dns(wanted), Principal::Dns(name)) => wanted == name,
            (Self::Token(pattern), Principal::Token { issuer, subject }) => {
                pattern.issuer == **issuer
                    && pattern.claims.is_empty()
                    && pattern.subject.as_ref().is_none_or(|pattern| pattern.matches(subject))
            }
            _ => false,
        }
    }

    /// Returns whether the pattern names callers of the broker's own host.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Uid(_) | Self::Gid(_) | Self::Loopback | Self::AwsApi)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Caller;
    use crate::policy::TokenPattern;

    #[test]
    fn principal_matches_by_name_and_never_by_group_or_claim() {
        let token = |subject: &str, claims: &[(&str, &str)]| {
            let claims = claims.iter().map(|(name, text)| ((*name).to_owned(), text.parse().unwrap())).collect();
            CallerPattern::Token(TokenPattern { issuer: "blue".into(), subject: subject.parse().ok(), claims })
        };
        let spiffe = |text: &str| CallerPattern::Spiffe(text.parse().unwrap());
        for (pattern, caller, matches) in [
            (CallerPattern::Uid(1), "uid:1,gid:2", true),
            (CallerPattern::Uid(2), "uid:1,gid:2", false),
            (CallerPattern::Gid(2), "uid:1,gid:2", false),
            (CallerPattern::Loopback, "loopback", true),
            (CallerPattern::AwsApi, "aws-api", true),
            (CallerPattern::AwsApi, "loopback", false),
            (spiffe("spiffe://prod.example/node/*"), "spiffe://prod.example/node/a", true),
            (spiffe("spiffe://prod.example/node/*"), "spiffe://prod.example/job/a", false),
            (CallerPattern::Dns("a.example".parse().unwrap()), "dns:a.example", true),
            (token("node:*", &[]), "jwt:blue:node:a", true),
            (token("node:*", &[]), "jwt:green:node:a", false),
            (token("node:*", &[("ref", "main")]), "jwt:blue:node:a", false),
        ] {
            let principal = caller.parse::<Caller>().unwrap().principal();
            assert_eq!(pattern.matches_principal(&principal), matches, "{pattern:?} {caller}");
            assert!(!matches || pattern.is_local() == principal.is_local(), "{pattern:?}");
        }
    }
}
