//! The fallback of `client.toml`, and the switch-over from another helper: shadow, canary and full mode.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener;

use super::*;

/// The other helper's answer.
const AMAZONS: &str = r#"{"ServerURL":"x","Username":"amazon","Secret":"s3cr3t-of-amazon"}"#;

/// A place with another helper as the fallback of docker's, and a state directory.
struct Adopted(Place);

impl Adopted {
    fn new(client: &str) -> Self {
        let adopted = Self(Place::new(&format!("timeout = \"1s\"\nfallback = \"docker-credential-real\"\n{client}")));
        adopted.0.helper_script("docker-credential-real", AMAZONS, 0);
        adopted
    }

    /// Runs docker's helper, and waits until the process that it left behind has ended, too: each holds the pipe open.
    fn observed(&self, action: &str, question: &str) -> Ended {
        let pipe = self.0.path("observer.pipe");
        if !pipe.exists() {
            assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        }
        std::thread::scope(|scope| {
            let end = scope.spawn(|| fs::read(&pipe).unwrap());
            let script = "exec 3>\"$0\"; exec \"$@\"";
            let ended = self.run("sh", &["-c", script, pipe.to_str().unwrap(), HELPER, action], question);
            assert_eq!(end.join().unwrap(), b"");
            ended
        })
    }

    fn run(&self, program: &str, arguments: &[&str], question: &str) -> Ended {
        let state = self.0.path("state");
        self.0.run_with(program, arguments, question, &[("XDG_STATE_HOME", state.to_str().unwrap())])
    }

    fn report(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.0.path("state/ecr-broker/adoption.jsonl")).unwrap_or_default();
        assert!(!text.contains("s3cr3t") && text.lines().all(|line| line.len() < 600), "{text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn username(ended: &Ended) -> String {
    let answer: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    answer["Username"].as_str().unwrap().to_owned()
}

/// A broker on a socket in the place, which grants this user these registries.
fn granting(place: &Place, registries: &str) -> Server {
    let (socket, file) = (place.path("broker.sock"), place.path("broker.toml"));
    let uid = fs::metadata("/proc/self").unwrap().uid();
    let text = format!(
        "[server]\nlisten = [\"unix:{}\"]\n[[grants]]\nid = \"farm\"\ncallers = [{{ uid = {uid} }}]\n\
         registries = [{registries}]\n",
        socket.display()
    );
    fs::write(&file, text).unwrap();
    Server::start(&["serve", "--simulate", "--config", file.to_str().unwrap()], &[])
}

const ALL: &str = "{ accounts = [\"*\"], regions = [\"*\"] }";
const PUBLIC: &str = "{ public = true }";

/// The state of the broker during a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Well,
    Killed,
    Hung,
    Denying,
}

