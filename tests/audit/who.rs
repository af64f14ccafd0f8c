//! `audit who` of the real program: from a password to its holders, without the password in any output.

use std::fs;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use data_encoding::BASE64;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::program::{Ended, Server, program, run};
use crate::support::HOST;

const ROLE: &str = "arn:aws:iam::210987654321:role/team/pull";

/// Runs `audit who` with an input on stdin.
fn who(arguments: &[&str], input: &[u8]) -> Ended {
    let mut command = program(&[]);
    command.args(["audit", "who"]).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may refuse the input before its end.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn answer(arguments: &[&str], input: &str) -> Value {
    let ended = who(&[&["-o", "json"], arguments].concat(), input.as_bytes());
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

fn id_of(password: &str) -> String {
    let token = BASE64.encode(format!("AWS:{password}").as_bytes());
    let digest = Sha256::new().chain_update(b"ecr-broker credential id v1\0").chain_update(token).finalize();
    data_encoding::HEXLOWER.encode(&digest[..16])
}

/// A release in the year 2099, so that the credential is valid.
fn record(number: usize, caller: &str, id: &str) -> String {
    format!(
        "{{\"kind\":\"audit\",\"time\":\"2099-11-30T{:02}:{:02}:{:02}.{:03}Z\",\"request_id\":\"{number:032x}\",\
         \"caller\":\"{caller}\",\"proof\":\"token\",\"outcome\":\"released\",\"account_id\":\"123456789012\",\
         \"region\":\"eu-central-1\",\"registry\":\"{HOST}\",\"profile\":\"pull\",\"role_session\":\"ecr-broker-pull\",\
         \"grant\":\"ci\",\"policy\":\"0123456789abcdef\",\"credential_id\":\"{id}\",\
         \"expires\":\"2099-12-01T12:00:00.000Z\",\"source\":\"aws\",\"minted_by\":\"{ROLE}\"}}\n",
        number / 3_600_000 % 24,
        number / 60_000 % 60,
        number / 1_000 % 60,
        number % 1_000,
    )
}

struct Log {
    _directory: tempfile::TempDir,
    file: PathBuf,
}

impl Log {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("audit.jsonl");
        fs::write(&file, text).unwrap();
        Self { _directory: directory, file }
    }

    fn path(&self) -> &str {
        self.file.to_str().unwrap()
    }
}

/// Returns all that `audit who` wrote: stdout, stderr and the indexes.
fn written(ended: &Ended, directory: &Path) -> String {
    let indexes = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let indexes = indexes.filter(|path| path.extension().is_some_and(|one| one == "index"));
    let indexes: Vec<_> = indexes.map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()).collect();
    [ended.stdout.clone(), ended.stderr.clone(), indexes.concat()].concat()
}

