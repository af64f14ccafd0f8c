//! The command line as scripts use it: stdout, stderr and exit codes.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod program;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use data_encoding::BASE64;
use program::{Ended, Server, activated, at_once, in_shell, program, run, signal, simulated_broker};
use serde_json::Value;

const PRIVATE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const PUBLIC: &str = "public.ecr.aws";
/// Access keys for brokers in front of a simulated AWS.
const KEYS: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "example"), ("AWS_REGION", "eu-central-1")];

fn get(broker: &str, arguments: &[&str]) -> Ended {
    run(&[&["get"], arguments].concat(), &[("ECR_BROKER_ADDRESS", broker)])
}

#[test]
fn get_formats_agree_on_the_password_and_text_has_none() {
    let broker = simulated_broker(&[], &[]);
    let password = get(&broker.address, &[PRIVATE, "-o", "password"]).out();
    let password = password.trim_end();
    assert!(password.len() > 1500 && !password.contains('\n'));

    let text = get(&broker.address, &[&format!("https://{PRIVATE}/team/app:1")]).out();
    assert!(text.contains(PRIVATE) && text.contains("HIT") && !text.contains(&password[..20]), "{text}");
    assert!(text.contains("\nsimulated      yes: no real registry accepts the password"), "{text}");
    assert_eq!(get(&broker.address, &[PRIVATE, "-o", "userpass"]).out(), format!("AWS:{password}\n"));

    let line = get(&broker.address, &[PRIVATE, "-o", "json"]).out();
    assert_eq!(line.lines().count(), 1);
    let json: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(json["password"], password);
    for (field, value) in [
        ("registry", PRIVATE),
        ("endpoint", &format!("https://{PRIVATE}")),
        ("username", "AWS"),
        ("registry_type", "PRIVATE"),
        ("auth_scheme", "BASIC"),
        ("cache_status", "HIT"),
        ("account_id", "123456789012"),
        ("region", "eu-central-1"),
        ("profile", "default"),
    ] {
        assert_eq!(json[field], value, "{field}");
    }
    for time in ["issue_time", "expire_time"] {
        humantime::parse_rfc3339(json[time].as_str().unwrap()).expect(time);
    }

    let header = get(&broker.address, &[PRIVATE, PUBLIC, "-o", "header"]).out();
    let basic = data_encoding::BASE64.encode(format!("AWS:{password}").as_bytes());
    let [private, public]: [&str; 2] = header.lines().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(private, format!("Authorization: Basic {basic}"));
    assert!(public.starts_with("Authorization: Bearer "));

    // In a shell.
    let lines = get(&broker.address, &[PRIVATE, "-o", "env"]).out();
    let script = format!(
        "{lines}\nprintf '%s %s %s %s' \"$ECR_REGISTRY\" \"$ECR_USERNAME\" \"$ECR_PASSWORD\" \"$ECR_EXPIRES_AT\""
    );
    let shell = std::process::Command::new("sh").args(["-ec", &script]).output().unwrap();
    let expires = json["expire_time"].as_str().unwrap();
    assert_eq!(String::from_utf8(shell.stdout).unwrap(), format!("{PRIVATE} AWS {password} {expires}"));
    assert_eq!(get(&broker.address, &[PRIVATE, PUBLIC, "-o", "env"]).code, 2);

    let named = ["-o", "k8s-secret", "--name", "ecr", "--namespace", "ci"];
    let yaml = get(&broker.address, &[&[PRIVATE], &named[..]].concat()).out();
    let (head, data) = yaml.trim_end().split_once("  .dockerconfigjson: ").unwrap();
    assert_eq!(
        head,
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: \"ecr\"\n  namespace: \"ci\"\ntype: kubernetes.io/dockerconfigjson\ndata:\n"
    );
    let config: Value = serde_json::from_slice(&data_encoding::BASE64.decode(data.as_bytes()).unwrap()).unwrap();
    assert_eq!(config["auths"][PRIVATE]["auth"], basic);
    for wrong in [&["-o", "k8s-secret"][..], &["-o", "k8s-secret", "--name", "a: b"]] {
        assert_eq!(get(&broker.address, &[&[PRIVATE], wrong].concat()).code, 2, "{wrong:?}");
    }

    let config: Value = serde_json::from_str(&get(&broker.address, &[PRIVATE, "-o", "docker-config"]).out()).unwrap();
    let auth = BASE64.decode(config["auths"][PRIVATE]["auth"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(String::from_utf8(auth).unwrap(), format!("AWS:{password}"));
}

#[test]
fn get_of_several_registries_exits_with_the_first_failure() {
    let broker = simulated_broker(&[], &[]);
    let ended = get(&broker.address, &[PRIVATE, "ghcr.io", PUBLIC, "-o", "json"]);
    assert_eq!(ended.code, 3);
    let registries: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&registries[0]["registry"], &registries[1]["registry"]), (&PRIVATE.into(), &PUBLIC.into()));
    assert!(ended.error().contains("ghcr.io: REGISTRY_NOT_ECR"), "{}", ended.stderr);
    let config = get(&broker.address, &[PRIVATE, PUBLIC, "-o", "docker-config"]).out();
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["auths"].as_object().unwrap().len(), 2);
}

