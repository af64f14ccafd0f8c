//! Reloads of profiles, issuers, aliases and `keep_warm`, while the broker serves.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, clippy::duration_suboptimal_units, reason = "a test may")]

mod program;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ecr_broker::broker::Reloaded;
use ecr_broker::cache::CacheStatus;
use ecr_broker::credential::ProfileName;
use ecr_broker::policy::Policy;
use ecr_broker::profile::{Access, Profile};
use ecr_broker::registry::Aliases;
use futures_util::future::join_all;
use program::{SERVE_SIMULATED, Server, at_once, run, signal};
use serde_json::{Value, json};
use support::*;

const ALIAS: &str = "registry.corp.example";
const OTHER: &str = "222222222222.dkr.ecr.eu-central-1.amazonaws.com";

/// A directory with a configuration file, and a broker that runs with it.
struct Served {
    directory: tempfile::TempDir,
    broker: Server,
}

impl Served {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("broker.toml");
        fs::write(&file, text).unwrap();
        let arguments = [&SERVE_SIMULATED[..], &["--config", file.to_str().unwrap()]].concat();
        Self { broker: Server::start(&arguments, &[]), directory }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("broker.toml")
    }

    fn reload(&self, text: &str) {
        let next = self.directory.path().join("next");
        fs::write(&next, text).unwrap();
        fs::rename(next, self.file()).unwrap();
        signal(self.broker.pid(), "HUP");
    }

    fn get(&self, registry: &str) -> i32 {
        run(&["get", registry, "--address", &self.broker.address], &[]).code
    }
}

/// Returns the log lines with a message.
fn lines(log: &str, message: &str) -> Vec<Value> {
    let parsed = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line}")));
    parsed.filter(|line| line["message"] == message).collect()
}

fn base(aliases: &str, keep_warm: &str, more: &str) -> String {
    format!(
        "[aws]\nregion = \"eu-central-1\"\n[cache]\nkeep_warm = [{keep_warm}]\n{more}\n[aliases]\n{aliases}\n\
         [[profiles]]\nname = \"ci\"\nrole_chain = [\"arn:aws:iam::{{account}}:role/ci\"]\n\
         [[grants]]\nid = \"all\"\ncallers = [{{ loopback = true }}]\nprofile = \"ci\"\n\
         registries = [{{ accounts = [\"123456789012\", \"222222222222\"], regions = [\"*\"] }}]\n"
    )
}

#[test]
fn aliases_keep_warm_and_profiles_are_reloaded_and_the_rest_is_named() {
    let served = Served::new(&base("", "", ""));
    assert_eq!((served.get(HOST), served.get(ALIAS)), (0, 3));
    let new = base(&format!("{ALIAS:?} = {HOST:?}"), &format!("{OTHER:?}"), "capacity = 77");
    served.reload(&new.replace("role/ci", "role/ci2"));
    served.broker.until_logged("configuration reloaded");
    assert_eq!(served.get(ALIAS), 0);
    // Kept warm without a request.
    served.broker.until_logged("222222222222.dkr.ecr.eu-central-1.amazonaws.com");
    served.reload(&base("", "", "capacity = 77"));
    while served.get(ALIAS) != 3 {}
    let log = served.broker.stop();
    let [first, second] = &lines(&log, "configuration reloaded")[..] else { panic!("{log}") };
    assert_eq!(
        [&first["needs_restart"], &first["changed_profiles"], &first["dropped_credentials"]],
        [&json!("cache.capacity"), &json!("ci"), &json!(1)],
        "{first}"
    );
    assert_eq!(
        [&second["needs_restart"], &second["changed_profiles"], &second["dropped_credentials"]],
        [&json!("cache.capacity"), &json!("ci"), &json!(2)],
        "{second}"
    );
    assert_ne!(first["policy"], second["policy"], "the policy's name covers profiles");
    let fetched = lines(&log, "credential fetched");
    assert_eq!(fetched.len(), 3, "two for the first registry, and the warm one: {log}");
}

