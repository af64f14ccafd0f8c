//! A configuration file with grants and profiles.
#![no_main]

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::LazyLock;

use ecr_broker::config::{Config, Files, Sources, effective};
use ecr_broker::policy::grants_as_toml;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir_in("/dev/shm").unwrap());

fn load(name: &str, text: &str) -> (Result<Config, Vec<ecr_broker::config::Diagnostic>>, Sources) {
    let path: PathBuf = FOLDER.path().join(name);
    File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    let sources = Sources { files: Files::read(Some(&path)), ..Sources::default() };
    (Config::load(&sources), sources)
}

fuzz_target!(|text: &str| {
    // Included files would be this machine's.
    if text.contains("include") {
        return;
    }
    let (config, sources) = load("fuzzed.toml", text);
    _ = effective(&sources);
    let Ok(config) = config else { return };
    // Grants survive being written and read again. Their profiles do not: those stay in the file.
    let plain =
        config.policy.grants().iter().all(|grant| grant.profile.as_ref().is_none_or(|name| name.as_str() == "default"));
    if plain && !config.policy.grants().is_empty() {
        let (again, _) = load("written.toml", &grants_as_toml(config.policy.grants()));
        assert_eq!(again.expect("written grants are valid").policy.grants(), config.policy.grants());
    }
});
