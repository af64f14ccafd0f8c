//! Records of releases and denials.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ecr_broker::audit::Output;
use ecr_broker::error::FailureClass;
use ecr_broker::pb;
use ecr_broker::pb::batch_result::Result as Outcome;
use ecr_broker::policy::{CallerPattern, Effect, Grant, Policy, RegistryPattern};
use serde_json::Value;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::program::{SERVE_SIMULATED, Server, run, signal};
use crate::support::*;

/// Time after which a rotation is noticed.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Grants loopback the public registry.
fn policy() -> Policy {
    Policy::Grants(vec![Grant {
        id: "local".into(),
        callers: vec![CallerPattern::Loopback],
        registries: vec![RegistryPattern::Public],
        profile: Some("default".into()),
        effect: Effect::Allow,
        max_lifetime: None,
    }])
}

fn broker(policy: Policy, file: &Path) -> TestBroker {
    TestBroker::start_as(policy, Some(&Output::File(file.to_owned())), |_| ())
}

fn records(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"))).collect()
}

/// Returns a credential's expiry, as records have it.
fn expiry(credentials: &pb::RegistryCredentials) -> Value {
    let time = credentials.expire_time.unwrap().try_into().unwrap();
    humantime::format_rfc3339_millis(time).to_string().into()
}

async fn get(client: &mut Client, registry: &str) -> Result<pb::RegistryCredentials, Status> {
    Ok(client.get_registry_credentials(request(registry)).await?.into_inner().credentials.unwrap())
}

#[tokio::test]
async fn p11_release_and_denial_are_recorded_before_the_response() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let broker = broker(policy(), &file);
    let mut client = broker.client().await;
    let credentials = get(&mut client, "public.ecr.aws").await.unwrap();
    let released = records(&file).pop().unwrap();
    for (field, value) in [
        ("kind", "audit"),
        ("outcome", "released"),
        ("caller", "loopback"),
        ("registry", "public.ecr.aws"),
        ("profile", "default"),
        ("grant", "local"),
        ("credential_id", &credentials.credential_id),
    ] {
        assert_eq!(released[field], value, "{field}");
    }
    humantime::parse_rfc3339(released["time"].as_str().unwrap()).unwrap();
    assert_eq!((&released["expires"], &released["source"]), (&expiry(&credentials), &"aws".into()));

    let status = get(&mut client, HOST).await.unwrap_err();
    let denied = records(&file).pop().unwrap();
    assert_eq!((&denied["outcome"], &denied["registry"]), (&"denied".into(), &HOST.into()));
    assert_eq!(denied["request_id"], status.get_error_details().request_info().unwrap().request_id);
    assert_eq!(denied["policy"], released["policy"]);
    for field in ["credential_id", "expires", "source", "minted_by"] {
        assert!(denied.get(field).is_none(), "{field}");
    }
    assert!(!fs::read_to_string(&file).unwrap().contains(&credentials.password));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_thousand_concurrent_releases_have_a_record_each() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let broker = broker(Policy::Open, &file);
    let client = broker.client().await;
    let calls = (0..1000).map(|number| {
        let mut client = client.clone();
        async move { get(&mut client, &host(number % 7)).await.unwrap().credential_id }
    });
    let mut released: Vec<_> = futures_util::future::join_all(calls).await;
    let mut recorded: Vec<_> =
        records(&file).iter().map(|record| record["credential_id"].as_str().unwrap().to_owned()).collect();
    released.sort();
    recorded.sort();
    assert_eq!(released, recorded);
}

/// Whichever way a credential is found, its record has its own facts.
#[tokio::test]
async fn record_of_a_coalesced_a_hit_and_a_stale_answer_has_its_facts() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let broker = broker(Policy::Open, &file);
    let client = broker.client().await;
    let calls = (0..20).map(|_| {
        let mut client = client.clone();
        async move { get(&mut client, HOST).await.unwrap() }
    });
    broker.source.shut();
    let open = async {
        while broker.cache.waiting() < 20 {
            tokio::task::yield_now().await;
        }
        broker.source.open();
    };
    let (mut answers, ()) = tokio::join!(futures_util::future::join_all(calls), open);
    let statuses: BTreeSet<_> = answers.iter().map(|answer| answer.cache_status).collect();
    assert!(statuses.contains(&(pb::CacheStatus::Coalesced as i32)), "{statuses:?}");
    answers.push(get(&mut client.clone(), HOST).await.unwrap());
    assert_eq!(answers.last().unwrap().cache_status(), pb::CacheStatus::Hit);
    let written = records(&file);
    assert_eq!(written.len(), 21);
    for record in &written {
        assert_eq!((&record["expires"], &record["source"]), (&expiry(&answers[0]), &"aws".into()));
        assert!(record.get("minted_by").is_none(), "a scripted source names none: {record}");
    }

    // The refresh fails, and the answer is stale.
    broker.source.fail(FailureClass::Unavailable);
    broker.clock.advance(7 * HOUR);
    let mut client = client.clone();
    let stale = loop {
        let answer = get(&mut client, HOST).await.unwrap();
        if answer.cache_status() == pb::CacheStatus::Stale {
            break answer;
        }
        tokio::task::yield_now().await;
    };
    let record = records(&file).pop().unwrap();
    assert_eq!((&record["expires"], &record["credential_id"]), (&expiry(&stale), &stale.credential_id.into()));
}

