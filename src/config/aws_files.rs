//! The AWS SDK's shared files: the keys of the selected profile that decide how the SDK calls AWS.
//!
//! The SDK ignores a wrong value without an error, or fails at each call over it. So the broker reads the same keys at its start, with
//! the SDK's own parser. Keys with credentials stay with the SDK.

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
pub struct AwsFiles(Vec<AwsKey>);

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
        Self(KINDS.iter().filter_map(|kind| kind.read(&env)).flatten().collect())
    }

    /// Returns a key in the file with precedence.
    pub(super) fn find(&self, key: &str) -> Option<&AwsKey> {
        self.0.iter().find(|found| found.key == key)
    }

    /// Returns the endpoints of all services and of single ones.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &AwsKey> {
        self.0.iter().filter(|found| found.key.ends_with("endpoint_url"))
    }
}

impl Kind {
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