#[test]
fn password_of_a_release_leads_to_its_holders_and_statements() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().display();
    let config = directory.path().join("config.toml");
    let text = format!(
        "audit.output = \"{place}/audit.jsonl\"\naws.region = \"eu-central-1\"\n\
         [[profiles]]\nname = \"shared\"\nrole_chain = [\"{ROLE}\"]\nsource_identity = true\n\
         [[profiles]]\nname = \"named\"\nrole_chain = [\"{ROLE}\"]\nattribution = \"caller\"\n\
         [[grants]]\nid = \"all\"\ncallers = [{{ uid = {uid} }}, {{ loopback = true }}]\nprofile = \"shared\"\n\
         registries = [{{ accounts = [\"123456789012\"], regions = [\"*\"] }}]\n\
         [[grants]]\nid = \"own\"\ncallers = [{{ uid = {uid} }}]\nprofile = \"named\"\n\
         registries = [{{ accounts = [\"123456789012\"], regions = [\"*\"] }}]\n",
        uid = crate::answers::own_uid(),
    );
    fs::write(&config, text).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (config, socket) = (config.to_str().unwrap(), format!("unix:{place}/run/broker.sock"));
    let mut command = program(&[]);
    command.args(["serve", "--simulate", "--config", config, "--allow-loopback"]);
    let broker = Server::spawn_logging({
        command.args(["--listen", "127.0.0.1:0", "--listen", &socket]);
        command
    });
    let get = |address: &str, profile: &str| -> Value {
        let arguments = ["get", HOST, "-o", "json", "--profile", profile, "--address", address];
        serde_json::from_str(&run(&arguments, &[]).out()).unwrap()
    };
    let (shared, named) = (get(&socket, "shared"), get(&socket, "named"));
    assert_eq!(get(&broker.address, "shared")["credential_id"], shared["credential_id"]);
    let (own, password) = (crate::answers::own_caller(), shared["password"].as_str().unwrap());

    let token = BASE64.encode(format!("AWS:{password}").as_bytes());
    let auths = format!(r#"{{"auths":{{"{HOST}":{{"auth":"{token}"}}}}}}"#);
    let line = format!("docker login -u AWS -p {password} {HOST}");
    for input in [password, &token, &auths, &line, &format!("Authorization: Basic {token}\r\n")] {
        let found = answer(&["--config", config], input);
        let credential = &found["credentials"][0];
        assert_eq!(found["credentials"].as_array().unwrap().len(), 1);
        assert_eq!(credential["credential_id"], shared["credential_id"]);
        // The answer has whole seconds.
        let expires = shared["expire_time"].as_str().unwrap().split('.').next().unwrap().to_owned() + "Z";
        assert_eq!((&credential["expires"], &credential["is_valid"]), (&expires.into(), &true.into()));
        let holders = credential["holders"].as_array().unwrap();
        let holder =
            |one: &Value| ["caller", "registry", "grant", "profile"].map(|key| one[key].as_str().unwrap().to_owned());
        let holders: Vec<_> = holders.iter().map(holder).collect();
        assert_eq!(holders, ["loopback", &own].map(|caller| [caller, HOST, "all", "shared"].map(str::to_owned)));
    }

    let found = answer(&["--config", config], password);
    let session = &found["credentials"][0]["sessions"][0];
    assert_eq!((&session["minted_by"], &session["role_session"]), (&ROLE.into(), &"ecr-broker-shared".into()));
    assert_eq!((&session["account_id"], &session["role_name"]), (&"210987654321".into(), &"pull".into()));
    let hits = |one: &Value| (one["hits"]["credentials"].clone(), one["hits"]["caller_names"].clone());
    let both = Value::from(vec!["loopback".to_owned(), own.clone()]);
    assert_eq!(hits(&session["deny_session"]), (1.into(), both.clone()));
    assert_eq!(hits(&session["deny_role"]), (2.into(), both));
    let statements = session["deny_session"]["policy"]["Statement"].as_array().unwrap();
    assert_eq!(statements[0]["Condition"]["StringLike"]["aws:userid"], "*:ecr-broker-shared");
    assert_eq!(statements[1]["Condition"]["StringEquals"]["aws:SourceIdentity"], "ecr-broker-shared");
    assert_eq!(session["deny_role"]["policy"]["Statement"][0]["Condition"].as_object().unwrap().len(), 1);

    // A caller's own session: its statement hits that caller only, and the role's both.
    let found = answer(&["--config", config], named["password"].as_str().unwrap());
    let session = &found["credentials"][0]["sessions"][0];
    assert_eq!(hits(&session["deny_session"]), (1.into(), vec![own.clone()].into()));
    assert_eq!(hits(&session["deny_role"]).0, 2);
    assert_eq!(session["deny_session"]["policy"]["Statement"].as_array().unwrap().len(), 1);

    let text = who(&["--config", config], password.as_bytes());
    for part in
        ["Credential ID: ", "CALLER", "in the session ecr-broker-shared", "# Deny this session alone. It hits 1 valid"]
    {
        assert!(text.stdout.contains(part), "{part}: {}", text.stdout);
    }
    let all = written(&text, directory.path()) + &found.to_string();
    for secret in [&password[..40], &password[password.len() - 24..], &token[..40]] {
        assert!(!all.contains(secret));
    }
    let indexed = run(&["audit", "index", "--config", config], &[]).out();
    assert!(indexed.contains("; 0 of them now"), "{indexed}");
}

