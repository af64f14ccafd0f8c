use super::*;
use crate::profile::{Attribution, ExtraPermissions, SessionTags};

fn private(accounts: &str, region: &str) -> RegistryPattern {
    let accounts = match accounts {
        "*" => Accounts::Any,
        account => Accounts::Of(vec![account.parse().unwrap()]),
    };
    RegistryPattern::Private { accounts, regions: vec![region.parse().unwrap()] }
}

fn grant(id: &str, caller: CallerPattern, registry: RegistryPattern, effect: Effect) -> Grant {
    let profile = (effect == Effect::Allow).then(|| "default".into());
    Grant { id: id.into(), callers: vec![caller], registries: vec![registry], profile, effect, max_lifetime: None }
}

fn user() -> CallerPattern {
    CallerPattern::Uid(1001)
}

fn accepted() -> AcceptedIdentities {
    AcceptedIdentities {
        trust_domains: vec![TrustDomain::new("a.example").unwrap()],
        issuers: vec![("github".into(), GITHUB.into()), ("gitlab".into(), "https://gitlab.com".into())],
        ..AcceptedIdentities::default()
    }
}

/// No finding, or one: the grant's ID and a part of the problem.
type Expected<'a> = Option<(&'a str, &'a str)>;

/// Lints each list of grants and compares the findings.
fn assert_findings(cases: Vec<(Vec<Grant>, Expected<'_>)>) {
    for (grants, found) in cases {
        let findings = lint(&Policy::Grants(grants.clone()), &[], &accepted());
        let expected = usize::from(found.is_some());
        assert_eq!(findings.len(), expected, "{findings:?} {grants:#?}");
        if let Some((id, problem)) = found {
            assert!(findings[0].grant.as_deref() == Some(id) && findings[0].problem.contains(problem), "{findings:?}");
        }
    }
}

#[test]
fn lint_finds_a_profile_that_can_write_everywhere() {
    let profile = |access, repositories: &[&str]| Profile {
        name: "default".into(),
        role_chain: Vec::new(),
        access,
        repositories: repositories.iter().map(|pattern| pattern.parse().unwrap()).collect(),
        extra: ExtraPermissions::default(),
        session_tags: SessionTags::default(),
        attribution: Attribution::Broker,
        source_identity: false,
        verify: None,
    };
    let policy = |effect| Policy::Grants(vec![grant("farm", user(), private("111111111111", "eu-west-*"), effect)]);
    for (access, repositories, effect, found) in [
        (Access::Pull, &[][..], Effect::Allow, false),
        (Access::Push, &[], Effect::Allow, true),
        (Access::Full, &[], Effect::Allow, true),
        (Access::Push, &["team-a/*"], Effect::Allow, false),
        (Access::Push, &[], Effect::Deny, false),
    ] {
        let findings = lint(&policy(effect), &[profile(access, repositories)], &accepted());
        assert_eq!(!findings.is_empty(), found, "{access:?} {repositories:?}: {findings:?}");
        assert!(findings.iter().all(|finding| finding.problem.contains("write to every repository")));
    }
}

#[test]
fn lint_finds_a_token_grant_that_an_earlier_grant_covers() {
    let tokens = |issuer: &str, subject: &str, claims: &[(&str, &str)]| {
        let claim = |(name, text): &(&str, &str)| ((*name).to_owned(), text.parse().unwrap());
        CallerPattern::Token(TokenPattern {
            issuer: issuer.into(),
            subject: Some(subject.parse().unwrap()),
            claims: claims.iter().map(claim).collect(),
        })
    };
    let accepted = AcceptedIdentities {
        issuers: vec![("blue".into(), "https://b.example".into()), ("green".into(), "https://g.example".into())],
        ..accepted()
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
            .map(|(id, caller)| grant(id, caller, private("111111111111", "eu-west-*"), Effect::Allow));
        let findings = lint(&Policy::Grants(grants.into()), &[], &accepted);
        assert_eq!(findings.len(), usize::from(shadowed), "{inner:?}: {findings:?}");
        assert!(findings.iter().all(|finding| finding.grant.as_deref() == Some("inner")), "{findings:?}");
    }
}

#[test]
fn lint_finds_mistakes_of_operator_grants() {
    let operators = |id: &str, caller| Grant {
        id: id.into(),
        callers: vec![caller],
        registries: Vec::new(),
        profile: None,
        effect: Effect::Operate,
        max_lifetime: None,
    };
    let of = |issuer: &str, claims: &[(&str, &str)]| {
        let claims = claims.iter().map(|(name, text)| ((*name).to_owned(), text.parse().unwrap()));
        CallerPattern::Token(TokenPattern { issuer: issuer.into(), subject: None, claims: claims.collect() })
    };
    let token = |claims: &[(&str, &str)]| of("github", claims);
    let fine = || grant("fine", user(), private("111111111111", "eu-west-*"), Effect::Allow);
    let never = || grant("never", CallerPattern::Uid(7), private("*", "*"), Effect::Deny);
    assert_findings(vec![
        (vec![fine(), operators("ops", user())], None),
        (vec![fine(), operators("ops", CallerPattern::Uid(7)), never()], None),
        (vec![fine(), operators("ops", user()), operators("again", user())], Some(("again", "earlier grant \"ops\""))),
        (vec![fine(), operators("ops", CallerPattern::Loopback)], Some(("ops", "authentication.loopback"))),
        (
            vec![fine(), operators("ops", token(&[("repository_id", "1")]))],
            Some(("ops", "a stranger's pull_request_target runs")),
        ),
        (
            vec![fine(), operators("ops", token(&[("environment", "ops"), ("repository", "a/b")]))],
            Some(("ops", "a name that others can register later")),
        ),
        (
            vec![fine(), operators("ops", of("gitlab", &[("user_login", "root")]))],
            Some(("ops", "of any gitlab.com project, also of strangers; require project_id")),
        ),
    ]);
    let findings = lint(&Policy::Grants(vec![operators("ops", user())]), &[], &accepted());
    assert!(findings.len() == 1 && findings[0].problem.starts_with("all grants have operator"), "{findings:?}");
}

#[test]
fn lint_finds_each_likely_mistake_and_nothing_else() {
    use Effect::{Allow, Deny};
    let runners = |text: &str| CallerPattern::Spiffe(text.parse().unwrap());
    let fine = || grant("fine", user(), private("111111111111", "eu-west-*"), Allow);
    assert_findings(vec![
        (vec![fine()], None),
        (vec![fine(), grant("other", user(), private("111111111111", "*"), Allow)], None),
        (vec![fine(), grant("public", user(), RegistryPattern::Public, Allow)], None),
        (vec![fine(), grant("deny-some", user(), private("111111111111", "eu-west-1"), Deny)], None),
        (vec![grant("wide", user(), private("*", "eu-west-*"), Allow)], Some(("wide", "every account"))),
        (vec![grant("wide", user(), private("*", "eu-west-*"), Deny)], None),
        (
            vec![grant("typo", user(), private("111111111111", "eu-cental-1"), Deny)],
            Some(("typo", "check its spelling")),
        ),
        (vec![grant("gov", user(), private("111111111111", "us-gov-west-1"), Deny)], None),
        (
            vec![grant("us", user(), private("111111111111", "us-*"), Allow)],
            Some(("us", "spans the partitions aws, aws-us-gov, aws-iso, aws-iso-b, aws-iso-f; list the regions")),
        ),
        (
            vec![grant("eu", user(), private("111111111111", "eu-*"), Allow)],
            Some(("eu", "spans the partitions aws, aws-iso-e")),
        ),
        (vec![grant("gov", user(), private("111111111111", "us-gov-*"), Allow)], None),
        (vec![grant("east", user(), private("111111111111", "us-east-*"), Allow)], None),
        (vec![grant("no-us", user(), private("111111111111", "us-*"), Deny)], None),
        (vec![grant("root", CallerPattern::Uid(0), RegistryPattern::Public, Allow)], Some(("root", "allows root"))),
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
            Some(("one", "earlier grant \"all\"")),
        ),
        (
            vec![fine(), grant("again", user(), private("111111111111", "eu-west-1"), Allow)],
            Some(("again", "earlier grant \"fine\"")),
        ),
        (vec![fine(), grant("never", user(), private("*", "*"), Deny)], Some(("fine", "\"never\" denies all of it"))),
    ]);
    for (caller, detour) in [(CallerPattern::Loopback, "over loopback"), (CallerPattern::AwsApi, "over the AWS API")] {
        let grants = vec![
            grant("no", user(), private("111111111111", "eu-west-*"), Deny),
            grant("local", caller, private("111111111111", "eu-west-1"), Allow),
        ];
        let findings =
            lint(&Policy::Grants(grants), &[], &AcceptedIdentities { loopback: true, aws_api: true, ..accepted() });
        let expected = format!("{detour} by grant \"local\"");
        assert!(findings.len() == 1 && findings[0].problem.contains(&expected), "{findings:?}");
    }
    assert!(lint(&Policy::Open, &[], &accepted()).is_empty());
}

