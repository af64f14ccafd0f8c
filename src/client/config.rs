//! Client configuration from flags, environment variables and `client.toml`; a later source fills the gaps of an earlier one.

use std::ffi::OsString;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use tracing::debug;

use super::address::{Address, AddressError, Addresses};
use super::adoption::{Adoption, CanaryPercent, FallbackCause, FallbackCommands, FallbackTimeout, Mode};
use super::settings::Settings;
use super::token::{CommandLine, DEFAULT_AUDIENCE, SourceError, SourceName, TokenSettings, Tokens};
use crate::address::DEFAULT_TCP;
use crate::bounded_file;
use crate::environment::{self, CLIENT_SETTINGS};

#[cfg_attr(unix, path = "config/unix.rs")]
#[cfg_attr(windows, path = "config/windows.rs")]
mod places;

/// Default time limit for connecting and the answer together: above the broker's for one AWS call (`aws.operation_timeout`, 8 s).
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time limit; an addition to the clock must not overflow.
pub(super) const MAX_TIMEOUT: Duration = Duration::from_hours(24);
/// Longest `client.toml`: it has some twenty keys.
const MAX_FILE: u64 = 64 << 10;
/// `client.toml` of the user, below `$XDG_CONFIG_HOME`.
const USER_FILE: &str = "ecr-broker/client.toml";

/// Configuration from one source; the fields are the keys of `client.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PartialConfig {
    /// Addresses of the broker.
    pub address: Option<Addresses>,
    /// Source of bearer tokens.
    pub token_source: Option<SourceName>,
    /// File with a bearer token.
    pub token_file: Option<PathBuf>,
    /// Program that prints a bearer token.
    pub token_exec: Option<CommandLine>,
    /// Variable with GitLab's ID token.
    pub token_variable: Option<String>,
    /// Audience of the tokens that a source is asked for.
    pub audience: Option<String>,
    /// Profile to request.
    pub profile: Option<String>,
    /// CA certificates that replace the system's.
    pub tls_ca: Option<PathBuf>,
    /// Source of certificate and key.
    pub tls_source: Option<TlsSource>,
    /// Certificate of the client.
    pub tls_cert: Option<PathBuf>,
    /// Key of the client's certificate.
    pub tls_key: Option<PathBuf>,
    /// Time limit for connecting and the answer together.
    #[serde(deserialize_with = "duration")]
    pub timeout: Option<Duration>,
    /// Credential helper (a name) or auth file (a path with a slash) for registries that the broker does not serve.
    /// The key in the file is `next`.
    #[serde(rename = "next")]
    pub delegate: Option<String>,
    /// Fallback programs of the helpers.
    pub fallback: Option<FallbackCommands>,
    /// Failures after which the fallback answers.
    pub fallback_on: Option<Vec<FallbackCause>>,
    /// Time limit of the fallback.
    pub fallback_timeout: Option<FallbackTimeout>,
    /// Who answers for ECR registries.
    pub mode: Option<Mode>,
    /// Share of the hosts that ask the broker in canary mode.
    pub canary_percent: Option<CanaryPercent>,
}

/// Source of the client's certificate and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsSource {
    /// The files `tls_cert` and `tls_key`.
    File,
    /// The SPIFFE Workload API.
    Spiffe,
}

impl FromStr for TlsSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "file" => Ok(Self::File),
            "spiffe" => Ok(Self::Spiffe),
            _ => Err(format!("{text:?} is not a source of certificates; use file or spiffe")),
        }
    }
}

impl fmt::Display for TlsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::File { "file" } else { "spiffe" })
    }
}

