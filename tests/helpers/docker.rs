//! docker's protocol, without a delegate.

use super::*;

#[test]
fn docker_get_accepts_every_form_of_a_registry_name() {
    let broker = simulated_broker(&[], &[]);
    let place = Place::at(&broker);
    for server in [
        PRIVATE,
        &format!("{PRIVATE}\n"),
        &format!("https://{PRIVATE}"),
        &format!("https://{PRIVATE}/v2/"),
        &format!("{PRIVATE}:443"),
        &format!("{PRIVATE}/team/app:v1"),
        &PRIVATE.to_uppercase(),
        "public.ecr.aws",
        "123456789012.dkr-ecr-fips.us-east-1.on.aws",
    ] {
        let answer: Value = serde_json::from_str(&place.docker("get", server).out()).unwrap();
        assert_eq!(fields(&answer), ["Secret", "ServerURL", "Username"], "field names are case-sensitive");
        assert_eq!((answer["ServerURL"].as_str(), answer["Username"].as_str()), (Some(server.trim()), Some("AWS")));
        assert!(is_token(answer["Secret"].as_str().unwrap()), "{server}");
    }
    let list: Value = serde_json::from_str(&place.docker("list", "unused").out()).unwrap();
    assert_eq!(list[format!("https://{PRIVATE}")], "AWS");
    assert!(place.docker("version", "").out().starts_with("docker-credential-ecr-broker (ecr-broker) "));
    broker.stop();
}

#[test]
fn docker_get_reports_other_registries_as_not_found_without_a_broker() {
    let place = Place::new(&format!("address = \"{UNUSED_ADDRESS}\"\n"));
    for server in ["https://index.docker.io/v1/", "ghcr.io", "registry.example:5000", "localhost"] {
        let Ended { code, stdout, stderr } = place.docker("get", server);
        assert_eq!((code, stdout.as_str()), (1, NOT_FOUND), "{server}");
        // Docker Hub and names without a dot are never aliases.
        let may_be_alias = server.contains("ghcr") || server.contains("example");
        assert_eq!(stderr.contains("is an alias of the broker") && stderr.contains("no broker answers"), may_be_alias);
    }
    for wrong in ["12345.dkr.ecr.eu-central-1.amazonaws.com", "123456789012.dkr-ecr.eu-central-1.amazonaws.com"] {
        let note = place.not_found(wrong);
        assert!(note.contains("ecr"), "a malformed ECR host has its own error: {note}");
    }
    let nothing = place.docker("get", "\n");
    assert_eq!((nothing.code, nothing.stdout.as_str()), (1, "no credentials server URL\n"));
}

#[test]
fn docker_get_failure_is_not_found_with_the_reason_on_stderr() {
    let place = Place::new(&format!("address = \"{UNUSED_ADDRESS}\"\n"));
    for server in [PRIVATE, "public.ecr.aws"] {
        let note = place.not_found(server);
        assert!(note.contains("no broker answers at unix:/dev/null"), "{note}");
    }
    let list = place.docker("list", "unused");
    assert_eq!((list.code, list.stdout.as_str()), (0, "{}\n"));
    let mut child = Command::new(HELPER);
    child.arg("get").env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\xff").unwrap();
    let unreadable = child.wait_with_output().unwrap();
    assert_eq!((unreadable.status.code(), unreadable.stdout.as_slice()), (Some(1), NOT_FOUND.as_bytes()));
    assert!(String::from_utf8(unreadable.stderr).unwrap().contains("cannot read stdin"));
}

