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
        session_tags: SessionTags::default(),
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
    let of = |text: &String| profile.session_name(profile.session_of(&text.parse().unwrap()).unwrap().as_ref());
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

/// Returns a profile with the tags `team` of a claim and `who` of the caller.
fn tagged() -> Profile {
    let tag = |key: &str, value: &str, is_transitive| SessionTag {
        key: key.into(),
        value: value.parse().unwrap(),
        is_transitive,
    };
    let tags = vec![tag("team", "claim:namespace_path", true), tag("by", "text:broker", false)];
    Profile { attribution: Attribution::Broker, session_tags: SessionTags(tags), ..profile(&[]) }
}

fn job(subject: &str, claims: &[(&str, &str)]) -> Caller {
    let claims = claims.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    format!("jwt:gitlab:{subject}").parse::<Caller>().unwrap().with_claims(claims).unwrap()
}

#[test]
fn sessions_differ_by_the_claims_in_their_tags_and_by_nothing_else() {
    let of = |caller: &Caller| tagged().session_of(caller).unwrap();
    let session = of(&job("1", &[("namespace_path", "a"), ("pipeline_id", "1")]));
    assert_eq!(session, of(&job("2", &[("namespace_path", "a"), ("pipeline_id", "2")])));
    assert_ne!(session, of(&job("1", &[("namespace_path", "b")])));
    assert_eq!(tagged().session_name(session.as_ref()), "ecr-broker-ci");
    let own = Profile { attribution: Attribution::Caller, ..tagged() };
    let caller = job("1", &[("namespace_path", "a")]);
    let (one, other) =
        (own.session_of(&caller).unwrap(), own.session_of(&job("2", &[("namespace_path", "a")])).unwrap());
    assert_ne!(one, other);
    assert_eq!(own.session_name(one.as_ref()), profile(&[]).session_name(Some(&caller.principal())));
    assert!(own.is_per_caller() && tagged().is_per_caller() && tagged().claim_names().contains("namespace_path"));
}

#[test]
fn caller_without_the_claim_of_a_tag_has_no_session() {
    let of = |caller: &Caller| tagged().session_of(caller).map_err(|error| error.to_string());
    let none = "the profile needs the claim \"namespace_path\" of a bearer token; call with a token that has it";
    for caller in ["uid:1001,gid:5".parse().unwrap(), job("1", &[("repository", "a")])] {
        assert_eq!(of(&caller), Err(none.to_owned()));
    }
    assert!(of(&job("1", &[("namespace_path", "")])).unwrap_err().contains("needs a text in the claim"));
}

#[test]
fn fixed_tags_are_the_same_for_all_callers() {
    let tags =
        SessionTags(vec![SessionTag { key: "by".into(), value: "text:a".parse().unwrap(), is_transitive: false }]);
    let fixed = Profile { attribution: Attribution::Broker, session_tags: tags, ..profile(&[]) };
    assert!(!fixed.is_per_caller());
    assert_eq!(fixed.session_of(&job("1", &[])), Ok(None));
    assert_eq!(fixed.tags_of_role(None, 0).tags, [("by".into(), "a".into())]);
}

#[test]
fn trust_policies_allow_what_each_role_is_asked_for() {
    let chain = ["arn:aws:iam::123456789012:role/hub", "arn:aws:iam::{account}:role/pull"];
    let mut roles: Vec<ChainedRole> = chain.iter().map(|role| role.parse().unwrap()).collect();
    roles[1].external_id = Some("farm".to_owned());
    let mut tags = tagged().session_tags;
    tags.0[0].is_transitive = false;
    let chained = Profile { role_chain: roles, session_tags: tags, ..tagged() };
    let actions =
        |profile: &Profile| profile.trust_policies().into_iter().map(|policy| policy.actions).collect::<Vec<_>>();
    let (assume, tag, identify) = ("sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity");
    assert_eq!(actions(&chained), [vec![assume], vec![assume, tag]]);
    let transitive = Profile { session_tags: tagged().session_tags, source_identity: true, ..chained.clone() };
    assert_eq!(actions(&transitive), [vec![assume, tag, identify], vec![assume, tag, identify]]);
    let [hub, pull] = &chained.trust_policies()[..] else { panic!("two roles") };
    assert_eq!((hub.assumed_by.as_deref(), pull.assumed_by.as_deref()), (None, Some(chain[0])));
    let principal = serde_json::json!({ "AWS": chain[0] });
    let condition = serde_json::json!({ "StringEquals": { "sts:ExternalId": "EXTERNAL-ID" } });
    let statements = serde_json::json!([
        { "Effect": "Allow", "Principal": principal, "Action": [assume], "Condition": condition },
        { "Effect": "Allow", "Principal": principal, "Action": [tag] },
    ]);
    assert_eq!(pull.document["Statement"], statements, "the ID is not printed");
}

#[test]
fn packed_size_grows_with_repositories_and_tags() {
    let (few, many) =
        (profile(&["team-a/*"]).packed_size(64), profile(&["team-a/*", "team-b/*", "base/debian"]).packed_size(64));
    let with_tags = Profile { session_tags: tagged().session_tags, ..profile(&["team-a/*"]) };
    assert!(few > 0 && few < many && few < with_tags.packed_size(8), "{few} {many}");
    assert!(with_tags.packed_size(8) < with_tags.packed_size(256));
}
