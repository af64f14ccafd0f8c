//! The AWS SDK's shared files: the keys of the selected profile that decide how the SDK calls AWS.
//!
//! The SDK ignores a wrong value without an error, or fails at each call over it. So the broker reads the same keys at its start, with
//! the SDK's own parser. Keys with credentials stay with the SDK.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use aws_runtime::env_config::file::EnvConfigFiles;
use aws_runtime::env_config::property::PropertiesKey;
use aws_runtime::env_config::section::{EnvConfigSections, Profile};
use aws_types::os_shim_internal::{Env, Fs};
use futures_util::FutureExt as _;

/// The keys to read.
const KEYS: [&str; 7] = [
    "region",
    "endpoint_url",
    "ignore_configured_endpoint_urls",
    "use_fips_endpoint",
    "use_dualstack_endpoint",
    "ec2_metadata_service_endpoint",
    "role_arn",
];
/// Further keys that decide as whom the SDK calls AWS. Secrets are not among them: they change more often than the identity.
const IDENTITY_KEYS: [&str; 12] = [
    "aws_access_key_id",
    "credential_process",
    "credential_source",
    "external_id",
    "login_session",
    "role_arn",
    "source_profile",
    "sso_account_id",
    "sso_role_name",
    "sso_session",
    "sso_start_url",
    "web_identity_token_file",
];
/// Limit of profiles that each name the next one as their source. They may do so in a circle.
const MAX_SOURCES: usize = 8;
/// The services that the broker calls, as keys of a `services` section. AWS documents underscores; the Rust SDK reads hyphens.
pub(super) const SERVICES: [&str; 5] = ["ecr", "ecr_public", "ecr-public", "signin", "sts"];

/// The keys of the selected profile.
#[derive(Debug, Clone, Default)]
pub struct AwsFiles {
    keys: Vec<AwsKey>,
    identity: Vec<(String, String)>,
    /// The files that the SDK could read without an end, or wait for.
    endless: Vec<PathBuf>,
}

/// A key in a file.
#[derive(Debug, Clone)]
pub(super) struct AwsKey {
    /// The key, such as `region`; of a service, such as `ecr.endpoint_url`.
    pub(super) key: String,
    pub(super) value: String,
    /// The file and the profile, for diagnostics.
    pub(super) place: String,
}

/// A kind of file.
struct Kind {
    variable: &'static str,
    default: &'static str,
    files: fn() -> EnvConfigFiles,
}

/// The files in the order of their precedence.
const KINDS: [Kind; 2] = [
    Kind {
        variable: "AWS_SHARED_CREDENTIALS_FILE",
        default: "~/.aws/credentials",
        files: || EnvConfigFiles::builder().include_default_credentials_file(true).build(),
    },
    Kind {
        variable: "AWS_CONFIG_FILE",
        default: "~/.aws/config",
        files: || EnvConfigFiles::builder().include_default_config_file(true).build(),
    },
];

impl AwsFiles {
    /// Reads the files that the environment names. A file that is missing or cannot be parsed has no keys here; the SDK reports it when
    /// it looks for credentials.
    #[must_use]
    pub fn read(environment: &[(String, String)]) -> Self {
        let variables: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let env = Env::from_slice(&variables);
        let endless: Vec<_> = KINDS.iter().map(|kind| kind.path(&env)).filter(|path| is_endless(path)).collect();
        // The SDK's parser reads both files for some keys.
        let kinds = if endless.is_empty() { &KINDS[..] } else { &[] };
        let keys = kinds.iter().filter_map(|kind| kind.read(&env)).flatten().collect();
        let identity = if endless.is_empty() { identity(&env).unwrap_or_default() } else { Vec::new() };
        Self { keys, identity, endless }
    }

    /// Returns the files that the SDK could read without an end, or wait for.
    pub(super) fn endless(&self) -> &[PathBuf] {
        &self.endless
    }

    /// Returns a key in the file with precedence.
    pub(super) fn find(&self, key: &str) -> Option<&AwsKey> {
        self.keys.iter().find(|found| found.key == key)
    }

    /// Returns what decides which AWS the SDK calls and as whom: keys with their values.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, &str)> {
        let identity = self.identity.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        self.keys.iter().map(|found| (found.key.as_str(), found.value.as_str())).chain(identity)
    }

    /// Returns the endpoints of all services and of single ones.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &AwsKey> {
        self.keys.iter().filter(|found| found.key.ends_with("endpoint_url"))
    }
}

