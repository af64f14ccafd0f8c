use super::*;
use crate::credential::{CredentialKey, Lifetime, Revision};
use crate::profile::{Attribution, ExtraPermissions, Profile, SessionTags};
use crate::registry::{EndpointVariant, PrivateRegistry, Registry};

const HOST: &str = "123456789012.dkr.ecr.us-gov-west-1.amazonaws.com";

fn patterns(texts: &[&str]) -> Vec<RepositoryPattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn profile(access: Access, repositories: &[&str], extra: ExtraPermissions) -> Profile {
    Profile {
        name: "ci".into(),
        role_chain: vec!["arn:aws:iam::210987654321:role/x".parse().unwrap()],
        access,
        repositories: patterns(repositories),
        extra,
        session_tags: SessionTags::default(),
        attribution: Attribution::Broker,
        source_identity: false,
        verify: None,
    }
}

fn key(registry: Registry) -> CredentialKey {
    CredentialKey { registry, profile: "ci".into(), revision: Revision::default(), caller: None, lifetime: None }
}

/// Returns the statements after the first, which requests the token: each its actions and resources.
fn statements(profile: &Profile, registry: &Registry) -> Vec<(Value, Value)> {
    let policy: Value = serde_json::from_str(&profile.session_policy_of(&key(registry.clone())).unwrap()).unwrap();
    assert_eq!(policy["Version"], "2012-10-17");
    let statements = policy["Statement"].as_array().unwrap();
    assert_eq!(statements[0]["Resource"], json!(["*"]));
    assert!(statements.iter().all(|statement| statement["Effect"] == "Allow"));
    statements[1..].iter().map(|one| (one["Action"].clone(), one["Resource"].clone())).collect()
}

fn arns(names: &[&str]) -> Value {
    names.iter().map(|name| format!("arn:aws-us-gov:ecr:us-gov-west-1:123456789012:repository/{name}")).collect()
}

#[test]
fn session_policy_allows_what_the_access_needs_and_nothing_else() {
    let registry: Registry = HOST.parse().unwrap();
    let of = |access, repositories: &[&str]| {
        statements(&profile(access, repositories, ExtraPermissions::default()), &registry)
    };
    assert_eq!(profile(Access::Full, &[], ExtraPermissions::default()).session_policy_of(&key(registry.clone())), None);
    let both = ["team-a/*", "base/debian"];
    assert_eq!(of(Access::Pull, &both), [(json!(PULL), arns(&both))]);
    assert_eq!(of(Access::Push, &[]), [(json!([&PULL[..], &PUSH].concat()), arns(&["*"]))]);
    assert_eq!(of(Access::Full, &["team-a/*"]), [(json!(["ecr:*"]), arns(&["team-a/*"]))]);
}

#[test]
fn session_for_short_lived_tokens_may_request_no_others() {
    let profile = profile(Access::Pull, &["team-a/*"], ExtraPermissions::default());
    let registry: Registry = HOST.parse().unwrap();
    let general = key(registry);
    let short_lived = CredentialKey { lifetime: Lifetime::from_minutes(15), ..general.clone() };
    let [general, short_lived] = [general, short_lived].map(|key| profile.session_policy_of(&key).unwrap());
    assert_eq!(short_lived, general.replace("ecr:GetAuthorizationToken", "signin:CreateBearerToken"));
    assert_ne!(short_lived, general);
}

#[test]
fn extra_permissions_have_their_own_resources() {
    let registry: Registry = HOST.parse().unwrap();
    let extra = || ExtraPermissions {
        pull_through: patterns(&["docker-hub/*"]),
        mount_from: patterns(&["base/*"]),
        signing_profiles: vec!["release".parse().unwrap()],
        actions: vec!["ecr:BatchDeleteImage".parse().unwrap(), "ecr-public:TagResource".parse().unwrap()],
    };
    let (reads, writes) = (json!(PULL), [&PULL[..], &PUSH, &["ecr:BatchDeleteImage"]].concat());
    let signer = json!(["arn:aws-us-gov:signer:us-gov-west-1:123456789012:/signing-profiles/release"]);
    let imports = [&PULL[..], &IMPORT].concat();
    assert_eq!(
        statements(&profile(Access::Push, &["team-a/*"], extra()), &registry),
        [
            (json!(writes), arns(&["team-a/*"])),
            (reads, arns(&["base/*"])),
            (json!(imports), arns(&["docker-hub/*"])),
            (json!(SIGN), signer.clone()),
        ]
    );
    let mut tagged = extra();
    tagged.actions.push("ecr:TagResource".parse().unwrap());
    let imports = [&imports[..], &TAG].concat();
    assert_eq!(statements(&profile(Access::Push, &["a"], tagged), &registry)[2].0, json!(imports));
    // All repositories can be read already.
    assert_eq!(
        statements(&profile(Access::Push, &[], extra()), &registry),
        [(json!(writes), arns(&["*"])), (json!(IMPORT), arns(&["docker-hub/*"])), (json!(SIGN), signer)]
    );
}

#[test]
fn policy_for_ecr_public_names_its_actions_and_the_roles_account() {
    let extra = || ExtraPermissions {
        actions: vec!["ecr:BatchDeleteImage".parse().unwrap(), "ecr-public:TagResource".parse().unwrap()],
        ..ExtraPermissions::default()
    };
    let of = |access, extra| statements(&profile(access, &["team-a"], extra), &Registry::PUBLIC);
    let resource = json!(["arn:aws:ecr-public::210987654321:repository/team-a"]);
    assert_eq!(of(Access::Pull, ExtraPermissions::default()), []);
    assert_eq!(of(Access::Push, ExtraPermissions::default()), [(json!(PUSH_PUBLIC), resource.clone())]);
    let added = [&PUSH_PUBLIC[..], &["ecr-public:TagResource"]].concat();
    assert_eq!(of(Access::Push, extra()), [(json!(added), resource.clone())]);
    assert_eq!(of(Access::Full, ExtraPermissions::default()), [(json!(["ecr-public:*"]), resource)]);
}

#[test]
fn registry_without_account_gets_that_of_the_last_role() {
    let nameless = PrivateRegistry::new(None, "eu-west-1".parse().unwrap(), EndpointVariant::default());
    let registry = Registry::Private(nameless.unwrap());
    let of = |profile: &Profile| statements(profile, &registry)[0].1.clone();
    let fixed = profile(Access::Pull, &["a"], ExtraPermissions::default());
    assert_eq!(of(&fixed), json!(["arn:aws:ecr:eu-west-1:210987654321:repository/a"]));
}

/// The policies of `deploy/iam`, with which Terraform's documents are compared.
#[test]
fn published_policies_allow_what_session_policies_name() {
    let published = |name: &str| {
        let text = std::fs::read_to_string(format!("deploy/iam/{name}.json")).unwrap();
        let policy: Value = serde_json::from_str(&text).unwrap();
        policy["Statement"][0]["Action"].clone()
    };
    assert_eq!(published("pull"), json!(PULL));
    assert_eq!(published("push"), json!([PULL, PUSH].concat()));
    assert_eq!(published("mint"), json!(MINT[0]));
}