/// Makes one request of docker for each mode while the broker is in this state. Returns who answered.
fn pull(state: State, mode: &str) -> (Ended, Adopted) {
    let adopted = Adopted::new("");
    let socket = adopted.0.path("broker.sock");
    let adopted = Adopted(adopted.0.also(mode));
    let file = adopted.0.path("ecr-broker/client.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(UNUSED_ADDRESS, &format!("unix:{}", socket.display()))).unwrap();
    let broker =
        (state != State::Hung).then(|| granting(&adopted.0, if state == State::Denying { PUBLIC } else { ALL }));
    // Accepts connections, and never answers.
    let hung = broker.is_none().then(|| UnixListener::bind(&socket).unwrap());
    if state == State::Killed {
        drop(broker);
        assert_eq!(adopted.0.requests(), "");
        return (adopted.observed("get", PRIVATE), adopted);
    }
    let ended = adopted.observed("get", PRIVATE);
    drop((broker, hung));
    (ended, adopted)
}

#[test]
fn no_pull_of_the_switch_over_fails_that_worked_before() {
    use State::*;
    let cases = [
        (Well, "mode = \"shadow\"", "amazon", "shadow", None),
        (Killed, "mode = \"shadow\"", "amazon", "shadow", Some("NO_BROKER")),
        (Hung, "mode = \"shadow\"", "amazon", "shadow", Some("TIMEOUT")),
        (Denying, "mode = \"shadow\"", "amazon", "shadow", Some("CALLER_NOT_ALLOWED")),
        (Well, "mode = \"canary\"\ncanary_percent = 0", "amazon", "shadow", None),
        (Denying, "mode = \"canary\"\ncanary_percent = 0", "amazon", "shadow", Some("CALLER_NOT_ALLOWED")),
        (Well, "mode = \"canary\"\ncanary_percent = 100", "AWS", "canary", None),
        (Killed, "mode = \"canary\"\ncanary_percent = 100", "amazon", "canary", Some("NO_BROKER")),
        (Hung, "mode = \"canary\"\ncanary_percent = 100", "amazon", "canary", Some("TIMEOUT")),
        (Denying, "mode = \"canary\"\ncanary_percent = 100", "amazon", "canary", Some("CALLER_NOT_ALLOWED")),
        (Well, "", "AWS", "", None),
        (Killed, "", "amazon", "", None),
        (Hung, "", "amazon", "", None),
    ];
    program::at_once(cases, |(state, mode, expected, recorded, reason)| {
        let (ended, adopted) = pull(state, mode);
        let case = format!("{state:?} {mode}: {ended:?}");
        assert_eq!((ended.code, username(&ended).as_str()), (0, expected), "{case}");
        let report = adopted.report();
        assert_eq!(report.len(), usize::from(!recorded.is_empty()), "{case} {report:?}");
        for record in report {
            assert_eq!((record["mode"].as_str(), record["registry"].as_str()), (Some(recorded), Some(PRIVATE)));
            assert_eq!(record["broker"]["reason"].as_str(), reason, "{case} {record}");
            let is_denied = reason == Some("CALLER_NOT_ALLOWED");
            assert_eq!(
                record["caller"].as_str().is_some_and(|caller| caller.starts_with("uid:")),
                is_denied,
                "{record}"
            );
        }
    });
}

#[test]
fn full_mode_denies_what_the_broker_denies() {
    let (ended, adopted) = pull(State::Denying, "fallback_on = [\"no-broker\", \"timeout\", \"unavailable\"]");
    let note = not_found(ended);
    assert!(note.starts_with("ecr-broker: CALLER_NOT_ALLOWED: "), "{note}");
    assert_eq!(adopted.0.requests(), "");
}

/// The broker's answer comes after the helper's end, so the helper has not waited for it.
#[test]
fn shadow_mode_does_not_wait_for_the_broker() {
    let adopted = Adopted(Adopted::new("mode = \"shadow\"\n").0);
    let socket = adopted.0.path("hung.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let file = adopted.0.path("ecr-broker/client.toml");
    let text = fs::read_to_string(&file).unwrap().replace("timeout = \"1s\"", "timeout = \"5m\"");
    fs::write(&file, text.replace(UNUSED_ADDRESS, &format!("unix:{}", socket.display()))).unwrap();
    let ended = adopted.run(HELPER, &["get"], PRIVATE);
    assert_eq!((ended.code, ended.stdout.trim(), ended.stderr.as_str()), (0, AMAZONS, ""));
    let (asking, _) = listener.accept().unwrap();
    assert_eq!(adopted.report().len(), 0, "the question is open");
    drop((asking, listener));
}

#[test]
fn shadow_mode_without_a_program_is_answered_by_the_broker() {
    let adopted = Adopted::new("mode = \"shadow\"\n");
    fs::remove_file(adopted.0.path("docker-credential-real")).unwrap();
    let note = not_found(adopted.observed("get", PRIVATE));
    assert!(
        note.contains("the fallback docker-credential-real failed: ") && note.contains("no broker answers"),
        "{note}"
    );
    let broker = simulated_broker(&[], &[]);
    let address = [("ECR_BROKER_ADDRESS", broker.address.as_str())];
    let ended = adopted.0.run_with(HELPER, &["get"], PRIVATE, &address);
    assert_eq!(username(&ended), "AWS");
    broker.stop();
}

#[test]
fn failed_fallback_of_shadow_mode_fails_as_it_did_before() {
    let adopted = Adopted::new("mode = \"shadow\"\n");
    adopted.0.helper_script("docker-credential-real", "credentials not found in native keychain", 1);
    not_found(adopted.observed("get", PRIVATE));
    let report = adopted.report();
    assert_eq!((report.len(), report[0]["fallback"]["reason"].as_str()), (1, Some("FAILED")));
}

#[test]
fn report_names_callers_without_a_grant_and_added_latency() {
    let (_, denied) = pull(State::Denying, "mode = \"shadow\"");
    let (_, well) = pull(State::Well, "mode = \"shadow\"");
    let ready = well.run(PROGRAM, &["adopt", "report"], "");
    assert_eq!(ready.code, 0, "{ready:?}");
    assert!(
        ready.stdout.contains("would succeed  1 of 1 (100.0 %)") && ready.stdout.contains("broker adds"),
        "{ready:?}"
    );
    assert!(ready.stdout.contains("this host      canary from canary_percent = "), "{ready:?}");

    let report = denied.0.path("state/ecr-broker/adoption.jsonl");
    let both = well.0.path("state/ecr-broker/adoption.jsonl");
    let files = [report.to_str().unwrap(), both.to_str().unwrap()];
    let text = denied.run(PROGRAM, &["adopt", "report", files[0], files[1]], "");
    assert_eq!(text.code, 1, "{text:?}");
    let rows = ["would succeed  1 of 2 (50.0 %)", "would fail     1, 0 of them", "CALLER_NOT_ALLOWED  uid:", PRIVATE];
    for part in rows.into_iter().chain(["a grant for the caller and registry"]) {
        assert!(text.stdout.contains(part), "{part}: {}", text.stdout);
    }
    let json = denied.run(PROGRAM, &["adopt", "report", "-o", "json", files[0], files[1]], "");
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["would_succeed"], &json["would_fail"], &json["shadow"]), (&json!(1), &json!(1), &json!(2)));
    assert_eq!(json["failing"][0]["registry"], PRIVATE);
    assert!(json["added"]["p99_ms"].is_number() && json["canary_from"].is_null(), "{json}");

    let nothing = Adopted::new("").run(PROGRAM, &["adopt", "report"], "");
    assert_eq!((nothing.code, nothing.stdout.lines().next().unwrap().starts_with("requests       none; ")), (1, true));
}

