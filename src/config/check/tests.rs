use crate::config::Config;
use crate::config::sources::Sources;
use crate::config::tests::{file, load, problems, sources};

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
fn network_listeners_need_tls_and_identified_callers() {
    let pair = "certificate = \"/no/such.crt\"\nkey = \"/no/such.key\"";
    for (text, key, hint) in [
        ("[server.tls]\ncertificate = \"/a\"".to_owned(), "server.tls.certificate", "has no key"),
        ("[server.tls]\nkey = \"/a\"".to_owned(), "server.tls.key", "has no certificate"),
        ("[server.tls]\nkey = \"a\"".to_owned(), "server.tls.key", "absolute"),
        ("[server.tls]\ncolour = 1".to_owned(), "server.tls.colour", "the keys of [server.tls] are certificate, key"),
        ("[server]\ntls = 1".to_owned(), "server.tls", "write [server.tls]"),
        (
            "[authentication]\nclient_ca = { \"a.example\" = \"/a\" }".to_owned(),
            "authentication.client_ca",
            "client certificates need TLS",
        ),
        (
            "[authentication]\nclient_dns = { \"a.example\" = \"/a\" }".to_owned(),
            "authentication.client_dns",
            "client certificates need TLS",
        ),
        (
            "[authentication]\nclient_ca = { \"A.example\" = \"/a\" }".to_owned(),
            "authentication.client_ca",
            "trust domain",
        ),
        ("[authentication]\nclient_ca = { \"a.example\" = \"a\" }".to_owned(), "authentication.client_ca", "absolute"),
        (
            "[authentication]\nclient_dns = { \"*.example\" = \"/a\" }".to_owned(),
            "authentication.client_dns",
            "without \"*\"",
        ),
        (
            "[authentication]\nclient_crl = { \"a.example\" = \"/a\" }".to_owned(),
            "authentication.client_crl",
            "neither in client_ca nor in client_dns",
        ),
        ("[server]\nlisten = [\"0.0.0.0:1\"]".to_owned(), "server.listen", "without encryption"),
        ("[server]\nlisten = [\"127.0.0.1:1\"]".to_owned(), "server.listen", "authentication.loopback = true"),
        (
            format!("[server]\nlisten = [\"0.0.0.0:1\"]\n[server.tls]\n{pair}"),
            "server.listen",
            "without authentication",
        ),
    ] {
        let problems = problems(&text);
        let found = problems.iter().any(|problem| problem.starts_with(key) && problem.contains(hint));
        assert!(found, "{text}: {problems:#?}");
    }
    let open = format!(
        "[server]\nlisten = [\"0.0.0.0:1\"]\n[server.tls]\n{pair}\n[authentication]\nclient_ca = {{ \"a.example\" = \"/a\" }}"
    );
    assert!(problems(&open)[0].contains("write grants and enforce them"));
    assert!(load(&format!("grants = []\n{open}")).is_ok());
    let variable = [("ECR_BROKER_SERVER_TLS_KEY", "/a"), ("ECR_BROKER_SERVER_TLS_COLOUR", "red")];
    let diagnostics = Config::load(&sources(&file(""), &variable)).unwrap_err();
    let of = |place: &str| {
        diagnostics.iter().find(|diagnostic| diagnostic.place == place).map(|diagnostic| diagnostic.problem.as_str())
    };
    assert!(of("ECR_BROKER_SERVER_TLS_KEY").unwrap().contains("has no certificate"), "{diagnostics:?}");
    assert!(
        of("ECR_BROKER_SERVER_TLS_COLOUR").unwrap().contains("the keys of [server.tls] are certificate, key"),
        "{diagnostics:?}"
    );
}

#[test]
fn contradicting_settings_are_refused() {
    for (text, problem) in [
        (
            "[cache]\nsafety_margin = \"2h\"\nmax_min_validity = \"1h\"",
            "cache.safety_margin: exceeds cache.max_min_validity, so no credential could be released; lower it",
        ),
        (
            "[aws]\nattempt_timeout = \"9s\"",
            "aws.attempt_timeout: exceeds aws.operation_timeout, which includes all attempts; lower it",
        ),
        (
            "[limits]\nin_flight = 16384",
            "limits.in_flight: is not below cache.max_waiters, so one caller could block all others; lower it",
        ),
        (
            "[limits]\nwatch_memory = \"32MiB\"",
            "limits.watch_memory_per_caller: exceeds limits.watch_memory, which all callers share; lower it or raise \
             limits.watch_memory",
        ),
        ("grants = []\n[policy]\nmode = \"observe\"", "policy.mode: \"observe\" needs an audit log; set audit.output"),
    ] {
        assert_eq!(problems(text), [problem]);
    }
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
        (
            11,
            "refresh_after = \"1s\"",
            "would exceed 10 AWS calls per second; list fewer registries or raise cache.refresh_after",
        ),
    ] {
        let diagnostics = with(count, more).unwrap_err();
        assert!(diagnostics.len() == 1 && diagnostics[0].problem.contains(problem), "{diagnostics:?}");
    }
    assert!(with(11, "refresh_after = \"1s\"\ntoken_scope = \"identity\"").is_ok(), "they share one token");
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

