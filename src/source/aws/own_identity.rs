//! Name of the broker's own identity, known without a call: brokers share the credentials of one identity only.

use std::fmt;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::settings::Settings;

/// The problem of a shared cache whose brokers' own identity has no name.
pub const NO_IDENTITY: &str =
    "not set, and the environment does not name the AWS identity; set a name that all brokers with this identity have";
/// Prefix of a long-lived access key's ID. IDs of temporary keys change at each start.
const LONG_LIVED: &str = "AKIA";
/// Bytes of the digest of an access key ID.
const DIGEST_BYTES: usize = 16;

/// Name of the broker's own identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnIdentity(Box<str>);

impl OwnIdentity {
    /// Returns the name of the identity that the SDK's credential chain finds with `sdk`, the SDK's own variables and the keys of its
    /// files (`Sources::sdk_settings`): the role of a web identity or of a profile, or a digest of a long-lived access key's ID.
    /// Else returns `configured`, the name in the configuration, if there is one.
    #[must_use]
    pub fn find(settings: &Settings, sdk: &[(&str, &str)], configured: Option<&str>) -> Option<Self> {
        if settings.simulated_credentials {
            return Some(Self("simulated".into()));
        }
        let own_exchange = settings.web_identity.as_ref().filter(|_| settings.sts_endpoint.is_some());
        let found = match own_exchange {
            Some(identity) => Found::role(&identity.role_arn),
            None => of_chain(sdk),
        };
        match found {
            Found::Named(name) => Some(Self(name.into())),
            Found::Nameless => configured.map(|name| Self(format!("name {name}").into())),
        }
    }
}

impl fmt::Display for OwnIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the first provider of the chain that has credentials says of the identity.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Named(String),
    /// Temporary keys, a program, single sign-on, or the platform.
    Nameless,
}

impl Found {
    fn role(arn: &str) -> Self {
        Self::Named(format!("role {arn}"))
    }

    /// A digest, because a key's ID is not a secret but need not be stored either.
    fn access_key(id: &str) -> Self {
        if !id.starts_with(LONG_LIVED) {
            return Self::Nameless;
        }
        let digest = Sha256::digest(format!("ecr-broker access key id v1\0{id}"));
        Self::Named(format!("key {}", HEXLOWER.encode(digest.get(..DIGEST_BYTES).unwrap_or_default())))
    }
}

/// Asks in the order of the SDK's chain: access keys in variables, the selected profile of the files, a web identity, the platform.
fn of_chain(sdk: &[(&str, &str)]) -> Found {
    let get = |name: &str| sdk.iter().find(|(known, _)| *known == name).map(|(_, value)| value.trim());
    if let Some(id) = get("AWS_ACCESS_KEY_ID").filter(|id| !id.is_empty()) {
        return Found::access_key(id);
    }
    if let Some(found) = of_profile(sdk) {
        return found;
    }
    match (get("AWS_ROLE_ARN"), get("AWS_WEB_IDENTITY_TOKEN_FILE")) {
        (Some(arn), Some(_)) => Found::role(arn),
        _ => Found::Nameless,
    }
}

/// Returns what the selected profile says; `None`: it has no credentials. Its keys follow the variables, as `PROFILE.KEY`, and those of
/// its sources follow it.
fn of_profile(sdk: &[(&str, &str)]) -> Option<Found> {
    let deciding =
        ["role_arn", "aws_access_key_id", "credential_process", "login_session", "sso_session", "sso_start_url"];
    let of_profile = |name: &str| {
        let (profile, key) = name.rsplit_once('.')?;
        deciding.contains(&key).then_some((profile.to_owned(), key.to_owned()))
    };
    let mut keys = sdk.iter().filter_map(|(name, value)| Some((of_profile(name)?, value.trim())));
    let ((selected, first), value) = keys.next()?;
    let rest = keys.take_while(|((profile, _), _)| *profile == selected).map(|((_, key), value)| (key, value));
    let own: Vec<_> = std::iter::once((first, value)).chain(rest).collect();
    let get = |name: &str| own.iter().find(|(key, _)| key == name).map(|(_, value)| *value);
    Some(match (get("role_arn"), get("aws_access_key_id")) {
        (Some(arn), _) => Found::role(arn),
        (None, Some(id)) => Found::access_key(id),
        (None, None) => Found::Nameless,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: (&str, &str) = ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/node");
    const TOKEN: (&str, &str) = ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token");
    const KEY: (&str, &str) = ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE");

    fn named(name: &str) -> Found {
        Found::Named(name.to_owned())
    }

    #[test]
    fn identity_is_that_of_the_first_provider_in_the_sdks_chain() {
        let by_key = Found::access_key(KEY.1);
        assert!(matches!(&by_key, Found::Named(name) if !name.contains("AKIA")), "{by_key:?}");
        let role = named("role arn:aws:iam::123456789012:role/node");
        let temporary = ("AWS_ACCESS_KEY_ID", "ASIAIOSFODNN7EXAMPLE");
        let in_file = ("ci.role_arn", "arn:aws:iam::123456789012:role/file");
        let of_file = named("role arn:aws:iam::123456789012:role/file");
        for (sdk, found) in [
            (vec![ROLE, TOKEN], role),
            (vec![ROLE], Found::Nameless),
            (vec![ROLE, TOKEN, KEY], by_key),
            (vec![ROLE, TOKEN, temporary], Found::Nameless),
            (vec![ROLE, TOKEN, in_file, ("base.aws_access_key_id", KEY.1)], of_file),
            (vec![("ci.aws_access_key_id", KEY.1)], Found::access_key(KEY.1)),
            (vec![("ci.sso_session", "x"), ("base.role_arn", ROLE.1)], Found::Nameless),
            (
                vec![ROLE, TOKEN, ("region", "eu-west-1"), ("ecr.endpoint_url", "http://x")],
                named(&format!("role {}", ROLE.1)),
            ),
            (vec![], Found::Nameless),
        ] {
            assert_eq!(of_chain(&sdk), found, "{sdk:?}");
        }
        assert_ne!(Found::access_key("AKIAONE"), Found::access_key("AKIATWO"));
    }
}
