//! Checks for `config check` beside valid settings: the directories in which `serve` creates files, and the names of regions. Nothing
//! is created or opened for writing.

use std::fs;
use std::path::Path;

use crate::address::ListenAddress;
use crate::audit::Output;
use crate::config::{Config, Diagnostic};
use crate::registry::{Region, Registry};
use crate::server::check_socket_directory;
use crate::source::shared_cache::valkey;

/// Directories in which a service manager creates those of its units before it starts them.
const OF_UNITS: [&str; 3] = ["/var/log", "/var/lib", "/run"];

/// Names the regions of settings that AWS did not have when this program was built. They may be new, or misspelt.
fn unknown_regions(config: &Config) -> impl Iterator<Item = Diagnostic> {
    let main = config.aws.region.as_deref().and_then(|name| name.parse::<Region>().ok());
    let main = main.map(|region| ("aws.region", region));
    let kept_warm = config.keep_warm.iter().filter_map(Registry::region).cloned();
    let granted = config.policy.named_regions().map(|region| ("grants", region));
    let all = main.into_iter().chain(kept_warm.map(|region| ("cache.keep_warm", region))).chain(granted);
    let is_unknown = |region: &Region| !region.is_known() && !config.aws.regions.contains(region);
    all.filter(move |(_, region)| is_unknown(region)).map(|(place, region)| {
        let problem = format!(
            "{:?} is not a region that this version knows; correct it, or add it to aws.regions",
            region.as_str()
        );
        Diagnostic { place: place.to_owned(), problem }
    })
}

/// Names what is wrong with the connection to the shared cache. The broker starts and works without it.
fn shared_cache(config: &Config) -> impl Iterator<Item = Diagnostic> {
    let server = config.shared_cache.as_ref().map(|cache| &cache.server);
    let files = server.and_then(|server| valkey::check_files(server).err());
    let is_open =
        |server: &&valkey::Settings| server.password_file.is_some() && server.target.is_plaintext_beyond_loopback();
    let open = server.filter(is_open).map(|_| "the password crosses the network unencrypted; use rediss://".to_owned());
    let diagnostic = |problem| Diagnostic { place: "[shared_cache]".to_owned(), problem };
    files.into_iter().chain(open).map(diagnostic)
}

/// The problems that `serve` would find.
#[derive(Debug, Default)]
pub struct Preflight {
    /// Problems that stop the broker.
    pub errors: Vec<Diagnostic>,
    /// Missing directories that the service manager may create, and unknown regions.
    pub warnings: Vec<Diagnostic>,
}

impl Preflight {
    /// Looks at the directories that the configuration names.
    #[must_use]
    pub fn check(config: &Config) -> Self {
        let mut found = Self::default();
        let listen = config.server.listen.iter().map(|address| ("server.listen", address));
        let ops = config.server.ops.iter().map(|ops| ("server.ops_listen", &ops.listen));
        let json = config.server.json.iter().map(|json| ("server.json_listen", &json.listen));
        for (setting, address) in listen.chain(ops).chain(json) {
            let ListenAddress::Unix(path) = address else { continue };
            if let Err(problem) = check_socket_directory(path) {
                found.errors.push(Diagnostic { place: setting.to_owned(), problem: format!("{address}: {problem:#}") });
            }
        }
        if let Some(Output::File(file)) = config.audit.as_ref().map(|audit| &audit.output) {
            found.check_directory("audit.output", file);
        }
        if let Some(api) = &config.server.aws_api {
            found.check_directory("server.aws_api_secret_file", &api.secret_file);
        }
        found.warnings.extend(unknown_regions(config));
        if !config.aws.verified_keys().is_empty() && config.aws.overrides_registries() {
            let problem = "off, because the endpoint of ECR or ECR Public is overridden; remove the override or verify";
            found.warnings.push(Diagnostic { place: "verify".to_owned(), problem: problem.to_owned() });
        }
        found.warnings.extend(shared_cache(config));
        found
    }

    /// Checks that the directory of a file exists. One that this user may not see is not judged.
    fn check_directory(&mut self, setting: &str, file: &Path) {
        let Some(directory) = file.parent() else { return };
        let problem = match fs::metadata(directory) {
            Ok(found) if found.is_dir() => return,
            Ok(_) => "is not a directory; correct the path",
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => "does not exist; create it",
            Err(_) => return,
        };
        let of_unit = directory.parent().is_some_and(|parent| OF_UNITS.iter().any(|one| parent == Path::new(one)));
        let problem = format!("{} {problem}", directory.display());
        let place = setting.to_owned();
        if of_unit {
            let problem = format!("{problem}, or let the unit create it (LogsDirectory=, StateDirectory=)");
            self.warnings.push(Diagnostic { place, problem });
        } else {
            self.errors.push(Diagnostic { place, problem });
        }
    }
}