#[test]
fn p13_ops_listener_beyond_loopback_needs_tls_or_permission() {
    let tls = "[server.tls]\ncertificate = \"/a\"\nkey = \"/b\"";
    for address in ["0.0.0.0:1", "[::]:1", "10.0.0.5:1", "[::ffff:10.0.0.5]:1"] {
        let ops = format!("[server]\nops_listen = \"{address}\"\n");
        let [problem] = problems(&ops).try_into().unwrap();
        let fix =
            "is reachable from other hosts without encryption; set server.tls, or server.ops_allow_plaintext = true";
        assert!(problem.starts_with("server.ops_listen: ") && problem.ends_with(fix), "{problem}");
        assert!(load(&format!("{ops}ops_allow_plaintext = true")).is_ok());
        assert!(load(&format!("{ops}{tls}")).is_ok());
    }
    for address in ["127.0.0.1:1", "[::1]:1", "unix:/run/ops.sock"] {
        assert!(load(&format!("[server]\nops_listen = \"{address}\"")).is_ok(), "{address}");
    }
}

#[test]
fn ops_listener_shares_its_address_with_no_other() {
    let api = "aws_api_listen = \"127.0.0.1:1\"\naws_api_secret_file = \"/a\"";
    for (others, ops, problem) in [
        ("listen = [\"unix:/a.sock\"]", "unix:/a.sock", "unix:/a.sock is also server.listen"),
        (api, "127.0.0.1:1", "127.0.0.1:1 is also server.aws_api_listen"),
    ] {
        let problems = problems(&format!("[server]\n{others}\nops_listen = \"{ops}\""));
        assert_eq!(problems, [format!("server.ops_listen: {problem}; give each listener its own address")]);
    }
    let any_port =
        "[server]\nlisten = [\"127.0.0.1:0\"]\nops_listen = \"127.0.0.1:0\"\n[authentication]\nloopback = true";
    assert!(load(any_port).is_ok());
}

#[test]
fn p13_json_api_identifies_its_callers_and_is_encrypted_beyond_loopback() {
    let issuer = "[[authentication.jwt]]\nname = \"a\"\nissuer = \"https://a.example\"\naudience = \"b\"\n";
    let (tls, closed) = ("[server.tls]\ncertificate = \"/a\"\nkey = \"/b\"\n", "grants = []\n");
    let json = |address: &str| format!("[server]\njson_listen = \"{address}\"\n");
    let both = |address: &str| format!("{closed}{}{tls}{issuer}", json(address));
    for text in [json("unix:/run/json.sock"), format!("{closed}{}{issuer}", json("127.0.0.1:1")), both("0.0.0.0:1")] {
        assert!(load(&text).unwrap().server.json.is_some(), "{text}");
    }
    for (text, problem) in [
        (format!("{closed}{}{issuer}", json("0.0.0.0:1")), "without encryption"),
        (format!("{closed}{}{tls}", json("0.0.0.0:1")), "without authentication"),
        (json("127.0.0.1:1"), "cannot identify its callers; add [[authentication.jwt]], or use a Unix socket"),
        (json("127.0.0.1:1") + "[authentication]\nloopback = true", "cannot identify its callers"),
        (json("unix:/a.sock") + "ops_listen = \"unix:/a.sock\"", "unix:/a.sock is also server.ops_listen"),
        (json("unix:/a.sock") + "listen = [\"unix:/a.sock\"]", "unix:/a.sock is also server.listen"),
    ] {
        let [found] = problems(&text).try_into().unwrap_or_else(|found| panic!("{text}: {found:?}"));
        assert!(found.starts_with("server.json_listen: ") && found.contains(problem), "{text}: {found}");
    }
}

/// The gRPC API listens on one of them while `listen` is empty.
#[test]
fn listener_on_a_default_socket_of_grpc_is_refused() {
    let environment = [("XDG_RUNTIME_DIR", "/run/user/1000")];
    for setting in ["json_listen", "ops_listen"] {
        for socket in ["unix:/run/ecr-broker/broker.sock", "unix:/run/user/1000/ecr-broker/broker.sock"] {
            let text = format!("[server]\n{setting} = \"{socket}\"\n");
            let own = file(&text);
            let [found] = Config::load(&sources(&own, &environment)).unwrap_err().try_into().unwrap();
            let expected = format!("{socket} is also a default of server.listen; give each listener its own address");
            assert_eq!(found.problem, format!("server.{setting}: {expected}"));
            let elsewhere = file(&(text + "listen = [\"unix:/a.sock\"]"));
            assert!(Config::load(&sources(&elsewhere, &environment)).is_ok(), "{setting} {socket}");
        }
    }
    let of_another_user = file("[server]\njson_listen = \"unix:/run/user/1001/ecr-broker/broker.sock\"");
    assert!(Config::load(&sources(&of_another_user, &environment)).is_ok());
}

#[test]
fn activated_socket_of_the_json_api_is_not_for_grpc() {
    let file = file("[server]\njson_listen = \"unix:/json.sock\"");
    let activated = vec!["unix:/json.sock".parse().unwrap(), "unix:/b.sock".parse().unwrap()];
    let config = Config::load(&Sources { activated, ..sources(&file, &[]) }).unwrap();
    assert_eq!(config.server.listen, ["unix:/b.sock".parse().unwrap()]);
}

#[test]
fn ops_hosts_are_dns_names() {
    let problems = problems("[server]\nops_hosts = [\"Broker.example\"]");
    assert!(problems.len() == 1 && problems[0].contains("lower-case"), "{problems:?}");
    let hosts =
        load("[server]\nops_listen = \"127.0.0.1:0\"\nops_hosts = [\"a.example\"]").unwrap().server.ops.unwrap().hosts;
    assert_eq!(hosts, ["a.example".parse().unwrap()]);
}
