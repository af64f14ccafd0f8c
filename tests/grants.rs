//! Authorization over the wire. The tests call the broker over loopback and, as a user, over its Unix socket.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod program;
mod support;
mod tokens;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ecr_broker::clock::SystemClock;
use ecr_broker::credential::ProfileName;
use ecr_broker::pb;
use ecr_broker::pb::registry_access::Target as Listed;
use ecr_broker::policy::{Accounts, CallerPattern, Effect, Grant, Policy, RegistryPattern};
use program::{Ended, Server, run, signal};
use support::*;
use tokens::{AUDIENCE, ISSUER, SUBJECT, Signer, seconds};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const OTHER: &str = "222222222222.dkr.ecr.eu-central-1.amazonaws.com";

/// The user that the tests run as.
fn own_uid() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

fn own_gid() -> u32 {
    fs::metadata("/proc/self").unwrap().gid()
}

fn grant(id: &str, caller: CallerPattern, registry: RegistryPattern, effect: Effect) -> Grant {
    let profile = (effect == Effect::Allow).then(ProfileName::default_profile);
    Grant { id: id.into(), callers: vec![caller], registries: vec![registry], profile, effect, max_lifetime: None }
}

fn account(account: &str) -> RegistryPattern {
    let accounts = Accounts::Of(vec![account.parse().unwrap()]);
    RegistryPattern::Private { accounts, regions: vec!["eu-*".parse().unwrap()] }
}

/// Allows this user account 123456789012 in Europe except Paris, and loopback only the public registry.
fn policy() -> Policy {
    let user = || CallerPattern::Uid(own_uid());
    let paris = RegistryPattern::Private { accounts: Accounts::Any, regions: vec!["eu-west-3".parse().unwrap()] };
    Policy::Grants(vec![
        grant("ci", user(), account("123456789012"), Effect::Allow),
        grant("not-paris", user(), paris, Effect::Deny),
        grant("local", CallerPattern::Loopback, RegistryPattern::Public, Effect::Allow),
    ])
}

fn broker() -> TestBroker {
    TestBroker::start_as(policy(), None, |_| ())
}

async fn get(client: &mut Client, request: pb::GetRegistryCredentialsRequest) -> Result<String, Status> {
    Ok(client.get_registry_credentials(request).await?.into_inner().credentials.unwrap().registry)
}

#[tokio::test]
async fn grants_decide_by_caller_and_denials_never_call_aws() {
    let broker = broker();
    let (mut user, mut local) = (broker.unix_client().await, broker.client().await);
    get(&mut user, request(HOST)).await.unwrap();
    get(&mut local, request("public.ecr.aws")).await.unwrap();
    assert_eq!(broker.source.calls(), 2);
    let paris = "123456789012.dkr.ecr.eu-west-3.amazonaws.com";
    let america = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    for (by_socket, registry) in
        [(true, OTHER), (true, "public.ecr.aws"), (true, paris), (true, america), (false, HOST)]
    {
        let client = if by_socket { &mut user } else { &mut local };
        let status = get(client, request(registry)).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{registry}");
        assert_eq!(status.get_error_details().error_info().unwrap().reason, "CALLER_NOT_ALLOWED");
        assert!(status.get_error_details().retry_info().is_none());
    }
    assert_eq!(broker.source.calls(), 2);
}

