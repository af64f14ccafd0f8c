//! Steps up to the broker: address, TLS, settings.

use super::*;

#[test]
fn address_step_explains_each_way_to_miss_a_broker() {
    let workspace = Workspace::new();
    let missing = format!("unix:{}", workspace.path("no.sock").display());
    workspace.doctor(&missing, &[PRIVATE]).fails_at(
        "address",
        5,
        &["the socket does not exist", "fix: start the broker"],
    );
    // The socket file stays after its listener is gone.
    drop(UnixListener::bind(workspace.path("old.sock")).unwrap());
    let gone = format!("unix:{}", workspace.path("old.sock").display());
    workspace.doctor(&gone, &[PRIVATE]).fails_at(
        "address",
        5,
        &["nothing listens there", "fix: restart the broker that created the socket"],
    );
    let refused = workspace.doctor("http://127.0.0.1:1", &[PRIVATE]);
    refused.fails_at("address", 5, &["nothing listens there", "ecr-broker serve --listen 127.0.0.1:1"]);
    let unknown = workspace.doctor("http://broker.invalid:50051", &[PRIVATE]);
    unknown.fails_at("address", 5, &["does not resolve", "DNS"]);
    let file = format!("unix:{}", workspace.write("file", ""));
    workspace.doctor(&file, &[PRIVATE]).fails_at("address", 5, &["it is not a socket", "fix: correct the address"]);
    // A listener that accepts connections and sends nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    // doctor waits as long as other commands do.
    let diagnosis =
        diagnose(workspace.command().env("ECR_BROKER_TIMEOUT", "500ms").args(["--address", &address, PRIVATE]));
    diagnosis.fails_at("address", 5, &["it accepts connections but sends nothing", "check the broker's log"]);
    let web = Registry::answering(&["400 Bad Request"]);
    let diagnosis = workspace.command().args(["--address", &web.url, PRIVATE]).output().unwrap();
    assert!(String::from_utf8(diagnosis.stdout).unwrap().contains("does not speak gRPC"));
    let neither = workspace.doctor(&format!("{missing},http://127.0.0.1:1"), &[PRIVATE]);
    neither.fails_at("address", 5, &[&format!("fix: {missing}: start the broker"), "fix: http://127.0.0.1:1: start"]);
    // doctor uses the next address, and prints the skipped one.
    let broker = simulated_broker(&[], &[]);
    let diagnosis = workspace.doctor(&format!("{missing},{}", broker.address), &[]);
    assert!(
        diagnosis.ended.code == 0 && diagnosis.step("address").contains("the socket does not exist"),
        "{diagnosis:?}"
    );
}

/// Root may open every file. A test that runs as root runs the program as another user.
#[test]
fn closed_socket_names_the_group_that_opens_it() {
    const DAEMON: u32 = 1;
    const BIN: u32 = 2;
    const UNLISTED: u32 = 12345;
    let workspace = Workspace::new();
    let (address, _broker) = workspace.broker("");
    let socket = workspace.path("broker.sock");
    let reachable = workspace.path("ecr-broker");
    copy_to(&reachable);
    let doctor = |user: Option<u32>, address: &str, words: &[&str]| {
        let mut command = Command::new(&reachable);
        command.env_clear().args(["doctor", PRIVATE, "--address", address]).stdin(Stdio::null());
        if let Some(user) = user {
            command.uid(user).gid(UNLISTED);
        }
        let diagnosis = diagnose(&mut command);
        diagnosis.fails_at("address", 5, &[&["permission denied", "(owner ", "in groups "], words].concat());
    };
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o000)).unwrap();
        return doctor(None, &address, &["broker.sock (owner ", "set server.socket_group to a group that you are in"]);
    }
    let of_group = |group: u32| std::os::unix::fs::chown(&socket, Some(0), Some(group)).unwrap();
    of_group(BIN);
    doctor(Some(DAEMON), &address, &["broker.sock (owner ", "fix: sudo usermod -aG bin daemon, and log in again"]);
    doctor(Some(UNLISTED), &address, &["--group-add 2", "supplementalGroups: [2]"]);
    of_group(0);
    doctor(Some(DAEMON), &address, &["a group for callers only", "members of root can do far more"]);
    // A link leads into a directory that denies access.
    let hidden = workspace.path("hidden");
    fs::create_dir_all(hidden.join("run")).unwrap();
    fs::rename(&socket, hidden.join("run/broker.sock")).unwrap();
    std::os::unix::fs::symlink("hidden/run", workspace.path("run")).unwrap();
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o710)).unwrap();
    std::os::unix::fs::chown(&hidden, Some(0), Some(BIN)).unwrap();
    let by = format!("permission denied by {} (owner root, group bin, mode 0710)", hidden.display());
    let through = format!("unix:{}", workspace.path("run/broker.sock").display());
    doctor(Some(DAEMON), &through, &[&by, "usermod -aG bin daemon"]);
}