#[test]
fn failure_has_an_exit_code_and_one_error_line() {
    let good = simulated_broker(&[], &[]);
    let denied = simulated_broker(&["--simulate-fault", "denied=1"], &[]);
    let throttled = simulated_broker(&["--simulate-fault", "throttle-exception=1"], &[]);
    let garbage = simulated_broker(&["--simulate-fault", "garbage=1"], &[]);
    let hanging = simulated_broker(&["--simulate-fault", "hang=1"], &[]);
    let nowhere = "unix:/no/such.sock,http://127.0.0.1:1";
    let cases = [
        (good.address.as_str(), &["ghcr.io"][..], 3, "REGISTRY_NOT_ECR"),
        (&good.address, &["1.dkr.ecr.eu-central-1.amazonaws.com"], 3, "REGISTRY_INVALID"),
        (&good.address, &[PRIVATE, "--profile", "ci"], 1, "PROFILE_UNKNOWN"),
        (&good.address, &[PRIVATE, "--min-validity", "11h"], 1, "VALIDITY_UNSATISFIABLE"),
        (&denied.address, &[PRIVATE], 4, "AWS_ACCESS_DENIED"),
        (&throttled.address, &[PRIVATE], 5, "AWS_THROTTLED"),
        (&garbage.address, &[PRIVATE], 5, "AWS_RESPONSE_INVALID"),
        (&hanging.address, &[PRIVATE, "--timeout", "200ms"], 5, "--timeout"),
        (nowhere, &[PRIVATE, "--timeout", "200ms"], 5, "ecr-broker serve"),
    ];
    at_once(cases, |(broker, arguments, code, expected)| {
        let ended = get(broker, arguments);
        assert_eq!(ended.code, code, "{arguments:?}: {}", ended.stderr);
        assert!(ended.error().contains(expected), "{arguments:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{arguments:?}");
    });
    for arguments in
        [&["get"][..], &["get", PRIVATE, "-o", "xml"], &["get", PRIVATE, "--address", "ftp://host"], &["fly"]]
    {
        assert_eq!(run(arguments, &[]).code, 2, "{arguments:?}");
    }
}

#[test]
fn probe_exit_code_tells_whether_the_broker_is_serving() {
    let broker = simulated_broker(&[], &[]);
    let probe = |address: &str, timeout| run(&["probe", "--address", address, "--timeout", timeout], &[]).code;
    assert_eq!(probe(&broker.address, "60s"), 0);
    let address = broker.address.clone();
    broker.stop();
    assert_eq!(probe(&address, "200ms"), 5);
}

#[test]
fn get_without_address_finds_the_socket_of_the_user() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("ecr-broker/broker.sock");
    let listen = format!("unix:{}", socket.display());
    let _broker = Server::start(&["serve", "--simulate", "--listen", &listen], &[]);
    let runtime_dir = directory.path().to_str().unwrap();
    run(&["get", PRIVATE], &[("XDG_RUNTIME_DIR", runtime_dir)]).out();
}

