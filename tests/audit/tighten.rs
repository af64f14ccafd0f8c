//! `policy tighten` of the real program: proposals from audit records and CloudTrail, and their replay.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::program::{Ended, run};

const ROLE: &str = "arn:aws:iam::210987654321:role/team/pull";
const CONFIG: &str = r#"
[[authentication.jwt]]
name = "github"
issuer = "https://token.example"
audience = "ecr"
jwks_file = "JWKS"
[[profiles]]
name = "pull"
role_chain = ["arn:aws:iam::210987654321:role/team/pull"]
access = "full"
[[grants]]
id = "ci"
callers = [{ jwt = "github", subject = "repo:example/*" }]
registries = [{ accounts = ["*"], regions = ["*"] }, { public = true }]
profile = "pull"
[[grants]]
id = "old"
callers = [{ uid = 7 }]
registries = [{ accounts = ["*"], regions = ["*"] }]
"#;

fn record(hour: usize, grant: &str, account: &str, count: usize) -> String {
    format!(
        "{{\"kind\":\"audit\",\"time\":\"2026-11-30T{hour:02}:30:00.000Z\",\"outcome\":\"released\",\
         \"caller\":\"jwt:github:repo:example/app\",\"registry\":\"{account}.dkr.ecr.eu-west-1.amazonaws.com\",\
         \"profile\":\"pull\",\"role_session\":\"ecr-broker-pull\",\"grant\":\"{grant}\",\"credential_id\":\"00ff\",\
         \"minted_by\":\"{ROLE}\",\"count\":{count}}}\n"
    )
}

fn event(hour: usize, session: &str, action: &str, repository: &str) -> Value {
    json!({
        "eventVersion": "1.08", "eventSource": "ecr.amazonaws.com", "eventName": action,
        "eventTime": format!("2026-11-30T{hour:02}:31:00Z"),
        "userIdentity": {
            "type": "AssumedRole", "arn": format!("arn:aws:sts::210987654321:assumed-role/pull/{session}"),
            "sessionContext": { "sessionIssuer": { "type": "Role", "arn": ROLE } },
        },
        "requestParameters": { "registryId": "210987654321", "repositoryName": repository },
    })
}

struct Files(tempfile::TempDir);

impl Files {
    fn new(log: &str, events: &[Value]) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        fs::write(files.path("jwks.json"), crate::tokens::Signer::new("k1").jwks()).unwrap();
        fs::write(files.path("config.toml"), CONFIG.replace("JWKS", &files.path("jwks.json"))).unwrap();
        fs::write(files.path("audit.jsonl"), log).unwrap();
        let text = json!({ "Records": events }).to_string();
        let mut gzip = Command::new("gzip").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        gzip.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        fs::write(files.path("trail.json.gz"), gzip.wait_with_output().unwrap().stdout).unwrap();
        files
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn tighten(&self, arguments: &[&str]) -> Ended {
        let command = ["policy", "tighten", "--config", &self.path("config.toml"), &self.path("audit.jsonl")];
        run(&[&command, arguments].concat(), &[])
    }
}

fn log() -> String {
    let earlier = (0..8).map(|hour| record(hour, "ci", "210987654321", 10)).collect::<String>();
    earlier
        + &record(9, "ci", "123456789012", 3)
        + &record(9, "ci", "210987654321", 1)
        + &record(9, "gone", "123456789012", 2)
}