#[tokio::test]
async fn denial_does_not_reveal_accounts_profiles_or_cached_credentials() {
    let broker = broker();
    get(&mut broker.unix_client().await, request(HOST)).await.unwrap();
    let mut local = broker.client().await;
    let mut seen = Vec::new();
    for (registry, profile) in [(HOST, ""), (OTHER, ""), (HOST, "default"), (HOST, "no-such-profile")] {
        let asked = pb::GetRegistryCredentialsRequest { profile: profile.into(), ..request(registry) };
        let status = get(&mut local, asked).await.unwrap_err();
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        // The error repeats the request; nothing else differs.
        assert_eq!(info.metadata["registry"], registry);
        assert_eq!(info.metadata.get("profile").map_or("", String::as_str), profile);
        let rest = info.metadata.len() - usize::from(!profile.is_empty());
        seen.push((status.code(), status.message().to_owned(), info.reason.clone(), rest));
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");
}

/// A grant for every region does not name a region; one that names it lets its callers ask, and a reload that removes it ends that.
#[tokio::test]
async fn grant_admits_a_new_region_only_by_its_whole_name() {
    let private =
        |region: &str| RegistryPattern::Private { accounts: Accounts::Any, regions: vec![region.parse().unwrap()] };
    let policy = |regions: &[&str]| {
        let registries = regions.iter().map(|region| private(region)).collect();
        let callers = vec![CallerPattern::Loopback];
        Policy::Grants(vec![Grant {
            id: "all".into(),
            callers,
            registries,
            profile: None,
            effect: Effect::Allow,
            max_lifetime: None,
        }])
    };
    let broker = TestBroker::start_as(policy(&["*", "eu-*"]), None, |_| ());
    let mut client = broker.client().await;
    let reason = |status: Status| status.get_error_details().error_info().unwrap().reason.clone();
    let new = "123456789012.dkr.ecr.eu-north-2.amazonaws.com";
    assert_eq!(reason(get(&mut client, request(new)).await.unwrap_err()), "REGISTRY_INVALID");
    broker.broker.set_policy(policy(&["*", "eu-north-2"]));
    get(&mut client, request(new)).await.unwrap();
    broker.broker.set_policy(policy(&["*"]));
    assert_eq!(reason(get(&mut client, request(new)).await.unwrap_err()), "REGISTRY_INVALID");
    assert_eq!(broker.source.calls(), 1);
}

#[tokio::test]
async fn registry_without_an_account_needs_a_grant_for_every_account() {
    let broker = broker();
    let target = pb::get_registry_credentials_request::Target::PrivateRegistry(pb::PrivateRegistry::default());
    let unknown = pb::GetRegistryCredentialsRequest { target: Some(target), ..Default::default() };
    assert_eq!(get(&mut broker.unix_client().await, unknown).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(broker.source.calls(), 0);
}

#[tokio::test]
async fn list_holds_exactly_what_the_caller_may_have() {
    let broker = broker();
    let (mut user, mut local) = (broker.unix_client().await, broker.client().await);
    get(&mut user, request(HOST)).await.unwrap();
    let list = async |client: &mut Client| -> Vec<String> {
        let page = pb::ListRegistriesRequest { page_size: 1000, page_token: String::new() };
        let listed = client.list_registries(page).await.unwrap().into_inner().registries;
        let name = |access: pb::RegistryAccess| match access.target.unwrap() {
            Listed::Registry(name) => name,
            Listed::RegistryPattern(pattern) => format!("pattern {pattern}"),
        };
        listed.into_iter().map(name).collect()
    };
    assert_eq!(list(&mut local).await, ["ecr-public.aws.com", "public.ecr.aws"]);
    let of_user = list(&mut user).await;
    assert!(of_user.contains(&HOST.to_owned()), "{of_user:?}");
    assert!(of_user.contains(&"pattern 123456789012.dkr.ecr.eu-*.amazonaws.com".to_owned()), "{of_user:?}");
    assert!(of_user.iter().all(|name| name.contains("123456789012")), "{of_user:?}");
}

#[tokio::test]
async fn caller_identity_names_the_principal_and_its_grants() {
    let broker = broker();
    for (mut client, principal, grants) in [
        (broker.unix_client().await, format!("uid:{},gid:{}", own_uid(), own_gid()), vec!["ci", "not-paris"]),
        (broker.client().await, "loopback".to_owned(), vec!["local"]),
    ] {
        let identity = client.get_caller_identity(pb::GetCallerIdentityRequest {}).await.unwrap().into_inner();
        assert_eq!(
            (identity.principal, identity.grant_ids),
            (principal, grants.iter().map(ToString::to_string).collect())
        );
        assert!(!identity.proof.is_empty());
    }
}

/// A directory with a configuration that grants this user one account, and the broker's socket.
struct Folder {
    directory: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        let folder = Self { directory: tempfile::tempdir().unwrap() };
        folder.grant("123456789012");
        folder
    }

    fn grant(&self, account: &str) {
        let (socket, uid) = (self.directory.path().join("broker.sock"), own_uid());
        self.write(&format!(
            "[server]\nlisten = [\"unix:{}\"]\n[[grants]]\nid = \"farm\"\ncallers = [{{ uid = {uid} }}]\n\
             registries = [{{ accounts = [\"{account}\"], regions = [\"*\"] }}]\n",
            socket.display()
        ));
    }

    /// Replaces the file by a rename, as editors and Kubernetes do.
    fn write(&self, text: &str) {
        let new = self.directory.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    fn file(&self) -> std::path::PathBuf {
        self.directory.path().join("broker.toml")
    }

    fn serve(&self) -> Server {
        Server::start(&["serve", "--simulate", "--config", self.file().to_str().unwrap()], &[])
    }
}

fn ask(broker: &Server, arguments: &[&str]) -> Ended {
    run(&[arguments, &["--address", &broker.address]].concat(), &[])
}

#[test]
fn program_enforces_the_grants_of_its_file_and_logs_denials() {
    let folder = Folder::new();
    let broker = folder.serve();
    ask(&broker, &["get", HOST]).out();
    let whoami = ask(&broker, &["whoami"]).out();
    assert!(whoami.contains(&format!("uid:{}", own_uid())) && whoami.contains("farm"), "{whoami}");
    let denied = ask(&broker, &["get", OTHER]);
    assert_eq!(denied.code, 4);
    assert!(denied.error().contains("CALLER_NOT_ALLOWED"), "{}", denied.stderr);
    let logs = broker.stop();
    let of_denial = logs.lines().find(|line| line.contains("\"request denied\"")).expect(&logs);
    assert!(of_denial.contains("no grant allows it") && of_denial.contains("uid:"), "{of_denial}");
}

/// An empty field says nothing, and searches for a profile would find it.
#[test]
fn denial_log_names_the_requested_profile_and_omits_an_empty_one() {
    let folder = Folder::new();
    let broker = folder.serve();
    assert_eq!(ask(&broker, &["get", OTHER]).code, 4);
    assert_eq!(ask(&broker, &["get", OTHER, "--profile", "ci"]).code, 4);
    let logs = broker.stop();
    let denials: Vec<serde_json::Value> = logs
        .lines()
        .filter(|line| line.contains("\"request denied\""))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let profiles: Vec<_> = denials.iter().map(|denial| denial.get("profile").and_then(|name| name.as_str())).collect();
    assert_eq!(profiles, [None, Some("ci")], "{logs}");
    let empty = |denial: &serde_json::Value| denial.as_object().unwrap().values().any(|value| value == "");
    assert!(!denials.iter().any(empty), "{logs}");
}

#[test]
fn sighup_reloads_grants_and_invalid_grants_change_nothing() {
    let folder = Folder::new();
    let broker = folder.serve();
    assert_eq!(ask(&broker, &["get", OTHER]).code, 4);
    folder.grant("222222222222");
    signal(broker.pid(), "HUP");
    broker.until_logged("configuration reloaded");
    assert_eq!((ask(&broker, &["get", OTHER]).code, ask(&broker, &["get", HOST]).code), (0, 4));

    for (text, said) in [
        ("[[grants]]\nid = \"broken\"\n", "callers is missing"),
        // An empty file, perhaps one that is being written, must not open the broker to every caller.
        ("", "no longer has grants"),
        // A good grant does not take effect beside a bad profile.
        (
            "[[profiles]]\nname = \"ci\"\nrole_chain = []\n[[grants]]\nid = \"a\"\n\
             callers = [{ loopback = true }]\nregistries = [{ public = true }]\n",
            "role_chain is missing",
        ),
    ] {
        folder.write(text);
        signal(broker.pid(), "HUP");
        broker.until_logged(said);
        assert_eq!((ask(&broker, &["get", OTHER]).code, ask(&broker, &["get", HOST]).code), (0, 4));
    }
    folder.write("grants = []");
    signal(broker.pid(), "HUP");
    // An empty list is a policy too: it denies every request.
    while ask(&broker, &["get", OTHER]).code == 0 {}
    assert!(broker.stop().contains("configuration not reloaded"));
}

#[test]
fn replaced_file_is_reloaded_without_a_signal() {
    let folder = Folder::new();
    let broker = folder.serve();
    folder.grant("222222222222");
    broker.until_logged("configuration reloaded");
    assert_eq!(ask(&broker, &["get", OTHER]).code, 0);
}

#[test]
fn included_file_is_reloaded_while_the_broker_runs() {
    let folder = Folder::new();
    let (teams, uid) = (folder.directory.path().join("grants.d"), own_uid());
    fs::create_dir(&teams).unwrap();
    let main = fs::read_to_string(folder.file()).unwrap();
    folder.write(&format!("include = [\"grants.d/*.toml\"]\n{main}"));
    let broker = folder.serve();
    assert_eq!(ask(&broker, &["get", OTHER]).code, 4);
    fs::write(
        teams.join("team.toml"),
        format!(
            "[[grants]]\nid = \"team\"\ncallers = [{{ uid = {uid} }}]\n\
             registries = [{{ accounts = [\"222222222222\"], regions = [\"*\"] }}]\n"
        ),
    )
    .unwrap();
    signal(broker.pid(), "HUP");
    broker.until_logged("configuration reloaded");
    assert_eq!((ask(&broker, &["get", OTHER]).code, ask(&broker, &["get", HOST]).code), (0, 0));
    fs::write(teams.join("wrong.toml"), "[server]\nlisten = []").unwrap();
    signal(broker.pid(), "HUP");
    broker.until_logged("wrong.toml: server is not allowed in an included file");
    assert_eq!(ask(&broker, &["get", OTHER]).code, 0);
}

/// The figure: the removal in the main file takes effect while the team's file is broken in each way, and health and log say so.
#[test]
fn broken_team_file_holds_up_no_removal_in_the_main_file() {
    let folder = Folder::new();
    let (team, uid) = (folder.directory.path().join("team.toml"), own_uid());
    let grant = |id: &str, account: &str| {
        format!(
            "[[grants]]\nid = \"{id}\"\ncallers = [{{ uid = {uid} }}]\n\
             registries = [{{ accounts = [\"{account}\"], regions = [\"*\"] }}]\n"
        )
    };
    let include = format!(
        "include = [{{ files = \"team.toml\", accounts = [\"222222222222\"] }}]\n[server]\nlisten = [\"unix:{}\"]\n",
        folder.directory.path().join("broker.sock").display()
    );
    let main = |account: &str| folder.write(&format!("{include}{}", grant("main", account)));
    let write_team = |text: &str| {
        _ = fs::remove_file(&team);
        fs::write(&team, text).unwrap();
    };
    write_team(&grant("team", "222222222222"));
    main("123456789012");
    let broker = folder.serve();
    let healthy = || ask(&broker, &["probe", "--service", "config"]).code;
    let codes = || (ask(&broker, &["get", HOST]).code, ask(&broker, &["get", OTHER]).code);
    assert_eq!((codes(), healthy()), ((0, 0), 0));
    let beyond = grant("team", "123456789012");
    for (broken, said) in [
        (beyond.as_str(), "registries: account 123456789012 is not in this file's include"),
        ("= 1", "team.toml: line 1"),
        ("ln -s /dev/zero", "team.toml: is not a regular file"),
        ("mkfifo", "team.toml: is not a regular file"),
        ("mkdir", "team.toml: is not a regular file"),
    ] {
        if let Some((program, arguments)) = ["ln -s /dev/zero", "mkfifo", "mkdir"].contains(&broken).then(|| {
            let mut words = broken.split(' ');
            (words.next().unwrap(), words.collect::<Vec<_>>())
        }) {
            _ = fs::remove_file(&team);
            assert!(std::process::Command::new(program).args(arguments).arg(&team).status().unwrap().success());
        } else {
            write_team(broken);
        }
        main("333333333333");
        signal(broker.pid(), "HUP");
        while codes() != (4, 0) {}
        broker.until_logged(said);
        while healthy() != 1 {}
        _ = fs::remove_dir(&team);
        write_team(&grant("team", "222222222222"));
        main("123456789012");
        signal(broker.pid(), "HUP");
        while codes() != (0, 0) || healthy() != 0 {}
    }
    assert!(broker.memory_mb() < 200, "nothing was read of /dev/zero");
    let log = broker.stop();
    assert!(log.contains("configuration not reloaded; the file's last valid contents stay active"), "{log}");
}

/// The main file's profile changes, and then the grants of a team's file that name it.
#[test]
fn changed_profile_takes_effect_with_new_grants_and_removals() {
    let folder = Folder::new();
    let (team, uid) = (folder.directory.path().join("team.toml"), own_uid());
    let grant = |account: &str| {
        format!(
            "[[grants]]\nid = \"of-{account}\"\ncallers = [{{ uid = {uid} }}]\nprofile = \"pull\"\n\
             registries = [{{ accounts = [\"{account}\"], regions = [\"*\"] }}]\n"
        )
    };
    let main = |role: &str| {
        folder.write(&format!(
            "include = [\"team.toml\"]\ngrants = []\n[server]\nlisten = [\"unix:{}\"]\n[aws]\nregion = \"eu-central-1\"\n\
             [[profiles]]\nname = \"pull\"\nrole_chain = [\"arn:aws:iam::{{account}}:role/{role}\"]\n",
            folder.directory.path().join("broker.sock").display()
        ));
    };
    fs::write(&team, grant("123456789012") + &grant("222222222222")).unwrap();
    main("old");
    let broker = folder.serve();
    let codes = || [HOST, OTHER].map(|host| ask(&broker, &["get", host, "--profile", "pull"]).code);
    assert_eq!(codes(), [0, 0]);
    main("new");
    signal(broker.pid(), "HUP");
    broker.until_logged("configuration reloaded");
    assert_eq!(codes(), [0, 0]);
    fs::write(&team, grant("123456789012") + &grant("333333333333")).unwrap();
    signal(broker.pid(), "HUP");
    while codes() != [0, 4] {}
    fs::write(&team, grant("222222222222")).unwrap();
    signal(broker.pid(), "HUP");
    while codes() != [4, 0] {}
}

/// Tokens for the old audience end with it, and a file whose keys cannot be read changes nothing.
#[test]
fn changed_issuer_takes_effect_as_a_whole_or_not_at_all() {
    let (folder, signer) = (Folder::new(), Signer::new("k1"));
    let place = folder.directory.path().display();
    let (team, token) = (folder.directory.path().join("team.toml"), folder.directory.path().join("token"));
    let grant = |account: &str, more: &str| {
        format!(
            "[[grants]]\nid = \"of-{account}{}\"\ncallers = [{{ jwt = \"blue\", subject = \"{SUBJECT}\" }}]\n\
             registries = [{{ accounts = [\"{account}\"], regions = [\"*\"] }}]\n{more}\n",
            more.len()
        )
    };
    let main = |audience: &str, grants: &str| {
        folder.write(&format!(
            "include = [\"team.toml\"]\n{}[server]\nlisten = [\"unix:{place}/broker.sock\"]\n\
             [[authentication.jwt]]\nname = \"blue\"\nissuer = \"{ISSUER}\"\naudience = \"{audience}\"\n\
             jwks_file = \"{place}/jwks.json\"\n{grants}",
            if grants.is_empty() { "grants = []\n" } else { "" }
        ));
    };
    fs::write(folder.directory.path().join("jwks.json"), signer.jwks()).unwrap();
    fs::write(&token, signer.token(ISSUER, SUBJECT, seconds(&SystemClock::new()))).unwrap();
    fs::write(&team, grant("123456789012", "") + &grant("222222222222", "")).unwrap();
    main(AUDIENCE, "");
    let broker = folder.serve();
    let token = token.to_str().unwrap();
    let codes = || [HOST, OTHER].map(|host| ask(&broker, &["get", host, "--token-file", token]).code);
    assert_eq!(codes(), [0, 0]);
    main("new", "");
    signal(broker.pid(), "HUP");
    while codes() != [4, 4] {}
    main(AUDIENCE, &grant("123456789012", "effect = \"deny\""));
    signal(broker.pid(), "HUP");
    while codes() != [4, 0] {}
    // Without its keys, the issuer cannot be loaded: the denial stays with the rest of the file.
    let text = fs::read_to_string(folder.file()).unwrap().replace("effect = \"deny\"", "");
    folder.write(&text.replace("jwks.json", "missing.json"));
    signal(broker.pid(), "HUP");
    broker.until_logged("configuration not reloaded");
    assert_eq!(codes(), [4, 0]);
    folder.write(&text);
    signal(broker.pid(), "HUP");
    while codes() != [0, 0] {}
}

/// The team's file changes all the time, faster than the broker reads it twice.
#[test]
fn restless_team_file_holds_up_no_removal_in_the_main_file() {
    let folder = Folder::new();
    let (team, new) = (folder.directory.path().join("team.toml"), folder.directory.path().join("team.new"));
    let uid = own_uid();
    let grant = |id: &str, account: &str| {
        format!(
            "[[grants]]\nid = \"{id}\"\ncallers = [{{ uid = {uid} }}]\n\
             registries = [{{ accounts = [\"{account}\"], regions = [\"*\"] }}]\n"
        )
    };
    let main = |account: &str| {
        folder.write(&format!(
            "include = [\"team.toml\"]\n[server]\nlisten = [\"unix:{}\"]\n{}",
            folder.directory.path().join("broker.sock").display(),
            grant("main", account)
        ));
    };
    fs::write(&team, grant("team", "222222222222")).unwrap();
    main("123456789012");
    let broker = folder.serve();
    let healthy = || ask(&broker, &["probe", "--service", "config"]).code;
    let codes = || [HOST, OTHER].map(|host| ask(&broker, &["get", host]).code);
    assert_eq!((codes(), healthy()), ([0, 0], 0));

    let (stop, rewritten) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let number = rewritten.fetch_add(1, Ordering::Relaxed);
                fs::write(&new, format!("{}# {number}\n", grant("team", "222222222222"))).unwrap();
                fs::rename(&new, &team).unwrap();
            }
        });
        main("333333333333");
        signal(broker.pid(), "HUP");
        // The removal takes effect, the team's last grants stay, and log and health tell which file is at fault.
        while codes() != [4, 0] || healthy() == 0 {}
        broker.until_logged("team.toml: keeps changing; write a new file");
        stop.store(true, Ordering::Relaxed);
    });
    assert!(rewritten.load(Ordering::Relaxed) > 10);
    fs::write(&team, "").unwrap();
    signal(broker.pid(), "HUP");
    while codes() != [4, 4] || healthy() != 0 {}
}