#[test]
fn config_check_accepts_the_example_and_lists_every_mistake() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("broker.toml");
    let path = file.to_str().unwrap();
    fs::write(&file, run(&["config", "example"], &[]).out()).unwrap();
    run(&["config", "check", "--config", path], &[]).out();
    let printed = run(&["config", "print", "--config", path], &[("ECR_BROKER_CACHE_CAPACITY", "7")]).out();
    assert!(printed.contains("capacity = 7 # ECR_BROKER_CACHE_CAPACITY"), "{printed}");
    assert!(printed.contains(&format!("# {path}")), "{printed}");

    fs::write(&file, "[server]\nlisten = [\"0.0.0.0:1\"]\ncolour = 1\n[cache]\ncapacity = \"many\"\n").unwrap();
    for command in [&["config", "check"][..], &["serve"]] {
        let ended = run(&[command, &["--config", path]].concat(), &[]);
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
        let lines: Vec<_> = ended.stderr.lines().collect();
        assert_eq!(lines.len(), 3, "a line per mistake: {lines:?}");
        for (key, allowed) in
            [("server.listen", "Unix socket"), ("server.colour", "drain_timeout"), ("capacity", "1 to")]
        {
            let line = lines.iter().find(|line| line.contains(key)).expect(key);
            assert!(line.contains(path) && line.contains(allowed), "{line}");
        }
    }
}

#[test]
fn serve_that_cannot_start_prints_why_and_a_fix() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().to_string();
    let plain_file = directory.path().join("file");
    fs::write(&plain_file, "keep me").unwrap();
    let empty = directory.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    let damaged = directory.path().join("damaged.pem");
    fs::write(&damaged, "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n").unwrap();
    let (socket, bundle) = (format!("unix:{}", plain_file.display()), empty.to_str().unwrap());
    let broken = damaged.to_str().unwrap();
    for (arguments, environment, expected) in [
        (&["--listen", &port, "--allow-loopback"][..], &KEYS[..], "choose another port"),
        (&["--listen", &port], &KEYS, "--allow-loopback"),
        (&["--listen", &socket], &KEYS, "choose another path"),
        (&["--listen", "unix:/proc/no/broker.sock"], &KEYS, "cannot listen on unix:/proc/no/broker.sock"),
        (&["--listen", "nowhere"], &KEYS, "IP:PORT"),
        (&["--config", "/no/such.toml"], &KEYS, "/no/such.toml: cannot be read"),
        (&["--simulate", "--listen", "127.0.0.1:0"], &[("AWS_CA_BUNDLE", bundle)], "has no certificate"),
        (&["--simulate", "--listen", "127.0.0.1:0"], &[("AWS_CA_BUNDLE", broken)], ": certificate 1 is broken"),
        (&["--simulate", "--listen", "127.0.0.1:0"], &[("OTEL_TRACES_SAMPLER", "x"), OTLP], "OTEL_TRACES_SAMPLER"),
    ] {
        let ended = run(&[&["serve"], arguments].concat(), environment);
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{arguments:?}: {}", ended.stderr);
        assert!(ended.error().contains(expected), "{arguments:?}: {}", ended.stderr);
    }
    assert_eq!(fs::read_to_string(&plain_file).unwrap(), "keep me");
}
const OTLP: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");

#[test]
fn p13_aws_endpoint_that_is_the_broker_itself_is_refused() {
    // A port that was free a moment ago. If another program takes it, the start fails for another reason, and so does the test.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("127.0.0.1:{port}");
    for variable in
        ["ECR_BROKER_AWS_ECR_ENDPOINT", "AWS_ENDPOINT_URL_ECR", "AWS_ENDPOINT_URL_ECR_PUBLIC", "AWS_ENDPOINT_URL"]
    {
        let endpoint = format!("http://localhost:{port}");
        let environment = [&KEYS[..], &[(variable, endpoint.as_str())]].concat();
        let ended = run(&["serve", "--listen", &listen, "--allow-loopback"], &environment);
        assert_eq!(ended.code, 1, "{variable}");
        assert!(ended.error().contains("leads to the broker's own grpc:"), "{variable}: {}", ended.stderr);
    }
}

#[test]
fn aws_endpoint_variables_lead_to_the_simulated_aws() {
    let aws = Server::start(&["simulate-aws", "--listen", "127.0.0.1:0", "--token-lifetime", "2h"], &[]);
    assert!(aws.address.starts_with("http://127.0.0.1:"), "{}", aws.address);
    for variable in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_ECR"] {
        let environment = [&KEYS[..], &[(variable, aws.address.as_str())]].concat();
        let broker = Server::start(&["serve", "--listen", "127.0.0.1:0", "--allow-loopback"], &environment);
        let json: Value = serde_json::from_str(&get(&broker.address, &[PRIVATE, "-o", "json"]).out()).unwrap();
        let time = |field: &str| humantime::parse_rfc3339(json[field].as_str().unwrap()).unwrap();
        let lifetime = time("expire_time").duration_since(time("issue_time")).unwrap();
        assert!((7100..=7200).contains(&lifetime.as_secs()), "{lifetime:?}");
    }
}

