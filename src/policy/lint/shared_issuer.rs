//! Issuers that serve many customers, and the claims that tell whose token it is.

use crate::policy::pattern::TokenPattern;

/// The issuer in GitHub's tokens. An enterprise can have its name in a path below it.
pub(super) const GITHUB: &str = "https://token.actions.githubusercontent.com";

/// An issuer from which every customer of a platform can get tokens.
#[derive(Debug)]
pub(super) struct SharedIssuer {
    url: &'static str,
    platform: &'static str,
    /// Kind of the customers that claims tell apart.
    customer: &'static str,
    /// Claims with an ID that stays with its customer. `sub` is a subject without `:`.
    ids: &'static [&'static str],
    /// Claims with a name. A customer can give it up, and another can then register it.
    names: &'static [&'static str],
    /// Key of a subject whose value has the ID after the name, as in `repo:owner@123/name@456`.
    name_at_id: Option<&'static str>,
    /// What a grant should require.
    fix: &'static str,
}

/// The customers whose tokens a pattern matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Customers {
    /// All of them.
    Any,
    /// Those that have a name now, or register it later.
    Named,
    /// Those with an ID.
    Identified,
}

/// Claims that a stranger chooses are absent, such as the reusable workflow or the configuration's address.
const SHARED: [SharedIssuer; 4] = [
    SharedIssuer {
        url: GITHUB,
        platform: "GitHub",
        customer: "repository",
        ids: &["repository_id", "repository_owner_id", "enterprise_id"],
        names: &["repository", "repository_owner", "enterprise", "workflow_ref", "repo"],
        name_at_id: Some("repo"),
        fix: "repository_id or repository_owner_id",
    },
    SharedIssuer {
        url: "https://gitlab.com",
        platform: "gitlab.com",
        customer: "project",
        ids: &["project_id", "namespace_id", "job_project_id", "job_namespace_id"],
        names: &["project_path", "namespace_path", "job_project_path", "job_namespace_path"],
        name_at_id: None,
        fix: "project_id or namespace_id",
    },
    SharedIssuer {
        url: "https://agent.buildkite.com",
        platform: "Buildkite",
        customer: "organization",
        ids: &["organization_id", "pipeline_id", "cluster_id", "queue_id", "sub"],
        names: &["organization_slug", "organization"],
        name_at_id: None,
        fix: "organization_id or pipeline_id",
    },
    SharedIssuer {
        url: "https://accounts.google.com",
        platform: "Google",
        customer: "account",
        ids: &["sub", "google.compute_engine.project_number"],
        names: &["email", "hd", "google.compute_engine.project_id"],
        name_at_id: None,
        fix: "subject",
    },
];

impl SharedIssuer {
    /// Returns the shared issuer with this URL, or with this URL below its own.
    pub(super) fn of(url: &str) -> Option<&'static Self> {
        SHARED.iter().find(|one| one.path_in(url).is_some())
    }

    /// Returns the problem of a grant for tokens of these customers.
    pub(super) fn problem(&self, customers: Customers) -> Option<String> {
        let Self { platform, customer, fix, .. } = self;
        match customers {
            Customers::Any => {
                Some(format!("it allows tokens of any {platform} {customer}, also of strangers; require {fix}"))
            }
            Customers::Named => {
                Some(format!("it allows {platform} tokens by a name that others can register later; require {fix}"))
            }
            Customers::Identified => None,
        }
    }

    /// Returns the customers whose tokens the pattern matches. `url` is the issuer's.
    pub(super) fn customers(&self, url: &str, pattern: &TokenPattern) -> Customers {
        let fixed: Vec<_> = claims(pattern).filter(|(_, value)| is_fixed(value)).collect();
        let has_id = |name: &str, value: &str| {
            self.ids.contains(&name) || self.name_at_id == Some(name) && first_segment(value).contains('@')
        };
        if fixed.iter().any(|(name, value)| has_id(name, value)) {
            return Customers::Identified;
        }
        let of_enterprise = self.path_in(url).is_some_and(|path| !path.is_empty());
        let has_name = of_enterprise || fixed.iter().any(|(name, _)| self.names.contains(&name.as_str()));
        if has_name { Customers::Named } else { Customers::Any }
    }

    fn path_in<'a>(&self, url: &'a str) -> Option<&'a str> {
        let path = url.strip_prefix(self.url)?;
        (path.is_empty() || path.starts_with('/')).then_some(path)
    }
}

