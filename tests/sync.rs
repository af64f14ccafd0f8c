//! `sync` and `watch`: the real program beside a broker with a simulated AWS, whose tokens last seconds.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod program;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use program::{Ended, Following, Server, program, run, signal};
use serde_json::{Value, json};

const PRIVATE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const PUBLIC: &str = "public.ecr.aws";
const NOBODY: &str = "http://127.0.0.1:1";

/// Says what there is each time that it is another.
const SHOW: &str = "tr -d ' \\n' <$ECR_SYNC_FILE; echo";

/// A broker on a socket that stays, and a file of logins.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("broker.toml"), "[cache]\nsafety_margin = \"1s\"\n").unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn address(&self) -> String {
        format!("unix:{}", self.text("broker.sock"))
    }

    fn broker(&self, lifetime: &str) -> Server {
        let (config, listen) = (self.text("broker.toml"), self.address());
        let arguments =
            ["serve", "--simulate", "--config", &config, "--listen", &listen, "--simulate-token-lifetime", lifetime];
        Server::start(&arguments, &[])
    }

    fn sync(&self, arguments: &[&str]) -> Following {
        let mut command = program(&[("ECR_BROKER_ADDRESS", &self.address())]);
        command.arg("sync").args(arguments).args(["--on-change", SHOW]);
        Following::start(command)
    }

    fn once(&self, arguments: &[&str]) -> Ended {
        run(&[&["sync", "--once"], arguments].concat(), &[("ECR_BROKER_ADDRESS", &self.address())])
    }

    fn config(&self, name: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(self.path(name)).unwrap()).unwrap()
    }
}

fn hosts(config: &Value) -> Vec<&String> {
    config["auths"].as_object().unwrap().keys().collect()
}

#[test]
fn once_writes_a_file_that_only_its_owner_reads_and_nothing_where_nothing_has_changed() {
    let place = Place::new();
    let _broker = place.broker("12h");
    let target = ["--docker-config", &place.text("docker")];
    let arguments = [&[PRIVATE, PUBLIC][..], &target].concat();
    assert_eq!(place.once(&arguments).out(), "");
    let file = place.path("docker/config.json");
    let first = fs::metadata(&file).unwrap();
    assert_eq!(first.permissions().mode() & 0o777, 0o600);
    assert_eq!(hosts(&place.config("docker/config.json")), [PRIVATE, PUBLIC]);
    let got = run(&["get", PRIVATE, PUBLIC, "-o", "docker-config"], &[("ECR_BROKER_ADDRESS", &place.address())]);
    assert_eq!(serde_json::from_str::<Value>(&got.out()).unwrap(), place.config("docker/config.json"));
    place.once(&arguments).out();
    assert_eq!(fs::metadata(&file).unwrap().ino(), first.ino(), "not written again");
    // A file that others could read holds secrets from now on.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    place.once(&[&[PRIVATE][..], &target].concat()).out();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(hosts(&place.config("docker/config.json")), [PRIVATE]);
}

#[test]
fn once_says_what_it_could_not_have_and_writes_the_rest() {
    let place = Place::new();
    let broker = place.broker("12h");
    let authfile = place.text("auth.json");
    let ended = place.once(&[PRIVATE, "ghcr.io/x", "--authfile", &authfile, "--on-change", "exit 3"]);
    assert_eq!(ended.code, 1);
    assert!(
        ended.stderr.contains("ghcr.io/x: REGISTRY_NOT_ECR") && ended.stderr.contains("exit status: 3"),
        "{ended:?}"
    );
    assert_eq!(hosts(&place.config("auth.json")), [PRIVATE]);
    assert_eq!(place.once(&["ghcr.io/x", "--authfile", &authfile]).code, 3);
    for (arguments, expected) in [
        (&[PRIVATE][..], "--docker-config"),
        (&["--authfile", &authfile], "needs the registries' names"),
        (&[PRIVATE, "--authfile", &authfile, "--docker-config", "/tmp"], "cannot be used with"),
    ] {
        let ended = place.once(arguments);
        assert!(ended.code == 2 && ended.stderr.contains(expected), "{ended:?}");
    }
    broker.stop();
    let ended = place.once(&[PRIVATE, "--authfile", &authfile, "--timeout", "1s"]);
    assert_eq!(ended.code, 5, "{ended:?}");
    assert_eq!(hosts(&place.config("auth.json")), [PRIVATE], "what is good stays");
}