/// Each item is released by the record of its request, which counts the items with one credential.
#[tokio::test]
async fn p11_items_of_a_batch_with_one_credential_have_one_record() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let broker = TestBroker::start_as(Policy::Open, Some(&Output::File(file.clone())), |setup| {
        setup.config.aliases.add("alias.example", HOST.parse().unwrap()).unwrap();
    });
    let mut client = broker.client().await;
    let spellings = [HOST, "https://HOST/", "HOST/image:tag"].map(|text| text.replace("HOST", HOST));
    let lasting = pb::GetRegistryCredentialsRequest { min_validity: prost_duration(3_600), ..request(HOST) };
    let requests = [host(1), "alias.example".into(), "alias.example".into(), "ghcr.io".into()];
    let requests: Vec<_> = spellings.iter().chain(&requests).map(|text| request(text)).chain([lasting]).collect();
    let batch = pb::BatchGetRegistryCredentialsRequest { requests };
    let results = client.batch_get_registry_credentials(batch).await.unwrap().into_inner().results;
    let hosts = results.iter().map(|result| match result.result.as_ref().unwrap() {
        Outcome::Credentials(credentials) => credentials.registry.as_str(),
        Outcome::Error(_) => "error",
    });
    assert_eq!(
        hosts.collect::<Vec<_>>(),
        [HOST, HOST, HOST, &host(1), "alias.example", "alias.example", "error", HOST]
    );

    let mut written = records(&file);
    let id = written[0]["request_id"].clone();
    assert!(written.iter().all(|record| record["request_id"] == id && record["outcome"] == "released"));
    let expiries = results.iter().filter_map(|result| match result.result.as_ref().unwrap() {
        Outcome::Credentials(credentials) => Some((credentials.credential_id.as_str(), expiry(credentials))),
        Outcome::Error(_) => None,
    });
    for (id, expires) in expiries {
        let of_id: Vec<_> = written.iter().filter(|record| record["credential_id"] == id).collect();
        assert!(!of_id.is_empty() && of_id.iter().all(|record| record["expires"] == expires), "{of_id:?}");
    }
    written.sort_by_key(|record| record["count"].as_u64());
    let shape: Vec<_> = written
        .iter()
        .map(|record| (record["registry"].as_str().unwrap(), &record["alias"], &record["count"]))
        .collect();
    let (first, alias) = (host(1), Value::from("alias.example"));
    let none = Value::Null;
    assert_eq!(
        shape,
        [(first.as_str(), &none, &none), (HOST, &alias, &Value::from(2)), (HOST, &none, &Value::from(4))]
    );
}

#[expect(clippy::unnecessary_wraps, reason = "fields of messages are optional")]
fn prost_duration(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

#[tokio::test]
async fn p11_unwritable_sink_releases_nothing_and_still_denies() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let broker = broker(policy(), &file);
    put_directory_at(&file);
    let mut client = broker.client().await;
    let status = get(&mut client, "public.ecr.aws").await.unwrap_err();
    let details = status.get_error_details();
    assert_eq!(
        (status.code(), details.error_info().unwrap().reason.as_str()),
        (Code::Unavailable, "AUDIT_UNAVAILABLE")
    );
    assert!(details.retry_info().is_some());
    assert_eq!(get(&mut client, HOST).await.unwrap_err().code(), Code::PermissionDenied);
}

