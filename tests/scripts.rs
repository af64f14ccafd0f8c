//! Commands for scripts: lists, JSON output, probes, and credentials other than the cached ones.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod program;

use std::fs;

use program::{Ended, Server, run, simulated_broker};
use serde_json::Value;

const PRIVATE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const PUBLIC: &str = "public.ecr.aws";

fn at(broker: &Server, arguments: &[&str]) -> Ended {
    run(&[arguments, &["--address", &broker.address, "--timeout", "60s"]].concat(), &[])
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

/// A broker whose grants allow the caller three thousand registries, more than a page of a list has.
fn broker_with_grants(directory: &std::path::Path, accounts: u32) -> Server {
    let accounts: Vec<_> =
        (0..accounts).map(|account| format!("\"{:012}\"", 100_000_000_000_u64 + u64::from(account))).collect();
    let file = directory.join("config.toml");
    let grants = accounts.chunks(100).enumerate().map(|(at, chunk)| {
        format!(
            "[[grants]]\nid = \"pull-{at}\"\ncallers = [{{ loopback = true }}]\n\
             registries = [{{ accounts = [{}], regions = [\"eu-central-1\"] }}]\n",
            chunk.join(", ")
        )
    });
    let grants: String = grants.collect();
    fs::write(&file, grants).unwrap();
    simulated_broker(&["--config", file.to_str().unwrap()], &[])
}

#[test]
fn list_prints_every_page_as_a_table_and_as_json() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker_with_grants(directory.path(), 1_250);
    let first = "100000000000.dkr.ecr.eu-central-1.amazonaws.com";
    at(&broker, &["get", first]).out();

    let lines = json_lines(&at(&broker, &["list", "-o", "json"]).out());
    let cached: Vec<_> = lines.iter().filter(|line| line["expire_time"].is_string()).collect();
    assert_eq!((cached.len(), cached[0]["registry"].as_str()), (1, Some(first)), "{cached:?}");
    assert!(lines.len() >= 1_250, "{}", lines.len());
    for line in &lines {
        assert!(line["registry"].is_string() != line["registry_pattern"].is_string(), "{line}");
        assert_eq!(line["profile"], "default");
    }

    let table = at(&broker, &["list"]).out();
    let rows: Vec<_> = table.lines().collect();
    assert_eq!(rows.len(), lines.len() + 1);
    assert!(rows[0].starts_with("REGISTRY ") && rows[0].ends_with("  CACHED UNTIL"), "{}", rows[0]);
    assert!(table.contains(&format!("{first}  ")), "{table}");
}

#[test]
fn empty_list_is_said_on_stderr_and_is_not_a_failure() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    fs::write(&file, "grants = []\n").unwrap();
    let broker = simulated_broker(&["--config", file.to_str().unwrap()], &[]);
    let ended = at(&broker, &["list", "-o", "json"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, ""));
    assert!(ended.error().contains("you may request nothing"), "{}", ended.stderr);
}

#[test]
fn whoami_and_doctor_print_json() {
    let broker = simulated_broker(&[], &[]);
    let who: Value = serde_json::from_str(&at(&broker, &["whoami", "-o", "json"]).out()).unwrap();
    assert_eq!((&who["principal"], &who["grants_configured"]), (&"loopback".into(), &false.into()), "{who}");
    assert_eq!(who["grants"], Value::Array(Vec::new()));

    let ended = at(&broker, &["doctor", "-o", "json", "ghcr.io"]);
    let steps = json_lines(&ended.stdout);
    let names: Vec<_> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(names, ["settings", "address", "health", "caller", "grant", "AWS", "token", "/v2/", "mode", "tools"]);
    let failed = steps.iter().find(|step| step["result"] == "FAIL").unwrap();
    assert_eq!((ended.code, &failed["step"], &failed["exit_code"]), (3, &"grant".into(), &3.into()), "{failed}");
    assert!(!failed["fixes"].as_array().unwrap().is_empty(), "{failed}");
    assert_eq!((&steps[5]["result"], &steps[5]["exit_code"]), (&"skip".into(), &Value::Null));
}

