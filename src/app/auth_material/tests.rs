use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::clock::SystemClock;
use crate::config::{Files, Sources};

fn load(directory: &TempDir, text: &str) -> Result<AuthMaterial, Vec<Diagnostic>> {
    let file = directory.path().join("broker.toml");
    fs::write(&file, text).unwrap();
    let config = Config::load(&Sources { files: Files::read(Some(&file)), ..Sources::default() }).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    AuthMaterial::load(&config, &clock)
}

#[test]
fn missing_certificate_is_reported_with_its_path() {
    let text = "[server.tls]\ncertificate = \"/no/such.crt\"\nkey = \"/no/such.key\"";
    let diagnostics = load(&tempfile::tempdir().unwrap(), text).unwrap_err();
    assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
    assert!(diagnostics[0].problem.contains("/no/such.crt cannot be read"), "{diagnostics:?}");
}

#[test]
fn ecr_api_secret_is_checked_at_load_and_its_file_may_be_missing() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let loaded = |path: &Path| {
        load(&directory, &format!("[server]\naws_api_listen = \"127.0.0.1:1\"\naws_api_secret_file = {path:?}"))
    };
    let secret = write("secret", "0123456789abcdef0123456789abcdef");
    assert!(loaded(&secret).unwrap().ecr_api_secret.is_some());
    assert!(loaded("/no/such/file".as_ref()).unwrap().ecr_api_secret.is_none());
    let diagnostics = loaded(&write("short", "too-short")).unwrap_err();
    assert_eq!(diagnostics[0].place, "server.aws_api_secret_file");
    assert!(diagnostics.len() == 1 && diagnostics[0].problem.contains("holds no secret"), "{diagnostics:?}");
}
