//! The sources of configuration values: files, environment, flags and activated sockets.

use super::aws_files::AwsFiles;
use super::files::Files;
use crate::address::ListenAddress;

/// The sources of configuration values.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The configuration file, if one was named, and the files that it includes.
    pub files: Files,
    /// Addresses of activated sockets, which the service manager opened.
    pub activated: Vec<ListenAddress>,
    /// The environment, without blank variables.
    pub environment: Vec<(String, String)>,
    /// Names of variables that are not UTF-8 and should be.
    pub not_utf8: Vec<String>,
    /// The AWS SDK's shared files.
    pub aws_files: AwsFiles,
    /// Flags of the command line: the setting's name, the flag and the value.
    pub flags: Vec<(&'static str, &'static str, toml::Value)>,
}

/// Variables of the SDK that are secrets. They change more often than the identity that they prove.
const SECRETS: [&str; 3] = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"];

impl Sources {
    /// Returns the SDK's own settings, which decide which AWS it calls and as whom: its variables in the order of their names, then the
    /// keys of its files. Secrets are left out.
    #[must_use]
    pub fn sdk_settings(&self) -> Vec<(&str, &str)> {
        let of_sdk = |name: &str| name.starts_with("AWS_") && !SECRETS.contains(&name);
        let variables = self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut settings: Vec<_> = variables.filter(|(name, _)| of_sdk(name)).collect();
        settings.sort_unstable();
        settings.extend(self.aws_files.keys());
        settings
    }
}
