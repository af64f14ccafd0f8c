use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::config::Config;
use crate::config::tests::{file, sources};

/// Returns the diagnostics of a start with these variables.
fn problems(variables: &[(&str, &Path)]) -> Vec<String> {
    let variables: Vec<_> = variables.iter().map(|(name, path)| (*name, path.to_str().unwrap())).collect();
    let diagnostics = Config::load(&sources(&file(""), &variables)).err().unwrap_or_default();
    diagnostics.iter().map(ToString::to_string).collect()
}

/// A certificate authority as PEM.
fn authority() -> String {
    rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap().cert.pem()
}

#[test]
fn variable_without_a_root_certificate_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir(path("none")).unwrap();
    fs::write(path("text"), "no certificate").unwrap();
    for (variable, name, reason) in [
        ("SSL_CERT_FILE", "missing", "No such file or directory"),
        ("SSL_CERT_FILE", "text", "it has none in PEM format"),
        ("SSL_CERT_DIR", "missing", "No such file or directory"),
        ("SSL_CERT_DIR", "none", "it has none in PEM format"),
    ] {
        let problems = problems(&[(variable, &path(name))]);
        let [problem] = &problems[..] else { panic!("{problems:?}") };
        let start = format!("{variable}: cannot read a root certificate: ");
        assert!(problem.starts_with(&start) && problem.contains(reason), "{problem}");
        assert!(problem.ends_with("; correct or unset the variable"), "{problem}");
    }
}

#[test]
fn root_certificate_in_one_of_the_places_suffices() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    fs::write(&ca, authority()).unwrap();
    let missing = Path::new("/no/such");
    assert!(problems(&[("SSL_CERT_FILE", &ca)]).is_empty());
    assert!(problems(&[("SSL_CERT_FILE", &ca), ("SSL_CERT_DIR", missing)]).is_empty());
    assert!(problems(&[("SSL_CERT_FILE", missing), ("SSL_CERT_DIR", directory.path())]).is_empty());
}

#[test]
fn place_that_any_user_can_change_and_a_device_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    fs::write(&ca, authority()).unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
    let replaceable = problems(&[("SSL_CERT_FILE", &ca)]);
    assert!(replaceable[0].contains("ca.pem is in the world-writable directory"), "{replaceable:?}");
    let open = problems(&[("SSL_CERT_DIR", directory.path())]);
    assert!(open[0].starts_with("SSL_CERT_DIR: ") && open[0].contains(" world-writable directory"), "{open:?}");
    let device = problems(&[("SSL_CERT_FILE", Path::new("/dev/zero"))]);
    assert!(device[0].starts_with("SSL_CERT_FILE: /dev/zero "), "{device:?}");
}
