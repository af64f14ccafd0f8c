//! What is likely to be a mistake in grants that are well-formed.

use std::fmt;

use spiffe::TrustDomain;

use super::{Accounts, CallerPattern, Effect, Grant, LabelPattern, Policy, RegistryPattern, TokenPattern};
use crate::caller::DnsName;
use crate::profile::{Access, Profile};

/// Something to look at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The grant's id; none where it is about all of them.
    pub grant: Option<String>,
    /// What is odd, and what would be better.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.grant {
            Some(grant) => write!(f, "grant {grant:?}: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

/// What the broker takes as proof of who somebody is, beside the Unix socket's own.
#[derive(Debug, Clone, Default)]
pub struct Proofs {
    /// Whether callers can come over loopback TCP.
    pub loopback: bool,
    /// Whether callers can come over the AWS API.
    pub aws_api: bool,
    /// The trust domains whose roots are known.
    pub trust_domains: Vec<TrustDomain>,
    /// The DNS names for which roots are known.
    pub dns_names: Vec<DnsName>,
    /// The issuers of bearer tokens: their names in the configuration, and their own.
    pub issuers: Vec<(String, String)>,
}

/// As GitHub writes it into its tokens.
const GITHUB: &str = "https://token.actions.githubusercontent.com";

/// Looks through a policy whose grants name these profiles.
#[must_use]
pub fn lint(policy: &Policy, profiles: &[Profile], proofs: &Proofs) -> Vec<Finding> {
    let grants = policy.grants();
    let of_one = |(index, grant): (usize, &Grant)| {
        let problems = [
            every_account(grant),
            push_everywhere(grant, profiles),
            user_zero(grant),
            unreachable(grant, proofs),
            renamed_repository(grant, proofs),
            pull_requests(grant, proofs),
            strange_region(grant),
            evaded(grant, grants),
            without_effect(grant, index, grants),
        ];
        let finding = |problem| Finding { grant: Some(grant.id.clone()), problem };
        problems.into_iter().flatten().map(finding).collect::<Vec<_>>()
    };
    let observed = "policy.mode is \"observe\": what the grants deny is given all the same; set it to \"enforce\" when they are complete";
    let observed = policy.is_observed().then(|| Finding { grant: None, problem: observed.to_owned() });
    observed.into_iter().chain(grants.iter().enumerate().flat_map(of_one)).collect()
}

fn every_account(grant: &Grant) -> Option<String> {
    let wide = |one: &RegistryPattern| matches!(one, RegistryPattern::Private { accounts: Accounts::Any, .. });
    (grant.effect == Effect::Allow && grant.registries.iter().any(wide))
        .then(|| "it is for every account that the broker's identity can reach; name the accounts".to_owned())
}

fn push_everywhere(grant: &Grant, profiles: &[Profile]) -> Option<String> {
    let profile = profiles.iter().find(|profile| grant.profile.as_ref() == Some(&profile.name))?;
    let wide = grant.effect == Effect::Allow && profile.access != Access::Pull && profile.repositories.is_empty();
    wide.then(|| {
        format!(
            "its profile {:?} may write to every repository that its role can; name repositories in the profile, or let it pull only",
            profile.name.as_str()
        )
    })
}

fn user_zero(grant: &Grant) -> Option<String> {
    let root = |caller: &CallerPattern| matches!(caller, CallerPattern::Uid(0) | CallerPattern::Gid(0));
    (grant.effect == Effect::Allow && grant.callers.iter().any(root)).then(|| {
        "it is for root, which any container is that runs as root and has the socket; give callers a user of their own"
            .to_owned()
    })
}

/// Callers that nobody can prove to be.
fn unreachable(grant: &Grant, proofs: &Proofs) -> Option<String> {
    grant.callers.iter().find_map(|caller| match caller {
        CallerPattern::Loopback if !proofs.loopback => Some(
            "it is for loopback, where nobody is let in; set authentication.loopback = true, or leave it out"
                .to_owned(),
        ),
        CallerPattern::AwsApi if !proofs.aws_api => Some(
            "it is for callers of the AWS API, which is not served; set server.aws_api_listen, or leave it out"
                .to_owned(),
        ),
        CallerPattern::Spiffe(pattern) if !proofs.trust_domains.contains(pattern.trust_domain()) => {
            Some(format!("it is for {pattern}, and authentication.client_ca has no roots of that trust domain"))
        }
        CallerPattern::Dns(name) if !proofs.dns_names.contains(name) => {
            Some(format!("it is for the host {name}, and authentication.client_dns has no roots for that name"))
        }
        CallerPattern::Token(pattern) if !proofs.issuers.iter().any(|(name, _)| *name == pattern.issuer) => {
            Some(format!("it is for tokens of {:?}, and no [[authentication.jwt]] has that name", pattern.issuer))
        }
        _ => None,
    })
}

fn is_github(name: &str, proofs: &Proofs) -> bool {
    proofs.issuers.iter().any(|(own, issuer)| own == name && issuer.starts_with(GITHUB))
}

/// What a stranger's pull request starts may run with the repository's own branch as its `ref`.
fn pull_requests(grant: &Grant, proofs: &Proofs) -> Option<String> {
    let says_which = |name: &str| matches!(name, "event_name" | "environment" | "job_workflow_ref");
    let any_event = |caller: &CallerPattern| match caller {
        CallerPattern::Token(pattern) if is_github(&pattern.issuer, proofs) => {
            pattern.subject.is_none() && !pattern.claims.iter().any(|(name, _)| says_which(name))
        }
        _ => false,
    };
    (grant.effect == Effect::Allow && grant.callers.iter().any(any_event)).then(|| {
        "it is for what pull requests of strangers start, too (pull_request_target); ask for event_name, environment or job_workflow_ref"
            .to_owned()
    })
}

/// A repository's or an organisation's name can be given up, and taken by somebody else; its number cannot.
fn renamed_repository(grant: &Grant, proofs: &Proofs) -> Option<String> {
    let is_github = |name: &str| is_github(name, proofs);
    let numbered = |pattern: &TokenPattern| {
        let number = |name: &str| matches!(name, "repository_id" | "repository_owner_id");
        pattern.claims.iter().any(|(name, value)| number(name) && !value.is_open())
    };
    let by_name = grant.callers.iter().any(
        |caller| matches!(caller, CallerPattern::Token(pattern) if is_github(&pattern.issuer) && !numbered(pattern)),
    );
    (grant.effect == Effect::Allow && by_name).then(|| {
        "it is for tokens of GitHub by names, which others can take when they are given up; ask for repository_id or repository_owner_id"
            .to_owned()
    })
}

/// Regions are named after points of the compass; a typing error in a deny would let through what it is to stop.
fn strange_region(grant: &Grant) -> Option<String> {
    const PLACES: [&str; 9] =
        ["central", "east", "north", "northeast", "northwest", "south", "southeast", "southwest", "west"];
    let regions = grant.registries.iter().flat_map(|one| match one {
        RegistryPattern::Private { regions, .. } => regions.as_slice(),
        RegistryPattern::Public => &[],
    });
    let known = |region: &String| {
        let mut words = region.split('-').rev();
        let place = words.find(|word| !word.bytes().all(|byte| byte.is_ascii_digit())).unwrap_or_default();
        region.ends_with('*') || PLACES.contains(&place)
    };
    let strange = regions.map(ToString::to_string).find(|region| !known(region))?;
    Some(format!("region {strange:?} is not named as AWS's are; is it spelt right?"))
}

/// Neither loopback nor the AWS API says which user it is, and a token takes a user's place.
fn evaded(grant: &Grant, grants: &[Grant]) -> Option<String> {
    let has = |grant: &Grant, kind: fn(&CallerPattern) -> bool| grant.callers.iter().any(kind);
    let is_user: fn(&CallerPattern) -> bool = |one| matches!(one, CallerPattern::Uid(_) | CallerPattern::Gid(_));
    let is_loopback: fn(&CallerPattern) -> bool = |one| matches!(one, CallerPattern::Loopback);
    let is_aws_api: fn(&CallerPattern) -> bool = |one| matches!(one, CallerPattern::AwsApi);
    let is_token: fn(&CallerPattern) -> bool = |one| matches!(one, CallerPattern::Token(_));
    let overlap = |other: &Grant| {
        let touches = |one: &RegistryPattern, two: &RegistryPattern| one.contains(two) || two.contains(one);
        grant.registries.iter().any(|one| other.registries.iter().any(|two| touches(one, two)))
    };
    let way = |other: &Grant| {
        if has(other, is_loopback) && has(grant, |one| *one != CallerPattern::Loopback) {
            return Some("over loopback");
        }
        if has(other, is_aws_api) && has(grant, |one| *one != CallerPattern::AwsApi) {
            return Some("over the AWS API");
        }
        let with = has(other, is_token) && (has(grant, is_user) || has(grant, is_loopback));
        let without = has(grant, is_token) && has(other, is_user);
        with.then_some("with a token").or_else(|| without.then_some("without a token"))
    };
    let mut allows = grants.iter().filter(|other| other.effect == Effect::Allow && overlap(other));
    let (id, way) = allows.find_map(|other| Some((&other.id, way(other)?)))?;
    let problem = || format!("a caller that it denies can still come {way}, by grant {id:?}");
    (grant.effect == Effect::Deny).then(problem)
}

/// Another grant that takes its whole effect away.
fn without_effect(grant: &Grant, index: usize, grants: &[Grant]) -> Option<String> {
    let same_profile = |other: &Grant| other.profile.is_none() || other.profile == grant.profile;
    if let Some(earlier) = grants[..index]
        .iter()
        .find(|other| other.effect == grant.effect && same_profile(other) && contains(other, grant))
    {
        return Some(format!("grant {:?} before it covers all of it; one of the two can go", earlier.id));
    }
    let denial = grants.iter().find(|other| {
        grant.effect == Effect::Allow && other.effect == Effect::Deny && same_profile(other) && contains(other, grant)
    });
    denial.map(|denial| format!("grant {:?} denies all of it", denial.id))
}

fn contains(outer: &Grant, inner: &Grant) -> bool {
    inner.callers.iter().all(|caller| outer.callers.iter().any(|other| other.contains(caller)))
        && inner.registries.iter().all(|one| outer.registries.iter().any(|other| other.contains(one)))
}

impl RegistryPattern {
    /// Whether everything that the other is about is among what this is about.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Public, Self::Public) => true,
            (Self::Private { accounts, regions }, Self::Private { accounts: inner, regions: inner_regions }) => {
                let region = |one: &LabelPattern| regions.iter().any(|outer| outer.contains(one));
                accounts.contain(inner) && inner_regions.iter().all(region)
            }
            (Self::Public, Self::Private { .. }) | (Self::Private { .. }, Self::Public) => false,
        }
    }
}

