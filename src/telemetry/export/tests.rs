use super::*;

fn read(signal: Signal, variables: &[(&str, &str)]) -> anyhow::Result<Export> {
    let owned: Vec<_> = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Export::read(signal, &Variables::new(&owned))
}

#[test]
fn protocol_is_read_from_the_variable_or_the_port() {
    for (endpoint, protocol, grpc) in [
        ("http://c:4318", "", false),
        ("http://c:4317", "", true),
        ("http://c:4317/", "", true),
        ("http://c:4317", "http/protobuf", false),
        ("http://c:4318", "grpc", true),
    ] {
        let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
        assert_eq!(read(Signal::Traces, &variables).expect("valid").grpc, grpc, "{endpoint} {protocol}");
    }
}

#[test]
fn variable_of_the_signal_takes_precedence() {
    let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318/otlp/");
    let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://own/push?tenant=1");
    let url = |variables: &[_]| read(Signal::Metrics, variables).expect("valid").url.to_string();
    assert_eq!(url(&[]), "http://localhost:4318/v1/metrics");
    assert_eq!(url(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]), "http://localhost:4317/");
    assert_eq!(url(&[all]), "http://all:4318/otlp/v1/metrics");
    assert_eq!(url(&[all, own]), "https://own/push?tenant=1");
    let grpc = [("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "own:4317"), ("OTEL_EXPORTER_OTLP_INSECURE", "true")];
    assert_eq!((url(&grpc), url(&grpc[..1])), ("http://own:4317/".to_owned(), "https://own:4317/".to_owned()));
    let of_all = [("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    let of_metrics =
        [("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "3000"), ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf")];
    let export = read(Signal::Metrics, &[of_all, of_metrics].concat()).expect("valid");
    assert_eq!((export.timeout, export.grpc), (Duration::from_secs(3), false));
    let export = read(Signal::Traces, &[of_all, of_metrics].concat()).expect("valid");
    assert_eq!((export.timeout, export.grpc), (Duration::from_secs(2), true));
}

#[test]
fn export_is_plaintext_without_tls_to_the_collector_or_its_proxy() {
    for (endpoint, proxy, plaintext) in [
        ("http://c:4318", "", true),
        ("https://c:4318", "", false),
        ("http://c:4318", "http://proxy:3128", true),
        ("http://c:4318", "https://proxy:3129", false),
    ] {
        let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("HTTP_PROXY", proxy)];
        let export = read(Signal::Metrics, &variables).expect("valid");
        assert_eq!(export.is_plaintext(), plaintext, "{variables:?}");
        // A client with a list, be it empty, does not load the system's certificates, which a minimal image lacks.
        let (roots, _) = export.tls.for_http(plaintext).expect("valid");
        assert_eq!(roots.map(|roots| roots.len()), plaintext.then_some(0), "{variables:?}");
    }
}

#[test]
fn headers_are_percent_decoded_and_not_printed() {
    let variables = [("OTEL_EXPORTER_OTLP_HEADERS", "x-key = abc%3D%2C1 , Authorization=Bearer%20secret,")];
    let export = read(Signal::Metrics, &variables).expect("valid");
    let header = |name: &str| export.headers[name].to_str().expect("text");
    assert_eq!((header("x-key"), header("authorization")), ("abc=,1", "Bearer secret"));
    assert!(!format!("{export:?} {:?}", export.headers).contains("secret"));
    for wrong in ["secret", "a b=secret", "a=secret%0Ab"] {
        let error = read(Signal::Metrics, &[("OTEL_EXPORTER_OTLP_HEADERS", wrong)]).expect_err(wrong).to_string();
        assert!(error.starts_with("OTEL_EXPORTER_OTLP_HEADERS: expected") && !error.contains("secret"), "{error}");
    }
}

#[test]
fn unreadable_certificate_is_refused_with_its_variable() {
    let directory = tempfile::tempdir().expect("a directory");
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "").expect("written");
    let (empty, missing) = (empty.to_str().expect("text"), "/nonexistent/ca.pem");
    for (name, file) in [
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", missing),
        ("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", empty),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", missing),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", missing),
    ] {
        let error = read(Signal::Metrics, &[(name, file)]).expect_err(name).to_string();
        assert!(error.starts_with(name), "{error}");
    }
}

#[test]
fn certificate_needs_its_own_key_over_both_protocols() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("text").to_owned()
    };
    let generate = || rcgen::generate_simple_self_signed(["broker.example".to_owned()]).expect("generated");
    let (own, other) = (generate(), generate());
    let certificate = write("own.pem", &own.cert.pem());
    let key = write("own.key", &own.signing_key.serialize_pem());
    let wrong = [write("other.key", &other.signing_key.serialize_pem()), write("none.key", "none")];
    for protocol in ["grpc", "http/protobuf"] {
        let with = |key: &str| {
            read(
                Signal::Metrics,
                &[
                    ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                    ("OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE", &certificate),
                    ("OTEL_EXPORTER_OTLP_CLIENT_KEY", key),
                ],
            )
        };
        with(&key).expect("a certificate with its key");
        for wrong in &wrong {
            let error = with(wrong).expect_err(wrong).to_string();
            assert!(error.starts_with("OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE: not a PEM"), "{error}");
        }
    }
}