#[test]
fn unreachable_aws_is_reported_as_aws_unavailable() {
    let environment = [&KEYS[..], &[("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), ("AWS_MAX_ATTEMPTS", "1")]].concat();
    let broker = Server::start(&["serve", "--listen", "127.0.0.1:0", "--allow-loopback"], &environment);
    let ended = get(&broker.address, &[PRIVATE, "--timeout", "4s"]);
    assert_eq!(ended.code, 5);
    assert!(ended.error().contains("AWS_UNAVAILABLE") && ended.error().contains("retry in"), "{}", ended.stderr);
}

#[test]
fn second_signal_while_draining_ends_the_broker_at_once() {
    let silent_aws = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent_aws.local_addr().unwrap());
    let environment = [&KEYS[..], &[("AWS_ENDPOINT_URL", endpoint.as_str())]].concat();
    let mut broker = Server::start(&["serve", "--listen", "127.0.0.1:0", "--allow-loopback"], &environment);
    let address = broker.address.clone();
    let in_flight = std::thread::spawn(move || get(&address, &[PRIVATE, "--timeout", "10s"]));
    let _connection = silent_aws.accept().unwrap();
    let code = loop {
        signal(broker.pid(), "TERM");
        if let Some(status) = broker.ended() {
            break status.code();
        }
        std::thread::yield_now();
    };
    assert_eq!(code, Some(130));
    let cut_off = in_flight.join().unwrap();
    assert_eq!(cut_off.code, 5, "{}", cut_off.stderr);
}

/// The first process of a container ignores signals without a handler.
#[test]
fn signal_during_startup_ends_the_broker() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let imds = format!("http://{}", silent.local_addr().unwrap());
    let mut serve = program::program(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &imds)]);
    let mut broker = serve.args(["serve", "--listen", "127.0.0.1:0", "--allow-loopback"]).spawn().unwrap();
    // It looks for its region, and gets no answer.
    let _connection = silent.accept().unwrap();
    signal(broker.id(), "TERM");
    assert!(broker.wait().unwrap().success());
}

#[test]
fn address_in_the_file_wins_over_the_default_of_simulate() {
    let directory = tempfile::tempdir().unwrap();
    let (file, socket) = (directory.path().join("broker.toml"), directory.path().join("b.sock"));
    fs::write(&file, format!("[server]\nlisten = [\"unix:{}\"]", socket.display())).unwrap();
    let broker = Server::start(&["serve", "--simulate", "--config", file.to_str().unwrap()], &[]);
    assert_eq!(broker.address, format!("unix:{}", socket.display()));
    get(&broker.address, &[PRIVATE]).out();
}

#[test]
fn full_disk_is_a_failure_and_an_empty_address_is_unset() {
    let broker = simulated_broker(&[], &[]);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let get = ["get", PRIVATE, "-o", "password", "--address", &broker.address];
    let status = program::program(&[]).args(get).stdout(full).stderr(std::process::Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(1));
    let elsewhere =
        run(&["get", PRIVATE, "--timeout", "200ms"], &[("ECR_BROKER_ADDRESS", ""), ("XDG_RUNTIME_DIR", "/no/such")]);
    assert_ne!(elsewhere.code, 2, "{}", elsewhere.stderr);
}