#[test]
fn a_file_is_kept_fresh_over_the_broker_s_end_and_emptied_when_nothing_is_good_any_more() {
    let place = Place::new();
    let broker = place.broker("10s");
    let mut sync = place.sync(&[PRIVATE, "--docker-config", &place.text("docker")]);
    let shown = |line: &str| line.starts_with("{\"auths\":{\"123456789012.").then(|| line.to_owned());
    let first = sync.until(shown);
    // Half-way to its end another one takes its place.
    let second = sync.until(shown);
    assert_ne!(first, second);
    broker.stop();
    let broker = place.broker("10s");
    let third = sync.until(shown);
    assert_ne!(second, third);
    broker.stop();
    sync.until(|line| line.contains("what is good stays in").then_some(()));
    sync.until(|line| (line == "{\"auths\":{}}").then_some(()));
    assert_eq!(place.config("docker/config.json"), json!({"auths": {}}));
    assert!(sync.end("TERM").success());
}

#[test]
fn what_is_in_somebody_s_file_stays_and_a_file_that_is_somebody_s_is_not_taken() {
    let place = Place::new();
    let _broker = place.broker("12h");
    let theirs = json!({
        "auths": { "ghcr.io": { "auth": "eDp5" }, PRIVATE: { "auth": "b2xk" } }, "credsStore": "x", "HttpHeaders": { "A": "b" }
    });
    fs::write(place.path("auth.json"), theirs.to_string()).unwrap();
    let authfile = place.text("auth.json");
    let refused = place.once(&[PRIVATE, "--authfile", &authfile]);
    assert!(refused.code == 1 && refused.error().contains("--merge"), "{refused:?}");
    assert_eq!(place.config("auth.json"), theirs);
    place.once(&[PRIVATE, "--authfile", &authfile, "--merge"]).out();
    let merged = place.config("auth.json");
    assert_ne!(merged["auths"][PRIVATE], theirs["auths"][PRIVATE]);
    let mut rest = merged.clone();
    rest["auths"][PRIVATE] = theirs["auths"][PRIVATE].clone();
    assert_eq!(rest, theirs);

    fs::write(place.path("auth.json"), "{\"auths\": [").unwrap();
    for merge in [&[][..], &["--merge"]] {
        let refused = place.once(&[&[PRIVATE, "--authfile", &authfile][..], merge].concat());
        assert!(refused.code == 1 && refused.error().contains("no JSON object"), "{refused:?}");
    }
}

#[test]
fn what_ended_while_nobody_kept_it_is_taken_away_before_anything_is_asked() {
    let place = Place::new();
    let old = std::time::Duration::from_hours(13);
    for (name, merge) in [("own.json", false), ("theirs.json", true)] {
        let auths = json!({ PRIVATE: { "auth": "b2xk" } });
        let config = if merge { json!({ "auths": auths, "x": 1 }) } else { json!({ "auths": auths }) };
        fs::write(place.path(name), config.to_string()).unwrap();
        let file = fs::File::options().write(true).open(place.path(name)).unwrap();
        file.set_modified(file.metadata().unwrap().modified().unwrap() - old).unwrap();
        let merge = if merge { &["--merge"][..] } else { &[] };
        let mut sync = place.sync(&[&[PRIVATE, "--authfile", &place.text(name)][..], merge].concat());
        sync.until(|line| line.starts_with("{\"auths\":{}").then_some(()));
        assert!(sync.end("INT").success());
    }
    assert_eq!(place.config("theirs.json")["x"], 1);
}