#[test]
fn fallback_of_client_toml_is_of_one_protocol() {
    let place = Place::new("[fallback]\ndocker = \"docker-credential-real\"\n");
    place.helper_script("docker-credential-real", AMAZONS, 0);
    assert_eq!(username(&place.docker("get", PRIVATE)), "amazon");
    let refused = kubelet(&place, &[], PRIVATE, "");
    assert!(refused.code == 1 && refused.stderr.contains("no broker answers"), "{refused:?}");
    let place = Place::new("mode = \"shadow\"\n[fallback]\nkubelet = \"provider get-credentials\"\n");
    place.helper_script("provider", "{\"its\":\"own\"}", 0);
    let state = [("XDG_STATE_HOME", place.path("state").to_str().unwrap().to_owned())];
    let state = state.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer = place.run_with(PROGRAM, &["helper", "kubelet"], &kubelet_request(PRIVATE, ""), &state);
    assert_eq!(answer.stdout, "{\"its\":\"own\"}\n");
    assert!(place.requests().starts_with("get-credentials\n"), "{}", place.requests());
}

#[test]
fn fallback_of_client_toml_answers_despite_mistakes_elsewhere() {
    for (variables, text, expected) in MISTAKES {
        let place = Place::new(&format!("{text}fallback = \"docker-credential-real\"\n"));
        place.helper_script("docker-credential-real", AMAZONS, 0);
        let ended = place.run_with(HELPER, &["get"], PRIVATE, variables);
        assert_eq!(username(&ended), "amazon", "{expected}");
        assert!(ended.stderr.contains(expected), "{ended:?}");
    }
}

#[test]
fn fallback_lists_registries_without_a_broker() {
    for mode in ["", "mode = \"shadow\"\n"] {
        let place = Place::new(&format!("{mode}fallback = \"docker-credential-real\"\n"));
        place.helper_script(
            "docker-credential-real",
            &format!("{{\"https://{PRIVATE}\":\"AWS\",\"ghcr.io\":\"u\"}}"),
            0,
        );
        let list: Value = serde_json::from_str(&place.docker("list", "unused").stdout).unwrap();
        assert_eq!(list, json!({ format!("https://{PRIVATE}"): "AWS" }), "{mode}");
        assert_eq!(place.requests(), "list\nunused");
    }
}

#[test]
fn fallback_answers_when_aws_fails_only_if_configured() {
    let broker = simulated_broker(&["--simulate-fault", "throttle-exception=1"], &[]);
    for (allowed, answers) in [("[\"resource-exhausted\"]", true), ("[\"no-broker\", \"unavailable\"]", false)] {
        let place = Place::new(&format!(
            "address = {:?}\ntimeout = \"1s\"\nfallback = \"docker-credential-real\"\nfallback_on = {allowed}\n",
            broker.address
        ));
        place.helper_script("docker-credential-real", AMAZONS, 0);
        let ended = place.docker("get", PRIVATE);
        assert_eq!(ended.code == 0, answers, "{ended:?}");
        assert!(ended.stderr.contains("AWS_THROTTLED"), "{ended:?}");
        assert_eq!(place.requests().is_empty(), !answers);
    }
    broker.stop();
}