#[test]
fn settings_mistake_lets_other_registries_pass_and_is_noted() {
    for (variables, text, expected) in MISTAKES {
        let place = Place::new(text).also("next = \"other\"\n");
        let entry = r#"{"ServerURL":"x","Username":"u","Secret":"s"}"#;
        place.helper_script("docker-credential-other", entry, 0);
        for server in ["https://index.docker.io/v1/", "ghcr.io", "localhost"] {
            let ended = place.run_with(HELPER, &["get"], server, variables);
            assert_eq!((ended.code, ended.stdout.trim()), (0, entry), "{expected}: {ended:?}");
            assert!(ended.stderr.contains(expected) && ended.stderr.lines().count() == 1, "{expected}: {ended:?}");
            let stored = place.run_with(HELPER, &["store"], &credential(server), variables);
            assert!(stored.code == 0 && stored.stderr.contains(expected), "{expected}: {stored:?}");
        }
        let ecr = not_found(place.run_with(HELPER, &["get"], PRIVATE, variables));
        assert_eq!(ecr.matches(expected).count(), 1, "{ecr}");
        place.helper_script("docker-credential-other", r#"{"ghcr.io":"u"}"#, 0);
        let list = place.run_with(HELPER, &["list"], "unused", variables);
        assert_eq!((list.code, list.stdout.as_str()), (0, "{\"ghcr.io\":\"u\"}\n"), "{expected}");
        assert!(list.stderr.contains(expected), "{list:?}");
    }
}

#[test]
fn settings_mistake_without_a_delegate_is_not_found_for_every_registry() {
    let not_toml = "address = ";
    for (variables, text, expected) in MISTAKES.into_iter().chain([(&[][..], not_toml, "client.toml: line 1")]) {
        let place = Place::new(text);
        for server in ["https://index.docker.io/v1/", "ghcr.io", PRIVATE] {
            let note = not_found(place.run_with(HELPER, &["get"], server, variables));
            assert_eq!(note.matches(expected).count(), 1, "{server}: {note}");
        }
    }
}

#[test]
fn settings_mistake_leaves_kubelet_without_credentials_for_other_images() {
    for (variables, text, expected) in MISTAKES {
        let place = Place::new(text);
        let link = place.path("ecr-credential-provider");
        std::os::unix::fs::symlink(PROGRAM, &link).unwrap();
        for (program, arguments) in [(link.to_str().unwrap(), &[][..]), (PROGRAM, &["helper", "kubelet"])] {
            for image in ["ghcr.io/a/b", "docker.io/library/busybox", "busybox"] {
                let ended = place.run_with(program, arguments, &kubelet_request(image, ""), variables);
                let answer: Value = serde_json::from_str(&ended.stdout).unwrap();
                assert_eq!((ended.code, &answer["auth"]), (0, &Value::Null), "{expected}: {ended:?}");
                assert!(ended.stderr.contains(expected), "{expected}: {ended:?}");
            }
            let ecr = place.run_with(program, arguments, &kubelet_request(PRIVATE, ""), variables);
            assert_eq!((ecr.code, ecr.stdout.as_str()), (1, ""));
            assert!(ecr.stderr.contains(expected) && ecr.stderr.lines().count() == 1, "{expected}: {ecr:?}");
        }
    }
}

#[test]
fn helper_flag_mistake_names_the_flag_and_lets_other_registries_pass() {
    let place = Place::new("");
    for (flags, expected) in [
        (&["--timeout", "30"][..], "--timeout: time unit needed"),
        (&["--address", "ftp://broker.example"], "--address: "),
        (&["--tls-cert", "/x"], "tls_cert without tls_key"),
    ] {
        let arguments = [&["helper", "docker", "get"][..], flags].concat();
        let other = not_found(place.run(PROGRAM, &arguments, "docker.io"));
        assert!(other.contains(expected), "{other}");
        let bazel = json!({ "uri": "https://ghcr.io/v2/" }).to_string();
        let bazel = place.run(PROGRAM, &[&["helper", "bazel", "get"][..], flags].concat(), &bazel);
        assert_eq!((bazel.code, bazel.stdout.as_str()), (0, "{}\n"), "{bazel:?}");
        assert!(bazel.stderr.contains(expected), "{bazel:?}");
    }
}

#[test]
fn version_is_printed_for_every_form_that_helpers_have() {
    let place = Place::new("adress = 1");
    let link = place.path("docker-credential-ecr-login");
    std::os::unix::fs::symlink(HELPER, &link).unwrap();
    for program in [HELPER, link.to_str().unwrap()] {
        for form in ["version", "--version", "-v"] {
            let version = place.run(program, &[form], "").out();
            assert_eq!(version, format!("docker-credential-ecr-broker (ecr-broker) {}\n", env!("CARGO_PKG_VERSION")));
        }
        assert!(place.run(program, &["--help"], "").out().starts_with("usage: "));
    }
    assert_eq!(place.docker("frobnicate", "").stdout, "Unknown credential action `frobnicate`\n");
}

#[test]
fn aws_denial_is_reported_and_skips_the_fallback() {
    let broker = simulated_broker(&["--simulate-fault", "denied=1"], &[]);
    let place = Place::at(&broker);
    let fallback = place.helper_script("fallback", "{}", 0);
    let fallback = ["helper", "docker", "get", "--fallback-exec", fallback.to_str().unwrap()];
    let denied = place.run(PROGRAM, &fallback, PRIVATE);
    let note = not_found(denied);
    assert!(note.starts_with("ecr-broker: AWS_ACCESS_DENIED: "), "{note}");
    assert_eq!(place.requests(), "");
    broker.stop();
}

#[test]
fn docker_store_drops_ecr_and_refuses_others_without_a_delegate() {
    let place = Place::new("");
    let stored = place.docker("store", &credential(PRIVATE));
    assert_eq!((stored.code, stored.stdout.as_str()), (0, ""));
    assert!(stored.stderr.contains("not stored"), "{stored:?}");
    assert_eq!(place.docker("erase", PRIVATE).code, 0);
    let refused = place.docker("store", &credential("ghcr.io"));
    assert!(refused.code == 1 && refused.stdout.contains("next in client.toml"), "{refused:?}");
    assert!(!refused.stdout.contains("s3cret") && !refused.stderr.contains("s3cret"));
    assert_eq!(place.docker("store", "nonsense").code, 1);
}
