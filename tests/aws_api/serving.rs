//! The program: its secret, its listeners and their refusals.

use super::*;

fn keys() -> [(&'static str, &'static str); 3] {
    [("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "example"), ("AWS_EC2_METADATA_DISABLED", "true")]
}

fn start(arguments: &[&str], environment: &[(&str, &str)]) -> (Server, SocketAddr) {
    let (broker, at) = Server::start_with_aws_api(arguments, environment);
    (broker, at.parse().unwrap())
}

#[tokio::test]
async fn p10_secret_is_created_kept_and_never_logged() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    let api = ["--aws-api-listen", "127.0.0.1:0", "--aws-api-secret-file", file.to_str().unwrap()];
    let arguments = [&SERVE_SIMULATED[..], &api].concat();
    let mut kept = None;
    for _ in 0..2 {
        let (broker, at) = start(&arguments, &[("RUST_LOG", "trace")]);
        assert!(broker.address.starts_with("grpc://"));
        let secret = fs::read_to_string(&file).unwrap();
        let path = format!("/t/{secret}");
        let reply = Call::private().path(&path).send(at).await;
        let token = reply.data()[0]["authorizationToken"].as_str().unwrap().to_owned();
        let wrong = format!("{}{}", &secret[1..], "A");
        assert_eq!(Call::private().path(&format!("/t/{wrong}")).send(at).await.status, 403);
        let over_grpc = run(&["get", "public.ecr.aws", "-o", "json", "--address", &broker.address], &[]);
        over_grpc.out();
        let mut stranger = TcpStream::connect(at).await.unwrap();
        stranger.write_all(format!("POST {path} FTP/9\r\n\r\n").as_bytes()).await.unwrap();
        rest(&mut stranger).await;
        let logs = broker.stop();
        assert!(logs.contains("AWS_ENDPOINT_URL_ECR") && logs.contains("HTTP/1.1 connection failed"), "{logs}");
        for hidden in [&secret, &wrong[..40], &token[..64]] {
            assert!(!logs.contains(hidden), "{hidden} in {logs}");
        }
        assert_eq!(kept.get_or_insert_with(|| secret.clone()), &secret, "a restart keeps the secret");
    }
}

#[test]
fn p13_aws_api_off_loopback_or_without_secret_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let short = write_secret(directory.path(), "short-0123456789");
    let (short, absent) = (short.to_str().unwrap(), directory.path().join("absent"));
    let serve = |listen: &str, file: &[&str]| -> Ended {
        run(&[&SERVE_SIMULATED[..], &["--aws-api-listen", listen], file].concat(), &[])
    };
    for (listen, file, said) in [
        ("0.0.0.0:0", &["--aws-api-secret-file", absent.to_str().unwrap()][..], "is reachable from other hosts"),
        ("[::]:9911", &["--aws-api-secret-file", absent.to_str().unwrap()], "is reachable from other hosts"),
        ("unix:/run/x.sock", &["--aws-api-secret-file", absent.to_str().unwrap()], "expected IP:PORT"),
        ("127.0.0.1:0", &[], "set server.aws_api_secret_file"),
        ("127.0.0.1:0", &["--aws-api-secret-file", short], "holds no secret"),
        ("127.0.0.1:0", &["--aws-api-secret-file", "/no/such/secret"], "create its directory"),
    ] {
        let ended = serve(listen, file);
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{listen} {file:?}: {}", ended.stderr);
        assert!(
            ended.error().contains(said) && !ended.stderr.contains("short-01"),
            "{listen} {file:?}: {}",
            ended.stderr
        );
    }
    assert!(!absent.exists(), "no secret is created if the broker does not start");
    let without_listen = run(&["serve", "--aws-api-secret-file", short], &[]);
    assert!(without_listen.error().contains("set server.aws_api_listen"), "{}", without_listen.stderr);
}

#[test]
fn p13_broker_with_itself_as_aws_endpoint_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = write_secret(directory.path(), SECRET);
    // A port that was free a moment ago. If another process takes it, the start fails for another reason, and so does the test.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (listen, endpoint) = (format!("127.0.0.1:{port}"), format!("http://localhost:{port}/t/{SECRET}"));
    let api = ["--aws-api-listen", &listen, "--aws-api-secret-file", file.to_str().unwrap()];
    let arguments = [&["serve", "--listen", "127.0.0.1:0", "--allow-loopback"][..], &api].concat();
    for variable in
        ["AWS_ENDPOINT_URL_ECR", "AWS_ENDPOINT_URL_ECR_PUBLIC", "AWS_ENDPOINT_URL", "ECR_BROKER_AWS_ECR_ENDPOINT"]
    {
        let ended = run(&arguments, &[&keys()[..], &[(variable, endpoint.as_str())]].concat());
        assert_eq!(ended.code, 1, "{variable}");
        assert!(ended.error().contains("set aws.ecr_endpoint"), "{variable}: {}", ended.stderr);
        assert!(!ended.stderr.contains(SECRET), "{variable}: {}", ended.stderr);
    }
    // With the variable for its callers and settings for its own calls the broker starts, as the error advises.
    let own = [
        ("AWS_ENDPOINT_URL_ECR", endpoint.as_str()),
        ("AWS_ENDPOINT_URL_ECR_PUBLIC", endpoint.as_str()),
        ("ECR_BROKER_AWS_ECR_ENDPOINT", "https://api.ecr.{region}.amazonaws.com"),
        ("ECR_BROKER_AWS_ECR_PUBLIC_ENDPOINT", "https://api.ecr-public.us-east-1.amazonaws.com"),
        ("AWS_REGION", "eu-central-1"),
    ];
    let logs = Server::start(&arguments, &[&keys()[..], &own].concat()).stop();
    assert!(!logs.contains(SECRET), "{logs}");
}