/// Returns the claims of a pattern, and its subject as a claim of the subject's first key.
fn claims(pattern: &TokenPattern) -> impl Iterator<Item = (String, String)> {
    let subject = pattern.subject.as_ref().map(|subject| {
        let text = subject.to_string();
        match text.split_once(':') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => ("sub".to_owned(), text),
        }
    });
    pattern.claims.iter().map(|(name, value)| (name.clone(), value.to_string())).chain(subject)
}

/// The owner comes first in paths. Without an open first segment, a pattern cannot match those of other owners.
fn is_fixed(value: &str) -> bool {
    !first_segment(value).ends_with('*')
}

fn first_segment(value: &str) -> &str {
    value.split([':', '/']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Customers::{Any, Identified, Named};

    const GITLAB: &str = "https://gitlab.com";
    const BUILDKITE: &str = "https://agent.buildkite.com";
    const GOOGLE: &str = "https://accounts.google.com";

    /// A pattern by its subject, `-` for none, and its claims.
    fn pattern(subject: &str, claims: &[(&str, &str)]) -> TokenPattern {
        TokenPattern {
            issuer: "ci".into(),
            subject: (subject != "-").then(|| subject.parse().unwrap()),
            claims: claims.iter().map(|(name, value)| ((*name).to_owned(), value.parse().unwrap())).collect(),
        }
    }

    #[test]
    fn claims_of_each_shared_issuer_tell_customers_apart() {
        let enterprise = format!("{GITHUB}/acme");
        for (url, subject, claim, customers) in [
            (GITHUB, "-", ("ref", "refs/heads/main"), Any),
            (GITHUB, "-", ("job_workflow_ref", "team/app/.github/workflows/a.yml"), Any),
            (GITHUB, "-", ("repository", "team/*"), Named),
            (GITHUB, "-", ("repository", "te*/app"), Any),
            (GITHUB, "-", ("repository_owner_id", "12"), Identified),
            (GITHUB, "-", ("repository_id", "45*"), Any),
            (GITHUB, "repo:team/app:*", ("ref", "refs/heads/main"), Named),
            (GITHUB, "repo:*/*:pull_request", ("ref", "refs/heads/main"), Any),
            (GITHUB, "repo:team@12/app@456:ref:refs/heads/main", ("event_name", "push"), Identified),
            (GITHUB, "repo:team@1*/app@456:pull_request", ("event_name", "push"), Any),
            (GITHUB, "repository_id:456:ref:refs/heads/main", ("event_name", "push"), Identified),
            (GITHUB, "environment:ops", ("event_name", "push"), Any),
            (&enterprise, "-", ("ref", "refs/heads/main"), Named),
            (&enterprise, "-", ("repository_id", "456"), Identified),
            (GITLAB, "-", ("ref_protected", "true"), Any),
            (GITLAB, "-", ("project_path", "team/app"), Named),
            (GITLAB, "-", ("namespace_id", "7"), Identified),
            (GITLAB, "project_path:team/app:ref_type:branch:ref:main", ("ref_protected", "true"), Named),
            (GITLAB, "project_path:*/app:ref_type:branch:ref:main", ("project_path", "*/app"), Any),
            (BUILDKITE, "-", ("build_branch", "main"), Any),
            (BUILDKITE, "-", ("pipeline_slug", "app"), Any),
            (BUILDKITE, "-", ("organization_slug", "team"), Named),
            (BUILDKITE, "-", ("organization_id", "0184990a-477b-4fa8-9968-496074483cee"), Identified),
            (BUILDKITE, "organization:team:pipeline:app:*", ("build_branch", "main"), Named),
            (BUILDKITE, "0184990a-477b-4fa8-9968-496074483cee", ("build_branch", "main"), Identified),
            (GOOGLE, "-", ("email_verified", "true"), Any),
            (GOOGLE, "-", ("email", "ci@team.iam.gserviceaccount.com"), Named),
            (GOOGLE, "10769150350006150715", ("email_verified", "true"), Identified),
            (GOOGLE, "1*", ("email_verified", "true"), Any),
        ] {
            let pattern = pattern(subject, &[claim]);
            let issuer = SharedIssuer::of(url).unwrap();
            assert_eq!(issuer.customers(url, &pattern), customers, "{url} {pattern:?}");
        }
    }

    #[test]
    fn issuer_of_one_customer_is_not_shared() {
        for url in [
            "https://gitlab.com.example",
            "https://gitlab.example",
            "https://token.actions.acme.ghe.com",
            "https://oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF",
        ] {
            assert!(SharedIssuer::of(url).is_none(), "{url}");
        }
    }
}