/// The log, the metrics and the audit log name the same policy and configuration.
#[test]
fn fingerprints_are_the_same_in_log_metrics_and_audit() {
    let directory = tempfile::tempdir().unwrap();
    let [file, audit] = ["broker.toml", "audit"].map(|name| directory.path().join(name));
    fs::write(&file, format!("audit.output = {:?}\n{}", audit.display().to_string(), base("", "", ""))).unwrap();
    let arguments = [&SERVE_SIMULATED[..], &["--config", file.to_str().unwrap()]].concat();
    let (broker, ops) = Server::start_with_ops(&arguments, &[]);
    assert_eq!(run(&["get", HOST, "--address", &broker.address], &[]).code, 0);
    let metrics = scrape(&ops);
    let log = broker.stop();
    let started = &lines(&log, "broker started")[0];
    let record: Value = serde_json::from_str(fs::read_to_string(audit).unwrap().lines().last().unwrap()).unwrap();
    assert_eq!((&record["policy"], &record["config"]), (&started["policy"], &started["config_hash"]));
    for (metric, hash) in [("policy", &started["policy"]), ("config", &started["config_hash"])] {
        let line = format!("ecr_broker_{metric}_info{{hash={hash}}} 1\n");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
}

/// Returns the metrics of the ops listener at an address.
fn scrape(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn bad_file_keeps_the_old_state_as_a_whole() {
    let served = Served::new(&base("", "", ""));
    assert_eq!(served.get(HOST), 0);
    let alias = format!("{ALIAS:?} = {HOST:?}");
    // The alias, the profile and the grant are good; the other profile is not.
    let bad = base(&alias, "", "").replace("role/ci", "role/ci2").replace("\"222222222222\"", "\"333333333333\"")
        + "[[profiles]]\nname = \"broken\"\nrole_chain = []\n";
    served.reload(&bad);
    served.broker.until_logged("configuration not reloaded; the file's last valid contents stay active");
    assert_eq!((served.get(ALIAS), served.get(OTHER)), (3, 0));
    let log = served.broker.stop();
    assert_eq!(lines(&log, "credential fetched").len(), 2, "nothing was dropped: {log}");
    assert!(lines(&log, "configuration reloaded").is_empty(), "{log}");
}

#[test]
fn config_diff_names_the_changes_and_reports_problems() {
    let directory = tempfile::tempdir().unwrap();
    let [old, new] = ["old.toml", "new.toml"].map(|name| directory.path().join(name));
    fs::write(&old, base("", "", "")).unwrap();
    fs::write(&new, base("", "", "capacity = 7").replace("role/ci", "role/ci2")).unwrap();
    let diff = |more: &[&str]| {
        run(
            &[&["config", "diff", old.to_str().unwrap(), new.to_str().unwrap(), "--allow-loopback"], more].concat(),
            &[],
        )
    };
    let text = diff(&[]).out();
    for part in ["profile ci: changed\n", "role/ci2", "  grants: all\n", "drops: its cached", "(needs a restart)"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json = diff(&["-o", "json"]).out();
    let changes: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&changes[0]["kind"], &changes[0]["change"]), (&json!("profile"), &json!("changed")));
    assert_eq!((&changes[1]["name"], &changes[1]["needs_restart"]), (&json!("cache.capacity"), &json!(true)));
    fs::write(&new, "[[profiles]]\nname = \"x\"\n").unwrap();
    let ended = diff(&[]);
    assert!(ended.code == 1 && ended.stdout.is_empty() && ended.error().contains("role_chain"), "{ended:?}");
    fs::copy(&old, &new).unwrap();
    assert_eq!(diff(&[]).out().trim(), "no changes");
}

const EVERYTHING: &str = "registries = [{ accounts = [\"*\"], regions = [\"*\"] }, { public = true }]\n";

/// Returns a configuration of which parents serve everything, but for what `more` adds.
fn of_parents(more: &str) -> String {
    format!(
        "[aws]\nregion = \"eu-central-1\"\n[[parents]]\nname = \"hub\"\naddresses = [\"unix:/no/such.sock\"]\n{EVERYTHING}{more}"
    )
}

fn grant(profile: &str) -> String {
    format!("[[grants]]\nid = \"new\"\ncallers = [{{ loopback = true }}]\nprofile = {profile:?}\n{EVERYTHING}")
}

/// What `config diff` reports of a change: each name that needs a restart, and whether a reload refuses any.
fn reported(old: &str, new: &str) -> (Vec<String>, bool) {
    let directory = tempfile::tempdir().unwrap();
    let files = ["old.toml", "new.toml"].map(|name| directory.path().join(name));
    for (file, text) in files.iter().zip([old, new]) {
        fs::write(file, text).unwrap();
    }
    let [old, new] = files.each_ref().map(|file| file.to_str().unwrap());
    let json = run(&["config", "diff", old, new, "--allow-loopback", "-o", "json"], &[]).out();
    let changes: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let waiting = changes.iter().filter(|change| change["needs_restart"] == true);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let names = waiting.map(|change| text(&change["kind"]) + " " + &text(&change["name"])).collect();
    (names, changes.iter().any(|change| !change["refused"].is_null()))
}

/// Each kind of change that a reload does not apply: the diff reports it, and the running broker behaves so.
#[test]
fn config_diff_reports_what_a_reload_does_not_apply() {
    let observed =
        |mode: &str| base("", "", "") + &format!("[audit]\noutput = \"stderr\"\n[policy]\nmode = \"{mode}\"\n");
    let issuer = "[[authentication.jwt]]\nname = \"blue\"\nissuer = \"https://issuer.example\"\naudience = \"a\"\n";
    let profile = "[[profiles]]\nname = \"own\"\nrole_chain = [\"arn:aws:iam::210987654321:role/hub\"]\n";
    let verified = base("", "", "").replace("[[grants]]", "verify = true\n[[grants]]");
    let far = "[[parents]]\nname = \"far\"\naddresses = [\"unix:/no/such.sock\"]\nprofiles = [\"far\"]\n";
    let limit = "[[limits.callers]]\ncallers = [{ loopback = true }]\nrequests_per_second = 70\n";
    let opened = base("", "", "").split("[[grants]]").next().unwrap().to_owned();
    let cases = [
        (base("", "", ""), opened, vec!["setting grants"], true, ""),
        (observed("enforce"), observed("observe"), vec!["setting policy.mode"], true, ""),
        (base("", "", ""), base("", "", "") + issuer, vec!["issuer blue"], true, ""),
        (of_parents(""), of_parents(profile), vec!["profile own"], true, ""),
        (
            of_parents(""),
            of_parents(&format!("{far}{EVERYTHING}{}", grant("far"))),
            vec!["grant new", "parent far"],
            true,
            "",
        ),
        (base("", "", ""), verified, vec!["profile ci"], false, "profiles.verify"),
        (
            base("", "", ""),
            base("", "", "") + limit,
            vec![r#"caller limit [{"loopback":true}]"#],
            false,
            "limits.callers",
        ),
        (
            base("", "", ""),
            base("", "", "") + &of_parents("").replace("[aws]\nregion = \"eu-central-1\"\n", ""),
            vec!["parent hub"],
            false,
            "parents",
        ),
        (base("", "", ""), base("", "", "capacity = 77"), vec!["setting cache.capacity"], false, "cache.capacity"),
    ];
    at_once(cases, |(old, new, expected, is_refused, needs_restart)| {
        let (mut names, refused) = reported(&old, &new);
        names.sort();
        assert_eq!((names, refused), (expected.into_iter().map(str::to_owned).collect(), is_refused), "{new}");
        let served = Served::new(&old);
        served.reload(&new);
        if is_refused {
            served.broker.until_logged("configuration not reloaded; the file's last valid contents stay active");
        } else {
            served.broker.until_logged("configuration reloaded");
        }
        let log = served.broker.stop();
        let reloads = lines(&log, "configuration reloaded");
        assert_eq!(reloads.is_empty(), is_refused, "{log}");
        assert!(reloads.iter().all(|line| line["needs_restart"] == needs_restart), "{log}");
    });
}

fn profile(access: Access) -> Profile {
    Profile { access, ..Profile::of_parent("ci".into()) }
}

fn reloaded(access: Access) -> Reloaded {
    Reloaded {
        policy: Policy::Open,
        profiles: vec![profile(access)],
        aliases: Aliases::default(),
        issuers: None,
        keep_warm: Vec::new(),
        config: "after".to_owned(),
    }
}

/// A request that waits for AWS during a reload gets what it began with, and nothing that comes later does.
#[tokio::test(start_paused = true)]
async fn credential_of_a_replaced_profile_is_not_stored_under_the_new_one() {
    let cached = TestCache::new();
    let settings = ecr_broker::broker::Settings {
        profiles: vec![profile(Access::Pull)].into(),
        ..broker_settings(Policy::Open, None)
    };
    let broker = support::broker(cached.cache.clone(), settings);
    let request = || {
        let request = credential_request(HOST, std::time::Duration::ZERO);
        ecr_broker::broker::CredentialRequest { profile: Some("ci".into()), ..request }
    };
    let key = |request: &ecr_broker::source::FetchRequest| request.key.clone();
    cached.source.shut();
    let waiting = tokio::spawn({
        let (broker, request) = (Arc::clone(&broker), request());
        async move { broker.registry_credentials(request).await }
    });
    cached.source.until_calls(1).await;
    let old = key(&cached.source.last_request());
    broker.reload(reloaded(Access::Push)).await;
    let during = tokio::spawn({
        let (broker, request) = (Arc::clone(&broker), request());
        async move { broker.registry_credentials(request).await }
    });
    cached.source.until_calls(2).await;
    let new = key(&cached.source.last_request());
    assert!(old != new && old.profile == new.profile && old.registry == new.registry, "{old:?} {new:?}");
    cached.source.open();
    let (before, after) = (waiting.await.unwrap().unwrap(), during.await.unwrap().unwrap());
    assert_eq!((before.key, after.key), (old.clone(), new.clone()));
    assert!(!cached.cache.has(&old).await && cached.cache.has(&new).await, "the old one is not cached");
    let hit = broker.registry_credentials(request()).await.unwrap();
    assert_eq!((hit.found.status, hit.found.credential.id()), (CacheStatus::Hit, after.found.credential.id()));
    assert_eq!(cached.source.calls(), 2);
    // The definition comes back: another fetch, because the old credential is gone.
    let (_, dropped) = broker.reload(reloaded(Access::Pull)).await;
    assert_eq!((dropped, broker.registry_credentials(request()).await.unwrap().key), (1, old));
    assert_eq!(cached.source.calls(), 3);
}

const TEAMS: usize = 30;
const ACCOUNTS: usize = 400;

fn team_of(account: usize) -> usize {
    account % TEAMS
}

fn host_of(account: usize) -> String {
    format!("{account:012}.dkr.ecr.eu-central-1.amazonaws.com")
}

/// A configuration of many teams; the role of one team has a suffix.
fn teams(changed: usize, suffix: &str) -> String {
    let mut text = "[aws]\nregion = \"eu-central-1\"\n[limits]\nrequests_per_second = 1000000\n\
                    local_requests_per_second = 1000000\n"
        .to_owned();
    for team in 0..TEAMS {
        let accounts: Vec<_> = (0..ACCOUNTS).filter(|account| team_of(*account) == team).collect();
        let accounts: Vec<_> = accounts.iter().map(|account| format!("\"{account:012}\"")).collect();
        let suffix = if team == changed { suffix } else { "" };
        text.extend([format!(
            "[[profiles]]\nname = \"team-{team}\"\nrole_chain = [\"arn:aws:iam::{{account}}:role/team-{team}{suffix}\"]\n\
             [[grants]]\nid = \"team-{team}\"\ncallers = [{{ loopback = true }}]\nprofile = \"team-{team}\"\n\
             registries = [{{ accounts = [{}], regions = [\"eu-central-1\"] }}]\n",
            accounts.join(", ")
        )]);
    }
    text
}

/// Asks for the registries again and again, until `done`. Counts rounds, and keeps what failed.
async fn load(
    mut client: Client,
    accounts: Vec<usize>,
    (rounds, failures): (&AtomicUsize, &Mutex<Vec<String>>),
    done: &AtomicBool,
) {
    while !done.load(Ordering::Relaxed) {
        for account in &accounts {
            let answer = client.get_registry_credentials(request(&host_of(*account))).await;
            let profile = answer.map(|answer| answer.into_inner().credentials.unwrap().profile);
            if profile.as_ref().ok() != Some(&format!("team-{}", team_of(*account))) {
                failures.lock().unwrap().push(format!("{account}: {profile:?}"));
            }
        }
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

/// 400 accounts of 30 teams: a change of one profile costs new credentials of this profile only, and no request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_of_one_team_mints_again_for_that_team_only_and_fails_no_request() {
    const CHANGED: usize = 7;
    const WORKERS: usize = 8;
    let served = Served::new(&teams(CHANGED, ""));
    let address = served.broker.address.replace("grpc://", "http://");
    let counters: Vec<_> = (0..WORKERS).map(|_| (AtomicUsize::new(0), Mutex::default())).collect();
    let done = AtomicBool::new(false);
    let rounds_after = |rounds: Vec<usize>| {
        let counters = &counters;
        async move {
            while counters.iter().zip(&rounds).any(|((now, _), before)| now.load(Ordering::Relaxed) < before + 2) {
                tokio::task::yield_now().await;
            }
        }
    };
    let rounds = || counters.iter().map(|(rounds, _)| rounds.load(Ordering::Relaxed)).collect::<Vec<_>>();
    let workers = join_all((0..WORKERS).map(|worker| {
        let (address, done, counters) = (address.clone(), &done, &counters);
        async move {
            let client = Client::connect(address).await.unwrap();
            // Each account has two workers, which begin at different places.
            let mut accounts: Vec<_> = (0..ACCOUNTS).filter(|account| account % (WORKERS / 2) == worker / 2).collect();
            accounts.rotate_left(worker);
            let (rounds, failures) = &counters[worker];
            load(client, accounts, (rounds, failures), done).await;
        }
    }));
    let changes = async {
        rounds_after(vec![0; WORKERS]).await;
        served.reload(&teams(CHANGED, "-new"));
        while !served.broker.has_logged("configuration reloaded") {
            tokio::task::yield_now().await;
        }
        rounds_after(rounds()).await;
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(workers, changes);
    let failures = counters.iter().flat_map(|(_, failures)| failures.lock().unwrap().clone()).collect::<Vec<_>>();
    let log = served.broker.stop();
    assert!(failures.is_empty(), "no request fails: {failures:?}");
    let mut minted = BTreeMap::<(String, String), usize>::new();
    for line in lines(&log, "credential fetched") {
        let of = |field: &str| line[field].as_str().unwrap().to_owned();
        *minted.entry((of("profile"), of("registry"))).or_default() += 1;
    }
    assert_eq!(minted.len(), ACCOUNTS, "each account once, by the profile of its team");
    let team = ProfileName::from(format!("team-{CHANGED}").as_str()).to_string();
    let members = (0..ACCOUNTS).filter(|account| team_of(*account) == CHANGED).count();
    let (of_team, of_others): (Vec<_>, Vec<_>) = minted.iter().partition(|((profile, _), _)| *profile == team);
    assert!(of_others.iter().all(|(_, times)| **times == 1), "{of_others:?}");
    // A request that was decided just before the reload may fetch by the old definition once more.
    assert!(of_team.len() == members && of_team.iter().all(|(_, times)| (2..=3).contains(*times)), "{of_team:?}");
    let extra = of_team.iter().map(|(_, times)| **times - 2).sum::<usize>();
    assert!(extra <= WORKERS, "{of_team:?}");
    let reloads = lines(&log, "configuration reloaded");
    assert_eq!((reloads.len(), &reloads[0]["changed_profiles"]), (1, &json!(team)));
    assert_eq!(reloads[0]["dropped_credentials"], members);
}
