//! What a client was told: by flags, by variables, by files. What is missing in one place may be in the next.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::{Address, AddressError, Settings};

/// For everything: connection and answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Beyond it a wait is no limit any more.
const LONGEST_WAIT: Duration = Duration::from_hours(24);
/// Where a broker listens that was told nothing else.
const SYSTEM_SOCKET: &str = "/run/ecr-broker/broker.sock";
const USER_SOCKET: &str = "ecr-broker/broker.sock";
const LOOPBACK: &str = "127.0.0.1:50051";
/// Read where no flag and no variable reaches; the user's goes before the system's.
const SYSTEM_FILE: &str = "/etc/ecr-broker/client.toml";
const USER_FILE: &str = "ecr-broker/client.toml";

/// Addresses with commas between them; a text that is empty names none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses(Vec<Address>);

/// Settings, as far as they were given in one place; the keys of `client.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PartialConfig {
    /// Where the broker is.
    pub address: Option<Addresses>,
    /// A file with a bearer token.
    pub token_file: Option<PathBuf>,
    /// The profile to ask for.
    pub profile: Option<String>,
    /// Certificates to trust instead of the system's.
    pub tls_ca: Option<PathBuf>,
    /// The client's own certificate.
    pub tls_cert: Option<PathBuf>,
    /// Its key.
    pub tls_key: Option<PathBuf>,
    /// How long to wait in all.
    #[serde(deserialize_with = "duration")]
    pub timeout: Option<Duration>,
    /// Who has the logins of other registries, for docker's helper: a helper's name, or a file where there is a slash in it.
    pub next: Option<String>,
}

/// Where files and sockets of the user's are looked for.
#[derive(Debug, Clone, Default)]
pub struct Home {
    /// `$XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`.
    pub config_home: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
}

/// Why what was given cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A file that is there cannot be used.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, on one line.
        problem: String,
    },
    /// A variable cannot be understood.
    #[error("{name}: {problem}")]
    Variable {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A certificate without its key, or the other way round.
    #[error("{given} is given without {missing}: a client's certificate needs both")]
    HalfAnIdentity {
        /// What there is.
        given: &'static str,
        /// What there is not.
        missing: &'static str,
    },
}

impl Home {
    /// As the environment has it.
    #[must_use]
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Self {
        let path = |name| get(name).map(PathBuf::from);
        Self { runtime_dir: path("XDG_RUNTIME_DIR"), config_home: path("XDG_CONFIG_HOME"), home: path("HOME") }
    }

    /// What the files say, the user's before the system's.
    ///
    /// # Errors
    /// Where one is there and cannot be read or understood.
    pub fn files(&self) -> Result<PartialConfig, ConfigError> {
        Ok(self.each_file()?.into_iter().fold(PartialConfig::default(), |all, (_, given)| all.or(given)))
    }

    /// What each of the files says that are there, the user's before the system's.
    ///
    /// # Errors
    /// Where one cannot be read or understood.
    pub fn each_file(&self) -> Result<Vec<(PathBuf, PartialConfig)>, ConfigError> {
        let home = self.home.as_ref().map(|home| home.join(".config"));
        let config_home = self.config_home.clone().or(home).filter(|path| path.is_absolute());
        // $HOME may be somebody else's, after sudo.
        let closed =
            |file: &Path| std::fs::metadata(file).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
        let user = config_home.map(|directory| directory.join(USER_FILE)).filter(|file| !closed(file));
        let files = user.into_iter().chain([PathBuf::from(SYSTEM_FILE)]);
        files.filter_map(|file| read(&file).transpose().map(|given| Ok((file, given?)))).collect()
    }

    /// Where a broker is looked for that nobody named, whether or not there is something.
    #[must_use]
    pub fn usual_places(&self) -> Vec<Address> {
        let user = self.runtime_dir.as_ref().map(|directory| directory.join(USER_SOCKET));
        let sockets = [Some(PathBuf::from(SYSTEM_SOCKET)), user].into_iter().flatten();
        sockets.map(Address::Unix).chain([Address::Plain(LOOPBACK.to_owned())]).collect()
    }

