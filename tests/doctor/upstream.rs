//! Faults of AWS and of the broker's identity.

use super::*;

#[test]
fn aws_errors_are_printed_with_a_fix() {
    let workspace = Workspace::new();
    for (fault, registry, code, words) in [
        ("denied=1", PRIVATE, 4, ["AWS_ACCESS_DENIED", "allow ecr:GetAuthorizationToken on"]),
        (
            "denied=1",
            PUBLIC,
            4,
            ["AWS_ACCESS_DENIED", "ecr-public:GetAuthorizationToken and sts:GetServiceBearerToken"],
        ),
        ("throttle=1", PRIVATE, 5, ["AWS_THROTTLED", "cache.keep_warm"]),
        ("server-error=1", PRIVATE, 5, ["AWS_UNAVAILABLE", "api.ecr.eu-central-1.amazonaws.com:443"]),
        ("garbage=1", PRIVATE, 5, ["AWS_RESPONSE_INVALID", "aws.ecr_endpoint"]),
    ] {
        let broker = simulated_broker(&["--simulate-fault", fault], &[]);
        let diagnosis = workspace.doctor(&broker.address, &[registry]);
        diagnosis.fails_at("AWS", code, &words).fails_at("AWS", code, &["the broker's log has more under request "]);
    }
    let broker = simulated_broker(&["--simulate-fault", "hang=1"], &[]);
    let diagnosis = workspace.doctor(&broker.address, &[PRIVATE, "--timeout", "2s"]);
    diagnosis.fails_at("AWS", 5, &["fix: retry, the broker continues the fetch"]);
}

#[test]
fn broker_without_aws_credentials_still_identifies_the_caller() {
    let workspace = Workspace::new();
    let nothing = [("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_REGION", "eu-central-1"), ("HOME", "/nowhere")];
    let broker = Server::start(&["serve", "--allow-loopback", "--listen", "127.0.0.1:0"], &nothing);
    let diagnosis = workspace.doctor(&broker.address, &[PRIVATE]);
    assert_eq!(diagnosis.ended.code, 5, "{}", diagnosis.ended.stdout);
    assert!(
        diagnosis.step("health").contains("fix: ask the operator to give the broker AWS credentials"),
        "{diagnosis:?}"
    );
    let states = [("health", "FAIL"), ("caller", "ok"), ("grant", "ok"), ("AWS", "FAIL"), ("token", "skip")];
    assert_eq!(&diagnosis.states()[2..7], states);
    let aws = diagnosis.step("AWS");
    assert!(aws.contains("AWS_CREDENTIALS_UNAVAILABLE") && aws.contains("more under request "), "{aws}");
}

/// The kernel proves the user of a Unix socket. Root of this host can read the log and the files anyway.
#[test]
fn only_root_and_the_brokers_user_learn_why_credentials_are_missing() {
    const DAEMON: u32 = 1;
    let workspace = Workspace::new();
    let address = format!("unix:{}", workspace.path("broker.sock").display());
    let home = workspace.directory.path().to_str().unwrap();
    let environment = [("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_PROFILE", "prodd"), ("HOME", home), KEYS[2]];
    let serve = ["serve", "--listen", "127.0.0.1:0", "--listen", &address, "--allow-loopback"];
    let mut command = program(&environment);
    command.args(serve);
    workspace.write(".aws/credentials", "[default]\naws_access_key_id = A\naws_secret_access_key = very-secret\n");
    let broker = Server::spawn_logging(command);
    broker.until_logged("AWS credentials not found");

    let own = workspace.doctor(&address, &[PRIVATE]);
    let health = own.step("health");
    for words in ["Profile: profile `prodd` was not defined", "AWS_PROFILE=prodd", "fix: ask the operator to give"] {
        assert!(health.contains(words), "{words}: {health}");
    }
    assert!(!own.ended.stdout.contains("very-secret"), "{own:?}");
    let hides_reasons = |diagnosis: &Diagnosis| {
        assert!(!diagnosis.ended.stdout.contains("prodd"), "{diagnosis:?}");
        assert!(diagnosis.step("health").contains("\"AWS credentials not found\""), "{diagnosis:?}");
        assert!(diagnosis.step("AWS").contains("more under request "), "{diagnosis:?}");
    };
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        let reachable = workspace.path("ecr-broker");
        copy_to(&reachable);
        fs::set_permissions(workspace.path("broker.sock"), fs::Permissions::from_mode(0o666)).unwrap();
        let mut other = Command::new(&reachable);
        other.env_clear().args(["doctor", PRIVATE, "--address", &address]).stdin(Stdio::null()).uid(DAEMON).gid(DAEMON);
        hides_reasons(&diagnose(&mut other));
    }
    // The broker prints its first address.
    hides_reasons(&workspace.doctor(&broker.address, &[PRIVATE]));
}

#[test]
fn certificate_of_aws_outside_its_validity_is_blamed_on_the_clock() {
    let workspace = Workspace::new();
    let authority = Authority::new(workspace.directory.path(), "aws.pem", "aws");
    let aws = Registry::over_tls(&authority.server_until(2001), "200 OK").url;
    let bundle = authority.file.to_str().unwrap();
    let endpoint = [("ECR_BROKER_AWS_ECR_ENDPOINT", aws.as_str()), ("ECR_BROKER_AWS_CA_BUNDLE", bundle)];
    let serve = ["serve", "--allow-loopback", "--listen", "127.0.0.1:0"];
    let broker = Server::start(&serve, &[&KEYS[..], &endpoint].concat());
    let diagnosis = workspace.doctor(&broker.address, &[PRIVATE]);
    let words = ["AWS_CLOCK_SKEWED", "certificate is not valid by the broker's clock", "timedatectl"];
    diagnosis.fails_at("AWS", 5, &words);
}
