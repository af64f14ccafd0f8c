//! Commands for operators: checks of the configuration, explanations of grants, and who may open the socket.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod program;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use program::{Ended, Server, run};
use serde_json::Value;

const PRIVATE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const GRANTS: &str = "
    [[authentication.jwt]]
    name = \"github\"
    issuer = \"https://token.actions.githubusercontent.com\"
    audience = \"ecr-broker\"
    [[grants]]
    id = \"farm\"
    callers = [{ uid = 1001 }]
    registries = [{ accounts = [\"123456789012\"], regions = [\"eu-*\"] }]
    [[grants]]
    id = \"main\"
    callers = [{ jwt = \"github\", claims = { repository_id = \"456\", event_name = \"push\" } }]
    registries = [{ accounts = [\"123456789012\"], regions = [\"*\"] }]
";

/// A directory with a configuration.
struct Place(tempfile::TempDir);

impl Place {
    fn with(config: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write(config);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, config: &str) {
        fs::write(self.path("broker.toml"), config).unwrap();
    }

    fn run(&self, command: &[&str], arguments: &[&str]) -> Ended {
        let file = self.path("broker.toml");
        run(&[command, &["--config", file.to_str().unwrap()], arguments].concat(), &[])
    }
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[test]
fn config_check_names_the_file_and_finds_what_serve_would() {
    let place = Place::with("");
    let valid = place.run(&["config", "check"], &[]);
    assert!(valid.stdout.contains(&format!("({})", place.path("broker.toml").display())), "{valid:?}");

    let missing = place.0.path().display();
    place.write(&format!(
        "[server]\nlisten = [\"unix:{missing}/a/b/broker.sock\"]\n[audit]\noutput = \"{missing}/none/audit.jsonl\"\n\
         [server.tls]\ncertificate = \"{missing}/tls.crt\"\nkey = \"{missing}/tls.key\"\n"
    ));
    let ended = place.run(&["config", "check"], &[]);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
    for (key, problem) in [
        ("server.listen", "/a does not exist; create it or correct the path"),
        ("audit.output", "/none does not exist; create it"),
        ("server.tls", "tls.crt"),
    ] {
        assert!(ended.stderr.lines().any(|line| line.contains(key) && line.contains(problem)), "{key}: {ended:?}");
    }

    place.write("[aws]\nregion = \"eu-centrl-1\"\n");
    let warned = place.run(&["config", "check"], &[]);
    assert!(warned.code == 0 && warned.stderr.contains("aws.region: \"eu-centrl-1\" is not a region"), "{warned:?}");
    place.write("[aws]\nregion = \"eu-centrl-1\"\nregions = [\"eu-centrl-1\"]\n");
    assert_eq!(place.run(&["config", "check"], &[]).stderr, "");

    // systemd creates these directories.
    place.write("[audit]\noutput = \"/var/log/no-such-ecr-broker/audit.jsonl\"\n");
    let warned = place.run(&["config", "check"], &[]);
    assert!(warned.code == 0 && warned.stderr.contains("warning: audit.output: /var/log/no-such"), "{warned:?}");
}

#[test]
fn socket_in_a_missing_tree_is_refused_and_creates_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("typo/dir/broker.sock");
    let listen = format!("unix:{}", socket.display());
    let ended = run(&["serve", "--simulate", "--listen", &listen], &[]);
    assert_eq!(ended.code, 1);
    assert!(ended.error().contains("typo does not exist; create it or correct the path"), "{}", ended.stderr);
    assert!(!directory.path().join("typo").exists());
}

#[test]
fn config_print_has_a_line_of_json_for_each_setting() {
    let place = Place::with(&format!("[cache]\ncapacity = 7\n{GRANTS}"));
    let printed = place.run(&["config", "print"], &["-o", "json"]).out();
    let lines: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |name: &str| lines.iter().find(|line| line["setting"] == name).unwrap();
    assert_eq!(of("cache.capacity")["value"], 7);
    assert_eq!(of("cache.capacity")["origin"], place.path("broker.toml").to_str().unwrap());
    assert_eq!(
        (&of("server.drain_timeout")["value"], &of("server.drain_timeout")["origin"]),
        (&"20s".into(), &"default".into())
    );
    assert_eq!(of("aws.region")["value"], Value::Null);
    let grants = lines.iter().find_map(|line| line["lists"].get("grants")).unwrap();
    assert_eq!(grants[0]["id"], "farm");
}

#[test]
fn denial_is_explained_by_the_nearest_grant_and_its_differences() {
    let place = Place::with(GRANTS);
    let token = "jwt:github:repo:org/name:ref:refs/heads/main";
    let good = ["--claim", "repository_id=456", "--claim", "event_name=push"];
    for (caller, more, registry, grant, difference) in [
        (
            token,
            &["--claim", "repository_id=457", "--claim", "event_name=push"][..],
            PRIVATE,
            "main",
            "the claim repository_id is \"457\", not \"456\"",
        ),
        (
            token,
            &["--claim", "repository_id=456"],
            PRIVATE,
            "main",
            "the token has no claim event_name, which must be \"push\"",
        ),
        (
            token,
            &good,
            "123456789013.dkr.ecr.eu-central-1.amazonaws.com",
            "main",
            "the account is 123456789013, not 123456789012",
        ),
        (token, &good, "public.ecr.aws", "main", "the registry is ECR Public, the grant has private registries"),
        ("jwt:gitlab:x", &[], PRIVATE, "main", "the caller is jwt:gitlab:x, not {"),
        ("uid:1002,gid:5", &[], PRIVATE, "farm", "the caller is uid:1002,gid:5, not { uid = 1001 }"),
        (
            "uid:1001,gid:5",
            &[],
            "123456789012.dkr.ecr.us-east-1.amazonaws.com",
            "farm",
            "the region is us-east-1, not eu-*",
        ),
        (
            "uid:1001,gid:5",
            &["--profile", "ci"],
            PRIVATE,
            "farm",
            "profile \"ci\" is requested, the grant has \"default\"",
        ),
    ] {
        let ended = place.run(&["policy", "explain", "--caller", caller], &[more, &[registry]].concat());
        assert_eq!(ended.code, 4, "{ended:?}");
        let nearest = format!("nearest: grant {grant:?}, but ");
        let line = ended
            .stdout
            .lines()
            .find(|line| line.starts_with(&nearest))
            .unwrap_or_else(|| panic!("{grant}: {ended:?}"));
        assert!(line.contains(difference), "{difference}: {line}");
    }
    let unknown = place.run(&["policy", "explain", "--caller", "jwt:nope:x"], &["--profile", "ci", PRIVATE]).stdout;
    for note in ["the configuration has no issuer \"nope\"", "the configuration has no profile \"ci\""] {
        assert!(unknown.contains(note), "{unknown}");
    }
}

#[test]
fn policy_commands_print_json() {
    let place = Place::with(GRANTS);
    let checked = json(&place.run(&["policy", "check"], &["-o", "json"]));
    assert_eq!((&checked["policy"], &checked["grants"]), (&"enforce".into(), &2.into()));
    let denied = place.run(&["policy", "explain", "--caller", "uid:7,gid:7"], &["-o", "json", PRIVATE]);
    let decision = json(&denied);
    assert_eq!((denied.code, &decision["decision"], &decision["grant"]), (4, &"deny".into(), &Value::Null));
    assert_eq!(decision["nearest"]["grant"], "farm");
    let allowed = json(&place.run(&["policy", "explain", "--caller", "uid:1001,gid:7"], &["-o", "json", PRIVATE]));
    assert_eq!(
        (&allowed["decision"], &allowed["grant"], &allowed["profile"]),
        (&"allow".into(), &"farm".into(), &"default".into())
    );

    let expect = |allow| format!("[[expect]]\ncaller = \"uid:7,gid:7\"\nregistry = \"{PRIVATE}\"\nallow = {allow}\n");
    let file = place.path("expect.toml");
    fs::write(&file, expect(false) + &expect(true)).unwrap();
    let tested = place.run(&["policy", "test"], &["-o", "json", file.to_str().unwrap()]);
    let result = json(&tested);
    assert_eq!((tested.code, &result["met"], &result["unmet"][0]["expectation"]), (1, &1.into(), &2.into()));
    assert!(result["unmet"][0]["problem"].as_str().unwrap().contains("nearest: grant \"farm\""), "{result}");

    fs::write(&file, "[[expect]]\ncaller = 7\n").unwrap();
    let wrong = place.run(&["policy", "test"], &[file.to_str().unwrap()]);
    assert!(wrong.error().contains("expect.toml: line 2: ") && !wrong.stderr.contains(" | "), "{}", wrong.stderr);
}

#[test]
fn suggest_says_what_it_read_and_fails_without_records() {
    let place = Place::with(GRANTS);
    let log = place.path("audit.jsonl");
    let suggest =
        |arguments: &[&str]| place.run(&["policy", "suggest"], &[arguments, &[log.to_str().unwrap()]].concat());
    for empty in ["", "[server]\nlisten = []\n", "{\"level\":\"INFO\",\"message\":\"audit\"}\n"] {
        fs::write(&log, empty).unwrap();
        let ended = suggest(&[]);
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
        assert!(ended.stderr.contains("no audit records in "), "{ended:?}");
    }
    let record = |time: &str, uid: u32| {
        format!(
            "{{\"kind\":\"audit\",\"time\":\"{time}\",\"outcome\":\"denied\",\"caller\":\"uid:{uid},gid:{uid}\",\
             \"account_id\":\"123456789012\",\"registry\":\"{PRIVATE}\",\"profile\":\"default\"}}\n"
        )
    };
    let (first, last) = ("2026-11-29T08:00:00.000Z", "2026-11-30T09:30:00.500Z");
    fs::write(&log, record(last, 7) + &record(first, 7) + "a line of a log\n").unwrap();
    let text = suggest(&[]).out();
    assert!(
        text.starts_with(&format!("# Read 2 audit records from {first} to {last}.\n# Nothing to suggest")),
        "{text}"
    );
    let all = json(&suggest(&["--denied", "-o", "json"]));
    assert_eq!((&all["records"], &all["from"], &all["to"]), (&2.into(), &first.into(), &last.into()));
    assert_eq!(all["grants"][0]["callers"][0]["uid"], 7, "{all}");
}

fn mode_and_group(path: &Path) -> (u32, u32) {
    let found = fs::metadata(path).unwrap();
    (found.mode() & 0o777, found.gid())
}

#[test]
fn socket_has_the_configured_mode_and_group() {
    let own = fs::metadata("/proc/self").unwrap().gid();
    for (setting, expected) in [("", 0o660), ("socket_mode = \"0600\"", 0o600), ("socket_mode = \"0666\"", 0o666)] {
        let place = Place::with(&format!("{}[server]\nsocket_group = \"{own}\"\n{setting}\n", "grants = []\n"));
        let socket = place.path("run/broker.sock");
        let listen = format!("unix:{}", socket.display());
        let file = place.path("broker.toml");
        let broker =
            Server::start(&["serve", "--simulate", "--config", file.to_str().unwrap(), "--listen", &listen], &[]);
        assert_eq!(mode_and_group(&socket), (expected, own), "{setting}");
        let open = if expected == 0o666 { 0o005 } else { 0 };
        assert_eq!(mode_and_group(&place.path("run")).0, 0o750 | open, "{setting}");
        broker.stop();
    }
}

#[test]
fn p13_socket_that_every_user_may_open_needs_grants() {
    let place = Place::with("[server]\nsocket_mode = \"0666\"\n");
    for command in [&["config", "check"][..], &["serve"]] {
        let ended = place.run(command, &[]);
        assert_eq!(ended.code, 1);
        assert!(ended.error().contains("server.socket_mode: lets every user connect"), "{}", ended.stderr);
    }
    for (setting, problem) in [
        ("socket_mode = \"0777\"", "expected \"0600\", \"0660\" or \"0666\", got \"0777\""),
        ("socket_group = \"no-such-group\"", "expected a group of /etc/group, or its ID"),
    ] {
        place.write(&format!("[server]\n{setting}\n"));
        let ended = place.run(&["config", "check"], &[]);
        assert!(ended.error().contains(problem), "{}", ended.stderr);
    }
}

#[test]
fn keygen_prints_a_keys_file_that_check_names_by_ids() {
    let place = Place::with("");
    let file = place.path("cache-keys");
    let check = ["keygen", "--check", file.to_str().unwrap()];
    let write = |text: &str| {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    };
    let first = run(&["keygen"], &[]).out();
    write(&first);
    let ids = run(&check, &[]).out();
    let (names, seal) = ids.split_once('\n').unwrap();
    assert!(names.starts_with("names ") && seal.starts_with("seal "), "{ids}");
    assert!(ids.lines().all(|line| line.split_once(' ').unwrap().1.len() == 8), "no key: {ids}");

    let added = run(&["keygen", "--seal-only"], &[]).out();
    assert!(added.starts_with("seal ") && added.lines().count() == 1, "one line");
    write(&(first.clone() + &added));
    assert!(run(&check, &[]).out().starts_with(&ids), "the old key seals until the new one is before it");
    assert_ne!(run(&["keygen"], &[]).out(), first, "each run has other keys");

    write(&added);
    let refused = run(&check, &[]);
    let expected = format!("ecr-broker: keys file {} has no names key; copy ", file.display());
    assert!(refused.code == 1 && refused.error().starts_with(&expected), "{refused:?}");
    assert!(!refused.stderr.contains(added["seal ".len()..].trim()), "{refused:?}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(run(&check, &[]).error().contains("is world-readable"));
    for wrong in [&["keygen", "--seal-only", "--check", "x"][..], &["keygen", "--user", "root"]] {
        assert_eq!(run(wrong, &[]).code, 2, "{wrong:?}");
    }
}
