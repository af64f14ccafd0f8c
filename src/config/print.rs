//! A configuration as text: what is in force, and an example to start from.

use std::fmt::Write as _;

use toml::{Table, Value};

use super::files::LISTS;
use super::reader::{Origin, Reader};
use super::sections::aliases::ALIASES;
use super::settings::{ALL, About};
use super::sources::Sources;

/// Every setting in force, as TOML, with where it came from.
#[must_use]
pub fn effective(sources: &Sources) -> String {
    let reader = Reader::new(sources);
    let settings = document(|about| {
        let (value, origin) = match reader.find(about) {
            Some((value, origin)) => (value.to_string(), origin),
            None => (about.default.to_owned(), Origin::Default),
        };
        match value.as_str() {
            "" => format!("# {} is not set\n", about.key),
            value => format!("{} = {value} # {}\n", about.key, origin.place()),
        }
    });
    settings + "\n" + &lists_as_typed(&reader)
}

/// The issuers, aliases, profiles and grants as they stand in the files.
fn lists_as_typed(reader: &Reader<'_>) -> String {
    let mut text = String::new();
    let issuers = reader.file().get("authentication").and_then(|section| section.get("jwt"));
    if let Some(issuers) = issuers {
        let section = Table::from_iter([("jwt".to_owned(), issuers.clone())]);
        text += &Table::from_iter([("authentication".to_owned(), Value::Table(section))]).to_string();
    }
    if let Some(aliases) = reader.file().get(ALIASES) {
        text += &Table::from_iter([(ALIASES.to_owned(), aliases.clone())]).to_string();
    }
    for document in reader.documents() {
        let typed = LISTS.iter().filter_map(|list| Some(((*list).to_owned(), document.table.get(*list)?.clone())));
        let typed: Table = typed.collect();
        if !typed.is_empty() {
            text.extend(["# ", document.place.as_str(), "\n", typed.to_string().as_str()]);
        }
    }
    let open = "# There are no grants: whoever may open the socket may have everything.\n";
    if reader.documents().iter().any(|one| one.table.contains_key("grants")) { text } else { text + open }
}

/// How other files are included.
const INCLUDE: &str = r#"# More [[profiles]] and [[grants]], read after those of this file: so each team can keep its own. It stands above every section.
# include = ["grants.d/*.toml"]

"#;

/// How an issuer of tokens looks.
pub(super) const ISSUER: &str = r#"
# RegistryOwner bearer tokens are taken: Kubernetes service accounts, GitHub, GitLab, any OpenID Connect issuer. Keys come from the issuer's
# discovery document (ca_bundle: the certificates to trust for it), or from jwks_file. A token has this audience and no other, and lasts no longer than max_lifetime.
# [[authentication.jwt]]
# name = "blue"
# issuer = "https://oidc.eks.us-east-1.amazonaws.com/id/0123456789ABCDEF"
# audience = "ecr-broker"
# jwks_file = "/etc/ecr-broker/blue-jwks.json"
# max_lifetime = "1h"
"#;

/// How an alias looks.
pub(super) const ALIAS: &str = r#"
# Hosts of your own that stand before a registry, such as a proxy's: who asks for one gets the credentials of the registry behind it, by that
# name. Grants are about the registry.
# [aliases]
# "registry.corp.example" = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
"#;

/// How a grant looks; each `# ` is taken off to put it in force.
pub(super) const GRANT: &str = r#"
# Who may have what. With grants, the broker answers each caller only what they give: the first allow that covers a request decides,
# and one with effect = "deny" wins over it. Without any, whoever may open the socket may have everything.
# [[grants]]
# id = "farm-a"
# callers = [{ uid = 1001 }, { gid = 1001 }, { loopback = true }, { aws_api = true },
#            { spiffe = "spiffe://prod.example/ns/ci/sa/runner-*" }, { dns = "build-1.corp.example" }, { jwt = "blue", subject = "system:serviceaccount:ci:runner" },
#            { jwt = "github", claims = { repository_id = "456", event_name = "push", ref = "refs/heads/main" } }]
# registries = [{ accounts = ["123456789012"], regions = ["*"] }, { public = true }]
# profile = "default"
# effect = "allow"
"#;

/// How a profile looks.
pub(super) const PROFILE: &str = r#"
# By which roles a credential is minted, and what it may do; grants name it. Without one: by the broker's own identity, and all that
# that may do. {partition} and {account} stand for those of the registry asked for; access is "pull" (the default), "push" or "full".
# With attribution = "caller" each caller has a role session and a token of its own, named after it in CloudTrail; with source_identity =
# true that name is the session's source identity too, which the roles' trust policies have to allow (sts:SetSourceIdentity).
# [[profiles]]
# name = "ci-pull"
# role_chain = ["arn:{partition}:iam::{account}:role/ecr-pull"]
# external_id = "farm"
# access = "pull"
# repositories = ["team-a/*"]
# attribution = "broker"
# source_identity = false
"#;

/// Every setting with its explanation: the defaults in force, examples of the others behind `#`.
#[must_use]
pub fn example() -> String {
    INCLUDE.to_owned() + &settings() + ALIAS + ISSUER + PROFILE + GRANT
}

fn settings() -> String {
    document(|about| {
        let mut text = String::new();
        about.doc.lines().for_each(|line| _ = writeln!(text, "# {line}"));
        let shown = if about.example.is_empty() { about.default } else { about.example };
        let comment = if about.example.is_empty() { "" } else { "# " };
        _ = writeln!(text, "{comment}{} = {shown}", about.key);
        text
    })
}

fn document(entry: impl Fn(&About) -> String) -> String {
    let mut text = String::new();
    let mut section = "";
    for about in &ALL {
        if about.section != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            _ = writeln!(text, "{gap}[{}]", about.section);
            section = about.section;
        }
        text.push_str(&entry(about));
    }
    text
}