/// Directories of the user's files and sockets.
#[derive(Debug, Clone, Default)]
pub struct Paths {
    /// `$XDG_RUNTIME_DIR`; none on Windows.
    pub runtime_dir: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`; on Windows `%APPDATA%`.
    pub config_home: Option<PathBuf>,
    /// `$HOME`; on Windows `%USERPROFILE%`.
    pub home: Option<PathBuf>,
}

/// Error in a client's configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A file that cannot be read or parsed.
    #[error("{}: {problem}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Error on one line.
        problem: String,
    },
    /// A flag or environment variable that cannot be parsed.
    #[error("{name}: {problem}")]
    Variable {
        /// Name of the flag or variable.
        name: String,
        /// Error on one line.
        problem: String,
    },
    /// A certificate without its key, or a key without its certificate.
    #[error("{present} without {missing}: a client certificate needs both; set {missing}")]
    IncompleteIdentity {
        /// Key that is set.
        present: &'static str,
        /// Key that is missing.
        missing: &'static str,
    },
    /// A token source that lacks a setting.
    #[error(transparent)]
    TokenSource(#[from] SourceError),
}

impl Paths {
    /// Returns the directories that the environment names.
    #[must_use]
    pub fn from_environment() -> Self {
        Self { runtime_dir: places::runtime_dir(), config_home: places::config_home(), home: places::home() }
    }

    /// Merges the configuration files; the user's takes precedence over the system's.
    ///
    /// # Errors
    /// Returns an error if a file exists and cannot be read or parsed.
    pub fn files(&self) -> Result<PartialConfig, ConfigError> {
        Ok(self.each_file()?.into_iter().fold(PartialConfig::default(), |all, (_, config)| all.or(config)))
    }

    /// Reads each configuration file that exists, the user's first.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or parsed.
    pub fn each_file(&self) -> Result<Vec<(PathBuf, PartialConfig)>, ConfigError> {
        self.candidates().filter_map(|file| read(&file).transpose().map(|config| Ok((file, config?)))).collect()
    }

    /// Returns the delegate that the files name, and the file. It needs only TOML: another mistake in the file does not concern the
    /// registries that the broker does not serve.
    ///
    /// # Errors
    /// Returns an error if a file that may name it is not TOML: another file may name another delegate.
    pub fn delegate(&self) -> Result<Option<(PathBuf, String)>, ConfigError> {
        for file in self.candidates() {
            let table: Option<toml::Table> = read(&file)?;
            match table.as_ref().and_then(|table| table.get("next")) {
                None => {}
                Some(toml::Value::String(text)) => return Ok(Some((file, text.clone()))),
                Some(_) => return Err(ConfigError::File { path: file, problem: "next is not a string".to_owned() }),
            }
        }
        Ok(None)
    }

    /// Returns the settings of the switch-over. A mistake elsewhere in a file does not concern them: the fallback must answer then.
    #[must_use]
    pub fn adoption(&self) -> Adoption {
        self.each_adoption().into_iter().fold(Adoption::default(), |all, (_, adoption)| all.or(adoption))
    }

    /// Returns the settings of the switch-over of each file that exists and is TOML, the user's first.
    #[must_use]
    pub fn each_adoption(&self) -> Vec<(PathBuf, Adoption)> {
        let tables = self.candidates().filter_map(|file| Some((read::<toml::Table>(&file).ok()??, file)));
        tables.map(|(table, file)| (file, Adoption::of(&table))).collect()
    }

    /// Returns the time limit of the files, even if they have a mistake elsewhere.
    #[must_use]
    pub fn time_limit(&self) -> Option<Duration> {
        self.candidates().find_map(|file| {
            let table: toml::Table = read(&file).ok()??;
            humantime::parse_duration(table.get("timeout")?.as_str()?).ok()
        })
    }

    fn candidates(&self) -> impl Iterator<Item = PathBuf> {
        let home = self.home.as_ref().map(|home| home.join(".config"));
        let config_home = self.config_home.clone().or(home).filter(|path| path.is_absolute());
        // After sudo, $HOME may be a directory of another user.
        let denied =
            |file: &Path| std::fs::metadata(file).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
        let user = config_home.map(|directory| directory.join(USER_FILE)).filter(|file| !denied(file));
        user.into_iter().chain(places::SYSTEM_FILE.map(PathBuf::from))
    }

    /// Returns all default addresses, including sockets that do not exist: their broker may start while a client waits.
    #[must_use]
    pub fn default_addresses(&self) -> Vec<Address> {
        let sockets = places::sockets(self.runtime_dir.as_deref()).into_iter();
        sockets.map(Address::Unix).chain([Address::Plain(DEFAULT_TCP.to_string())]).collect()
    }
}

impl PartialConfig {
    /// Reads flags, and the environment variables of those that are not set: `ECR_BROKER_` and the flag's name in capitals. `flag`
    /// returns the value of a flag by its setting.
    ///
    /// # Errors
    /// Returns an error if a flag or variable cannot be parsed.
    pub fn from_flags_or_environment(flag: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for setting in CLIENT_SETTINGS {
            let variable = environment::client_variable(setting);
            let flag = flag(setting).map(|value| (format!("--{}", setting.replace('_', "-")), value));
            let found = flag.or_else(|| environment::variable(&variable).map(|value| (variable, value)));
            if let Some((name, value)) = found {
                config.set(setting, value).map_err(|problem| ConfigError::Variable { name, problem })?;
            }
        }
        Ok(config)
    }

    /// Sets a setting of [`CLIENT_SETTINGS`] from a variable's value.
    fn set(&mut self, setting: &str, value: OsString) -> Result<(), String> {
        match setting {
            "address" => self.address = Some(utf8(value)?.parse().map_err(|error: AddressError| error.to_string())?),
            "token_source" => self.token_source = Some(utf8(value)?.parse()?),
            "token_file" => self.token_file = Some(value.into()),
            "token_exec" => self.token_exec = utf8(value)?.parse().ok(),
            "token_variable" => self.token_variable = Some(utf8(value)?),
            "audience" => self.audience = Some(utf8(value)?),
            "profile" => self.profile = Some(utf8(value)?),
            "tls_ca" => self.tls_ca = Some(value.into()),
            "tls_source" => self.tls_source = Some(utf8(value)?.parse()?),
            "tls_cert" => self.tls_cert = Some(value.into()),
            "tls_key" => self.tls_key = Some(value.into()),
            "timeout" => {
                let timeout = humantime::parse_duration(&utf8(value)?).map_err(|error| error.to_string())?;
                self.timeout = Some(timeout);
            }
            _ => return Err("it is not a setting of a client".to_owned()),
        }
        Ok(())
    }

    /// Fills the gaps from `other`. A certificate and its key come from the same place, and so do the settings of a token source.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let tokens = self.token_settings().or(other.token_settings());
        let TokenSettings { token_source, token_file, token_exec, token_variable } = tokens;
        let identity = if self.tls_source.is_some() || self.tls_cert.is_some() || self.tls_key.is_some() {
            (self.tls_source, self.tls_cert, self.tls_key)
        } else {
            (other.tls_source, other.tls_cert, other.tls_key)
        };
        Self {
            address: self.address.filter(|Addresses(all)| !all.is_empty()).or(other.address),
            token_source,
            token_file,
            token_exec,
            token_variable,
            audience: self.audience.or(other.audience),
            profile: self.profile.or(other.profile),
            tls_ca: self.tls_ca.or(other.tls_ca),
            tls_source: identity.0,
            tls_cert: identity.1,
            tls_key: identity.2,
            timeout: self.timeout.or(other.timeout),
            delegate: self.delegate.or(other.delegate),
            fallback: self.fallback.or(other.fallback),
            fallback_on: self.fallback_on.or(other.fallback_on),
            fallback_timeout: self.fallback_timeout.or(other.fallback_timeout),
            mode: self.mode.or(other.mode),
            canary_percent: self.canary_percent.or(other.canary_percent),
        }
    }

    /// Returns the settings with their defaults, and the profile to request.
    ///
    /// # Errors
    /// Returns an error if a certificate has no key, a key no certificate, or a token source lacks a setting.
    pub fn settings(self, paths: &Paths) -> Result<(Settings, String), ConfigError> {
        let source = self.token_settings().source()?;
        let half = |present, missing| Err(ConfigError::IncompleteIdentity { present, missing });
        let has_x509_svid = self.tls_source == Some(TlsSource::Spiffe);
        let files = if has_x509_svid { (None, None) } else { (self.tls_cert, self.tls_key) };
        let tls_identity = match files {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return half("tls_cert", "tls_key"),
            (None, Some(_)) => return half("tls_key", "tls_cert"),
        };
        let audience = self.audience.unwrap_or_else(|| DEFAULT_AUDIENCE.to_owned());
        let addresses = self.address.map(|Addresses(all)| all).filter(|all| !all.is_empty());
        let profile = self.profile.unwrap_or_default();
        let settings = Settings {
            addresses_configured: addresses.is_some(),
            addresses: addresses.unwrap_or_else(|| paths.default_addresses()),
            tokens: source.map(|source| Tokens::new(source, audience)),
            token: None,
            tls_ca: self.tls_ca,
            tls_identity,
            has_x509_svid,
            connect_timeout: MAX_TIMEOUT,
            timeout: self.timeout.unwrap_or(DEFAULT_TIMEOUT).min(MAX_TIMEOUT),
        };
        let Settings { addresses_configured, tokens, tls_ca, timeout, .. } = &settings;
        let addresses = Addresses(settings.addresses.clone());
        debug!(%addresses, addresses_configured, ?tokens, ?tls_ca, ?timeout, profile, "settings read");
        Ok((settings, profile))
    }

    fn token_settings(&self) -> TokenSettings {
        TokenSettings {
            token_source: self.token_source,
            token_file: self.token_file.clone(),
            token_exec: self.token_exec.clone(),
            token_variable: self.token_variable.clone(),
        }
    }
}

fn utf8(value: OsString) -> Result<String, String> {
    value.into_string().map_err(|_| "it is not valid UTF-8".to_owned())
}

/// Returns `None` if the file does not exist.
fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, ConfigError> {
    let error = |problem: String| ConfigError::File { path: path.to_owned(), problem: problem.replace('\n', " ") };
    match bounded_file::read_text(path, MAX_FILE) {
        // Print only toml's message, not the line, which may contain a token.
        Ok(text) => {
            debug!(path = %path.display(), "configuration file read");
            toml::from_str(&text).map(Some).map_err(|problem| error(message(&text, &problem)))
        }
        Err(problem) if matches!(problem.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(problem) => Err(error(problem.to_string())),
    }
}

fn message(text: &str, problem: &toml::de::Error) -> String {
    let before = problem.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, problem.message())
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let problem =
        |error| serde::de::Error::custom(format!("timeout is not a duration: {error}; use a form such as 10s"));
    humantime::parse_duration(&text).map(Some).map_err(problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::token::TokenSource;

    fn paths(directory: &Path) -> Paths {
        Paths { config_home: Some(directory.to_owned()), ..Paths::default() }
    }

    fn write(directory: &Path, text: &str) {
        std::fs::create_dir_all(directory.join("ecr-broker")).unwrap();
        std::fs::write(directory.join(USER_FILE), text).unwrap();
    }

    #[test]
    fn file_fills_gaps_and_certificate_and_key_share_a_source() {
        let directory = tempfile::tempdir().unwrap();
        let paths = paths(directory.path());
        assert_eq!(paths.files().unwrap(), PartialConfig::default());
        write(
            directory.path(),
            "address = \"unix:/a.sock,https://b.example:443\"\ntoken_file = \"/t\"\nprofile = \"p\"\ntls_ca = \"/ca\"\n\
             tls_cert = \"/c\"\ntls_key = \"/k\"\ntimeout = \"9s\"\n",
        );
        let (settings, profile) = paths.files().unwrap().settings(&paths).unwrap();
        assert_eq!(settings.addresses, [Address::Unix("/a.sock".into()), Address::Tls("b.example:443".into())]);
        assert!(settings.addresses_configured);
        assert_eq!((settings.timeout, profile.as_str()), (Duration::from_secs(9), "p"));
        assert_eq!(settings.tls_identity, Some(("/c".into(), "/k".into())));

        let flags = PartialConfig {
            address: Some("http://127.0.0.1:1".parse().unwrap()),
            tls_cert: Some("/own".into()),
            tls_key: Some("/own-key".into()),
            ..PartialConfig::default()
        };
        let (settings, _) = flags.or(paths.files().unwrap()).settings(&paths).unwrap();
        assert_eq!(settings.addresses, [Address::Plain("127.0.0.1:1".into())]);
        assert_eq!(settings.tls_identity, Some(("/own".into(), "/own-key".into())));
        assert_eq!(settings.tokens.unwrap().source(), &TokenSource::File("/t".into()));
    }

    #[test]
    fn each_file_keeps_its_path_and_defaults_name_missing_sockets() {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths { runtime_dir: Some(directory.path().to_owned()), ..paths(directory.path()) };
        write(directory.path(), "profile = \"p\"\n");
        let (file, config) = paths.each_file().unwrap().remove(0);
        assert_eq!((file, config.profile.as_deref()), (directory.path().join(USER_FILE), Some("p")));
        let own = Address::Unix(directory.path().join("ecr-broker/broker.sock"));
        let (settings, _) = config.settings(&paths).unwrap();
        assert!(settings.addresses.contains(&own) && !settings.addresses_configured);
    }

    #[test]
    fn file_error_names_the_file_and_hides_its_values() {
        let directory = tempfile::tempdir().unwrap();
        for (text, expected) in [
            ("adress = \"x\"", "adress"),
            ("address = \"ftp://x\"", "is not a broker address"),
            ("timeout = \"soon\"", "timeout"),
            ("address = ", "client.toml"),
            ("token = \"eyJsecret\"", "unknown field"),
            ("fallback = 1", "fallback is not a command"),
            ("fallback = \"\"", "fallback is empty"),
            ("fallback_on = [\"denied\"]", "unknown variant `denied`"),
            ("fallback_timeout = \"soon\"", "fallback_timeout is not a duration"),
            ("mode = \"half\"", "unknown variant `half`"),
            ("canary_percent = 101", "use 0 to 100"),
        ] {
            write(directory.path(), text);
            let error = paths(directory.path()).files().unwrap_err().to_string();
            assert!(
                error.contains(expected) && error.contains("client.toml") && !error.contains('\n'),
                "{text}: {error}"
            );
            assert!(!error.contains("eyJsecret"), "{error}");
        }
        write(directory.path(), &"a = 1\n".repeat(11_000));
        let error = paths(directory.path()).files().unwrap_err().to_string();
        assert!(error.contains("longer than 64 KiB; shorten it"), "{error}");
        let half = PartialConfig { tls_key: Some("/k".into()), ..PartialConfig::default() };
        assert!(half.settings(&Paths::default()).unwrap_err().to_string().contains("without tls_cert"));
    }

    #[test]
    fn every_client_setting_can_be_set_by_its_variable() {
        let mut all = PartialConfig::default();
        for setting in CLIENT_SETTINGS {
            let value = match setting {
                "timeout" => "9s",
                "token_source" => "github",
                "tls_source" => "spiffe",
                _ => "unix:/x",
            };
            assert_eq!(all.set(setting, value.into()), Ok(()), "{setting}");
        }
        assert!(all.token_source.is_some() && all.token_exec.is_some() && all.tls_source == Some(TlsSource::Spiffe));
        assert!(all.token_variable.is_some() && all.audience.is_some());
        let PartialConfig { address, token_file, profile, tls_ca, tls_cert, tls_key, timeout, delegate, .. } = all;
        assert!(address.is_some() && token_file.is_some() && profile.is_some() && timeout.is_some());
        assert!(tls_ca.is_some() && tls_cert.is_some() && tls_key.is_some() && delegate.is_none());
        assert!(PartialConfig::default().set("next", "x".into()).is_err());
    }

    #[test]
    fn empty_address_uses_the_defaults() {
        let nothing = PartialConfig { address: Some("".parse().unwrap()), ..PartialConfig::default() };
        let (settings, _) = nothing.settings(&Paths::default()).unwrap();
        assert!(
            !settings.addresses_configured && settings.addresses.contains(&Address::Plain(DEFAULT_TCP.to_string()))
        );
    }
}