#[test]
fn password_in_a_forged_record_is_not_printed() {
    let password = BASE64.encode(&[*b"{\"payload\":\"0123456789", *b"abcdefghijklmnopqrstuv"].concat().repeat(3));
    let (id, part) = (id_of(&password), &password[20..60]);
    let token = BASE64.encode(format!("AWS:{password}").as_bytes());
    let good = record(1, "uid:1,gid:1", &id);
    let forged = [
        record(2, &password, &id),
        record(3, &token, &id),
        good.replace("ecr-broker-pull", part),
        good.replace("role/team/pull", &format!("role/{part}")),
        good.replace("\"grant\":\"ci\"", &format!("\"grant\":\"x{part}x\"")),
        good.replace("\"profile\":\"pull\"", &format!("\"profile\":\"{part}\",\"alias\":\"{part}\"")),
        good.replace("\"source\":\"aws\"", &format!("\"source\":\"{part}\"")),
        good.replace("\"time\":\"2099", &format!("\"time\":\"{part}")),
        good.replace(HOST, part),
    ];
    let log = Log::new(&(forged.concat() + &good));
    for output in ["text", "json"] {
        for arguments in [&["--no-index"][..], &[]] {
            let ended = who(&[&["-o", output], arguments, &[log.path()]].concat(), password.as_bytes());
            assert_eq!(ended.code, 0, "{ended:?}");
            assert!(
                ended.stdout.contains("[a part of the password]") && ended.stdout.contains("uid:1,gid:1"),
                "{ended:?}"
            );
            for text in [&ended.stdout, &ended.stderr] {
                let is_part = |secret: &str| {
                    secret.as_bytes().windows(16).any(|part| text.as_bytes().windows(16).any(|one| one == part))
                };
                assert!(!is_part(&password) && !is_part(&token), "{text}");
            }
        }
    }
}

#[test]
fn forged_session_name_matches_no_other_session() {
    let id = id_of("secret-1");
    for name in ["*", "ecr-broker-*", "x' ; reboot '", "${aws:username}"] {
        let log = Log::new(&record(1, "loopback", &id).replace("ecr-broker-pull", name));
        let found = answer(&[log.path()], "secret-1");
        assert_eq!(found["credentials"][0]["sessions"][0]["deny_session"], Value::Null, "{name}");
    }
}