#[test]
fn who_names_nothing_has_what_grants_name_in_the_file() {
    let place = Place::new();
    let grants = format!(
        "[[grants]]\nid = \"a\"\ncallers = [{{ uid = {} }}]\nregistries = [{{ public = true }}]\n",
        fs::metadata(place.directory.path()).unwrap().uid()
    );
    fs::write(place.path("broker.toml"), grants).unwrap();
    let _broker = place.broker("12h");
    let mut sync = place.sync(&["--authfile", &place.text("auth.json")]);
    sync.until(|line| line.contains(PUBLIC).then_some(()));
    assert!(sync.end("TERM").success());
}

/// The file is written at the start of each, for what is asked for is another than before.
#[test]
fn two_hundred_kills_leave_a_whole_file() {
    let place = Place::new();
    let _broker = place.broker("12h");
    let authfile = place.text("auth.json");
    place.once(&[PRIVATE, PUBLIC, "--authfile", &authfile]).out();
    let (mut changes, mut before) = (0, place.config("auth.json"));
    for round in 0..200 {
        let registries = [&[PRIVATE][..], &[PUBLIC], &[PRIVATE, PUBLIC]][round % 3];
        let mut command = program(&[("ECR_BROKER_ADDRESS", &place.address())]);
        command.arg("sync").args(registries).args(["--authfile", &authfile]);
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        // At any instant from before its first step to after its last.
        std::thread::sleep(Duration::from_micros(u64::try_from(round).unwrap() * 7_919 % 60_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let now = place.config("auth.json");
        assert!(hosts(&now).iter().all(|host| [PRIVATE, PUBLIC].contains(&host.as_str())), "{now}");
        assert!(now["auths"].as_object().unwrap().values().all(|entry| entry["auth"].as_str().unwrap().len() > 1_000));
        changes += u32::from(now != before);
        before = now;
    }
    assert!((50..200).contains(&changes), "{changes} of 200 got as far as writing, and not all did");
    let left: Vec<_> = fs::read_dir(place.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.len() <= 6, "{left:?}");
    place.once(&[PRIVATE, "--authfile", &authfile]).out();
}

fn lines(child: &mut Child) -> impl Iterator<Item = Value> {
    BufReader::new(child.stdout.take().unwrap()).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap())
}

fn watch(place: &Place, arguments: &[&str]) -> Child {
    let mut command = program(&[("ECR_BROKER_ADDRESS", &place.address())]);
    command.arg("watch").args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn watch_prints_a_line_for_each_event_and_no_secret_unless_it_is_asked_for() {
    let place = Place::new();
    let _broker = place.broker("10s");
    for secrets in [false, true] {
        let flags = if secrets { &["--show-secrets"][..] } else { &[] };
        let mut child = watch(&place, &[&[PRIVATE, "ghcr.io/x"][..], flags].concat());
        let mut events = lines(&mut child);
        let mut first: Vec<_> = events.by_ref().take(3).collect();
        first.sort_by_key(|event| event["event"].as_str().unwrap().to_owned());
        let [credentials, error, complete] = first.as_slice() else { panic!("{first:?}") };
        assert_eq!((&credentials["event"], &credentials["registry"]), (&"CREDENTIALS".into(), &PRIVATE.into()));
        assert_eq!(credentials.get("password").is_some(), secrets);
        assert_eq!((&error["reason"], &error["registry"]), (&"REGISTRY_NOT_ECR".into(), &"ghcr.io/x".into()));
        assert_eq!(complete, &json!({ "event": "SNAPSHOT_COMPLETE" }));
        let refreshed = events.next().unwrap();
        assert_eq!(refreshed["event"], "CREDENTIALS");
        assert_ne!(refreshed["credential_id"], credentials["credential_id"]);
        drop(events);
        signal(child.id(), "TERM");
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn watch_that_cannot_begin_says_so_and_ends() {
    for (address, arguments, code) in [(NOBODY, &[PRIVATE][..], 5), (NOBODY, &[], 5)] {
        let ended = run(&[&["watch", "--address", address][..], arguments].concat(), &[]);
        assert!(ended.code == code && ended.error().contains("no broker answers"), "{ended:?}");
    }
    let many = vec![PRIVATE; 101];
    assert_eq!(run(&[&["watch"][..], &many].concat(), &[]).code, 2);
}