    fn usual_addresses(&self) -> Vec<Address> {
        let there = |address: &Address| if let Address::Unix(path) = address { path.exists() } else { true };
        self.usual_places().into_iter().filter(there).collect()
    }
}

impl PartialConfig {
    /// As the environment has it; the names are the flags', in capitals, behind `ECR_BROKER_`.
    ///
    /// # Errors
    /// Where a variable cannot be understood.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let path = |name| get(name).map(PathBuf::from);
        let address = get("ECR_BROKER_ADDRESS").map(|text| text.parse()).transpose();
        let address = address.map_err(|error: AddressError| ConfigError::Variable {
            name: "ECR_BROKER_ADDRESS",
            problem: error.to_string(),
        })?;
        let timeout = get("ECR_BROKER_TIMEOUT").map(|text| humantime::parse_duration(&text)).transpose();
        let timeout = timeout
            .map_err(|error| ConfigError::Variable { name: "ECR_BROKER_TIMEOUT", problem: error.to_string() })?;
        Ok(Self {
            address,
            token_file: path("ECR_BROKER_TOKEN_FILE"),
            profile: get("ECR_BROKER_PROFILE"),
            tls_ca: path("ECR_BROKER_TLS_CA"),
            tls_cert: path("ECR_BROKER_TLS_CERT"),
            tls_key: path("ECR_BROKER_TLS_KEY"),
            timeout,
            next: None,
        })
    }

    /// These, and what is missing from `other`. A certificate and its key come from one place.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let identity = if self.tls_cert.is_some() || self.tls_key.is_some() {
            (self.tls_cert, self.tls_key)
        } else {
            (other.tls_cert, other.tls_key)
        };
        Self {
            address: self.address.filter(|Addresses(all)| !all.is_empty()).or(other.address),
            token_file: self.token_file.or(other.token_file),
            profile: self.profile.or(other.profile),
            tls_ca: self.tls_ca.or(other.tls_ca),
            tls_cert: identity.0,
            tls_key: identity.1,
            timeout: self.timeout.or(other.timeout),
            next: self.next.or(other.next),
        }
    }

    /// Ready to connect with, and the profile to ask for.
    ///
    /// # Errors
    /// Where a part of it is missing.
    pub fn settings(self, home: &Home) -> Result<(Settings, String), ConfigError> {
        let half = |given, missing| Err(ConfigError::HalfAnIdentity { given, missing });
        let tls_identity = match (self.tls_cert, self.tls_key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return half("tls_cert", "tls_key"),
            (None, Some(_)) => return half("tls_key", "tls_cert"),
        };
        let addresses = self.address.map(|Addresses(all)| all).filter(|all| !all.is_empty());
        let settings = Settings {
            addresses_given: addresses.is_some(),
            addresses: addresses.unwrap_or_else(|| home.usual_addresses()),
            token_file: self.token_file,
            token: None,
            tls_ca: self.tls_ca,
            tls_identity,
            timeout: self.timeout.unwrap_or(TIMEOUT).min(LONGEST_WAIT),
        };
        Ok((settings, self.profile.unwrap_or_default()))
    }
}

/// None: it is not there.
fn read(path: &Path) -> Result<Option<PartialConfig>, ConfigError> {
    let error = |problem: String| ConfigError::File { path: path.to_owned(), problem: problem.replace('\n', " ") };
    match std::fs::read_to_string(path) {
        // Its message alone: the line may hold what should be in the token's file.
        Ok(text) => toml::from_str(&text).map(Some).map_err(|problem| error(message(&text, &problem))),
        Err(problem) if matches!(problem.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(problem) => Err(error(problem.to_string())),
    }
}

fn message(text: &str, problem: &toml::de::Error) -> String {
    let before = problem.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, problem.message())
}

