use super::*;

fn profile(repositories: &[&str]) -> Profile {
    let repositories = repositories.iter().map(|pattern| pattern.parse().unwrap()).collect();
    let role_chain = vec!["arn:aws:iam::123456789012:role/x".parse().unwrap()];
    Profile {
        name: "ci".into(),
        role_chain,
        access: Access::Push,
        repositories,
        extra: ExtraPermissions::default(),
        attribution: Attribution::Caller,
        source_identity: false,
        verify: None,
    }
}

#[test]
fn sessions_are_named_after_their_caller_without_collisions() {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_=,.@+-".contains(&byte);
    let long = "x".repeat(200);
    let callers = [
        "uid:1001,gid:5".to_owned(),
        "loopback".to_owned(),
        "spiffe://prod.example/ns/ci/sa/runner".to_owned(),
        "dns:build-1.corp.example".to_owned(),
        "jwt:github:repo:org@1/repo@2:ref:refs/heads/main".to_owned(),
        "jwt:github:repo:org@1/repo@2:ref:refs/heads-main".to_owned(),
        format!("jwt:blue:a{long}"),
        format!("jwt:blue:b{long}"),
        "jwt:blue:käse".to_owned(),
    ];
    let profile = profile(&[]);
    let of = |text: &String| profile.session_name(profile.attributed_to(&text.parse().unwrap()).as_ref());
    let names: std::collections::BTreeSet<_> = callers.iter().map(of).collect();
    assert_eq!(names.len(), callers.len());
    for name in &names {
        assert!((2..=64).contains(&name.len()) && name.bytes().all(allowed), "{name}");
    }
    let runner = of(&callers[2]);
    assert!(runner.starts_with("ecr-broker-prod.example-ns-ci-sa-runner."), "{runner}");
    assert_eq!(of(&callers[0]), of(&"uid:1001,gid:6".to_owned()), "another group is not another principal");
    assert_eq!(profile.session_name(None), "ecr-broker-ci");
}

#[test]
fn session_policy_that_sts_would_reject_does_not_fit() {
    assert!(profile(&["team-a/*", "team-b/*"]).session_policy_fits());
    let many: Vec<_> = (0..30).map(|number| format!("a-rather-long-name-of-a-team-{number}/*")).collect();
    assert!(!profile(&many.iter().map(String::as_str).collect::<Vec<_>>()).session_policy_fits());
}