#[test]
fn lint_finds_tokens_that_strangers_can_get() {
    use Effect::{Allow, Deny};
    let claim = |name: &str, value: &str| (name.to_owned(), value.parse().unwrap());
    let pattern =
        |issuer: &str, claims| CallerPattern::Token(TokenPattern { issuer: issuer.into(), subject: None, claims });
    let token =
        |issuer: &str, name: &str, value: &str| pattern(issuer, vec![claim(name, value), claim("event_name", "push")]);
    let without_event = pattern("github", vec![claim("repository_id", "456")]);
    assert_findings(vec![
        (vec![grant("any", without_event, RegistryPattern::Public, Allow)], Some(("any", "pull_request_target"))),
        (
            vec![
                grant("deny-user", user(), RegistryPattern::Public, Deny),
                grant("tokens", token("github", "repository_id", "456"), RegistryPattern::Public, Allow),
            ],
            Some(("deny-user", "with a token by grant \"tokens\"")),
        ),
        (
            vec![
                grant("deny-token", token("github", "repository_id", "456"), RegistryPattern::Public, Deny),
                grant("users", user(), RegistryPattern::Public, Allow),
            ],
            Some(("deny-token", "without a token by grant \"users\"")),
        ),
        (vec![grant("id", token("github", "repository_id", "456"), RegistryPattern::Public, Allow)], None),
        (
            vec![grant("name", token("github", "repository", "org/name"), RegistryPattern::Public, Allow)],
            Some(("name", "repository_owner_id")),
        ),
        (
            vec![grant("open", token("github", "repository_id", "45*"), RegistryPattern::Public, Allow)],
            Some(("open", "of any GitHub repository, also of strangers; require repository_id")),
        ),
        (
            vec![grant("any", token("gitlab", "ref_protected", "true"), RegistryPattern::Public, Allow)],
            Some(("any", "of any gitlab.com project, also of strangers; require project_id")),
        ),
        (
            vec![grant("path", token("gitlab", "project_path", "team/app"), RegistryPattern::Public, Allow)],
            Some(("path", "allows gitlab.com tokens by a name that others can register later")),
        ),
        (vec![grant("id", token("gitlab", "project_id", "456"), RegistryPattern::Public, Allow)], None),
        (vec![grant("no", token("gitlab", "ref_protected", "false"), RegistryPattern::Public, Deny)], None),
        (
            vec![grant("typo", token("gihtub", "repository_id", "456"), RegistryPattern::Public, Allow)],
            Some(("typo", "no [[authentication.jwt]] has that name")),
        ),
    ]);
}

