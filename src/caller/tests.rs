use std::collections::BTreeMap;

use super::*;

#[test]
fn overflow_user_is_not_a_caller_and_root_is_one() {
    assert_eq!(Caller::process(65534, 65534), None);
    assert_eq!(Caller::process(0, 0).map(|caller| caller.to_string()).as_deref(), Some("uid:0,gid:0"));
    assert_eq!(Caller::Loopback.to_string(), "loopback");
}

#[test]
fn only_tokens_have_claims_and_each_kind_has_its_proof() {
    let claims = BTreeMap::from([("ref".to_owned(), "main".to_owned())]);
    let mut proofs = std::collections::BTreeSet::new();
    for (text, is_token) in [
        ("uid:1,gid:1", false),
        ("loopback", false),
        ("aws-api", false),
        ("spiffe://a.example/b", false),
        ("dns:a.example", false),
        ("jwt:blue:a:b", true),
        ("via dns:b.example uid:1,gid:1", false),
        ("via dns:b.example jwt:blue:a:b", true),
    ] {
        let caller: Caller = text.parse().unwrap();
        assert!(caller.proof().len() > 20 && proofs.insert(caller.proof()), "{text}");
        match caller.with_claims(claims.clone()).as_ref().map(Caller::job) {
            Some(Caller::Token(token)) => assert_eq!((is_token, &token.claims), (true, &claims), "{text}"),
            other => assert_eq!((is_token, other), (false, None), "{text}"),
        }
    }
}

#[test]
fn caller_names_parse_to_the_same_caller() {
    for text in [
        "uid:1001,gid:5",
        "loopback",
        "aws-api",
        "spiffe://prod.example/ns/ci/sa/Runner_1",
        "dns:build-1.corp.example",
        "via spiffe://prod.example/node/a,dns:b.example uid:1001,gid:5",
        "via dns:b.example jwt:blue:a subject with spaces",
    ] {
        assert_eq!(text.parse::<Caller>().unwrap().to_string(), text);
    }
    let long = format!("dns:{}.example", "a".repeat(64));
    for wrong in [
        "uid:1001",
        "via dns:b.example",
        "via dns:b.example via dns:c.example uid:1,gid:1",
        "via uid:1 uid:1,gid:1",
        "uid:65534,gid:65534",
        "1001",
        "uid:-1",
        "gid:5",
        "",
        "spiffe://prod.example",
        "spiffe://prod.example/",
        "spiffe://Prod.example/a",
        "SPIFFE://prod.example/a",
        "spiffe://prod.example:8443/a",
        "spiffe://u@prod.example/a",
        "spiffe://prod.example/a/",
        "spiffe://prod.example//a",
        "spiffe://prod.example/../a",
        "spiffe://prod.example/a?b",
        "spiffe://prod.example/a#b",
        "spiffe://prod.example/%61",
        "spiffe:///a",
        "spiffe://prod.example/a b",
        "dns:",
        "dns:*.example",
        "dns:Build.example",
        "dns:a..b",
        "dns:a.",
        "dns:-a.b",
        "dns:10.0.0.1",
        "dns:a_b.example",
        long.as_str(),
    ] {
        assert!(wrong.parse::<Caller>().is_err(), "{wrong}");
    }
}

#[test]
fn forwarded_caller_is_its_job_unless_a_broker_only_asserts_it() {
    let caller = |text: &str| text.parse::<Caller>().unwrap();
    let token = caller("via spiffe://a.example/node/1 jwt:blue:ci");
    assert_eq!((token.job(), token.principal()), (&caller("jwt:blue:ci"), caller("jwt:blue:ci").principal()));
    let (user, asserted) = (caller("uid:7,gid:7"), caller("via spiffe://a.example/node/1 uid:7,gid:7"));
    assert_ne!(asserted.principal(), user.principal());
    assert_ne!(asserted.principal(), caller("via spiffe://a.example/node/2 uid:7,gid:7").principal());
    assert_eq!(asserted.principal().to_string(), "via spiffe://a.example/node/1 uid:7");
    assert!(user.principal().is_local() && !asserted.principal().is_local());
    let group = |caller: &Caller| CallerGroup::from(&caller.principal()).to_string();
    assert_eq!((group(&token), group(&asserted)), ("jwt:blue".to_owned(), "spiffe://a.example".to_owned()));
}

#[test]
fn exact_principals_differ_by_group_claims_and_brokers() {
    let exact = |text: &str| text.parse::<Caller>().unwrap().exact_principal(ClaimsDigest::default());
    let mut all = std::collections::BTreeSet::new();
    for text in
        ["uid:7,gid:7", "uid:7,gid:8", "jwt:blue:ci", "via dns:a.example jwt:blue:ci", "via dns:b.example jwt:blue:ci"]
    {
        assert!(all.insert(exact(text)), "{text}");
        assert_eq!(exact(text), exact(text));
    }
    let claims = ClaimsDigest::of([&b"node"[..], b"a"]);
    assert!(all.insert("jwt:blue:ci".parse::<Caller>().unwrap().exact_principal(claims)));
}