/// The log has every denial, also without an audit log.
#[tokio::test]
async fn every_denied_registry_is_logged_with_caller_and_request_id() {
    let directory = tempfile::tempdir().unwrap();
    let (file, config) = (write_secret(directory.path(), SECRET), directory.path().join("broker.toml"));
    fs::write(&config, "grants = []\n").unwrap();
    let api = ["--aws-api-listen", "127.0.0.1:0", "--aws-api-secret-file", file.to_str().unwrap()];
    let (broker, at) = start(&[&SERVE_SIMULATED[..], &api, &["--config", config.to_str().unwrap()]].concat(), &[]);
    let accounts = ["111111111111", "222222222222", "333333333333"];
    let reply = Call::of(&accounts).send(at).await;
    assert_eq!(reply.error(), (400, "AccessDeniedException"));
    let logs = broker.stop();
    for account in accounts {
        let line = logs.lines().find(|line| line.contains("denied") && line.contains(account));
        let line = line.unwrap_or_else(|| panic!("{account} is not logged: {logs}"));
        assert!(line.contains(reply.id()) && line.contains("aws-api"), "{line}");
    }
}

/// A broker that listens on the first default socket that it can create, and calls no AWS.
fn serve_on_a_default_socket(at: SocketAddr, secret: &Path, directory: &Path) -> std::process::Command {
    let runtime = directory.to_str().unwrap();
    let environment = [("XDG_RUNTIME_DIR", runtime), ("AWS_REGION", "eu-central-1")];
    let mut command = program::program(&[&keys()[..], &environment].concat());
    command.args(["serve", "--aws-api-listen", &at.to_string(), "--aws-api-secret-file"]).arg(secret);
    command
}

#[tokio::test]
async fn activated_socket_of_the_aws_api_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let file = write_secret(directory.path(), SECRET);
    let socket = std::net::TcpListener::bind(ANY_PORT).unwrap();
    let at = socket.local_addr().unwrap();
    let command = serve_on_a_default_socket(at, &file, directory.path());
    let default = Path::new("/run/ecr-broker");
    let existed = default.exists();
    let broker = Server::spawn_logging(program::activated(&command, socket));
    assert!(broker.address.starts_with("unix:") && broker.address.ends_with("/broker.sock"), "{}", broker.address);
    let reply = Call::private().method("GET").send(at).await;
    assert_eq!(reply.error(), (400, "UnknownOperationException"), "{reply:?}");
    broker.stop();
    if !existed {
        // Only root could create it.
        _ = fs::remove_dir(default);
    }
}

#[test]
fn aws_api_port_in_use_is_named_in_the_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = write_secret(directory.path(), SECRET);
    let taken = std::net::TcpListener::bind(ANY_PORT).unwrap();
    let at = taken.local_addr().unwrap();
    let output = serve_on_a_default_socket(at, &file, directory.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let problem = format!("server.aws_api_listen: cannot listen on {at}: the port is in use");
    assert_eq!(said.matches(&problem).count(), 1, "{said}");
    assert!(!said.contains("broker.sock") && !said.contains("grpc://"), "{said}");
}

#[test]
fn secret_of_another_user_is_refused_by_serve_not_by_config_check() {
    let directory = tempfile::tempdir().unwrap();
    let file = write_secret(directory.path(), SECRET);
    if std::os::unix::fs::chown(&file, Some(12345), None).is_err() {
        program::skipped("only root can give files to another user");
        return;
    }
    let api = ["--aws-api-listen", "127.0.0.1:0", "--aws-api-secret-file", file.to_str().unwrap()];
    let ended = run(&[&SERVE_SIMULATED[..], &api].concat(), &[]);
    assert!(ended.code == 1 && ended.error().contains("belongs to user 12345"), "{}", ended.stderr);
    let config = directory.path().join("broker.toml");
    let text = format!("[server]\naws_api_listen = \"127.0.0.1:9911\"\naws_api_secret_file = {file:?}\n");
    fs::write(&config, text).unwrap();
    let checked = run(&["config", "check", "--config", config.to_str().unwrap()], &[]);
    assert!(checked.code == 0 && checked.error().contains("belongs to user 12345"), "{checked:?}");
}

#[tokio::test]
async fn broker_as_aws_of_a_broker_is_denied_and_region_is_required() {
    let directory = tempfile::tempdir().unwrap();
    let file = write_secret(directory.path(), SECRET);
    let api = ["--aws-api-listen", "127.0.0.1:0", "--aws-api-secret-file", file.to_str().unwrap()];
    let serve = ["serve", "--listen", "127.0.0.1:0", "--allow-loopback"];
    let (_first, at) = start(&[&SERVE_SIMULATED[..], &api].concat(), &[]);
    let endpoint = format!("http://{at}/t/{SECRET}");
    let environment = [&keys()[..], &[("ECR_BROKER_AWS_ECR_ENDPOINT", &endpoint)]].concat();
    let (second, at) = start(&[&serve[..], &api].concat(), &environment);
    let ended = run(&["get", HOST, "--address", &second.address], &[]);
    assert!(ended.error().contains("AWS_ACCESS_DENIED"), "{}", ended.stderr);
    let reply = Call::private().send(at).await;
    assert_eq!(reply.error(), (400, "InvalidParameterException"));
    assert!(reply.message().contains("aws.region"), "{reply:?}");
    let logs = second.stop();
    assert!(!logs.contains(SECRET), "{logs}");
}
