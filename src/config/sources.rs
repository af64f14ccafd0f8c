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
