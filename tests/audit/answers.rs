//! `audit live` and `audit contain` of the real program, against what its callers received.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::program::{Ended, Server, program, run, skipped};
use crate::support::HOST;
use crate::tokens::{AUDIENCE, ISSUER, SUBJECT, Signer};

const OTHER: &str = "210987654321.dkr.ecr.eu-west-1.amazonaws.com";
const FIPS: &str = "123456789012.dkr.ecr-fips.eu-central-1.amazonaws.com";
const ROLE: &str = "arn:aws:iam::210987654321:role/team/pull";
const USER: &str = "arn:aws:iam::123456789012:user/simulated";
/// A user that owns nothing.
const GUEST: u32 = 4_711;

/// What a caller received: the releases of each credential by registry, and the passwords.
#[derive(Default)]
struct Received {
    releases: BTreeMap<(String, String, String), Held>,
    passwords: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    count: u64,
    expires: String,
    profile: String,
}

/// The program with an audit log, a profile, and grants for two users and an issuer.
struct Served {
    directory: tempfile::TempDir,
    signer: Signer,
    broker: Server,
}

impl Served {
    fn new() -> Self {
        let (directory, signer) = (tempfile::tempdir().unwrap(), Signer::new("k1"));
        let (place, own) = (directory.path().display(), own_uid());
        fs::write(directory.path().join("jwks.json"), signer.jwks()).unwrap();
        let text = format!(
            "audit.output = \"{place}/audit.jsonl\"\naws.region = \"eu-central-1\"\nserver.socket_mode = \"0666\"\n\
             [aliases]\n\"images.example\" = \"{HOST}\"\n\
             [[profiles]]\nname = \"pull\"\nrole_chain = [\"{ROLE}\"]\n\
             [[authentication.jwt]]\nname = \"blue\"\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks_file = \"{place}/jwks.json\"\n\
             [[grants]]\nid = \"users\"\ncallers = [{{ uid = {own} }}, {{ uid = {GUEST} }}]\n\
             registries = [{{ accounts = [\"123456789012\"], regions = [\"*\"] }}, {{ public = true }}]\n\
             [[grants]]\nid = \"ci\"\ncallers = [{{ jwt = \"blue\", subject = \"{SUBJECT}\" }}]\nprofile = \"pull\"\n\
             registries = [{{ accounts = [\"123456789012\", \"210987654321\"], regions = [\"*\"] }}]\n",
        );
        fs::write(directory.path().join("broker.toml"), text).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let (config, socket) = (path("broker.toml"), format!("unix:{place}/run/broker.sock"));
        let mut command = program(&[]);
        command.args(["serve", "--simulate", "--config", &config, "--listen", "127.0.0.1:0", "--listen", &socket]);
        let broker = Server::spawn_logging(command);
        broker.until_logged("AWS identity found");
        Self { directory, signer, broker }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn socket(&self) -> String {
        format!("unix:{}", self.path("run/broker.sock").display())
    }

    fn audit(&self, arguments: &[&str]) -> Ended {
        let config = self.path("broker.toml");
        let (command, rest) = arguments.split_first().unwrap();
        run(&[&["audit", command, "--config", config.to_str().unwrap()], rest].concat(), &[])
    }

    fn live(&self, arguments: &[&str]) -> BTreeMap<(String, String, String), Held> {
        let printed = self.audit(&[&["live", "-o", "json"], arguments].concat()).out();
        let answer: Value = serde_json::from_str(&printed).unwrap();
        let text = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
        let all = answer["credentials"].as_array().unwrap().iter().map(|one| {
            let profile = text(one, "profile");
            let role = if profile == "pull" { ROLE } else { USER };
            assert_eq!((text(one, "minted_by"), text(one, "source")), (role.to_owned(), "aws".to_owned()), "{one}");
            assert_eq!(one["expires_is_latest"], false);
            let held = Held { count: one["releases"].as_u64().unwrap(), expires: text(one, "expires"), profile };
            ((text(one, "caller"), text(one, "registry"), text(one, "credential_id")), held)
        });
        all.collect()
    }
}

impl Received {
    /// Gets credentials, and notes what the caller received.
    fn get(&mut self, caller: &str, more: &[&str], registries: &[&str]) -> Ended {
        let arguments = [&["get", "-o", "json"], more, registries].concat();
        let ended = run(&arguments, &[]);
        self.note(caller, &ended.stdout);
        ended
    }