#[test]
fn address_step_explains_each_tls_failure() {
    let workspace = Workspace::new();
    let directory = workspace.directory.path();
    let (ours, theirs) = (Authority::new(directory, "ours.pem", "ours"), Authority::new(directory, "theirs.pem", "b"));
    let serve = |pair: &Pair, name: &str| {
        let (certificate, key) = pair.write(directory, name);
        let tls = format!(
            "server.tls = {{ certificate = {certificate:?}, key = {key:?} }}\n\
             authentication.client_ca = {{ \"a.example\" = {:?} }}\ngrants = []\n",
            ours.file
        );
        let config = workspace.write(&format!("{name}.toml"), &tls);
        // Without --simulate, which would accept every loopback caller.
        let broker = Server::start(&["serve", "--config", &config, "--listen", "127.0.0.1:0"], &KEYS);
        let port = broker.address.rsplit(':').next().unwrap().to_owned();
        (broker, port)
    };
    let (_broker, port) = serve(&ours.server(), "good");
    let (own, https) = (ours.file.to_str().unwrap(), format!("https://localhost:{port}"));
    let unknown = workspace.doctor(&https, &[PRIVATE, "--tls-ca", theirs.file.to_str().unwrap()]);
    unknown.fails_at("address", 5, &["signed by an untrusted authority", "--tls-ca"]);
    let other = workspace.doctor(&format!("https://127.0.0.1:{port}"), &[PRIVATE, "--tls-ca", own]);
    other.fails_at("address", 5, &["for another name"]);
    let clear = workspace.doctor(&format!("http://localhost:{port}"), &[PRIVATE]);
    clear.fails_at("address", 5, &["it speaks TLS", &format!("write the address as https://localhost:{port}")]);
    let anonymous = workspace.doctor(&https, &[PRIVATE, "--tls-ca", own]);
    anonymous.fails_at("caller", 4, &["CALLER_UNAUTHENTICATED", "fix: authenticate: --token-file"]);
    let expired = serve(&ours.server_until(2001), "old");
    let diagnosis = workspace.doctor(&format!("https://localhost:{}", expired.1), &[PRIVATE, "--tls-ca", own]);
    diagnosis.fails_at("address", 5, &["has expired by this machine's clock", "server.tls.certificate"]);
    let (stranger, key) = theirs.workload(certificates::RUNNER).write(directory, "stranger");
    let identity = ["--tls-cert", stranger.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let refused = workspace.doctor(&https, &[&[PRIVATE, "--tls-ca", own], &identity[..]].concat());
    // The moment at which a client sees the rejection varies.
    let step = refused.step(if refused.states()[1].1 == "FAIL" { "address" } else { "health" });
    assert!(refused.ended.code == 5 && step.contains("authentication.client_ca"), "{refused:?}");

    // Servers with and without ALPN.
    let silent = Registry::over_tls(&ours.server(), "200 OK").url;
    for web in [format!("https://localhost:{}", web_server(&ours.server())), silent] {
        let diagnosis = workspace.doctor(&web, &[PRIVATE, "--tls-ca", own]);
        diagnosis.fails_at(
            "address",
            5,
            &["without HTTP/2", "fix: correct the address: use the broker's server.listen"],
        );
        assert!(!diagnosis.step("address").contains("client_ca"), "{diagnosis:?}");
    }

    let plain = simulated_broker(&[], &[]);
    let diagnosis = workspace.doctor(&plain.address.replace("grpc://", "https://"), &[PRIVATE]);
    diagnosis.fails_at("address", 5, &["it does not speak TLS", "write the address as http://127.0.0.1:"]);
}

#[test]
fn unusable_files_fail_the_settings_step() {
    let (workspace, broker) = (Workspace::new(), simulated_broker(&[], &[]));
    let doctor = |arguments: &[&str]| workspace.doctor(&broker.address, &[&[PRIVATE], arguments].concat());
    let token = |exp: u64| {
        let claims = BASE64URL_NOPAD.encode(format!(r#"{{"sub":"s3cret","exp":{exp}}}"#).as_bytes());
        workspace.write("token", &format!("e30.{claims}.c2lnbmF0dXJl"))
    };
    let expired = doctor(&["--token-file", &token(1_000_000_000)]);
    expired.fails_at(
        "settings",
        4,
        &["token has expired: token_file ", "(--token-file): at 2001-09-09", "write a new token"],
    );
    assert!(!expired.ended.stdout.contains("s3cret") && !expired.ended.stdout.contains("c2lnbmF0dXJl"));
    let missing = doctor(&["--token-file", "/no/token"]);
    missing.fails_at(
        "settings",
        1,
        &["file cannot be read: token_file /no/token (--token-file): ", "fix: create the file"],
    );
    let no_authority = doctor(&["--tls-ca", &workspace.write("ca.pem", "nothing")]);
    no_authority.fails_at("settings", 1, &["file contains no PEM certificate: tls_ca "]);
    let authority = Authority::new(workspace.directory.path(), "authority.pem", "a");
    let (old, key) = authority.server_until(2001).write(workspace.directory.path(), "old");
    let old = ["--tls-cert", old.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    doctor(&old).fails_at(
        "settings",
        4,
        &["client certificate has expired: tls_cert ", "valid until 2001-01-01", "get a new certificate"],
    );
    let ca = authority.file.to_str().unwrap();
    doctor(&["--tls-cert", ca, "--tls-key", key.to_str().unwrap()]).fails_at(
        "settings",
        4,
        &["client certificate is a CA certificate: tls_cert ", "basicConstraints=critical,CA:FALSE"],
    );
    let (good, _) = authority.server().write(workspace.directory.path(), "good");
    let no_key = workspace.write("no.key", "nothing");
    let mut command = workspace.command();
    command.env("ECR_BROKER_TLS_KEY", &no_key).args(["--address", &broker.address, PRIVATE, "--tls-cert"]).arg(good);
    diagnose(&mut command).fails_at(
        "settings",
        1,
        &[&format!("file contains no PEM private key: tls_key {no_key} (ECR_BROKER_TLS_KEY)")],
    );
    // doctor does not know whether the broker accepts tokens; the broker refuses this one.
    let no_issuer = doctor(&["--token-file", &token(32_503_680_000)]);
    no_issuer.fails_at("caller", 4, &["accepts no bearer tokens", "remove token_file"]);
    assert!(no_issuer.step("settings").contains("a token until 3000-01-01"), "{no_issuer:?}");
}

#[test]
fn settings_are_printed_with_their_origin() {
    let (workspace, broker) = (Workspace::new(), simulated_broker(&[], &[]));
    let client = workspace
        .write(".config/ecr-broker/client.toml", &format!("address = {:?}\ntimeout = \"7s\"\n", broker.address));
    let diagnosis = diagnose(workspace.command().env("ECR_BROKER_PROFILE", "pull").arg(PRIVATE));
    diagnosis.fails_at("grant", 1, &["PROFILE_UNKNOWN", "\"pull\" comes from ECR_BROKER_PROFILE"]);
    let settings = diagnosis.step("settings");
    for said in [format!("({client})"), "profile pull (ECR_BROKER_PROFILE)".into(), format!("timeout 7s ({client})")] {
        assert!(settings.contains(&said), "{said}: {settings}");
    }
    workspace.write(".config/ecr-broker/client.toml", "adress = 1\n");
    diagnose(workspace.command().arg(PRIVATE)).fails_at("settings", 1, &["adress", &format!("fix: correct {client}")]);
}
