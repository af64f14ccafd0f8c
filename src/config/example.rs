//! An example configuration: every setting explained, with its default or a commented value.

use std::fmt::Write as _;

use super::setting::{Section, SettingMeta};
use super::settings::SECTIONS;

const INCLUDE: &str = r#"# More [[profiles]] and [[grants]], read after those of this file, so that each team can keep its
# own. A table limits the grants of its files to accounts (and public = true) and profiles. It must
# stand above every section.
# include = ["grants.d/*.toml", { files = "teams/a.toml", accounts = ["123456789012"] }]

"#;

pub(super) const ALIAS: &str = r#"
# Your own hosts in front of a registry, such as a proxy's. A request for an alias gets the
# credentials of the registry behind it, under the alias. Grants name the registry, not the alias.
# [aliases]
# "registry.corp.example" = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
"#;

pub(super) const ISSUER: &str = r#"
# Accepted issuers of bearer tokens: Kubernetes service accounts, GitHub, GitLab, any OpenID
# Connect issuer. Keys come from the issuer's discovery document (ca_bundle: certificates to trust
# for it) or from jwks_file. Set jwks_uri if the keys are on another host. A token must
# have this audience and no other, and a lifetime of max_lifetime at most.
# [[authentication.jwt]]
# name = "blue"
# issuer = "https://oidc.eks.us-east-1.amazonaws.com/id/0123456789ABCDEF"
# audience = "ecr-broker"
# jwks_file = "/etc/ecr-broker/blue-jwks.json"
# max_lifetime = "1h"
"#;

pub(super) const CALLER_LIMITS: &str = r#"
# Limits of named callers, such as brokers that ask this one: they replace the general limits of
# [limits] for each caller that matches. The first entry that matches decides. The limits of all
# callers together stay.
# [[limits.callers]]
# callers = [{ uid = 1001 }]
# requests_per_second = 5000
# in_flight = 16000
# watches = 65536
# watch_memory_per_caller = "60MiB"
"#;

pub(super) const PARENT: &str = r#"
# Parent brokers: other brokers that this one asks instead of AWS (docs/parents.md). The first entry
# that covers a registry and profile is asked; the rest goes to AWS. Plaintext is for loopback only.
# profiles: the parent's profiles that grants may name; "default": what the parent's grants choose.
# fallback: "aws" asks AWS while the parent is unreachable; "none" (the default) does not.
# forward_callers: true lets the parent decide about each caller, by the caller's own token.
# [[parents]]
# name = "central"
# addresses = ["https://broker.example:50051"]
# tls_ca = "/etc/ecr-broker/ca.pem"
# tls_cert = "/etc/ecr-broker/node.pem"
# tls_key = "/etc/ecr-broker/node.key"
# token_file = "/run/secrets/ecr-broker/token"
# registries = [{ accounts = ["*"], regions = ["*"] }, { public = true }]
# profiles = ["default"]
# fallback = "none"
# forward_callers = false
"#;

pub(super) const PROFILE: &str = r#"
# Profiles: the roles by which a credential is requested, and its permissions. Grants name
# profiles. The profile "default" is the broker's own identity with all its permissions.
# {partition} and {account} become those of the requested registry. access is "pull" (the
# default), "push" or "full". With attribution = "caller", each caller gets its own role session
# and token, named after the caller in CloudTrail. With source_identity = true, that name is also
# the session's source identity; the roles' trust policies must allow sts:SetSourceIdentity.
# verify is aws.verify for the profile alone. docs/authorization.md has more keys: pull_through,
# mount_from, signing_profiles, actions, session_tags and transitive.
# [[profiles]]
# name = "ci-pull"
# role_chain = ["arn:{partition}:iam::{account}:role/ecr-pull"]
# external_id = "farm"
# access = "pull"
# repositories = ["team-a/*"]
# attribution = "broker"
# source_identity = false
# verify = false
"#;

pub(super) const GRANT: &str = r#"
# Grants: which caller may have which registry and profile. With grants, everything else is
# denied. The first allow that covers a request decides; a grant with effect = "deny" overrides
# every allow. Without grants, every caller may have everything. Experimental, with
# experimental = ["bearer-tokens"]: max_lifetime = "15m" limits the lifetime of its credentials.
# [[grants]]
# id = "farm-a"
# callers = [{ uid = 1001 }, { gid = 1001 }, { loopback = true }, { aws_api = true },
#            { spiffe = "spiffe://prod.example/ns/ci/sa/runner-*" },
#            { dns = "build-1.corp.example" },
#            { jwt = "blue", subject = "system:serviceaccount:ci:runner" },
#            { jwt = "github", claims = { repository_id = "456", ref = "refs/heads/main" } }]
# registries = [{ accounts = ["123456789012"], regions = ["*"] }, { public = true }]
# profile = "default"
# effect = "allow"
# Operators may read the broker's status. They get no credentials by that.
# [[grants]]
# id = "operators"
# callers = [{ gid = 27 }]
# operator = true
"#;

/// Returns every setting with its explanation: defaults as they apply, other values behind `#`.
#[must_use]
pub fn example() -> String {
    let sections: Vec<_> = SECTIONS.iter().map(section).collect();
    [INCLUDE, &sections.join("\n"), ALIAS, ISSUER, CALLER_LIMITS, PARENT, PROFILE, GRANT].concat()
}

fn section(section: &Section) -> String {
    let settings: String = section.settings.iter().map(setting).collect();
    if section.name.is_empty() {
        return settings;
    }
    format!("{}[{}]\n{settings}", comment(section.doc), section.name)
}

fn setting(setting: &SettingMeta) -> String {
    let mut text = comment(setting.doc);
    if let Some(range) = setting.expected.range() {
        _ = writeln!(text, "# Value: {range}.");
    }
    let (comment, value) = match setting.example {
        "" => ("", setting.default),
        example => ("# ", example),
    };
    _ = writeln!(text, "{comment}{} = {value}", setting.key);
    text
}

/// Returns lines of explanation as TOML comments.
fn comment(lines: &[&str]) -> String {
    let comments = lines.iter().map(|line| format!("#{}", line.replace('`', "")));
    comments.chain([String::new()]).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