impl FromStr for Addresses {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let texts = text.split(',').filter(|text| !text.trim().is_empty());
        texts.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&all.join(","))
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let problem = |error| serde::de::Error::custom(format!("timeout is no duration such as 5s: {error}"));
    humantime::parse_duration(&text).map(Some).map_err(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(directory: &Path) -> Home {
        Home { config_home: Some(directory.to_owned()), ..Home::default() }
    }

    fn write(directory: &Path, text: &str) {
        std::fs::create_dir_all(directory.join("ecr-broker")).unwrap();
        std::fs::write(directory.join(USER_FILE), text).unwrap();
    }

    #[test]
    fn a_file_gives_what_neither_flag_nor_variable_does() {
        let directory = tempfile::tempdir().unwrap();
        let home = home(directory.path());
        assert_eq!(home.files().unwrap(), PartialConfig::default());
        write(
            directory.path(),
            "address = \"unix:/a.sock,https://b.example:443\"\ntoken_file = \"/t\"\nprofile = \"p\"\ntls_ca = \"/ca\"\n\
             tls_cert = \"/c\"\ntls_key = \"/k\"\ntimeout = \"9s\"\n",
        );
        let (settings, profile) = home.files().unwrap().settings(&home).unwrap();
        assert_eq!(settings.addresses, [Address::Unix("/a.sock".into()), Address::Tls("b.example:443".into())]);
        assert!(settings.addresses_given);
        assert_eq!((settings.timeout, profile.as_str()), (Duration::from_secs(9), "p"));
        assert_eq!(settings.tls_identity, Some(("/c".into(), "/k".into())));

        let flags = PartialConfig {
            address: Some("http://127.0.0.1:1".parse().unwrap()),
            tls_cert: Some("/own".into()),
            tls_key: Some("/own-key".into()),
            ..PartialConfig::default()
        };
        let (settings, _) = flags.or(home.files().unwrap()).settings(&home).unwrap();
        assert_eq!(settings.addresses, [Address::Plain("127.0.0.1:1".into())]);
        assert_eq!(settings.tls_identity, Some(("/own".into(), "/own-key".into())));
        assert_eq!(settings.token_file, Some("/t".into()));
    }

    #[test]
    fn each_file_is_known_by_its_place_and_so_is_where_a_broker_may_be() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home { runtime_dir: Some(directory.path().to_owned()), ..home(directory.path()) };
        write(directory.path(), "profile = \"p\"\n");
        let (file, given) = home.each_file().unwrap().remove(0);
        assert_eq!((file, given.profile.as_deref()), (directory.path().join(USER_FILE), Some("p")));
        let own = Address::Unix(directory.path().join(USER_SOCKET));
        assert!(home.usual_places().contains(&own) && !home.usual_addresses().contains(&own));
    }

    #[test]
    fn mistakes_in_the_file_are_told_with_its_name() {
        let directory = tempfile::tempdir().unwrap();
        for (text, told) in [
            ("adress = \"x\"", "adress"),
            ("address = \"ftp://x\"", "is not a broker's address"),
            ("timeout = \"soon\"", "timeout"),
            ("address = ", "client.toml"),
            ("token = \"eyJsecret\"", "unknown field"),
        ] {
            write(directory.path(), text);
            let error = home(directory.path()).files().unwrap_err().to_string();
            assert!(error.contains(told) && error.contains("client.toml") && !error.contains('\n'), "{text}: {error}");
            assert!(!error.contains("eyJsecret"), "{error}");
        }
        let half = PartialConfig { tls_key: Some("/k".into()), ..PartialConfig::default() };
        assert!(half.settings(&Home::default()).unwrap_err().to_string().contains("without tls_cert"));
    }

    #[test]
    fn an_address_that_is_empty_is_none() {
        let nothing = PartialConfig { address: Some("".parse().unwrap()), ..PartialConfig::default() };
        let (settings, _) = nothing.settings(&Home::default()).unwrap();
        assert!(!settings.addresses_given && settings.addresses.contains(&Address::Plain(LOOPBACK.to_owned())));
    }
}
