//! Session policies, built from typed parts. A configured text becomes a name in them and nothing more.
//!
//! Each list of actions has its source in AWS's documentation; `docs/authorization.md` has them in a table.

use serde_json::{Value, json};

use super::access::Access;
use super::permissions::{Action, Permissions};
use super::repository::RepositoryPattern;
use crate::registry::{AccountId, Partition};

/// Actions that request a token of ECR. AWS has no narrower resource for it than `*`.
const MINT: [&str; 1] = ["ecr:GetAuthorizationToken"];
/// Actions that request a short-lived token of ECR. AWS documents neither the action nor a resource for it.
const MINT_SHORT_LIVED: [&str; 1] = ["signin:CreateBearerToken"];
/// Actions that request a token of ECR Public.
const MINT_PUBLIC: [&str; 2] = ["ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken"];
/// Reads of images, referrers and other artifacts. `BatchGetImage` covers referrers, and `ListImages` the list of tags, which tools
/// that copy between registries need.
const PULL: [&str; 4] =
    ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:ListImages"];
const PUSH: [&str; 4] = ["ecr:CompleteLayerUpload", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart"];
/// Writes of ECR Public. Its reads need no permission.
const PUSH_PUBLIC: [&str; 5] = [
    "ecr-public:BatchCheckLayerAvailability",
    "ecr-public:CompleteLayerUpload",
    "ecr-public:InitiateLayerUpload",
    "ecr-public:PutImage",
    "ecr-public:UploadLayerPart",
];
/// The first pull of an image through a cache.
const IMPORT: [&str; 2] = ["ecr:BatchImportUpstreamImage", "ecr:CreateRepository"];
const TAG: [&str; 1] = ["ecr:TagResource"];
const SIGN: [&str; 1] = ["signer:SignPayload"];
/// STS rejects a longer policy.
pub(super) const MAX_LENGTH: usize = 2048;
/// The partition with the longest name, for the longest possible policy.
const LONGEST_PARTITION: Partition = Partition::AwsUsGov;
/// A region with the longest name.
const LONGEST_REGION: &str = "us-isof-south-1";
/// Any account: all have the same length.
const ACCOUNT: &str = "123456789012";

/// The registry that a policy is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) partition: Partition,
    /// The region; `None`: ECR Public.
    pub(super) region: Option<&'a str>,
    /// The account; `None` if it is unknown.
    pub(super) account: Option<AccountId>,
    /// Whether the session requests short-lived tokens.
    pub(super) short_lived: bool,
}

/// Returns whether the profile narrows its last role.
pub(super) fn is_narrow(profile: Permissions<'_>) -> bool {
    profile.access != Access::Full || !profile.repositories.is_empty()
}

/// Builds the policy for a registry. Returns `None` if the profile narrows nothing.
pub(super) fn build(profile: Permissions<'_>, scope: Scope<'_>) -> Option<String> {
    let statements = || if scope.region.is_some() { private(profile, scope) } else { public(profile, scope) };
    is_narrow(profile).then(|| json!({ "Version": "2012-10-17", "Statement": statements() }).to_string())
}

/// Returns the longest policy of a profile; `None` if it narrows nothing.
pub(super) fn longest(profile: Permissions<'_>) -> Option<String> {
    let account = ACCOUNT.parse().ok();
    let regions = [Some(LONGEST_REGION), None];
    // The action that requests a short-lived token is shorter.
    let scopes = regions.map(|region| Scope { partition: LONGEST_PARTITION, region, account, short_lived: false });
    scopes.into_iter().filter_map(|scope| build(profile, scope)).max_by_key(String::len)
}

fn private(profile: Permissions<'_>, scope: Scope<'_>) -> Vec<Value> {
    let actions = match profile.access {
        Access::Pull => PULL.to_vec(),
        Access::Push => [&PULL[..], &PUSH].concat(),
        Access::Full => vec!["ecr:*"],
    };
    let extra = profile.extra;
    // With every repository in the second statement, only what it does not allow is missing.
    let reads = if profile.repositories.is_empty() { &[][..] } else { &PULL };
    // A repository template may set tags, of a cache's repositories too.
    let tags = if extra.actions.iter().any(|action| action.as_str() == TAG[0]) { &TAG[..] } else { &[] };
    let signers = extra.signing_profiles.iter().map(|name| scope.arn("signer", &format!("/signing-profiles/{name}")));
    let statements = [
        allow(if scope.short_lived { &MINT_SHORT_LIVED } else { &MINT }, &["*".to_owned()]),
        allow(&[actions, added(profile, false)].concat(), &scope.repositories_or_all(profile.repositories)),
        allow(reads, &scope.repositories(&extra.mount_from)),
        allow(&[reads, &IMPORT, tags].concat(), &scope.repositories(&extra.pull_through)),
        allow(&SIGN, &signers.collect::<Vec<_>>()),
    ];
    statements.into_iter().flatten().collect()
}

fn public(profile: Permissions<'_>, scope: Scope<'_>) -> Vec<Value> {
    let actions = match profile.access {
        Access::Pull => Vec::new(),
        Access::Push => PUSH_PUBLIC.to_vec(),
        Access::Full => vec!["ecr-public:*"],
    };
    let statements = [
        allow(&MINT_PUBLIC, &["*".to_owned()]),
        allow(&[actions, added(profile, true)].concat(), &scope.repositories_or_all(profile.repositories)),
    ];
    statements.into_iter().flatten().collect()
}

/// Returns the actions that the profile adds, of ECR Public or of ECR.
fn added(profile: Permissions<'_>, is_public: bool) -> Vec<&'static str> {
    let actions = profile.extra.actions.iter().filter(|action| action.is_public() == is_public);
    actions.copied().map(Action::as_str).collect()
}

/// Returns a statement; `None` if it would allow nothing.
fn allow(actions: &[&str], resources: &[String]) -> Option<Value> {
    let is_empty = actions.is_empty() || resources.is_empty();
    (!is_empty).then(|| json!({ "Effect": "Allow", "Action": actions, "Resource": resources }))
}

impl Scope<'_> {
    fn repositories(&self, patterns: &[RepositoryPattern]) -> Vec<String> {
        patterns.iter().map(|pattern| self.repository(pattern.as_str())).collect()
    }

    fn repositories_or_all(&self, patterns: &[RepositoryPattern]) -> Vec<String> {
        if patterns.is_empty() { vec![self.repository("*")] } else { self.repositories(patterns) }
    }

    fn repository(&self, pattern: &str) -> String {
        let service = if self.region.is_some() { "ecr" } else { "ecr-public" };
        self.arn(service, &format!("repository/{pattern}"))
    }

    /// ARNs of ECR Public have no region.
    fn arn(&self, service: &str, resource: &str) -> String {
        let (partition, region) = (self.partition.name(), self.region.unwrap_or_default());
        let account = self.account.map_or_else(|| "*".to_owned(), |account| account.to_string());
        format!("arn:{partition}:{service}:{region}:{account}:{resource}")
    }
}

#[cfg(test)]
mod tests;
