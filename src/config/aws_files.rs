//! The AWS SDK's shared files: the keys of the selected profile that decide how the SDK calls AWS.
//!
//! The SDK ignores a wrong value without an error, or fails at each call over it. So the broker reads the same keys at its start, with
//! the SDK's own parser. Keys with credentials stay with the SDK.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use aws_runtime::env_config::file::EnvConfigFiles;
use aws_runtime::env_config::property::PropertiesKey;
use aws_runtime::env_config::section::EnvConfigSections;
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
/// The services that the broker calls, as keys of a `services` section. AWS documents underscores; the Rust SDK reads hyphens.
pub(super) const SERVICES: [&str; 4] = ["ecr", "ecr_public", "ecr-public", "sts"];

/// The keys of the selected profile.
#[derive(Debug, Clone, Default)]
pub struct AwsFiles {
    keys: Vec<AwsKey>,
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
        Self { keys: kinds.iter().filter_map(|kind| kind.read(&env)).flatten().collect(), endless }
    }

    /// Returns the files that the SDK could read without an end, or wait for.
    pub(super) fn endless(&self) -> &[PathBuf] {
        &self.endless
    }

    /// Returns a key in the file with precedence.
    pub(super) fn find(&self, key: &str) -> Option<&AwsKey> {
        self.keys.iter().find(|found| found.key == key)
    }

    /// Returns the keys with their values.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, &str)> {
        self.keys.iter().map(|found| (found.key.as_str(), found.value.as_str()))
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
