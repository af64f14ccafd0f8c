use std::io::Write as _;
use std::time::Duration;

use tempfile::NamedTempFile;

use super::*;

pub(super) fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

pub(super) fn sources(file: &NamedTempFile, environment: &[(&str, &str)]) -> Sources {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sources { files: Files::read(Some(file.path())), environment, ..Sources::default() }
}

pub(super) fn load(text: &str) -> Result<Config, Vec<Diagnostic>> {
    let file = file(text);
    Config::load(&sources(&file, &[]))
}

pub(super) fn problems(text: &str) -> Vec<String> {
    load(text).unwrap_err().into_iter().map(|diagnostic| diagnostic.problem).collect()
}

#[test]
fn empty_configuration_is_valid() {
    let config = Config::load(&Sources::default()).unwrap();
    assert!(config.server.listen.is_empty() && !config.server.loopback);
    assert_eq!(config.cache.safety_margin, Duration::from_mins(5));
    assert_eq!(config.aws.ecr_public_region, "us-east-1");
}

#[test]
fn values_come_from_flag_then_environment_then_file() {
    let file = file("[cache]\ncapacity = 1\nsafety_margin = \"1m\"\nrefresh_after = \"2h\"");
    let environment = [("ECR_BROKER_CACHE_CAPACITY", "2"), ("ECR_BROKER_CACHE_SAFETY_MARGIN", "2m")];
    let mut sources = sources(&file, &environment);
    sources.flags.push(("cache.capacity", "--capacity", 3.into()));
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.cache.capacity, 3);
    assert_eq!(config.cache.safety_margin, Duration::from_mins(2));
    assert_eq!(config.cache.refresh_after, Duration::from_hours(2));
    let printed = effective(&sources);
    assert!(printed.contains("capacity = 3 # --capacity"), "{printed}");
    assert!(printed.contains("safety_margin = \"2m\" # ECR_BROKER_CACHE_SAFETY_MARGIN"), "{printed}");
    assert!(printed.contains(&format!("refresh_after = \"2h\" # {}", file.path().display())), "{printed}");
    assert!(printed.contains("max_min_validity = \"10h\" # default"), "{printed}");
}

#[test]
fn environment_accepts_every_value_type() {
    let file = file("");
    let sources = sources(
        &file,
        &[
            ("ECR_BROKER_SERVER_LISTEN", "unix:/a.sock, 127.0.0.1:1"),
            ("ECR_BROKER_AUTHENTICATION_LOOPBACK", "true"),
            ("ECR_BROKER_AWS_ECR_ENDPOINTS", r#"{ "us-east-1" = "https://e" }"#),
            ("ECR_BROKER_AWS_REGION", "eu-west-1"),
            ("ECR_BROKER_CACHE_CAPACITY", ""),
        ],
    );
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.server.listen.len(), 2);
    assert_eq!(config.aws.ecr_endpoints["us-east-1"], "https://e");
    assert_eq!(config.aws.region.as_deref(), Some("eu-west-1"));
    assert_eq!(config.cache.capacity, 10_000, "an empty variable is not set");
}

#[test]
fn one_run_reports_every_problem_with_key_and_accepted_values() {
    let text = r#"
        [server]
        listen = ["nowhere", "127.0.0.1:1"]
        max_connections = 0
        colour = "red"
        [cache]
        refresh_after = "soon"
        safety_margin = 5
        [aws]
        region = "Frankfurt"
        ecr_endpoint = "vpce.example"
        ecr_endpoints = { "us-east-1" = 5 }
        ca_bundle = "/no/such/file"
        [log]
        format = "xml"
        filter = "info,=="
        [grants]
        [profiles]
    "#;
    let problems = problems(text);
    for (key, hint) in [
        ("server.listen", "IP:PORT"),
        ("server.max_connections", "from 1 to"),
        ("server.colour", "the keys of [server] are listen"),
        ("cache.refresh_after", "1h30m"),
        ("cache.safety_margin", "expected a duration from 0s to 6h, got 5"),
        ("aws.region", "eu-central-1"),
        ("aws.ecr_endpoint:", "https://"),
        ("aws.ecr_endpoints", "expected a string, got 5"),
        ("aws.ca_bundle", "cannot be read"),
        ("log.format", "\"json\""),
        ("log.filter", "expected a log filter"),
        ("grants", "write [[grants]]"),
        ("profiles", "write [[profiles]]"),
    ] {
        let found = problems.iter().any(|problem| problem.contains(key) && problem.contains(hint));
        assert!(found, "{key} {hint}: {problems:#?}");
    }
    assert_eq!(problems.len(), 13, "{problems:#?}");
}