#[test]
fn watch_prints_text_without_a_password() {
    let broker = simulated_broker(&[], &[]);
    let password = at(&broker, &["get", PRIVATE, "-o", "password"]).out();
    let mut command = program::program(&[("ECR_BROKER_ADDRESS", &broker.address)]);
    command.args(["watch", "-o", "text", PRIVATE]).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let first = lines.next().unwrap().unwrap();
    assert!(first.starts_with(&format!("{PRIVATE}: credentials until ")), "{first}");
    assert!(!first.contains(&password[..20]), "{first}");
    assert_eq!(lines.next().unwrap().unwrap(), "snapshot complete; waiting for refreshes");
    program::signal(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn refresh_replaces_cached_credentials_once_a_minute() {
    let broker = simulated_broker(&[], &[]);
    let id_of = |line: &Value| line["credential_id"].as_str().unwrap().to_owned();
    let get = |arguments: &[&str]| json_lines(&at(&broker, &[&["get", "-o", "json"], arguments].concat()).out());
    // A credential that this call fetched is not asked for again.
    let fetched = get(&["--refresh", PRIVATE]);
    assert_eq!(fetched[0]["cache_status"], "MISS");
    let cached = get(&[PRIVATE]);
    assert_eq!(id_of(&cached[0]), id_of(&fetched[0]));

    let fresh = get(&["--refresh", PRIVATE, PUBLIC]);
    assert_ne!(id_of(&fresh[0]), id_of(&fetched[0]));
    assert_eq!(fresh[1]["cache_status"], "MISS");
    assert_eq!(id_of(&get(&[PRIVATE])[0]), id_of(&fresh[0]));

    let again = run(&["get", "--refresh", PRIVATE, "--address", &broker.address, "--timeout", "2s"], &[]);
    assert_eq!((again.code, again.stdout.as_str()), (5, ""), "{again:?}");
    assert!(again.error().contains("retry in"), "{}", again.stderr);
}

#[test]
fn rejected_credential_is_replaced_if_it_is_the_cached_one() {
    let broker = simulated_broker(&[], &[]);
    let get =
        |arguments: &[&str]| json_lines(&at(&broker, &[&["get", "-o", "json", PRIVATE], arguments].concat()).out());
    let first = get(&[]).remove(0);
    let id = first["credential_id"].as_str().unwrap();
    let other = get(&["--rejected", &"0".repeat(32)]).remove(0);
    assert_eq!((&other["credential_id"], &other["cache_status"]), (&first["credential_id"], &"HIT".into()));
    assert_ne!(get(&["--rejected", id])[0]["credential_id"], first["credential_id"]);
    for wrong in [&["get", PRIVATE, PUBLIC, "--rejected", id][..], &["get", PRIVATE, "--refresh", "--rejected", id]] {
        assert_eq!(at(&broker, wrong).code, 2, "{wrong:?}");
    }
}

#[test]
fn get_splits_more_registries_than_a_batch_and_watch_names_the_limit() {
    let broker = simulated_broker(&[], &[]);
    let many: Vec<_> = (0..130).map(|number| format!("{number:012}.dkr.ecr.eu-central-1.amazonaws.com")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let lines = json_lines(&at(&broker, &[&["get", "-o", "json"], &many[..]].concat()).out());
    let registries: Vec<_> = lines.iter().map(|line| line["registry"].as_str().unwrap()).collect();
    assert_eq!(registries, many);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("auth.json");
    let sync = ["sync", "--authfile", file.to_str().unwrap()];
    for command in [&["watch"][..], &sync] {
        let ended = at(&broker, &[command, &many].concat());
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(ended.error().contains("130 registries are too many for one watch; name at most 100"), "{ended:?}");
    }
    at(&broker, &[&sync[..], &["--once"], &many].concat()).out();
    let written: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(written["auths"].as_object().unwrap().len(), 130);
}

#[test]
fn wrong_flags_are_explained() {
    for (arguments, problem) in [
        (
            &["get", PUBLIC, "--min-validity", "-1h"][..],
            "'-1h' for '--min-validity <DURATION>': expected a duration such",
        ),
        (&["get", PUBLIC, "--timeout", "10"], "'10' for '--timeout <DURATION>': expected a duration such as 90s"),
        (&["probe", "--wait", "soon"], "'soon' for '--wait <DURATION>': expected a duration such as 90s, 10m or 1h30m"),
        (&["get", PUBLIC, "--name", "pull"], "--name and --namespace are for a Kubernetes Secret; add -o k8s-secret"),
        (&["get", PUBLIC, "--namespace", "ci", "-o", "json"], "add -o k8s-secret"),
        (&["get", PUBLIC, "-o", "k8s-secret"], "--name <NAME>"),
    ] {
        let ended = run(arguments, &[]);
        assert!(ended.code == 2 && ended.stderr.contains(problem), "{problem}: {ended:?}");
    }
}

#[test]
fn verbose_client_tells_each_step_and_no_secret() {
    let broker = simulated_broker(&[], &[]);
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    fs::write(&token, "eyJzZWNyZXQtdG9rZW4").unwrap();
    let addresses = format!("unix:/no/such.sock,{}", broker.address);
    let arguments = ["get", "-o", "json", PRIVATE, "--address", &addresses, "--token-file", token.to_str().unwrap()];
    for (flag, variable) in [(&["-v"][..], ("X", "x")), (&[], ("RUST_LOG", "debug"))] {
        let ended = run(&[&arguments, flag].concat(), &[variable]);
        // The token is not one of this broker's issuers, which has none.
        for step in ["settings read", "connection attempt failed address=unix:/no/such.sock", "bearer token sent"] {
            assert!(
                ended.stderr.lines().any(|line| line.starts_with("ecr-broker: ") && line.contains(step)),
                "{ended:?}"
            );
        }
        assert!(ended.stderr.contains(&format!("connected address=http://{}", &broker.address[7..])), "{ended:?}");
        assert!(!ended.stderr.contains("eyJ"), "{ended:?}");
    }
    assert!(!run(&arguments, &[]).stderr.contains("connected"));
}

#[test]
fn probe_tells_liveness_from_readiness() {
    let broker = simulated_broker(&[], &[]);
    assert_eq!(at(&broker, &["probe"]).out(), "serving\n");
    assert_eq!(at(&broker, &["probe", "--ready"]).out(), "ready\n");
    let json: Value = serde_json::from_str(&at(&broker, &["probe", "--ready", "-o", "json"]).out()).unwrap();
    assert_eq!(json["serving"], true);
    let unknown = at(&broker, &["probe", "--service", "x"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.error().contains("use --ready, --service config"), "{}", unknown.stderr);

    // Without AWS credentials a broker is alive, but not ready.
    let listen = ["serve", "--allow-loopback", "--listen", "127.0.0.1:0"];
    let alone =
        Server::start(&listen, &[("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_REGION", "eu-central-1"), ("HOME", "/")]);
    assert_eq!(at(&alone, &["probe"]).out(), "serving\n");
    let ready = at(&alone, &["probe", "--ready", "-o", "json"]);
    assert_eq!((ready.code, ready.stdout.contains("\"serving\":false")), (1, true), "{ready:?}");
    assert!(ready.error().contains("not serving"), "{}", ready.stderr);
    // It ends with its wait, and not with a failure to connect.
    let waited = at(&alone, &["probe", "--ready", "--wait", "600ms"]);
    assert_eq!(waited.code, 1);
    assert!(waited.error().contains("not serving"), "{}", waited.stderr);
}

#[test]
fn probe_waits_for_a_broker_that_starts_later() {
    let directory = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", directory.path().join("broker.sock").display());
    let mut probe = program::program(&[]);
    probe.args(["probe", "--ready", "--wait", "60s", "--address", &address]);
    let mut probe = probe.stdout(std::process::Stdio::null()).spawn().unwrap();
    let broker = Server::start(&["serve", "--simulate", "--listen", &address], &[]);
    assert_eq!(probe.wait().unwrap().code(), Some(0));
    broker.stop();
}