/// Denied callers cannot delay the releases of other callers.
#[tokio::test(flavor = "multi_thread")]
async fn p11_flood_of_denials_is_counted_and_delays_no_release() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let broker = broker(policy(), &file);
    let flood = broker.client().await;
    let denied = (0..50).map(|_| {
        let mut client = flood.clone();
        async move {
            let requests = vec![request(HOST); 100];
            client.batch_get_registry_credentials(pb::BatchGetRegistryCredentialsRequest { requests }).await.unwrap();
        }
    });
    let mut honest = broker.client().await;
    let served = async {
        for _ in 0..50 {
            get(&mut honest, "public.ecr.aws").await.unwrap();
        }
    };
    tokio::join!(futures_util::future::join_all(denied), served);
    let written = fs::metadata(&file).unwrap().len();
    let before = records(&file);
    let of = |outcome: &str| before.iter().filter(|record| record["outcome"] == outcome).count();
    assert_eq!((of("released"), of("denied")), (50, 10), "the clock of the test stands still");
    println!("5,000 denials and 50 releases are {written} bytes of audit");
    // A shutdown writes what is left, as each minute does.
    broker.stop().await;
    let count = records(&file).pop().unwrap();
    assert_eq!(
        (&count["outcome"], &count["caller"], &count["count"]),
        (&"denied".into(), &"loopback".into(), &4990.into())
    );
}

/// A tenth of a second after the rotation at the latest.
#[tokio::test]
async fn rotated_audit_file_is_created_again_and_writes_recover() {
    let directory = tempfile::tempdir().unwrap();
    let (file, old) = (directory.path().join("audit.jsonl"), directory.path().join("audit.jsonl.1"));
    let broker = broker(Policy::Open, &file);
    let mut client = broker.client().await;
    get(&mut client, HOST).await.unwrap();
    fs::rename(&file, &old).unwrap();
    get(&mut client, HOST).await.unwrap();
    broker.clock.advance(CHECK_INTERVAL);
    get(&mut client, HOST).await.unwrap();
    assert_eq!((records(&old).len(), records(&file).len()), (2, 1));

    // Nothing is released while a directory is in the way of the file.
    put_directory_at(&file);
    broker.clock.advance(CHECK_INTERVAL);
    assert_eq!(get(&mut client, HOST).await.unwrap_err().code(), Code::Unavailable);
    fs::remove_dir(&file).unwrap();
    get(&mut client, HOST).await.unwrap();
    assert_eq!(records(&file).len(), 1);
}

#[test]
fn program_writes_records_to_the_configured_output() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let output = ("ECR_BROKER_AUDIT_OUTPUT", file.to_str().unwrap());
    let broker = Server::start(&SERVE_SIMULATED, &[output]);
    run(&["get", HOST, "--address", &broker.address], &[]).out();
    let record = records(&file).pop().unwrap();
    assert!(record["aws_request_id"].is_string(), "{record}");

    let stderr = Server::start(&SERVE_SIMULATED, &[("ECR_BROKER_AUDIT_OUTPUT", "stderr")]);
    run(&["get", HOST, "--address", &stderr.address], &[]).out();
    assert!(stderr.stop().lines().any(|line| line.contains("\"kind\":\"audit\"")));

    for (output, said) in [("/no/such/audit.jsonl", "cannot write to /no/such/audit.jsonl"), ("here", "absolute path")]
    {
        let ended = run(&[&["serve"], &SERVE_SIMULATED[1..]].concat(), &[("ECR_BROKER_AUDIT_OUTPUT", output)]);
        assert_eq!(ended.code, 1);
        assert!(ended.error().contains(said), "{}", ended.stderr);
    }
}

#[test]
fn per_caller_credentials_are_not_shared_and_records_name_their_session() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (log, config, socket) = (path("audit.jsonl"), path("config.toml"), format!("unix:{}", path("broker.sock")));
    let profile = |name: &str, attribution: &str| {
        let role = "role_chain = [\"arn:aws:iam::210987654321:role/pull\"]";
        format!("[[profiles]]\nname = \"{name}\"\n{role}\nattribution = \"{attribution}\"\n")
    };
    fs::write(&config, profile("named", "caller") + &profile("shared", "broker")).unwrap();
    // The program prints the first address first.
    let arguments = ["serve", "--simulate", "--listen", "127.0.0.1:0", "--listen", &socket, "--config", &config];
    let broker = Server::start(&arguments, &[("ECR_BROKER_AUDIT_OUTPUT", &log)]);
    let get = |address: &str, profile: &str| {
        run(&["get", HOST, "-o", "json", "--profile", profile, "--address", address], &[]).out();
        records(Path::new(&log)).pop().unwrap()
    };
    let [user, loopback] = [&socket, &broker.address].map(|address| get(address, "named"));
    assert_ne!(user["credential_id"], loopback["credential_id"]);
    assert_eq!(get(&socket, "named")["credential_id"], user["credential_id"]);
    let name = |record: &Value| record["role_session"].as_str().unwrap().to_owned();
    assert!(name(&user).starts_with("ecr-broker-uid-") && name(&loopback).starts_with("ecr-broker-loopback."));
    let [user, loopback] = [&socket, &broker.address].map(|address| get(address, "shared"));
    assert_eq!(user["credential_id"], loopback["credential_id"]);
    assert_eq!(name(&user), "ecr-broker-shared");
    assert!(get(&socket, "default").get("role_session").is_none());
}