#[test]
fn observed_requests_become_grants_that_allow_nothing_else() {
    let folder = Folder::new();
    let log = folder.directory.path().join("audit.jsonl");
    let (main, log) = (fs::read_to_string(folder.file()).unwrap(), log.to_str().unwrap());
    let observing = format!("{main}\n[policy]\nmode = \"observe\"\n[audit]\noutput = \"{log}\"\n");
    folder.write(&observing);
    let file = folder.file();
    let file = file.to_str().unwrap();
    assert!(
        run(&["policy", "check", "--config", file], &[]).stderr.contains("requests that the grants deny are served")
    );
    let broker = folder.serve();
    broker.until_logged("policy.mode is observe");
    for registry in [HOST, OTHER, "public.ecr.aws", OTHER] {
        ask(&broker, &["get", registry]).out();
    }
    let outcomes = fs::read_to_string(log).unwrap();
    assert_eq!((outcomes.matches("\"released\"").count(), outcomes.matches("\"observed\"").count()), (1, 3));
    // Observe mode denies an unknown profile too, with the text of every denial.
    let unknown = ask(&broker, &["get", HOST, "--profile", "no-such"]);
    assert!(unknown.error().contains("CALLER_NOT_ALLOWED"), "{unknown:?}");

    let suggested = run(&["policy", "suggest", "--config", file, log], &[]).out();
    assert!(suggested.contains("222222222222") && suggested.contains("public"), "{suggested}");
    assert!(!suggested.contains("123456789012"), "already allowed: {suggested}");
    folder.write(&format!("{main}\n{suggested}"));
    signal(broker.pid(), "HUP");
    broker.until_logged("configuration reloaded");
    for (registry, code) in [(HOST, 0), (OTHER, 0), ("public.ecr.aws", 0), (&OTHER.replace('2', "3"), 4)] {
        assert_eq!(ask(&broker, &["get", registry]).code, code, "{registry}");
    }
    assert!(run(&["policy", "suggest", "--config", file, log], &[]).out().contains("Nothing to suggest"));
    let with_denied = run(&["policy", "suggest", "--denied", "--config", file, log], &[]);
    assert!(with_denied.stderr.contains("the profile does not exist"), "{with_denied:?}");
    assert!(with_denied.stdout.contains("333333333333"), "{with_denied:?}");
    folder.write(&format!("{main}\n{}", with_denied.stdout));
    assert!(run(&["config", "check", "--config", file], &[]).out().contains("is valid"));
}