impl Accounts {
    fn contain(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Of(_), Self::Any) => false,
            (Self::Of(accounts), Self::Of(others)) => others.iter().all(|account| accounts.contains(account)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Attribution;

    fn private(accounts: &str, region: &str) -> RegistryPattern {
        let accounts = match accounts {
            "*" => Accounts::Any,
            account => Accounts::Of(vec![account.parse().unwrap()]),
        };
        RegistryPattern::Private { accounts, regions: vec![region.parse().unwrap()] }
    }

    fn grant(id: &str, caller: CallerPattern, registry: RegistryPattern, effect: Effect) -> Grant {
        let profile = (effect == Effect::Allow).then(|| "default".into());
        Grant { id: id.into(), callers: vec![caller], registries: vec![registry], profile, effect }
    }

    fn user() -> CallerPattern {
        CallerPattern::Uid(1001)
    }

    fn proofs() -> Proofs {
        Proofs {
            trust_domains: vec![TrustDomain::new("a.example").unwrap()],
            issuers: vec![("github".into(), GITHUB.into())],
            ..Proofs::default()
        }
    }

    /// Nothing, or one thing: the grant's id, and a part of the problem.
    type Expected<'a> = Option<(&'a str, &'a str)>;

    /// What is found in each list of grants.
    fn hold(cases: Vec<(Vec<Grant>, Expected<'_>)>) {
        for (grants, found) in cases {
            let findings = lint(&Policy::Grants(grants.clone()), &[], &proofs());
            let expected = usize::from(found.is_some());
            assert_eq!(findings.len(), expected, "{findings:?} {grants:#?}");
            if let Some((id, problem)) = found {
                assert!(
                    findings[0].grant.as_deref() == Some(id) && findings[0].problem.contains(problem),
                    "{findings:?}"
                );
            }
        }
    }

    #[test]
    fn a_profile_that_may_write_everywhere_is_found() {
        let profile = |access, repositories: &[&str]| Profile {
            name: "default".into(),
            role_chain: Vec::new(),
            external_id: None,
            access,
            repositories: repositories.iter().map(|pattern| pattern.parse().unwrap()).collect(),
            attribution: Attribution::Broker,
            source_identity: false,
        };
        let policy = |effect| Policy::Grants(vec![grant("farm", user(), private("111111111111", "eu-*"), effect)]);
        for (access, repositories, effect, found) in [
            (Access::Pull, &[][..], Effect::Allow, false),
            (Access::Push, &[], Effect::Allow, true),
            (Access::Full, &[], Effect::Allow, true),
            (Access::Push, &["team-a/*"], Effect::Allow, false),
            (Access::Push, &[], Effect::Deny, false),
        ] {
            let findings = lint(&policy(effect), &[profile(access, repositories)], &proofs());
            assert_eq!(!findings.is_empty(), found, "{access:?} {repositories:?}: {findings:?}");
            assert!(findings.iter().all(|finding| finding.problem.contains("write to every repository")));
        }
    }

    #[test]
    fn a_grant_for_tokens_that_an_earlier_one_is_about_already_is_found() {
        let tokens = |issuer: &str, subject: &str, claims: &[(&str, &str)]| {
            let claim = |(name, text): &(&str, &str)| ((*name).to_owned(), text.parse().unwrap());
            CallerPattern::Token(TokenPattern {
                issuer: issuer.into(),
                subject: Some(subject.parse().unwrap()),
                claims: claims.iter().map(claim).collect(),
            })
        };
        let proofs = Proofs {
            issuers: vec![("blue".into(), "https://b.example".into()), ("green".into(), "https://g.example".into())],
            ..proofs()
        };
        let all = tokens("blue", "system:serviceaccount:ci:*", &[]);
        let some = tokens("blue", "a:*", &[("ref", "main-*")]);
        for (outer, inner, shadowed) in [
            (&all, tokens("blue", "system:serviceaccount:ci:runner", &[]), true),
            (&all, tokens("blue", "system:serviceaccount:ci:runner", &[("a", "b")]), true),
            (&all, tokens("green", "system:serviceaccount:ci:runner", &[]), false),
            (&all, tokens("blue", "system:serviceaccount:cd:runner", &[]), false),
            (&some, tokens("blue", "a:b", &[("ref", "main-1"), ("other", "x")]), true),
            (&some, tokens("blue", "a:b", &[]), false),
            (&some, tokens("blue", "a:b", &[("ref", "x")]), false),
            (&some, tokens("blue", "a:b", &[("other", "main-1")]), false),
        ] {
            let grants = [("outer", outer.clone()), ("inner", inner.clone())]
                .map(|(id, caller)| grant(id, caller, private("111111111111", "eu-*"), Effect::Allow));
            let findings = lint(&Policy::Grants(grants.into()), &[], &proofs);
            assert_eq!(findings.len(), usize::from(shadowed), "{inner:?}: {findings:?}");
            assert!(findings.iter().all(|finding| finding.grant.as_deref() == Some("inner")), "{findings:?}");
        }
    }

    #[test]
    fn what_looks_like_a_mistake_is_found_and_what_does_not_is_not() {
        use Effect::{Allow, Deny};
        let runners = |text: &str| CallerPattern::Spiffe(text.parse().unwrap());
        let fine = || grant("fine", user(), private("111111111111", "eu-*"), Allow);
        hold(vec![
            (vec![fine()], None),
            (vec![fine(), grant("other", user(), private("111111111111", "*"), Allow)], None),
            (vec![fine(), grant("public", user(), RegistryPattern::Public, Allow)], None),
            (vec![fine(), grant("deny-some", user(), private("111111111111", "eu-west-1"), Deny)], None),
            (vec![grant("wide", user(), private("*", "eu-*"), Allow)], Some(("wide", "every account"))),
            (vec![grant("wide", user(), private("*", "eu-*"), Deny)], None),
            (
                vec![grant("typo", user(), private("111111111111", "eu-cental-1"), Deny)],
                Some(("typo", "is it spelt right")),
            ),
            (vec![grant("gov", user(), private("111111111111", "us-gov-west-1"), Deny)], None),
            (vec![grant("root", CallerPattern::Uid(0), RegistryPattern::Public, Allow)], Some(("root", "for root"))),
            (
                vec![grant("local", CallerPattern::Loopback, RegistryPattern::Public, Allow)],
                Some(("local", "authentication.loopback")),
            ),
            (
                vec![grant("aws", CallerPattern::AwsApi, RegistryPattern::Public, Allow)],
                Some(("aws", "server.aws_api_listen")),
            ),
            (vec![grant("pods", runners("spiffe://a.example/ci/*"), RegistryPattern::Public, Allow)], None),
            (
                vec![grant("pods", runners("spiffe://b.example/ci/*"), RegistryPattern::Public, Allow)],
                Some(("pods", "authentication.client_ca has no roots")),
            ),
            (
                vec![grant("host", CallerPattern::Dns("a.b".parse().unwrap()), RegistryPattern::Public, Allow)],
                Some(("host", "authentication.client_dns has no roots")),
            ),
            (
                vec![
                    grant("all", runners("spiffe://a.example/ci/*"), RegistryPattern::Public, Allow),
                    grant("one", runners("spiffe://a.example/ci/runner"), RegistryPattern::Public, Allow),
                ],
                Some(("one", "\"all\" before it")),
            ),
            (
                vec![fine(), grant("again", user(), private("111111111111", "eu-west-1"), Allow)],
                Some(("again", "\"fine\" before it")),
            ),
            (
                vec![fine(), grant("never", user(), private("*", "*"), Deny)],
                Some(("fine", "\"never\" denies all of it")),
            ),
        ]);
        for (caller, way) in [(CallerPattern::Loopback, "over loopback"), (CallerPattern::AwsApi, "over the AWS API")] {
            let way_round = vec![
                grant("no", user(), private("111111111111", "eu-*"), Deny),
                grant("local", caller, private("111111111111", "eu-west-1"), Allow),
            ];
            let findings = lint(&Policy::Grants(way_round), &[], &Proofs { loopback: true, aws_api: true, ..proofs() });
            let expected = format!("{way}, by grant \"local\"");
            assert!(findings.len() == 1 && findings[0].problem.contains(&expected), "{findings:?}");
        }
        assert!(lint(&Policy::Open, &[], &proofs()).is_empty());
    }

    #[test]
    fn tokens_that_others_can_get_too_are_found() {
        use Effect::{Allow, Deny};
        let claim = |name: &str, value: &str| (name.to_owned(), value.parse().unwrap());
        let pattern =
            |issuer: &str, claims| CallerPattern::Token(TokenPattern { issuer: issuer.into(), subject: None, claims });
        let token = |issuer: &str, name: &str, value: &str| {
            pattern(issuer, vec![claim(name, value), claim("event_name", "push")])
        };
        let without_event = pattern("github", vec![claim("repository_id", "456")]);
        hold(vec![
            (vec![grant("any", without_event, RegistryPattern::Public, Allow)], Some(("any", "pull_request_target"))),
            (
                vec![
                    grant("deny-user", user(), RegistryPattern::Public, Deny),
                    grant("tokens", token("github", "repository_id", "456"), RegistryPattern::Public, Allow),
                ],
                Some(("deny-user", "come with a token, by grant \"tokens\"")),
            ),
            (
                vec![
                    grant("deny-token", token("github", "repository_id", "456"), RegistryPattern::Public, Deny),
                    grant("users", user(), RegistryPattern::Public, Allow),
                ],
                Some(("deny-token", "come without a token, by grant \"users\"")),
            ),
            (vec![grant("id", token("github", "repository_id", "456"), RegistryPattern::Public, Allow)], None),
            (
                vec![grant("name", token("github", "repository", "org/name"), RegistryPattern::Public, Allow)],
                Some(("name", "repository_owner_id")),
            ),
            (
                vec![grant("open", token("github", "repository_id", "45*"), RegistryPattern::Public, Allow)],
                Some(("open", "repository_owner_id")),
            ),
            (
                vec![grant("typo", token("gihtub", "repository_id", "456"), RegistryPattern::Public, Allow)],
                Some(("typo", "no [[authentication.jwt]] has that name")),
            ),
        ]);
    }
}