#[test]
fn sessions_tell_aws_about_the_caller_and_missing_claims_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (log, config, socket) = (path("audit.jsonl"), path("config.toml"), format!("unix:{}", path("broker.sock")));
    let profile = |name: &str, keys: &str| {
        let role = "role_chain = [\"arn:aws:iam::210987654321:role/pull\"]";
        format!("[[profiles]]\nname = \"{name}\"\n{role}\n{keys}\n")
    };
    let profiles = [
        profile("tagged", "session_tags = { who = \"caller\", by = \"text:broker\" }\ntransitive = [\"who\"]"),
        profile("claimed", "session_tags = { team = \"claim:namespace_path\" }"),
        profile("named", "attribution = \"ci-{caller}\""),
    ];
    fs::write(&config, profiles.concat()).unwrap();
    let arguments = ["serve", "--simulate", "--listen", "127.0.0.1:0", "--listen", &socket, "--config", &config];
    let broker = Server::start(&arguments, &[("ECR_BROKER_AUDIT_OUTPUT", &log)]);
    let ask = |address: &str, profile: &str| {
        run(&["get", HOST, "-o", "json", "--profile", profile, "--address", address], &[])
    };
    let get = |address: &str, profile: &str| {
        ask(address, profile).out();
        records(Path::new(&log)).pop().unwrap()
    };
    let name = |record: &Value| record["role_session"].as_str().unwrap().to_owned();
    let [user, loopback] = [&socket, &broker.address].map(|address| get(address, "tagged"));
    assert_ne!(user["credential_id"], loopback["credential_id"]);
    assert_eq!(get(&socket, "tagged")["credential_id"], user["credential_id"]);
    assert_eq!(name(&user), "ecr-broker-tagged");
    let [user, loopback] = [&socket, &broker.address].map(|address| get(address, "named"));
    assert!(name(&user).starts_with("ci-uid-") && name(&loopback).starts_with("ci-loopback."), "{user} {loopback}");
    let refused = ask(&socket, "claimed");
    let problem = "claimed: the profile needs the claim \"namespace_path\" of a bearer token";
    assert!(refused.error().contains("REQUEST_INVALID") && refused.error().contains(problem), "{}", refused.stderr);
}

/// The test closes its end of the program's stdout once it has read the address.
#[test]
fn p11_closed_stdout_releases_nothing() {
    let broker = Server::start(&SERVE_SIMULATED, &[("ECR_BROKER_AUDIT_OUTPUT", "stdout")]);
    let ended = run(&["get", HOST, "--address", &broker.address], &[]);
    assert_eq!(ended.code, 5);
    assert!(ended.error().contains("AUDIT_UNAVAILABLE"), "{}", ended.stderr);
    assert_eq!(run(&["probe", "--address", &broker.address], &[]).code, 0);
}

#[test]
fn killed_broker_leaves_whole_lines() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    for _ in 0..5 {
        let broker = Server::start(&SERVE_SIMULATED, &[("ECR_BROKER_AUDIT_OUTPUT", file.to_str().unwrap())]);
        let (address, is_over) = (broker.address.clone(), Arc::new(AtomicBool::new(false)));
        let is_killed = Arc::clone(&is_over);
        // A call of a dead broker is repeated until its timeout.
        let get = move || run(&["get", HOST, "--address", &address, "--timeout", "1s"], &[]);
        let load = std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                get();
            }
        });
        let before = fs::metadata(&file).map_or(0, |metadata| metadata.len());
        while fs::metadata(&file).map_or(0, |metadata| metadata.len()) < before + 4000 {
            std::thread::yield_now();
        }
        signal(broker.pid(), "KILL");
        is_killed.store(true, Ordering::Relaxed);
        load.join().unwrap();
    }
    assert!(records(&file).len() >= 25);
}