#[test]
fn suggest_prints_no_grant_that_is_too_wide_or_without_effect() {
    let folder = Folder::new();
    let (file, log) = (folder.file(), folder.directory.path().join("audit.jsonl"));
    folder.write(
        "[[authentication.jwt]]\nname = \"github\"\nissuer = \"https://g.example\"\naudience = \"b\"\n\
         [[grants]]\nid = \"by-claims\"\ncallers = [{ jwt = \"github\", claims = { repository_id = \"1\" } }]\nregistries = [{ public = true }]\n\
         [[grants]]\nid = \"never\"\ncallers = [{ uid = 9 }]\nregistries = [{ public = true }]\neffect = \"deny\"\n",
    );
    let record =
        |fields: &str| format!("{{\"kind\":\"audit\",\"outcome\":\"observed\",\"profile\":\"default\",{fields}}}\n");
    let records = [
        record("\"caller\":\"jwt:github:repo:o/r:ref:x\",\"registry\":\"public.ecr.aws\",\"grant\":\"by-claims\""),
        record("\"caller\":\"uid:9,gid:9\",\"registry\":\"public.ecr.aws\",\"grant\":\"never\""),
        record(&format!("\"caller\":\"uid:7,gid:7\",\"region\":\"eu-central-1\",\"registry\":\"{HOST}\"")),
        record("\"caller\":\"jwt:github:a*b\",\"registry\":\"public.ecr.aws\""),
        "{\"kind\":\"audit\"".to_owned(),
        "a line of a log\n".to_owned(),
    ];
    fs::write(&log, records.concat()).unwrap();
    let ended = run(&["policy", "suggest", "--config", file.to_str().unwrap(), log.to_str().unwrap()], &[]);
    assert!(ended.stdout.contains("Nothing to suggest"), "{ended:?}");
    for problem in ["a deny wins", "names no account", "match other callers too", "damaged audit record: "] {
        assert!(ended.stderr.contains(problem), "{problem}: {ended:?}");
    }
    assert_eq!(ended.stderr.lines().count(), 4, "{ended:?}");
}

