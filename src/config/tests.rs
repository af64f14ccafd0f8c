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
            ("ECR_BROKER_AWS_ECR_ENDPOINTS", r#"{ "us-east-1" = "http://e" }"#),
            ("ECR_BROKER_AWS_REGION", "eu-west-1"),
            ("ECR_BROKER_CACHE_CAPACITY", ""),
        ],
    );
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.server.listen.len(), 2);
    assert_eq!(config.aws.ecr_endpoints["us-east-1"], "http://e");
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
<<<<<<< HEAD
=======

#[test]
fn p13_open_tcp_listeners_are_refused() {
    for (text, fix) in [
        ("[server]\nlisten = [\"127.0.0.1:1\"]", "--allow-loopback"),
        ("[server]\nlisten = [\"[::1]:1\"]", "--allow-loopback"),
        ("[server]\nlisten = [\"0.0.0.0:1\"]\n[authentication]\nloopback = true", "use a Unix socket"),
        ("[server]\nlisten = [\"10.0.0.5:1\"]\n[authentication]\nloopback = true", "use a Unix socket"),
    ] {
        let problems = problems(text);
        assert!(problems.len() == 1 && problems[0].contains(fix), "{text}: {problems:?}");
    }
    assert!(load("[server]\nlisten = [\"127.0.0.1:1\"]\n[authentication]\nloopback = true").is_ok());
    assert!(load("[server]\nlisten = [\"unix:/a.sock\"]").is_ok());
}

#[test]
fn contradicting_settings_are_refused() {
    assert!(problems("[cache]\nsafety_margin = \"2h\"\nmax_min_validity = \"1h\"")[0].contains("max_min_validity"));
    assert!(problems("[aws]\nattempt_timeout = \"9s\"")[0].contains("operation_timeout"));
}

#[test]
fn access_keys_take_precedence_over_a_web_identity() {
    let file = file("[aws]\nsts_endpoint = \"http://sts\"");
    let role = [("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")];
    let with = Config::load(&sources(&file, &role)).unwrap();
    assert_eq!(with.aws.web_identity.unwrap().session_name, "ecr-broker");
    let keys = [role[0], role[1], ("AWS_ACCESS_KEY_ID", "AKIA")];
    assert!(Config::load(&sources(&file, &keys)).unwrap().aws.web_identity.is_none());
}

/// A folder of files, the first of which includes what it says.
fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Sources) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let main = Files::read(Some(&directory.path().join(files[0].0)));
    (directory, Sources { files: main, ..Sources::default() })
}

fn grant_of(id: &str, profile: &str) -> String {
    format!(
        "[[grants]]\nid = \"{id}\"\ncallers = [{{ uid = 1 }}]\nregistries = [{{ public = true }}]\nprofile = \"{profile}\"\n"
    )
}

fn ids(config: &Config) -> Vec<&str> {
    config.policy.grants().iter().map(|grant| grant.id.as_str()).collect()
}

#[test]
fn included_files_are_read_in_name_order_after_the_main_file() {
    let profile = "[[profiles]]\nname = \"a\"\nrole_chain = [\"arn:aws:iam::210987654321:role/a\"]\n";
    let main = format!("include = [\"grants.d/*.toml\", \"last.toml\", \"empty.d/*.toml\"]\n{}", grant_of("main", "a"));
    let (directory, sources) = folder(&[
        ("main.toml", &main),
        ("grants.d/b.toml", &grant_of("b", "a")),
        ("grants.d/a.toml", &(profile.to_owned() + &grant_of("a", "default"))),
        ("grants.d/.hidden.toml", "no TOML"),
        ("grants.d/README", "no TOML"),
        ("empty.d/README", "no TOML"),
        ("last.toml", &grant_of("last", "default")),
    ]);
    let config = Config::load(&sources).unwrap();
    assert_eq!(ids(&config), ["main", "a", "b", "last"]);
    assert_eq!(config.aws.profiles.len(), 1);
    let printed = effective(&sources);
    assert!(printed.contains("grants.d/a.toml\n") && printed.contains("id = \"b\""), "{printed}");

    assert_eq!(sources.files.read_again(), sources.files);
    std::fs::write(directory.path().join("grants.d/c.toml"), grant_of("c", "a")).unwrap();
    let files = sources.files.read_again();
    assert_ne!(files, sources.files);
    assert_eq!(ids(&Config::load(&Sources { files, ..sources }).unwrap()), ["main", "a", "b", "c", "last"]);
}