#[test]
fn policy_commands_lint_explain_and_test_grants() {
    let directory = tempfile::tempdir().unwrap();
    let (file, expectations) = (directory.path().join("broker.toml"), directory.path().join("expect.toml"));
    let (path, expected) = (file.to_str().unwrap(), expectations.to_str().unwrap());
    let grant = |id: &str, accounts: &str, effect: &str| {
        format!(
            "[[grants]]\nid = \"{id}\"\ncallers = [{{ uid = 1001 }}]\neffect = \"{effect}\"\n\
             registries = [{{ accounts = [\"{accounts}\"], regions = [\"*\"] }}]\n"
        )
    };
    fs::write(&file, grant("farm", "123456789012", "allow") + &grant("never", "210987654321", "deny")).unwrap();
    assert!(run(&["policy", "check", "--config", path], &[]).out().contains("2 grants"));
    for (caller, registry, code, expected) in [
        ("uid:1001,gid:1", PRIVATE, 0, "allowed by grant \"farm\""),
        ("uid:1002,gid:1", PRIVATE, 4, "no grant covers"),
        ("loopback", PRIVATE, 4, "no grant covers"),
        ("uid:1001,gid:1", "210987654321.dkr.ecr.eu-central-1.amazonaws.com", 4, "denied by grant \"never\""),
    ] {
        let ended = run(&["policy", "explain", "--config", path, "--caller", caller, registry], &[]);
        assert_eq!(ended.code, code, "{caller} {registry}: {}", ended.stderr);
        assert!(ended.stdout.contains(expected), "{}", ended.stdout);
    }
    assert_eq!(run(&["policy", "explain", "--config", path, "--caller", "root", PRIVATE], &[]).code, 2);
    assert_eq!(run(&["policy", "explain", "--config", path, "--caller", "loopback"], &[]).code, 2);
    let operators = "[[grants]]\nid = \"ops\"\ncallers = [{ uid = 1001 }]\noperator = true\n";
    fs::write(&file, grant("farm", "123456789012", "allow") + operators).unwrap();
    for (caller, code, expected) in
        [("uid:1001,gid:1", 0, "operator by grant \"ops\""), ("uid:1002,gid:1", 4, "not an operator")]
    {
        let ended = run(&["policy", "explain", "--config", path, "--caller", caller, "--operator"], &[]);
        assert!(ended.code == code && ended.stdout.starts_with(expected), "{ended:?}");
    }

    let expect = |caller: &str, allow: bool| {
        format!("[[expect]]\ncaller = \"{caller}\"\nregistry = \"{PRIVATE}\"\nallow = {allow}\n")
    };
    fs::write(&file, grant("farm", "123456789012", "allow") + &grant("never", "210987654321", "deny")).unwrap();
    fs::write(&expectations, expect("uid:1001,gid:1", true) + "grant = \"farm\"\n" + &expect("uid:7,gid:7", false))
        .unwrap();
    assert!(run(&["policy", "test", "--config", path, expected], &[]).out().contains("2 expectations are met"));
    fs::write(&expectations, expect("uid:1001,gid:1", true) + &expect("uid:7,gid:7", true)).unwrap();
    let unmet = run(&["policy", "test", "--config", path, expected], &[]);
    assert_eq!(unmet.code, 1);
    assert!(unmet.error().contains("expectation 2 is not met: uid:7,gid:7,"), "{}", unmet.stderr);

    fs::write(&file, grant("wide", "*", "allow")).unwrap();
    let odd = run(&["policy", "check", "--config", path], &[]);
    assert_eq!(odd.code, 1);
    assert!(odd.error().contains("grant \"wide\": it allows every account"), "{}", odd.stderr);
}

#[test]
fn policy_commands_accept_token_claims() {
    let directory = tempfile::tempdir().unwrap();
    let (file, expectations) = (directory.path().join("broker.toml"), directory.path().join("expect.toml"));
    let (path, expected) = (file.to_str().unwrap(), expectations.to_str().unwrap());
    let text = "
        [[authentication.jwt]]
        name = \"github\"
        issuer = \"https://token.actions.githubusercontent.com\"
        audience = \"ecr-broker\"
        [[grants]]
        id = \"main\"
        callers = [{ jwt = \"github\", claims = { repository_id = \"456\", event_name = \"push\" } }]
        registries = [{ public = true }]
    ";
    fs::write(&file, text).unwrap();
    let explain = |caller: &str, claims: &[&str]| {
        let arguments = ["policy", "explain", "--config", path, "--caller", caller, "public.ecr.aws"];
        let claims = claims.iter().flat_map(|claim| ["--claim", claim]);
        run(&arguments.into_iter().chain(claims).collect::<Vec<_>>(), &[])
    };
    let caller = "jwt:github:repo:org/name:ref:refs/heads/main";
    assert_eq!(explain(caller, &["repository_id=456", "event_name=push"]).code, 0);
    assert_eq!(explain(caller, &["repository_id=456", "event_name=pull_request_target"]).code, 4);
    assert_eq!(explain(caller, &[]).code, 4);
    assert_eq!(explain(caller, &["repository_id"]).code, 2);
    let user = explain("uid:1,gid:1", &["repository_id=456"]);
    assert!(user.code == 1 && user.error().contains("has no claims"), "{user:?}");
    let expect = |event: &str, allow: bool| {
        format!(
            "[[expect]]\ncaller = {caller:?}\nclaims = {{ repository_id = \"456\", event_name = {event:?} }}\n\
             registry = \"public.ecr.aws\"\nallow = {allow}\n"
        )
    };
    fs::write(&expectations, expect("push", true) + &expect("issue_comment", false)).unwrap();
    assert!(run(&["policy", "test", "--config", path, expected], &[]).out().contains("2 expectations are met"));
}

#[test]
fn completions_and_version_are_printed() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(run(&["completions", shell], &[]).out().contains("ecr-broker"), "{shell}");
    }
    let version = run(&["--version"], &[]).out();
    assert!(version.contains(env!("CARGO_PKG_VERSION")) && version.contains("features: server, client, simulator"));
}