    fn note(&mut self, caller: &str, printed: &str) {
        for line in printed.lines() {
            let one: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| one[name].as_str().unwrap().to_owned();
            self.passwords.insert(text("password"));
            // A record has the registry's own host.
            let registry = Some(text("registry")).filter(|name| name != "images.example");
            let key = (caller.to_owned(), registry.unwrap_or_else(|| HOST.to_owned()), text("credential_id"));
            let held = Held { count: 0, expires: text("expire_time"), profile: text("profile") };
            self.releases.entry(key).or_insert(held).count += 1;
        }
    }

    fn of(&self, wanted: impl Fn(&str, &str) -> bool) -> BTreeMap<(String, String, String), Held> {
        let all = self.releases.iter().filter(|((caller, registry, _), _)| wanted(caller, registry));
        all.map(|(key, held)| (key.clone(), held.clone())).collect()
    }

    fn assert_secret(&self, place: &str, text: &str) {
        assert!(!self.passwords.is_empty());
        for password in &self.passwords {
            // The end is unique, and survives a different encoding of the start.
            assert!(!text.contains(&password[password.len() - 24..]), "a password is in {place}: {text}");
        }
    }
}

pub(crate) fn own_uid() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

pub(crate) fn own_caller() -> String {
    format!("uid:{},gid:{}", own_uid(), fs::metadata("/proc/self").unwrap().gid())
}

#[expect(clippy::disallowed_methods, reason = "the broker under test uses the system clock")]
fn from_now(hours: i64) -> String {
    let (now, hour) = (SystemTime::now(), Duration::from_hours(hours.unsigned_abs()));
    humantime::format_rfc3339_seconds(if hours < 0 { now - hour } else { now + hour }).to_string()
}

/// Calls of every caller, with hits, misses, batches and denials.
fn make_calls(served: &Served) -> Received {
    let mut received = Received::default();
    let (own, socket, place) = (own_caller(), served.socket(), served.path("token"));
    let seconds = humantime::parse_rfc3339(&from_now(0)).unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    fs::write(&place, served.signer.token(ISSUER, SUBJECT, seconds.as_secs())).unwrap();
    let over_socket = ["--address", &socket];
    let by_token = ["--address", &served.broker.address, "--token-file", place.to_str().unwrap()];
    let subject = format!("jwt:blue:{SUBJECT}");
    for _ in 0..3 {
        assert_eq!(received.get(&own, &over_socket, &[HOST]).code, 0);
        assert_eq!(received.get(&subject, &by_token, &[OTHER]).code, 0);
    }
    let batch = [HOST, &format!("{HOST}/image:1"), "images.example", FIPS, "public.ecr.aws"];
    assert_eq!(received.get(&own, &over_socket, &batch).code, 0);
    assert_eq!(received.get(&own, &over_socket, &[OTHER]).code, 4);
    assert_eq!(received.get(&subject, &by_token, &["public.ecr.aws"]).code, 4);
    assert_eq!(received.get(&subject, &by_token, &[HOST]).code, 0);
    call_as_guest(&socket, &mut received);
    received
}

/// Calls as another user, if the test may.
fn call_as_guest(socket: &str, received: &mut Received) {
    if own_uid() != 0 {
        return skipped("needs root, to be another user");
    }
    let mut command: Command = program(&[]);
    command.uid(GUEST).gid(GUEST).args(["get", "-o", "json", "--address", socket, HOST]);
    match command.output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            received.note(&format!("uid:{GUEST},gid:{GUEST}"), &String::from_utf8(output.stdout).unwrap());
        }
        Err(_) => skipped("the program's folder is closed to other users"),
    }
}