/// Returns whether reading may wait or never end: of pipes, sockets and devices. `/dev/null` is an empty file.
fn is_endless(path: &Path) -> bool {
    let is_other = |found: Metadata| !found.is_file() && !found.is_dir();
    path != Path::new("/dev/null") && fs::metadata(path).is_ok_and(is_other)
}

impl Kind {
    /// Returns the path of the file, whose `~` is the home directory.
    fn path(&self, env: &Env) -> PathBuf {
        let path = env.get(self.variable).unwrap_or_else(|_| self.default.to_owned());
        match (path.strip_prefix("~/"), env.get("HOME")) {
            (Some(rest), Ok(home)) => Path::new(&home).join(rest),
            _ => path.into(),
        }
    }

    fn read(&self, env: &Env) -> Option<Vec<AwsKey>> {
        let (fs, files) = (Fs::real(), (self.files)());
        // The SDK reads files without waiting, so the future is ready at once.
        let sections = aws_config::profile::load(&fs, env, &files, None).now_or_never()?.ok()?;
        let path = env.get(self.variable).unwrap_or_else(|_| self.default.to_owned());
        let place = format!("{path}, profile {}", sections.selected_profile());
        let found = keys(&sections).chain(service_keys(&sections));
        Some(found.map(|(key, value)| AwsKey { key, value: value.to_owned(), place: place.clone() }).collect())
    }
}

/// Returns the keys of the identity, of the selected profile and of those that it names as its source, each with its profile's name.
fn identity(env: &Env) -> Option<Vec<(String, String)>> {
    let files = EnvConfigFiles::default();
    let sections = aws_config::profile::load(&Fs::real(), env, &files, None).now_or_never()?.ok()?;
    let source = |profile: &&Profile| sections.get_profile(profile.get("source_profile")?);
    let selected = sections.get_profile(sections.selected_profile());
    let profiles = std::iter::successors(selected, source).take(MAX_SOURCES);
    let keys = |profile: &Profile| {
        let named = |key: &&str| Some((format!("{}.{key}", profile.name()), profile.get(key)?.to_owned()));
        IDENTITY_KEYS.iter().filter_map(named).collect::<Vec<_>>()
    };
    Some(profiles.flat_map(keys).collect())
}

fn keys(sections: &EnvConfigSections) -> impl Iterator<Item = (String, &str)> {
    KEYS.iter().filter_map(|key| Some(((*key).to_owned(), sections.get(key)?)))
}

/// Returns the endpoints in the `services` section that the profile names.
fn service_keys(sections: &EnvConfigSections) -> impl Iterator<Item = (String, &str)> {
    let endpoint = |service: &&str| {
        let section = PropertiesKey::builder().section_key("services").section_name(sections.get("services")?);
        let key = section.property_name(*service).sub_property_name("endpoint_url").build().ok()?;
        Some((format!("{service}.endpoint_url"), sections.other_sections().get(&key)?.as_str()))
    };
    SERVICES.iter().filter_map(endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(config: &str, credentials: &str) -> Vec<(String, String)> {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let environment = [
            ("AWS_CONFIG_FILE".to_owned(), write("config", config)),
            ("AWS_SHARED_CREDENTIALS_FILE".to_owned(), write("credentials", credentials)),
        ];
        let files = AwsFiles::read(&environment);
        files.keys().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn keys_differ_with_each_identity_and_not_with_its_secrets() {
        let config = "[default]\nrole_arn = arn:aws:iam::123456789012:role/a\nsource_profile = base\n[profile base]\nregion = x\n";
        let credentials = "[base]\naws_access_key_id = AKIAONE\naws_secret_access_key = one\n";
        let before = keys(config, credentials);
        assert!(before.contains(&("base.aws_access_key_id".to_owned(), "AKIAONE".to_owned())), "{before:?}");
        assert_eq!(keys(config, &credentials.replace("= one", "= two")), before);
        assert_ne!(keys(config, &credentials.replace("AKIAONE", "AKIATWO")), before);
        assert_ne!(keys(&config.replace("role/a", "role/b"), credentials), before);
        assert_ne!(keys(&(config.to_owned() + "credential_process = /bin/keys\n"), credentials), before);
    }

    #[test]
    fn profiles_that_name_each_other_as_their_source_have_few_keys() {
        let config = "[default]\nsource_profile = b\n[profile b]\nsource_profile = default\n";
        assert_eq!(keys(config, "").len(), MAX_SOURCES);
    }
}
