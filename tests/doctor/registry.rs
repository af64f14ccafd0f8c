//! The credential and the registry: stale and refused credentials, unreachable registries.

use super::*;

#[test]
fn stale_credential_is_printed_with_its_expiry() {
    let workspace = Workspace::new();
    let aws = Server::start(&["simulate-aws", "--listen", "127.0.0.1:0"], &[]);
    let config = workspace.write(
        "broker.toml",
        "[cache]\nrefresh_after = \"1s\"\n[aws]\nattempt_timeout = \"1s\"\noperation_timeout = \"1s\"\n",
    );
    let environment = [&KEYS[..], &[("AWS_ENDPOINT_URL", aws.address.as_str())]].concat();
    let serve = ["serve", "--allow-loopback", "--config", &config, "--listen", "127.0.0.1:0"];
    let broker = Server::start(&serve, &environment);
    let registry_server = Registry::answering(&["200 OK"]);
    let doctor = || workspace.doctor(&broker.address, &[PRIVATE, "--registry-url", &registry_server.url]);
    assert_eq!(doctor().ended.code, 0);
    drop(aws);
    // The first read after a second starts a refresh. Its failure shows in the read after that.
    let diagnosis = loop {
        let diagnosis = doctor();
        assert_eq!(diagnosis.ended.code, 0, "the credential is still valid: {diagnosis:?}");
        if diagnosis.ended.stdout.contains("(STALE)") {
            break diagnosis;
        }
    };
    let step = diagnosis.step("AWS");
    assert!(
        step.contains("pulls work until 20") && step.contains("fix: ask the operator to check the broker's log"),
        "{step}"
    );
}

#[test]
fn refused_credential_is_replaced_once() {
    let workspace = Workspace::new();
    let authority = Authority::new(workspace.directory.path(), "authority.pem", "a");
    let mut params = certificates::leaf(&[certificates::dns(PRIVATE)]);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let pair = authority.sign(&params);
    let doctor = |broker: &Server, registry_server: &Registry| {
        let mut command = workspace.command();
        command.env("SSL_CERT_FILE", &authority.file).env("HTTPS_PROXY", &registry_server.url);
        diagnose(command.args(["--address", &broker.address, PRIVATE]))
    };
    let broker = simulated_broker(&[], &[]);
    let registry_server = Registry::behind_a_proxy(&pair, &["401 Unauthorized", "200 OK"]);
    let diagnosis = doctor(&broker, &registry_server);
    assert_eq!(diagnosis.ended.code, 0, "{}", diagnosis.ended.stdout);
    assert!(
        diagnosis.step("/v2/").contains(" was refused (401")
            && diagnosis.step("/v2/").contains("replaced it for every caller"),
        "{diagnosis:?}"
    );
    let [first, second]: [String; 2] = registry_server.received().try_into().unwrap();
    assert_ne!(first, second);

    for (status, words) in [("401 Unauthorized", "SCPs"), ("403 Forbidden", "the policy of the VPC endpoint")] {
        let broker = simulated_broker(&[], &[]);
        let closed = Registry::behind_a_proxy(&pair, &[status]);
        let diagnosis = doctor(&broker, &closed);
        diagnosis.fails_at("/v2/", 4, &["registry refuses the credential", "is refused too", words]);
        diagnosis.never_prints(&password(&broker.address, PRIVATE));
        // The broker replaces a credential at most once a minute.
        let diagnosis = doctor(&broker, &closed);
        diagnosis.fails_at("/v2/", 4, &["refuses the credential"]);
        diagnosis.never_prints(&password(&broker.address, PRIVATE));
    }
}

#[test]
fn refusal_by_another_host_is_not_reported() {
    let (workspace, broker) = (Workspace::new(), simulated_broker(&[], &[]));
    let before = password(&broker.address, PRIVATE);
    let other = Registry::answering(&["401 Unauthorized"]);
    let diagnosis = workspace.doctor(&broker.address, &[PRIVATE, "--registry-url", &other.url]);
    let words =
        ["registry refuses the credential", &format!("not reported to the broker: https://{PRIVATE} may accept")];
    diagnosis.fails_at("/v2/", 4, &words);
    diagnosis.never_prints(&before);
    assert_eq!((other.received().len(), password(&broker.address, PRIVATE)), (1, before));
    let below = run(&["doctor", PRIVATE, "--registry-url", "https://registry.example/proxy"], &[]);
    assert!(below.code == 2 && below.stderr.contains("more than a host and a port"), "{below:?}");
}

#[test]
fn p10_credential_is_sent_to_the_registry_only() {
    let (workspace, broker) = (Workspace::new(), simulated_broker(&[], &[]));
    let other = Registry::answering(&["200 OK"]);
    let registry_server = Registry::answering(&[&format!("307 Temporary Redirect\r\nlocation: {}/v2/", other.url)]);
    let diagnosis = workspace.doctor(&broker.address, &[PRIVATE, "--registry-url", &registry_server.url]);
    diagnosis.fails_at(
        "/v2/",
        1,
        &["registry redirects to another host", "to 127.0.0.1", "was not sent there", "in the registry's place"],
    );
    assert_eq!((registry_server.received().len(), other.received().len()), (1, 0));
    let clear = run(&["doctor", PRIVATE, "--registry-url", "http://registry.example"], &[]);
    assert!(clear.code == 2 && clear.stderr.contains("would receive a credential in the clear"), "{clear:?}");
}

#[test]
fn registry_step_explains_each_way_to_miss_it() {
    let (workspace, broker) = (Workspace::new(), simulated_broker(&[], &[]));
    let doctor = |url: &str, more: &[&str]| {
        workspace.doctor(&broker.address, &[&[PRIVATE, "--registry-url", url], more].concat())
    };
    doctor("http://127.0.0.1:1", &[]).fails_at(
        "/v2/",
        5,
        &["registry cannot be reached", "Connection refused", "HTTPS_PROXY"],
    );
    doctor("https://registry.invalid", &[]).fails_at(
        "/v2/",
        5,
        &["registry name cannot be resolved", "dns error", "VPC endpoint"],
    );
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    doctor(&format!("http://{address}"), &["--timeout", "2s"]).fails_at(
        "/v2/",
        5,
        &["registry does not answer in time", "security groups"],
    );
    let plain = Registry::answering(&["503 Service Unavailable"]);
    doctor(&plain.url, &[]).fails_at("/v2/", 5, &["registry is unavailable", "answers 503", "retry"]);
    let spoken = doctor(&plain.url.replace("http://", "https://"), &[]);
    spoken.fails_at(
        "/v2/",
        5,
        &["TLS to the registry failed", "it does not speak TLS", "another program on that port"],
    );

    let authority = Authority::new(workspace.directory.path(), "authority.pem", "a");
    let registry_server = Registry::over_tls(&authority.server(), "200 OK");
    doctor(&registry_server.url, &[]).fails_at("/v2/", 5, &["signed by an untrusted authority", "SSL_CERT_FILE"]);
    assert!(registry_server.received().is_empty());
    let mut trusting = workspace.command();
    trusting.env("SSL_CERT_FILE", &authority.file);
    let diagnosis =
        diagnose(trusting.args(["--address", &broker.address, PRIVATE, "--registry-url", &registry_server.url]));
    assert!(diagnosis.ended.code == 0 && registry_server.received().len() == 1, "{diagnosis:?}");
}