#[test]
fn text_without_a_holder_is_not_found_and_not_repeated() {
    let log = Log::new(&record(1, "loopback", &id_of("secret-1")));
    let stated = BASE64.encode(br#"{"payload":"a secret of another","expiration":1796000000}"#);
    let ended = who(&[log.path()], stated.as_bytes());
    assert_eq!((ended.code, ended.stderr.as_str()), (1, ""));
    assert!(ended.stdout.contains("No caller received") && ended.stdout.contains("2026-11-30"), "{ended:?}");
    let json: Value = serde_json::from_str(&who(&["-o", "json", log.path()], stated.as_bytes()).stdout).unwrap();
    assert_eq!(
        (&json["credentials"], &json["stated_expiry"]),
        (&Value::Array(Vec::new()), &"2026-11-30T00:53:20Z".into())
    );
    let ended = who(&[log.path()], b"what is a secret-2");
    assert_eq!(ended.code, 1);
    assert!(!ended.stdout.contains("secret-2") && !ended.stdout.contains("states"), "{ended:?}");
}

#[test]
fn input_that_cannot_be_a_password_is_refused_in_a_sentence() {
    let log = Log::new(&record(1, "loopback", &id_of("secret-1")));
    let huge = vec![b'A'; (1 << 20) + 1];
    for (arguments, input, problem) in [
        (vec![log.path()], huge.as_slice(), "stdin has more than 1 MiB"),
        (vec![log.path()], b" \n", "stdin is empty"),
        (vec!["-"], b"secret-1", "stdin has the password; name the files of the audit log"),
        (vec!["/no/such/log"], b"secret-1", "cannot read /no/such/log: No such file"),
        (vec!["/"], b"secret-1", "it is a directory"),
        (vec![], b"secret-1", "audit.output is not set"),
    ] {
        let ended = who(&arguments, input);
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{problem}");
        assert!(ended.error().contains(problem), "{ended:?}");
        assert!(!ended.stderr.contains("secret-1"));
    }
    // A megabyte without a password, and bytes that are not text.
    for input in [vec![b'A'; 1 << 20], vec![0xff; 1 << 20], b"a ".repeat(1 << 19), b"=:@%\\".repeat(200_000)] {
        let ended = who(&[log.path()], &input);
        assert_eq!((ended.code, ended.stderr.as_str()), (1, ""), "{}", ended.stdout);
    }
    let password = "x".repeat(2_000);
    let ended = who(&[&password], b"secret-1");
    assert!(ended.error().contains("argument 1 does not name a file") && !ended.stderr.contains("xxxx"), "{ended:?}");
    assert_eq!(who(&["--index", "/tmp", "--no-index", log.path()], b"secret-1").code, 2);
    let empty = Log::new("broker started\n");
    assert!(who(&[empty.path()], b"secret-1").error().contains("no audit records in "));
}

#[test]
fn expired_credential_has_holders_and_nothing_to_deny() {
    let log = Log::new(&record(1, "loopback", &id_of("secret-1")).replace("2099-12-01", "2020-12-01"));
    let found = answer(&[log.path()], "secret-1");
    let credential = &found["credentials"][0];
    assert_eq!((&credential["is_valid"], &credential["holders"][0]["caller"]), (&false.into(), &"loopback".into()));
    assert_eq!(
        (&credential["sessions"][0]["deny_session"], &credential["sessions"][0]["deny_role"]),
        (&Value::Null, &Value::Null)
    );
    let text = who(&[log.path()], b"secret-1").stdout;
    assert!(text.contains("(expired ") && !text.contains("aws iam"), "{text}");
}

/// Ten million records of 40,000 callers and 4,000 credentials. `AUDIT_RECORDS` and `AUDIT_CALLERS` change that.
#[test]
#[ignore = "ten million records, 5 GB of disk"]
#[expect(clippy::disallowed_methods, reason = "a measurement")]
fn password_among_ten_million_records_is_found_within_a_second() {
    let number = |name: &str, usual: usize| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    let (records, callers) = (number("AUDIT_RECORDS", 10_000_000), number("AUDIT_CALLERS", 40_000));
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let log = directory.path().join("audit.jsonl");
    let mut file = BufWriter::with_capacity(1 << 20, fs::File::create(&log).unwrap());
    for number in 0..records {
        let caller = format!("jwt:github:repo:example/app-{}:ref:refs/heads/main", number * 7_919 % callers);
        file.write_all(record(number, &caller, &id_of_number(number % 4_000)).as_bytes()).unwrap();
    }
    file.flush().unwrap();
    drop(file);
    let length = fs::metadata(&log).unwrap().len();
    let (log, wanted) = (log.to_str().unwrap(), "secret-1234");
    for step in ["first run, builds the index", "second run", "third run"] {
        let start = Instant::now();
        let found = answer(&[log], wanted);
        println!("{records} records, {length} bytes, {step}: {:?}, read now: {}", start.elapsed(), found["read_now"]);
        assert_eq!(found["credentials"][0]["holders"].as_array().unwrap().len(), callers / 4_000);
        let hits = &found["credentials"][0]["sessions"][0]["deny_role"]["hits"];
        assert_eq!((&hits["credentials"], &hits["callers"]), (&4_000.into(), &callers.min(200_000).into()));
    }
    let mut file = fs::OpenOptions::new().append(true).open(log).unwrap();
    for number in 0..100_000 {
        file.write_all(record(records + number, "loopback", &id_of_number(number % 4_000)).as_bytes()).unwrap();
    }
    let start = Instant::now();
    let found = answer(&[log], wanted);
    println!("after 100,000 more records: {:?}", start.elapsed());
    assert_eq!(found["read_now"], 100_000);
    let index: u64 =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).min().unwrap();
    println!("index: {index} bytes");
}

/// The ID of the password `secret-NUMBER`.
fn id_of_number(number: usize) -> String {
    thread_local! {
        static IDS: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    IDS.with_borrow_mut(|ids| {
        while ids.len() <= number {
            let next = id_of(&format!("secret-{}", ids.len()));
            ids.push(next);
        }
        ids[number].clone()
    })
}