/// A broker whose audit log can be taken away: this user may have one account.
fn audited(place: &Place) -> (Server, PathBuf) {
    let (socket, file, directory) = (place.path("broker.sock"), place.path("broker.toml"), place.path("audit"));
    fs::create_dir(&directory).unwrap();
    let uid = fs::metadata("/proc/self").unwrap().uid();
    let text = format!(
        "server.listen = [\"unix:{}\"]\naudit = {{ output = \"{}\", reserve = \"0B\" }}\n[[grants]]\nid = \"farm\"\n\
         callers = [{{ uid = {uid} }}]\nregistries = [{{ accounts = [\"123456789012\"], regions = [\"*\"] }}]\n",
        socket.display(),
        directory.join("audit.jsonl").display(),
    );
    fs::write(&file, text).unwrap();
    (Server::start(&["serve", "--simulate", "--config", file.to_str().unwrap()], &[]), directory)
}

/// The audit log's directory vanishes while the broker runs. It looks for its file ten times a second.
#[test]
fn fallback_answers_without_an_audit_log_only_if_configured() {
    const CASES: [(&str, bool); 4] = [
        ("fallback_on = [\"audit-unavailable\"]\n", true),
        ("fallback_on = [\"no-broker\", \"timeout\", \"unavailable\", \"resource-exhausted\"]\n", false),
        ("", false),
        ("mode = \"canary\"\ncanary_percent = 100\n", true),
    ];
    let home = Place::new("");
    let (broker, directory) = audited(&home);
    let address = format!("unix:{}", home.path("broker.sock").display());
    let adopted = |timeout: &str, client: &str| {
        let settings = format!("address = {address:?}\ntimeout = {timeout:?}\nfallback = \"docker-credential-real\"\n");
        let place = Place::new(&(settings + client));
        place.helper_script("docker-credential-real", AMAZONS, 0);
        Adopted(place)
    };
    let patient = adopted("60s", "");
    assert_eq!(username(&patient.run(HELPER, &["get"], PRIVATE)), "AWS", "the log can be written");
    fs::remove_dir_all(&directory).unwrap();
    // The client repeats such a call until its timeout.
    let hasty = adopted("3s", "");
    assert!((0..1_000).any(|_| hasty.run(HELPER, &["get"], PRIVATE).code != 0), "the log is still written");
    program::at_once(CASES, |(client, falls_back)| {
        let adopted = adopted("3s", client);
        let ended = adopted.run(HELPER, &["get"], PRIVATE);
        assert!(ended.stderr.contains("AUDIT_UNAVAILABLE"), "{client}: {ended:?}");
        if falls_back {
            assert_eq!((ended.code, username(&ended).as_str()), (0, "amazon"), "{client}");
        } else {
            not_found(ended);
        }
        assert_eq!(adopted.0.requests().is_empty(), !falls_back, "{client}");
    });
    // The same broker denies another account: a denial needs no record, and is final.
    let denied = adopted("60s", "fallback_on = [\"no-broker\", \"timeout\", \"unavailable\", \"audit-unavailable\"]\n");
    let note = not_found(denied.run(HELPER, &["get"], &PRIVATE.replace("123456789012", "210987654321")));
    assert!(note.starts_with("ecr-broker: CALLER_NOT_ALLOWED: "), "{note}");
    assert_eq!(denied.0.requests(), "");
    fs::create_dir(&directory).unwrap();
    assert_eq!(username(&patient.run(HELPER, &["get"], PRIVATE)), "AWS", "the log can be written again");
    broker.until_logged("audit log write recovered");
}

/// The broker's helper took the name of Amazon's, which became `.real`.
#[test]
fn fallback_that_is_the_helper_itself_ends_with_the_reason() {
    let adopted = Adopted::new("");
    let name = adopted.0.path("docker-credential-ecr-login");
    std::os::unix::fs::symlink(HELPER, &name).unwrap();
    for (fallback, mode) in
        [("docker-credential-ecr-login", ""), ("docker-credential-ecr-login", "mode = \"shadow\"\n")]
    {
        let text = format!("address = {UNUSED_ADDRESS:?}\ntimeout = \"1s\"\nfallback = {fallback:?}\n{mode}");
        fs::write(adopted.0.path("ecr-broker/client.toml"), text).unwrap();
        let ended = adopted.run(name.to_str().unwrap(), &["get"], PRIVATE);
        assert_eq!((ended.code, ended.stdout.as_str()), (1, NOT_FOUND), "{ended:?}");
        assert!(ended.stderr.contains("it may be the same program; name another helper"), "{ended:?}");
    }
    let text =
        format!("address = {UNUSED_ADDRESS:?}\ntimeout = \"1s\"\nfallback = \"docker-credential-ecr-login.real\"\n");
    fs::write(adopted.0.path("ecr-broker/client.toml"), text).unwrap();
    adopted.0.helper_script("docker-credential-ecr-login.real", AMAZONS, 0);
    assert_eq!(username(&adopted.run(name.to_str().unwrap(), &["get"], PRIVATE)), "amazon");
}