#[test]
fn invalid_toml_is_reported_with_its_line() {
    let diagnostics = load("[cache]\ncapacity = = 1").unwrap_err();
    assert!(diagnostics[0].problem.starts_with("line 2: "), "{diagnostics:?}");
    let missing = Sources { files: Files::read(Some("/no/such.toml".as_ref())), ..Sources::default() };
    let diagnostics = Config::load(&missing).unwrap_err();
    assert!(diagnostics[0].to_string().starts_with("/no/such.toml: cannot be read"), "{diagnostics:?}");
}

#[test]
fn misspelt_variables_are_reported_and_foreign_ones_ignored() {
    let file = file("");
    let sources = sources(
        &file,
        &[("ECR_BROKER_CACHE_CAPACTIY", "1"), ("ECR_BROKER_ADDRESS", "x"), ("ECR_BROKER_PROFILE", "x"), ("HOME", "/")],
    );
    let diagnostics = Config::load(&sources).unwrap_err();
    assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
    assert!(
        diagnostics[0].to_string().starts_with("ECR_BROKER_CACHE_CAPACTIY: unknown variable; the keys of [cache] are")
    );
}

#[test]
fn unknown_variables_and_writable_files_are_refused() {
    let file = file("");
    for name in ["ECR_BROKER_CONFG", "ECR_BROKER_CONFIG_FILE", "ECR_BROKER_GRANTS"] {
        let diagnostics = Config::load(&sources(&file, &[(name, "x")])).unwrap_err();
        assert!(
            diagnostics[0].to_string().starts_with(&format!("{name}: unknown variable; the sections are")),
            "{diagnostics:?}"
        );
    }
    // `cargo run` and `cargo test` pass on the variables of the build.
    let of_the_build = [("ECR_BROKER_COMMIT", "x"), ("ECR_BROKER_FEATURES", "x"), ("ECR_BROKER_CONFIG", "x")];
    Config::load(&sources(&file, &of_the_build)).unwrap();
    std::fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let diagnostics = Config::load(&sources(&file, &[])).unwrap_err();
    assert!(diagnostics[0].problem.contains("chmod o-w"), "{diagnostics:?}");
}

#[test]
fn printed_configuration_has_the_grants_or_says_there_are_none() {
    let open = file("");
    assert!(effective(&sources(&open, &[])).contains("# No grants"));
    let text = "[[grants]]\nid = \"farm\"\ncallers = [{ uid = 1 }]\nregistries = [{ public = true }]\n";
    let granted = file(text);
    let printed = effective(&sources(&granted, &[]));
    assert!(printed.contains("[[grants]]") && printed.contains("id = \"farm\""), "{printed}");
    assert!(load(&printed).is_ok(), "{printed}");
}

#[test]
fn kubernetes_service_variables_are_ignored() {
    let file = file("");
    let names = ["PORT", "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_GRPC", "PORT_50051_TCP", "PORT_50051_TCP_ADDR"];
    let names = names.map(|name| format!("ECR_BROKER_SERVER_{name}"));
    let environment: Vec<_> = names.iter().map(|name| (name.as_str(), "tcp://10.0.0.1:50051")).collect();
    Config::load(&sources(&file, &environment)).unwrap();
}