#[test]
fn p10_broker_disables_core_files_and_raises_its_descriptor_limit() {
    let broker = simulated_broker(&[], &[]);
    let limits = fs::read_to_string(format!("/proc/{}/limits", broker.pid())).unwrap();
    let of = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of("Max core file size"), ["0", "0"]);
    let descriptors = of("Max open files");
    assert_eq!(descriptors[0], descriptors[1], "soft and hard");
    get(&broker.address, &[PRIVATE]).out();
    let mut few = Command::new("sh");
    few.args([
        "-c",
        "ulimit -n 200; exec \"$0\" \"$@\"",
        program::PROGRAM,
        "serve",
        "--simulate",
        "--listen",
        "127.0.0.1:0",
    ]);
    let broker = Server::spawn_logging(few);
    broker.until_logged("is lower than server.max_connections needs");
    get(&broker.address, &[PRIVATE]).out();
}

#[test]
fn p8_connections_beyond_the_limit_of_a_user_are_logged_once() {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("broker.sock");
    let listen = format!("unix:{}", socket.display());
    let mut serve = program::program(&[("ECR_BROKER_SERVER_MAX_CONNECTIONS_PER_UID", "2")]);
    serve.args(["serve", "--simulate", "--listen", &listen]);
    let broker = Server::spawn_logging(serve);
    let mut connections: Vec<_> = (0..20).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    for rejected in &mut connections[2..] {
        assert_eq!(rejected.read(&mut [0]).unwrap_or_default(), 0, "closed");
    }
    let logs = broker.stop();
    let lines: Vec<_> = logs.lines().filter(|line| line.contains("connection limit reached")).collect();
    assert_eq!(lines.len(), 1, "{logs}");
    let line: Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!((&line["level"], &line["limit"]), (&"WARN".into(), &2.into()), "{line}");
    assert_eq!(line["setting"], "server.max_connections_per_uid", "{line}");
}

/// A broker with an activated socket.
fn serve_on(socket: impl Into<OwnedFd>, arguments: &[&str]) -> Command {
    let mut command = program(&[]);
    command.args(["serve"]).args(arguments);
    let mut service = activated(&command, socket);
    service.stderr(Stdio::piped());
    service
}

#[test]
fn activated_socket_keeps_connections_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("broker.sock");
    let (socket, address) = (UnixListener::bind(&path).unwrap(), format!("unix:{}", path.display()));
    let start = || Server::spawn(serve_on(socket.try_clone().unwrap(), &["--simulate"]));
    let first = start();
    assert_eq!(first.address, address);
    get(&address, &[PRIVATE]).out();
    first.stop();
    // The process that created the file removes it, not the broker.
    assert!(path.exists());
    let mut waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let _second = start();
    // A broker sends its settings first.
    waiting.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut header = [0; 9];
    waiting.read_exact(&mut header).unwrap();
    assert_eq!(header[3], 4, "a SETTINGS frame");
    get(&address, &[PRIVATE]).out();
}

