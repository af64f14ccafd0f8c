//! The environment of the real programs: blank variables are unset, and settings that cannot be used are refused at the start.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod program;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use ecr_broker::config::{self, Sources};
use ecr_broker::environment;
use program::{PROGRAM, Server, at_once, program, run, simulated_broker};

const HELPER: &str = env!("CARGO_BIN_EXE_docker-credential-ecr-broker");
const PRIVATE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "example")];
const NO_IMDS: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");
const SERVE: [&str; 4] = ["serve", "--listen", "127.0.0.1:0", "--allow-loopback"];
const BLANK: [&str; 3] = ["", " ", "\n"];

/// Variables that only libraries read, and one that is not a setting.
const OF_LIBRARIES: [&str; 6] = [
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_MAX_ATTEMPTS",
    "HTTPS_PROXY",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "ECR_BROKER_NO_SUCH_SETTING",
];

/// Programs are found by it.
const KEPT: &str = "PATH";

/// Returns every variable that broker, client and their libraries read: the settings of both by their tables, and all that the source
/// names. A name that is not a variable does no harm here.
fn variables() -> BTreeSet<String> {
    let of_broker = config::effective_json(&Sources::default()).into_iter().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        Some(environment::PREFIX.to_owned() + &line["setting"].as_str()?.replace('.', "_").to_ascii_uppercase())
    });
    let of_client = environment::CLIENT_SETTINGS.map(environment::client_variable);
    let mut all: BTreeSet<_> = of_broker.chain(of_client).chain(OF_LIBRARIES.map(str::to_owned)).collect();
    add_named_in(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").as_path(), &mut all);
    all.remove(KEPT);
    all
}

/// Adds the texts of the source that may name a variable: in capitals, and of several words or where a variable is read.
fn add_named_in(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            add_named_in(&entry, names);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(entry).unwrap();
            let parts: Vec<_> = text.split('"').collect();
            let is_name = |pair: &&[&str]| {
                let is_read = ["variable(", "path("].iter().any(|read| pair[0].ends_with(read));
                let in_capitals = pair[1].chars().all(|char| char.is_ascii_uppercase() || "_0123456789".contains(char));
                in_capitals
                    && pair[1].starts_with(|first: char| first.is_ascii_uppercase())
                    && (is_read || pair[1].contains('_'))
            };
            names.extend(parts.windows(2).filter(is_name).map(|pair| pair[1].to_owned()));
        }
    }
}

/// Returns every variable, all blank.
fn all_blank<'a>(variables: &'a BTreeSet<String>, value: &'a str) -> Vec<(&'a str, &'a str)> {
    variables.iter().map(|variable| (variable.as_str(), value)).collect()
}

#[test]
fn every_variable_of_the_source_is_among_those_that_are_blank() {
    let variables = variables();
    for name in [
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "ACTIONS_ID_TOKEN_REQUEST_URL",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "BUILDKITE_AGENT_ACCESS_TOKEN",
        "DOCKER_CONFIG",
        "ECR_BROKER_AUDIENCE",
        "ECR_BROKER_AWS_REGION",
        "ECR_BROKER_CONFIG",
        "ECR_BROKER_HELPER",
        "ECR_BROKER_ID_TOKEN",
        "ECR_BROKER_NEXT",
        "ECR_BROKER_OBSERVATION",
        "ECR_BROKER_SERVER_TLS_KEY",
        "ECR_BROKER_TLS_SOURCE",
        "ECR_BROKER_TOKEN_EXEC",
        "ECR_BROKER_TOKEN_SOURCE",
        "ECR_BROKER_TOKEN_VARIABLE",
        "HOME",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_TRACES_SAMPLER",
        "REGISTRY_AUTH_FILE",
        "RUST_LOG",
        "SPIFFE_ENDPOINT_SOCKET",
        "TERM",
        "TOKIO_WORKER_THREADS",
        "XDG_CONFIG_HOME",
        "XDG_STATE_HOME",
    ] {
        assert!(variables.contains(name), "{name}");
    }
}

fn with_input(mut command: Command, input: &str) -> (bool, String) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// Returns a program as a helper of docker.
fn helper(path: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(path);
    command.args(arguments).envs(environment.iter().copied());
    command
}