#[test]
fn observe_mode_needs_a_restart() {
    let folder = Folder::new();
    let broker = folder.serve();
    let main = fs::read_to_string(folder.file()).unwrap();
    let log = folder.directory.path().join("audit.jsonl");
    folder.write(&format!("{main}\n[policy]\nmode = \"observe\"\n[audit]\noutput = \"{}\"\n", log.display()));
    signal(broker.pid(), "HUP");
    broker.until_logged("restart the broker to apply it");
    assert_eq!(ask(&broker, &["get", OTHER]).code, 4);
}

#[test]
fn observe_mode_is_rejected_without_grants_audit_log_or_strict_callers() {
    let folder = Folder::new();
    let file = folder.file();
    for (text, problem) in [
        ("[policy]\nmode = \"observe\"\n", "needs grants to observe"),
        ("grants = []\n[policy]\nmode = \"observe\"\n", "needs an audit log"),
        ("[policy]\nmode = \"watch\"\n", "expected \"enforce\" or \"observe\""),
        (
            "grants = []\n[policy]\nmode = \"observe\"\n[audit]\noutput = \"stderr\"\n[[authentication.jwt]]\nname = \"g\"\nissuer = \"https://g.example\"\naudience = \"b\"\n",
            "every token of these issuers",
        ),
    ] {
        folder.write(text);
        let checked = run(&["config", "check", "--config", file.to_str().unwrap()], &[]);
        assert!(checked.code == 1 && checked.error().contains(problem), "{checked:?}");
    }
}