#[test]
fn lint_finds_brokers_without_roots_and_pods_of_any_node() {
    let token = |subject: &str, claims: &[&str]| {
        CallerPattern::Token(TokenPattern {
            issuer: "github".into(),
            subject: Some(subject.parse().unwrap()),
            claims: claims.iter().map(|name| ((*name).to_owned(), "x".parse().unwrap())).collect(),
        })
    };
    let pod = || token("system:serviceaccount:ci:*", &["repository_id"]);
    let on_node = || token("system:serviceaccount:ci:*", &["repository_id", "kubernetes.io.node.name"]);
    let job = || token("ci", &["repository_id"]);
    let via = |job, brokers: &[&str], claim: Option<&str>| {
        let brokers = brokers.iter().map(|broker| broker.parse().unwrap()).collect();
        CallerPattern::Forwarded(Box::new(job), ViaPattern { brokers, claim: claim.map(ToOwned::to_owned) })
    };
    let nodes = "spiffe://a.example/node/*";
    let cases = [
        (via(pod(), &[nodes], None), Some("add via_claim = \"kubernetes.io.node.name\"")),
        (via(pod(), &[nodes], Some("kubernetes.io.node.name")), None),
        (via(on_node(), &[nodes], None), None),
        (via(pod(), &["spiffe://a.example/node/1"], None), None),
        (via(job(), &[nodes], None), None),
        (via(job(), &["spiffe://b.example/node/*"], None), Some("no roots for that trust domain")),
        (via(job(), &["spiffe://b.example/node/1", "spiffe://a.example/region"], None), None),
        (via(job(), &["dns:a.example"], None), Some("no roots for that name")),
        (via(CallerPattern::Loopback, &[nodes], None), None),
        (via(CallerPattern::Uid(0), &[nodes], None), Some("it allows root")),
    ];
    let registry = || private("111111111111", "eu-west-*");
    let cases = cases.into_iter().map(|(caller, found)| {
        (vec![grant("one", caller, registry(), Effect::Allow)], found.map(|problem| ("one", problem)))
    });
    assert_findings(cases.collect());
}

#[test]
fn lint_finds_a_limit_that_its_callers_evade_by_another_grant() {
    let limited = |profile: &str| Grant {
        max_lifetime: crate::credential::Lifetime::from_minutes(15),
        profile: Some(profile.into()),
        ..grant("limited", user(), private("111111111111", "eu-west-1"), Effect::Allow)
    };
    let other = |caller| grant("other", caller, private("222222222222", "eu-west-1"), Effect::Allow);
    let shorter = Grant { max_lifetime: crate::credential::Lifetime::from_minutes(10), ..other(user()) };
    assert_findings(vec![
        (vec![limited("default"), other(user())], Some(("limited", "for longer, by grant \"other\""))),
        (vec![limited("pull"), other(user())], None),
        (vec![limited("default"), other(CallerPattern::Uid(7))], None),
        (vec![limited("default"), shorter], Some(("other", "for longer, by grant \"limited\""))),
        (vec![limited("default")], None),
    ]);
}