#[test]
fn blank_variable_is_unset_for_every_client() {
    let broker = simulated_broker(&[], &[]);
    let address = ("ECR_BROKER_ADDRESS", broker.address.as_str());
    let check = |blank: &[(&str, &str)]| {
        let environment = [blank, &[address]].concat();
        for (path, arguments) in [(PROGRAM, &["helper", "docker", "get"][..]), (HELPER, &["get"])] {
            let (success, output) = with_input(helper(path, arguments, &environment), PRIVATE);
            assert!(success && output.contains("\"Secret\""), "{blank:?} {path}: {output}");
        }
        run(&["get", PRIVATE, "-o", "password"], &environment).out();
    };
    let variables = variables();
    for value in BLANK {
        check(&all_blank(&variables, value));
    }
    for variable in &variables {
        check(&[(variable, "")]);
    }
}

#[test]
fn all_variables_may_be_blank_at_once() {
    let broker = simulated_broker(&[], &[]);
    let variables = variables();
    let environment = [&all_blank(&variables, "")[..], &[("ECR_BROKER_ADDRESS", broker.address.as_str())]].concat();
    let directory = tempfile::tempdir().unwrap();
    let auth = directory.path().join("auth.json");
    let sync = ["sync", "--once", "--authfile", auth.to_str().unwrap(), PRIVATE];
    for command in [&["whoami"][..], &["probe"], &["get", PRIVATE], &["doctor"], &sync] {
        assert_eq!(run(command, &environment).code, 0, "{command:?}");
    }
    assert!(fs::read_to_string(auth).unwrap().contains(PRIVATE));
    let mut watch = program(&environment);
    let mut watch = watch.args(["watch", PRIVATE]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(watch.stdout.take().unwrap()).read_line(&mut line).unwrap();
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert!(line.contains("CREDENTIALS"), "{line}");
    let file = directory.path().join("config.json");
    let configure = ["configure", "docker", "--file", file.to_str().unwrap(), PRIVATE];
    let configured = run(&configure, &environment);
    // It may warn that the helper is not in the PATH.
    assert!(configured.code == 0 && configured.stdout.contains("credHelpers"), "{configured:?}");
}

#[test]
fn kubelet_and_bazel_helpers_work_with_blank_variables() {
    let broker = simulated_broker(&[], &[]);
    let variables = variables();
    let environment = [&all_blank(&variables, " ")[..], &[("ECR_BROKER_ADDRESS", broker.address.as_str())]].concat();
    let image = format!(
        r#"{{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderRequest","image":"{PRIVATE}/a"}}"#
    );
    let uri = format!(r#"{{"uri":"https://{PRIVATE}/v2/a/blobs/b"}}"#);
    for (arguments, request, answer) in
        [(&["helper", "kubelet"][..], image, "\"password\""), (&["helper", "bazel", "get"], uri, "\"Authorization\"")]
    {
        let (success, output) = with_input(helper(PROGRAM, arguments, &environment), &request);
        assert!(success && output.contains(answer), "{arguments:?}: {output}");
    }
}

#[test]
fn unusable_worker_threads_are_refused_without_a_panic() {
    for value in ["abc", "0"] {
        for command in [&SERVE[..], &["config", "check"], &["simulate-aws", "--listen", "127.0.0.1:0"]] {
            let ended = run(command, &[NO_IMDS, ("TOKIO_WORKER_THREADS", value)]);
            assert_eq!(ended.code, 1, "{command:?}: {}", ended.stderr);
            assert!(ended.error().contains("TOKIO_WORKER_THREADS: expected a whole number"), "{}", ended.stderr);
        }
    }
    for value in BLANK {
        drop(Server::start(&["simulate-aws", "--listen", "127.0.0.1:0"], &[("TOKIO_WORKER_THREADS", value)]));
    }
}

#[test]
fn variable_that_is_not_utf8_stops_check_and_start_by_its_name() {
    for variable in ["HTTPS_PROXY", "AWS_REGION", "ECR_BROKER_AWS_REGION"] {
        for arguments in [&["config", "check"][..], &SERVE] {
            let mut command = program(&[NO_IMDS]);
            command.args(arguments).env(variable, OsStr::from_bytes(b"http://a\xff"));
            let output = command.output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{variable} {arguments:?}: {stderr}");
            assert!(stderr.contains(&format!("{variable}: is not valid UTF-8")), "{stderr}");
        }
    }
}

#[test]
fn refused_collector_is_named_and_its_url_is_not_shown() {
    for value in ["http://u:SECRET@h:1 /", "http://u:SECRET@h<:1"] {
        for protocol in ["grpc", "http/protobuf"] {
            let otlp = [("OTEL_EXPORTER_OTLP_ENDPOINT", value), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
            let ended = run(&SERVE, &[&KEYS[..], &[NO_IMDS], &otlp].concat());
            assert_eq!(ended.code, 1, "{}", ended.stderr);
            assert!(ended.stderr.contains("OTEL_EXPORTER_OTLP_ENDPOINT: "), "{}", ended.stderr);
            assert!(!ended.stderr.contains("SECRET"), "{}", ended.stderr);
        }
    }
}

#[test]
fn docker_configuration_is_in_home_when_its_variable_is_blank() {
    let home = tempfile::tempdir().unwrap();
    let environment = [("DOCKER_CONFIG", ""), ("REGISTRY_AUTH_FILE", " "), ("XDG_CONFIG_HOME", "")];
    let environment = [&environment[..], &[("HOME", home.path().to_str().unwrap())]].concat();
    for (tool, file) in [("docker", ".docker/config.json"), ("podman", ".config/containers/auth.json")] {
        let out = run(&["configure", tool, "--dry-run", PRIVATE], &environment).out();
        let path = home.path().join(file);
        assert!(out.starts_with(path.to_str().unwrap()), "{out}");
    }
}

/// A nested helper is refused. A blank variable must not look like one.
#[test]
fn blank_helper_variable_does_not_stop_the_next_helper() {
    let directory = tempfile::tempdir().unwrap();
    let next = directory.path().join("next.json");
    fs::write(&next, r#"{"auths":{"other.example":{"auth":"dTpw"}}}"#).unwrap();
    fs::create_dir(directory.path().join("ecr-broker")).unwrap();
    fs::write(directory.path().join("ecr-broker/client.toml"), format!("next = {next:?}\n")).unwrap();
    let environment = [("XDG_CONFIG_HOME", directory.path().to_str().unwrap()), ("ECR_BROKER_HELPER", "")];
    let (success, output) = with_input(helper(HELPER, &["get"], &environment), "other.example");
    assert!(success && output.contains("\"Username\":\"u\""), "{output}");
}

#[test]
fn broker_serves_with_every_blank_variable() {
    let aws = Server::start(&["simulate-aws", "--listen", "127.0.0.1:0"], &[]);
    let needed = [("AWS_ENDPOINT_URL", aws.address.as_str()), ("AWS_DEFAULT_REGION", "eu-west-1"), NO_IMDS];
    let variables = variables();
    for value in BLANK {
        let environment = [&all_blank(&variables, value)[..], &KEYS, &needed].concat();
        assert!(run(&["config", "check"], &environment).out().starts_with("the configuration is valid ("));
        let broker = Server::start(&SERVE, &environment);
        run(&["get", PRIVATE, "--address", &broker.address], &[]).out();
    }
}

/// Programs that the broker or a client runs inherit the environment, except blank variables of libraries.
#[test]
fn blank_variables_of_others_are_passed_on() {
    let broker = simulated_broker(&[], &[]);
    let directory = tempfile::tempdir().unwrap();
    let (file, seen) = (directory.path().join("auth.json"), directory.path().join("seen"));
    let hook = format!("echo \"${{MINE-unset}}\" > {}", seen.display());
    let sync = ["sync", "--once", "--authfile", file.to_str().unwrap(), "--on-change", &hook, PRIVATE];
    run(&[&sync[..], &["--address", &broker.address]].concat(), &[("MINE", ""), ("HTTPS_PROXY", "")]).out_anyway();
    assert_eq!(fs::read_to_string(seen).unwrap(), "\n");
}

#[test]
fn client_variables_do_not_stop_the_broker() {
    let variables = [
        ("ECR_BROKER_ADDRESS", "unix:/x"),
        ("ECR_BROKER_TOKEN_FILE", "/x"),
        ("ECR_BROKER_PROFILE", "x"),
        ("ECR_BROKER_TLS_CA", "/x"),
        ("ECR_BROKER_TLS_CERT", "/x"),
        ("ECR_BROKER_TLS_KEY", "/x"),
        ("ECR_BROKER_TIMEOUT", "10s"),
        ("ECR_BROKER_HELPER", "1"),
    ];
    assert_eq!(run(&["config", "check"], &variables).code, 0);
    let broker = simulated_broker(&[], &variables);
    run(&["get", PRIVATE, "--address", &broker.address], &[]).out();
}

#[test]
fn unusable_variable_stops_check_and_start_by_its_name() {
    for (variable, value) in [
        ("AWS_REGION", "eu-west-1\n"),
        ("AWS_ENDPOINT_URL_ECR", "localhost:4566"),
        ("AWS_ENDPOINT_URL_STS", "\"http://localhost:4566\""),
        ("AWS_ENDPOINT_URL_ECR_PUBLIC", "http://localhost:4566 "),
        ("AWS_ENDPOINT_URL", "http://10.0.0.5"),
        ("ECR_BROKER_AWS_ECR_ENDPOINT", "http://10.0.0.5"),
        ("ECR_BROKER_AWS_ECR_ENDPOINT", "https://{region}"),
        ("ECR_BROKER_AWS_STS_ENDPOINT", "http://sts.example"),
        ("AWS_USE_FIPS_ENDPOINT", "yes"),
        ("HTTPS_PROXY", "\"http://proxy:3128\""),
        ("https_proxy", "http://proxy:3128 "),
        ("ALL_PROXY", "socks5://proxy:1080"),
    ] {
        let environment = [&KEYS[..], &[NO_IMDS, (variable, value)]].concat();
        for command in [&["config", "check"][..], &SERVE] {
            let ended = run(command, &environment);
            assert_eq!(ended.code, 1, "{variable}={value:?} {command:?}");
            assert!(ended.error().contains(&format!("ecr-broker: {variable}: ")), "{}", ended.stderr);
        }
    }
}

#[test]
fn unusable_endpoint_in_a_file_stops_check_and_start_by_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let aws = directory.path().join("aws");
    fs::write(&aws, "[profile ci]\nservices = local\n[services local]\necr =\n  endpoint_url = localhost:4566\n")
        .unwrap();
    let aws = aws.to_str().unwrap();
    let environment = [&KEYS[..], &[NO_IMDS, ("AWS_CONFIG_FILE", aws), ("AWS_PROFILE", "ci")]].concat();
    for command in [&["config", "check"][..], &SERVE] {
        let ended = run(command, &environment);
        assert_eq!(ended.code, 1, "{command:?}");
        assert!(ended.error().contains(&format!("{aws}, profile ci: ecr.endpoint_url: ")), "{}", ended.stderr);
    }
}

#[test]
fn configured_endpoints_are_ignored_if_the_environment_says_so() {
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy_url = format!("http://{}", proxy.local_addr().unwrap());
    let ignored = ("AWS_ENDPOINT_URL_ECR", "not a URL");
    let environment = [ignored, ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"), ("HTTPS_PROXY", &proxy_url), NO_IMDS];
    let broker = Server::start(&SERVE, &[&KEYS[..], &environment].concat());
    let address = broker.address.clone();
    let get = std::thread::spawn(move || run(&["get", PRIVATE, "--address", &address], &[]));
    let mut request = [0; 52];
    std::io::Read::read_exact(&mut proxy.accept().unwrap().0, &mut request).unwrap();
    assert_eq!(String::from_utf8_lossy(&request), "CONNECT api.ecr.eu-central-1.amazonaws.com:443 HTTP/");
    drop(proxy);
    assert_eq!(get.join().unwrap().code, 5);
}

/// The names do not exist, so only the proxy is ever connected to.
#[test]
fn host_in_no_proxy_is_not_sent_to_the_proxy() {
    let cases = [
        ("http://ecr.aws.invalid", "*.aws.invalid", false),
        ("http://ecr.aws.invalid:8080", "ecr.aws.invalid:8080", false),
        ("http://ecr.aws.invalid", "ecr.aws.invalid:8080", true),
        ("http://aws.invalid", ".aws.invalid", true),
    ];
    at_once(cases, |(endpoint, no_proxy, proxied)| {
        let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy_url = format!("http://{}", proxy.local_addr().unwrap());
        let variables = [
            ("HTTP_PROXY", proxy_url.as_str()),
            ("no_proxy", no_proxy),
            ("AWS_ENDPOINT_URL_ECR", endpoint),
            ("ECR_BROKER_AWS_ALLOW_PLAINTEXT_ENDPOINTS", "true"),
        ];
        let broker = Server::start(&SERVE, &[&KEYS[..], &variables, &[NO_IMDS]].concat());
        let address = broker.address.clone();
        let get = std::thread::spawn(move || run(&["get", PRIVATE, "--address", &address], &[]));
        proxy.set_nonblocking(!proxied).unwrap();
        if proxied {
            drop(proxy.accept().unwrap());
        }
        assert_eq!(get.join().unwrap().code, 5, "{no_proxy}");
        drop(broker);
        proxy.set_nonblocking(true).unwrap();
        let connections = std::iter::from_fn(|| proxy.accept().ok()).count();
        assert!(proxied || connections == 0, "{endpoint} NO_PROXY={no_proxy}: {connections} connections");
    });
}

const PROFILE: &str = r#"
[[profiles]]
name = "p"
role_chain = ["arn:aws:iam::{account}:role/pull"]
[[grants]]
id = "a"
callers = [{ loopback = true }]
registries = [{ accounts = ["*"], regions = ["*"] }]
profile = "p"
"#;

#[test]
fn missing_region_for_sts_stops_check_and_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), PROFILE).unwrap();
    let path = file.path().to_str().unwrap();
    let environment = [&KEYS[..], &[NO_IMDS, ("HOME", "/no/such")]].concat();
    for command in [&["config", "check"][..], &SERVE] {
        let ended = run(&[command, &["--config", path]].concat(), &environment);
        assert_eq!(ended.code, 1, "{command:?}");
        assert!(ended.error().contains("aws.region: not set, and STS needs it"), "{}", ended.stderr);
    }
}

/// The SDK finds out only when it assumes the role of a profile in its files, here one that appears after the start.
#[test]
fn missing_region_that_appears_later_is_a_misconfiguration() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    let aws = ("AWS_CONFIG_FILE", file.to_str().unwrap());
    let environment = [NO_IMDS, aws, ("AWS_SHARED_CREDENTIALS_FILE", "/no/such"), ("HOME", "/no/such")];
    let broker = Server::start(&SERVE, &environment);
    fs::write(
        &file,
        "[default]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = keys\n\
         [profile keys]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = example\n",
    )
    .unwrap();
    let ended = run(&["get", PRIVATE, "--address", &broker.address, "--timeout", "20s"], &[]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.error().contains("BROKER_MISCONFIGURED: AWS was not called"), "{}", ended.stderr);
    assert!(!ended.error().contains("retry in"), "{}", ended.stderr);
    assert!(broker.stop().contains("Missing Region"));
}

#[test]
fn restart_keeps_process_id_arguments_and_standard_streams() {
    let mut command = program(&[("AWS_PROFILE", ""), ("OTEL_SERVICE_NAME", " ")]);
    command.args(["serve", "--simulate", "--listen", "127.0.0.1:0"]);
    let broker = Server::spawn_logging(command);
    let pid = broker.pid();
    let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(arguments.ends_with(&["serve", "--simulate", "--listen", "127.0.0.1:0", ""].join("\0")), "{arguments:?}");
    let environment = fs::read_to_string(format!("/proc/{pid}/environ"));
    // The memory of a broker is protected, so only root can read its environment.
    assert!(environment.is_err() || !environment.unwrap().contains("AWS_PROFILE"));
    assert!(broker.stop().contains("AWS is simulated"));
}