#[test]
fn proposal_has_what_was_used_and_its_replay_denies_nothing() {
    let mut events: Vec<_> = (0..8).map(|hour| event(hour, "ecr-broker-pull", "BatchGetImage", "team-a/app")).collect();
    events.push(event(9, "ecr-broker-pull", "GetDownloadUrlForLayer", "team-a/base"));
    events.push(event(9, "ecr-broker-pull", "BatchGetImage", "team-a/base"));
    events.push(event(9, "another-program", "PutImage", "team-b/app"));
    let mut failed = event(9, "ecr-broker-pull", "PutImage", "team-a/app");
    failed["errorCode"] = "AccessDenied".into();
    events.push(failed);
    events.push(json!({ "eventSource": "s3.amazonaws.com", "eventName": "GetObject" }));
    let files = Files::new(&log(), &events);
    let printed = files.tighten(&["-o", "json", "--cloudtrail", &files.path("trail.json.gz")]).out();
    let answer: Value = serde_json::from_str(&printed).unwrap();
    let grants = answer["grants"].as_array().unwrap();
    assert_eq!(
        (grants.len(), &answer["unused_grants"], &answer["not_counted"]),
        (1, &json!(["old"]), &json!({ "gone": 2 }))
    );
    let registries = json!([{ "accounts": ["123456789012", "210987654321"], "regions": ["eu-west-1"] }]);
    assert_eq!((&grants[0]["id"], &grants[0]["registries"]), (&"ci".into(), &registries));
    assert_eq!(answer["cloudtrail"], json!({ "files": 1, "matched": 10, "other_sessions": 1, "failed": 1 }));
    let profile =
        json!({ "name": "pull", "access": "pull", "repositories": ["team-a/app", "team-a/base"], "other_actions": [] });
    assert_eq!(answer["profiles"], json!([profile]));
    assert_eq!(answer["sessions"][0]["grants"], json!(["ci"]));
    let replay = json!({
        "releases": 84, "denied_releases": 0, "pulls": 9, "denied_pulls": 0, "calls": 10, "denied_calls": 0,
        "denied": [],
    });
    assert_eq!(answer["replay"], replay);
    // What was used first in the last fifth of the time is what an earlier proposal would have denied.
    let back_test = &answer["back_test"];
    assert_eq!(back_test["from"], "2026-11-30T08:00:00Z");
    assert_eq!((&back_test["releases"], &back_test["denied_releases"]), (&4.into(), &3.into()));
    assert_eq!(
        (&back_test["pulls"], &back_test["denied_pulls"], &back_test["denied_calls"]),
        (&1.into(), &1.into(), &2.into())
    );

    let text = files.tighten(&["--cloudtrail", &files.path("trail.json.gz")]).out();
    for part in [
        "# Replay of all records: 0 of 84 releases denied, 0 of 9 pulls and 0 of 10 calls to ECR.",
        "replayed with the use since: 3 of 4 releases denied, 1 of 1 pulls and 2 of 2 calls to ECR.",
        "# access = \"pull\"\n# repositories = [\"team-a/app\", \"team-a/base\"]",
        "# Unused and left out: grant \"old\".",
        "#   actions: BatchGetImage 9, GetDownloadUrlForLayer 1",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // The text is a file of grants.
    let start = CONFIG.find("[[grants]]").unwrap();
    let tight = files.path("tight.toml");
    let profiles = CONFIG[..start].replace("\"full\"", "\"pull\"").replace("JWKS", &files.path("jwks.json"));
    fs::write(&tight, profiles + &text).unwrap();
    let checked = run(&["policy", "check", "--config", &tight], &[]);
    assert_eq!(checked.code, 0, "{checked:?}");
}

#[test]
fn audit_log_alone_says_what_it_cannot_tell() {
    let files = Files::new(&log(), &[]);
    let text = files.tighten(&[]).out();
    assert!(text.contains("# Not known: the audit log tells registries, not repositories and actions"), "{text}");
    assert!(text.contains("# Replay of all records: 0 of 84 releases denied.") && !text.contains("access ="), "{text}");
    let none = files.tighten(&["--cloudtrail", &files.path("trail.json.gz")]).out();
    assert!(none.contains("the calls of the profiles pull: the files of CloudTrail have none"), "{none}");
}

#[test]
fn hostile_logs_are_refused_or_shown_harmless() {
    let event = event(1, "ecr-broker-pull", "Batch\u{1b}[2JGetImage", "a\n[[grants]]\nid = \"x\"");
    let files = Files::new(&log(), &[event]);
    let text = files.tighten(&["--cloudtrail", &files.path("trail.json.gz")]).out();
    assert!(!text.contains('\u{1b}') && text.lines().filter(|line| *line == "[[grants]]").count() == 1, "{text}");
    for (name, content) in [("empty", ""), ("list", "[]"), ("text", "secret"), ("cut", "{\"Records\":[{}")] {
        fs::write(files.path(name), content).unwrap();
        let ended = files.tighten(&["--cloudtrail", &files.path(name)]);
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{name}");
        assert!(
            ended.error().contains("not a log file of CloudTrail") && !ended.stderr.contains("secret"),
            "{ended:?}"
        );
    }
    fs::write(files.path("audit.jsonl"), "broker started\n").unwrap();
    assert!(files.tighten(&[]).error().contains("no audit records in "));
    fs::write(files.path("config.toml"), "").unwrap();
    fs::write(files.path("audit.jsonl"), log()).unwrap();
    assert!(files.tighten(&[]).error().contains("no grants are configured"));
}