#[test]
fn declared_descriptor_that_is_not_open_is_an_error_and_takes_no_memory() {
    let mut command = program(&[]);
    command.args(["serve", "--simulate"]);
    for count in ["2", "4294967292"] {
        let script = format!("export LISTEN_FDS={count} LISTEN_PID=$$; exec \"$@\" 3<&- 4<&- </dev/null");
        let output = in_shell(&command, &script).output().unwrap();
        let problem = String::from_utf8(output.stderr).unwrap();
        let expected = "descriptor 1 of LISTEN_FDS is not open; ";
        assert!(output.status.code() == Some(1) && problem.contains(expected), "{count}: {problem}");
    }
}

#[test]
fn p13_activated_socket_follows_the_same_rules() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    let end = |socket: OwnedFd, arguments: &[&str]| {
        let output = serve_on(socket, arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, problem) = end(port.try_clone().unwrap().into(), &[]);
    assert!(
        code == Some(1) && problem.contains(&format!("LISTEN_FDS: grpc://{address} admits every process")),
        "{problem}"
    );
    let (connection, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let file = fs::File::open("/dev/null").unwrap();
    for (socket, expected) in [(OwnedFd::from(connection), "Accept=no"), (file.into(), "not a socket")] {
        let (code, problem) = end(socket, &["--simulate"]);
        assert!(code == Some(1) && problem.contains(expected), "{problem}");
    }
    let directory = tempfile::tempdir().unwrap();
    let open = directory.path().join("open.sock");
    let socket = UnixListener::bind(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o666)).unwrap();
    let (code, problem) = end(socket.into(), &["--simulate"]);
    assert!(code == Some(1) && problem.contains("SocketMode=0660"), "{problem}");
    let broker = Server::spawn(serve_on(port, &["--allow-loopback", "--simulate"]));
    assert_eq!(broker.address, format!("grpc://{address}"));
    get(&broker.address, &[PRIVATE]).out();
}

/// Runs a command as a user that is not root. Only root can and must change the user for that.
fn as_user(command: &mut Command) -> &mut Command {
    if rustix::process::getuid().is_root() { command.uid(1001).gid(1001) } else { command }
}

#[test]
fn p10_environment_is_hidden_before_any_argument_or_file_is_read() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = |name: &str| directory.path().join(name);
    program::copy_to(path("ecr-broker"));
    fs::write(path("broker.toml"), "grants = []\n").unwrap();
    assert!(Command::new("mkfifo").args(["-m", "666"]).arg(path("expectations")).status().unwrap().success());
    for variable in [("AWS_PROFILE", "set"), ("AWS_PROFILE", "")] {
        let mut command = Command::new(path("ecr-broker"));
        command.args(["policy", "test", "--config"]).args([path("broker.toml"), path("expectations")]);
        // Blank, it makes the program replace itself.
        command.env_clear().env(variable.0, variable.1).env("AWS_SECRET_ACCESS_KEY", "canary");
        let mut held = as_user(&mut command).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The program waits for the expectations until this end of the pipe is closed.
        let mut pipe = fs::File::options().write(true).open(path("expectations")).unwrap();
        let environment = format!("/proc/{}/environ", held.id());
        let read = as_user(Command::new("cat").arg(&environment)).stderr(Stdio::null()).output().unwrap();
        assert!(!read.status.success() && read.stdout.is_empty(), "{variable:?}: {:?}", read.stdout);
        pipe.write_all(b"expect = []\n").unwrap();
        drop(pipe);
        assert!(held.wait().unwrap().success());
    }
}

#[test]
fn audit_output_that_is_not_a_regular_file_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let (pipe, socket) = (directory.path().join("pipe"), directory.path().join("socket"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let _socket = UnixListener::bind(&socket).unwrap();
    let file = directory.path().join("broker.toml");
    for (output, kind) in [
        (pipe.to_str().unwrap(), "a pipe"),
        (socket.to_str().unwrap(), "a socket"),
        (directory.path().to_str().unwrap(), "a directory"),
        ("/dev/null", "a device"),
        ("/dev/zero", "a device"),
    ] {
        fs::write(&file, format!("[audit]\noutput = \"{output}\"\n")).unwrap();
        let config = ["--config", file.to_str().unwrap()];
        for command in [&["config", "check"][..], &["serve", "--simulate"]] {
            let ended = run(&[command, &config].concat(), &[]);
            let expected = format!("audit.output: expected a regular file, got {kind}; name a file, or use \"stderr\"");
            assert!(ended.code == 1 && ended.stderr.contains(&expected), "{output}: {}", ended.stderr);
        }
    }
}