#[test]
fn live_credentials_are_those_that_callers_received_and_no_secret() {
    let served = Served::new();
    let received = make_calls(&served);
    let all = received.of(|_, _| true);
    assert_eq!(served.live(&[]), all);
    assert_eq!(served.live(&["--caller", &own_caller()]), received.of(|caller, _| caller == own_caller()));
    let uid = format!("uid:{}", own_uid());
    assert_eq!(served.live(&["--caller", &uid]), received.of(|caller, _| caller == own_caller()));
    let jwt = served.live(&["--caller", "jwt:blue:system:serviceaccount:ci:*"]);
    assert_eq!(jwt, received.of(|caller, _| caller.starts_with("jwt:")));
    assert!(served.live(&["--caller", "uid:99"]).is_empty());
    // The FIPS host is the same registry.
    let of_host = received.of(|_, registry| [HOST, FIPS].contains(&registry));
    for registry in [HOST, FIPS, "https://123456789012.dkr.ecr.eu-central-1.amazonaws.com/v2/", "images.example"] {
        assert_eq!(served.live(&["--registry", registry]), of_host, "{registry}");
    }
    assert_eq!(
        served.live(&["--registry", HOST, "--caller", "jwt:*"]),
        received.of(|caller, registry| registry == HOST && caller.starts_with("jwt:"))
    );
    assert_eq!(served.audit(&["live", "--registry", "ghcr.io"]).code, 3);

    assert_eq!(served.live(&["--at", &from_now(1)]), all);
    assert!(served.live(&["--at", &from_now(13)]).is_empty());
    assert!(served.live(&["--at", &from_now(-1)]).is_empty(), "nothing had been released");
    assert_eq!(served.audit(&["live", "--at", "yesterday"]).code, 2);

    // Rotated files count, too.
    fs::rename(served.path("audit.jsonl"), served.path("audit.jsonl.1")).unwrap();
    let mut later = received;
    later.get(&own_caller(), &["--address", &served.socket()], &[HOST]);
    assert_eq!(served.live(&[]), later.of(|_, _| true));

    let log = fs::read_to_string(served.path("audit.jsonl.1")).unwrap();
    later.assert_secret("the audit log", &log);
    for arguments in [&["live"][..], &["live", "-o", "json"], &["contain"], &["contain", "-o", "json"]] {
        later.assert_secret(&arguments.join(" "), &served.audit(arguments).out());
    }
    let text = served.audit(&["live"]).out();
    assert!(text.starts_with("Read ") && text.contains("VALID UNTIL") && text.contains(HOST), "{text}");
    later.assert_secret("the log", &served.broker.stop());
}

#[test]
fn contain_prints_a_script_that_revokes_the_sessions_of_each_role() {
    let served = Served::new();
    make_calls(&served);
    let json: Value = serde_json::from_str(&served.audit(&["contain", "-o", "json"]).out()).unwrap();
    let role = &json["roles"][0];
    assert_eq!(json["roles"].as_array().unwrap().len(), 1, "{json}");
    assert_eq!((&role["minted_by"], &role["role_name"]), (&ROLE.into(), &"pull".into()));
    assert_eq!((&role["account_id"], &role["credentials"]), (&"210987654321".into(), &2.into()));
    let statement = &role["policy"]["Statement"][0];
    assert_eq!(statement["Effect"], "Deny");
    assert_eq!(statement["Condition"]["DateLessThan"]["aws:TokenIssueTime"], json["revoke_before"]);
    assert_eq!(json["not_contained"][0]["minted_by"], USER);
    assert!(json["not_contained"][0]["advice"].as_str().unwrap().contains("access keys"), "{json}");
    assert!(json["limits"].as_array().unwrap().len() > 5);

    // The text is a script: with a program in place of AWS's, it runs one command.
    let (script, aws) = (served.path("contain.sh"), served.path("aws"));
    fs::write(&script, served.audit(&["contain"]).out()).unwrap();
    fs::write(&aws, format!("#!/bin/sh\nprintf '%s\\n' \"$@\" >>{}\n", served.path("called").display())).unwrap();
    fs::set_permissions(&aws, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", served.directory.path().display());
    assert!(Command::new("sh").arg("-eu").arg(&script).env("PATH", path).status().unwrap().success());
    let called = fs::read_to_string(served.path("called")).unwrap();
    let called: Vec<_> = called.lines().collect();
    assert_eq!(
        called[..7],
        [
            "iam",
            "put-role-policy",
            "--role-name",
            "pull",
            "--policy-name",
            "AWSRevokeOlderSessions",
            "--policy-document"
        ]
    );
    let policy: Value = serde_json::from_str(called[7]).unwrap();
    assert_eq!((policy["Version"].as_str(), called.len()), (Some("2012-10-17"), 8));

    let none = served.audit(&["contain", "--caller", "uid:99"]).out();
    assert!(none.contains("No such credential is valid") && !none.contains("aws iam"), "{none}");
    let only_keys = served.audit(&["contain", "--registry", "public.ecr.aws"]).out();
    assert!(only_keys.lines().all(|line| line.starts_with('#')), "{only_keys}");
    assert!(only_keys.contains("ECR Public") && only_keys.contains("Not contained: access keys"), "{only_keys}");
}