#[test]
fn problems_of_included_files_name_their_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let (directory, sources) = folder(&[
        (
            "main.toml",
            "include = [\"d/*.toml\", \"missing.toml\", 7, \"[\", \"open/*.toml\", \"gone.d/*.toml\"]\n[[grants]]\nid = \"x\"\ncallers = [{ uid = 1 }]\nregistries = [{ public = true }]",
        ),
        ("d/broken.toml", "= 1"),
        ("d/other.toml", "include = [\"more.toml\"]\n[server]\nlisten = []"),
        ("d/twice.toml", &grant_of("x", "default")),
        ("open/a.toml", &grant_of("y", "default")),
    ]);
    let open = directory.path().join("open");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let sources = Sources { files: sources.files.read_again(), ..sources };
    let diagnostics = Config::load(&sources).unwrap_err();
    for (place, problem) in [
        ("main.toml", "expected a string, got 7"),
        ("main.toml", "\"[\" is not a file pattern"),
        ("main.toml", "gone.d cannot be read: No such file"),
        ("missing.toml", "cannot be read"),
        ("d/broken.toml", "line 1"),
        ("d/other.toml", "include is not allowed in an included file"),
        ("d/other.toml", "server is not allowed in an included file"),
        ("d/twice.toml", "grant \"x\": duplicate id"),
        ("open/a.toml", "in a world-writable directory"),
    ] {
        let found = diagnostics.iter().any(|one| one.place.ends_with(place) && one.problem.contains(problem));
        assert!(found, "{place}: {problem}: {diagnostics:#?}");
    }
    assert_eq!(diagnostics.len(), 9, "{diagnostics:#?}");
    assert!(problems("include = \"a.toml\"")[0].contains("expected a list of files"));
}

#[test]
fn include_without_grants_is_refused() {
    let (directory, sources) = folder(&[("main.toml", "include = [\"grants.d/*.toml\"]"), ("grants.d/README", "")]);
    let diagnostics = Config::load(&sources).unwrap_err();
    assert!(diagnostics[0].problem.contains("every caller would have full access"), "{diagnostics:?}");
    // A name that is not UTF-8, and a pipe without a writer.
    let strange = std::ffi::OsStr::new("a");
    let name = [strange.as_encoded_bytes(), b"\xff.toml"].concat();
    let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(&name);
    std::fs::write(directory.path().join("grants.d").join(name), grant_of("strange", "default")).unwrap();
    let pipe = directory.path().join("grants.d/pipe.toml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let diagnostics = Config::load(&Sources { files: sources.files.read_again(), ..sources }).unwrap_err();
    assert!(diagnostics[0].problem.contains("is not a regular file"), "{diagnostics:?}");
}

#[test]
fn keep_warm_fits_the_cache_and_the_call_rate() {
    let hosts = |count: usize| {
        (0..count)
            .map(|number| format!("\"{number:012}.dkr.ecr.eu-west-1.amazonaws.com\""))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let with = |count, more: &str| load(&format!("[cache]\nkeep_warm = [{}]\n{more}", hosts(count)));
    assert_eq!(with(100, "").unwrap().keep_warm.len(), 100);
    for (count, more, problem) in [
        (11, "capacity = 10", "needs more credentials than cache.capacity"),
        (11, "refresh_after = \"1s\"", "would exceed 10 AWS calls per second"),
    ] {
        let diagnostics = with(count, more).unwrap_err();
        assert!(diagnostics.len() == 1 && diagnostics[0].problem.contains(problem), "{diagnostics:?}");
    }
    assert!(problems("[cache]\nkeep_warm = [\"docker.io\"]")[0].contains("keep_warm"));
}

#[test]
fn aws_api_needs_a_loopback_address_and_a_secret_file() {
    let server = |lines: &str| format!("[server]\n{lines}\n");
    let both =
        |listen: &str| server(&format!("aws_api_listen = \"{listen}\"\naws_api_secret_file = \"/no/such/file\""));
    for listen in ["127.0.0.1:9911", "[::1]:0", "localhost:1", "http://127.0.0.1:9911"] {
        let config = load(&both(listen)).unwrap();
        assert!(config.server.aws_api.unwrap().listen.ip().is_loopback(), "{listen}");
        assert!(load(&both(listen)).unwrap().accepted_identities().aws_api);
    }
    for (text, expected) in [
        (both("0.0.0.0:9911"), "reachable from other hosts"),
        (both("unix:/a.sock"), "expected IP:PORT"),
        (both("broker.example:1"), "expected IP:PORT"),
        (server("aws_api_listen = \"127.0.0.1:1\""), "set server.aws_api_secret_file"),
        (server("aws_api_secret_file = \"/a\""), "set server.aws_api_listen"),
        (server("aws_api_listen = \"127.0.0.1:1\"\naws_api_secret_file = \"a\""), "expected an absolute path"),
        (
            both("127.0.0.1:1") + "listen = [\"127.0.0.1:1\"]\n[authentication]\nloopback = true",
            "is also in server.listen",
        ),
    ] {
        let problems = problems(&text);
        assert!(problems.len() == 1 && problems[0].contains(expected), "{text}: {problems:?}");
    }
}

#[test]
fn activated_socket_of_the_aws_api_is_not_for_grpc() {
    let file = file("[server]\naws_api_listen = \"127.0.0.1:9911\"\naws_api_secret_file = \"/a\"");
    let activated = vec!["127.0.0.1:9911".parse().unwrap(), "unix:/b.sock".parse().unwrap()];
    let config = Config::load(&Sources { activated, ..sources(&file, &[]) }).unwrap();
    assert_eq!(config.server.listen, ["unix:/b.sock".parse().unwrap()]);
}
>>>>>>> fd0dd5a (tests: hold the language and the limits of texts)
