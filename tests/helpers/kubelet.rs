//! kubelet's and Bazel's protocols, and the fallback.

use super::*;

#[test]
fn fallback_runs_when_local_settings_prevent_asking_the_broker() {
    let unreadable = [
        "address = \"https://127.0.0.1:1\"\ntls_ca = \"/no/such\"\n",
        "address = \"http://127.0.0.1:1\"\ntoken_file = \"/no/such\"\n",
    ];
    let cases = unreadable.map(|text| (&[][..], text, "")).into_iter().chain(MISTAKES);
    for (variables, text, expected) in cases {
        let place = Place::new(text);
        let fallback = place.helper_script("fallback", "{\"its\":\"own\"}", 0);
        let arguments = ["helper", "kubelet", "--fallback-exec", fallback.to_str().unwrap()];
        let ended = place.run_with(PROGRAM, &arguments, &kubelet_request(PRIVATE, ""), variables);
        assert_eq!((ended.code, ended.stdout.as_str()), (0, "{\"its\":\"own\"}\n"), "{text} {variables:?}: {ended:?}");
        assert!(!ended.stderr.is_empty() && ended.stderr.contains(expected), "{ended:?}");
    }
}

#[test]
fn two_hundred_helpers_with_a_cold_key_make_one_aws_call() {
    let broker = simulated_broker(&["--simulate-latency", "500ms"], &[("RUST_LOG", "info")]);
    let place = Place::at(&broker);
    std::thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| assert!(is_token(&place.docker("get", PRIVATE).out())));
        }
    });
    let logs = broker.stop();
    assert_eq!(logs.matches("credential fetched").count(), 1);
}

#[test]
fn kubelet_response_has_only_known_fields() {
    let broker = simulated_broker(&[], &[]);
    let place = Place::at(&broker);
    let image = format!("{PRIVATE}/team/app");
    let answer: Value = serde_json::from_str(&kubelet(&place, &[], &image, "").out()).unwrap();
    assert_eq!(fields(&answer), ["apiVersion", "auth", "cacheDuration", "cacheKeyType", "kind"]);
    assert_eq!(answer["kind"], "CredentialProviderResponse");
    assert_eq!(answer["cacheKeyType"], "Registry");
    let seconds: u64 = answer["cacheDuration"].as_str().unwrap().trim_end_matches('s').parse().unwrap();
    assert!((60..=66 * 60).contains(&seconds), "{seconds}");
    assert_eq!(answer["auth"][PRIVATE]["username"], "AWS");
    assert!(is_token(answer["auth"][PRIVATE]["password"].as_str().unwrap()));

    let other: Value = serde_json::from_str(&kubelet(&place, &[], "ghcr.io/a/b", "").stdout).unwrap();
    assert_eq!((&other["auth"], &other["cacheDuration"]), (&Value::Null, &json!("0s")));
    for wrong in [
        "",
        "{}",
        "\"eyJsecret\"",
        r#"{"apiVersion":"credentialprovider.kubelet.k8s.io/v1alpha1","kind":"CredentialProviderRequest","image":"x"}"#,
    ] {
        let refused = place.run(PROGRAM, &["helper", "kubelet"], wrong);
        assert_eq!((refused.code, refused.stdout.as_str()), (1, ""), "{wrong}");
        assert!(!refused.stderr.is_empty() && !refused.stderr.contains("eyJsecret"), "{refused:?}");
    }
    broker.stop();
}

#[test]
fn kubelet_token_of_the_pod_is_sent_to_the_broker() {
    let broker = simulated_broker(&[], &[]);
    let place = Place::at(&broker);
    // This broker accepts no tokens: its error proves that the token was sent.
    let refused = kubelet(&place, &[], PRIVATE, r#","serviceAccountToken":"t0ken","serviceAccountAnnotations":{}"#);
    assert_eq!((refused.code, refused.stdout.as_str()), (1, ""));
    assert!(refused.stderr.contains("accepts no bearer tokens") && !refused.stderr.contains("t0ken"), "{refused:?}");
    broker.stop();
}

#[test]
fn fallback_gets_the_same_request_when_no_broker_answers() {
    let place = Place::new(&format!("address = \"{UNUSED_ADDRESS}\"\n"));
    let fallback = place.helper_script("fallback", "{\"its\":\"own\"}", 0);
    let fallback = fallback.to_str().unwrap();
    let answer = kubelet(&place, &["--fallback-exec", fallback], PRIVATE, "");
    assert_eq!((answer.code, answer.stdout.as_str()), (0, "{\"its\":\"own\"}\n"));
    assert!(answer.stderr.contains("no broker answers") && place.requests().contains("CredentialProviderRequest"));
    let with_an_argument = format!("{fallback} get-credentials");
    assert_eq!(kubelet(&place, &["--fallback-exec", &with_an_argument], PRIVATE, "").code, 0);
    assert!(place.requests().contains("get-credentials\n"), "{}", place.requests());
    let question = json!({ "uri": format!("https://{PRIVATE}/v2/") }).to_string();
    let answer = place.run(PROGRAM, &["helper", "bazel", "get", "--fallback-exec", fallback], &question);
    assert_eq!((answer.code, answer.stdout.as_str()), (0, "{\"its\":\"own\"}\n"));
    let answer = place.run(PROGRAM, &["helper", "docker", "get", "--fallback-exec", fallback], PRIVATE);
    assert_eq!((answer.code, answer.stdout.as_str()), (0, "{\"its\":\"own\"}\n"));
    let missing = kubelet(&place, &["--fallback-exec", "/no/such"], PRIVATE, "");
    assert!(missing.code == 1 && missing.stderr.contains("/no/such"), "{missing:?}");
}

fn bazel(place: &Place, uri: &str) -> Ended {
    place.run(PROGRAM, &["helper", "bazel", "get"], &json!({ "uri": uri, "more": 1 }).to_string())
}

#[test]
fn bazel_get_returns_a_header_per_registry_and_none_for_layers() {
    let broker = simulated_broker(&[], &[]);
    let place = Place::at(&broker);
    for (host, scheme) in [(PRIVATE, "Basic"), ("public.ecr.aws", "Bearer")] {
        let answer: Value =
            serde_json::from_str(&bazel(&place, &format!("https://{host}/v2/team/app/blobs/sha256:00")).out()).unwrap();
        let header = answer["headers"]["Authorization"][0].as_str().unwrap();
        let (found, token) = header.split_once(' ').unwrap();
        assert_eq!(found, scheme);
        assert!(BASE64.decode(token.as_bytes()).unwrap().starts_with(b"AWS:"));
        assert!(humantime::parse_rfc3339(answer["expires"].as_str().unwrap()).is_ok());
    }
    assert_eq!(bazel(&place, &format!("http://{PRIVATE}/v2/")).out(), "{}\n", "no header in plaintext");
    let layers = bazel(&place, "https://prod-eu-central-1-starport-layer-bucket.s3.eu-central-1.amazonaws.com/x?y");
    assert_eq!(layers.out(), "{}\n");
    assert_eq!(place.run(PROGRAM, &["helper", "bazel", "set"], "{}").code, 1);
    assert_eq!(place.run(PROGRAM, &["helper", "bazel", "get"], "x").code, 1);
    broker.stop();
}
