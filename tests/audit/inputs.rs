//! The logs that `audit` and `policy suggest` read: none, damaged and large ones, pipes and streams.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::program::{PROGRAM, program, run};
use crate::support::HOST;

const AT: &str = "2026-11-30T12:00:00Z";
const COMMANDS: [&[&str]; 3] =
    [&["policy", "suggest"], &["audit", "live", "--at", AT], &["audit", "contain", "--at", AT]];

fn record(number: usize, caller: &str) -> String {
    format!(
        "{{\"kind\":\"audit\",\"time\":\"2026-11-30T{:02}:{:02}:00.000Z\",\"request_id\":\"{number:032x}\",\"caller\":\"{caller}\",\
         \"proof\":\"peer\",\"outcome\":\"released\",\"account_id\":\"123456789012\",\"region\":\"eu-central-1\",\"registry\":\"{HOST}\",\
         \"profile\":\"default\",\"policy\":\"0123456789abcdef\",\"credential_id\":\"{:032x}\",\"expires\":\"2026-11-30T23:00:00.000Z\",\
         \"source\":\"aws\"}}\n",
        number / 60 % 12,
        number % 60,
        number % 7,
    )
}

#[test]
fn log_without_records_is_a_failure_and_says_what_to_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("empty"), "").unwrap();
    fs::write(path("log"), "{\"level\":\"INFO\",\"message\":\"broker started\"}\n").unwrap();
    fs::write(path("damaged"), "{\"kind\":\"audit\",\"time\":\n").unwrap();
    fs::write(path("zstd"), [0x28, 0xb5, 0x2f, 0xfd, 0]).unwrap();
    for command in COMMANDS {
        for (file, problem) in [
            ("empty", "no audit records in "),
            ("log", "no audit records in "),
            ("damaged", "except 1 damaged ones"),
            ("none", "No such file"),
            ("", "it is a directory; name the files of the audit log"),
            ("zstd", "zstdcat FILE"),
        ] {
            let ended = run(&[command, &[path(file).as_str()]].concat(), &[]);
            assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{command:?} {file}: {ended:?}");
            assert!(ended.stderr.contains(problem), "{command:?} {file}: {ended:?}");
        }
    }
    for (output, problem) in [("", "audit.output is not set"), ("stdout", "journalctl -u ecr-broker -o cat")] {
        let ended = run(&["audit", "live"], &[("ECR_BROKER_AUDIT_OUTPUT", output)]);
        assert_eq!(ended.code, 1);
        assert!(ended.error().contains(problem), "{ended:?}");
    }
}

#[test]
fn pipe_and_stdin_are_read_as_a_file_is() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    let log: String = (0..500).map(|number| record(number, "uid:7,gid:7")).collect();
    let expected = "Read 500 audit records from 2026-11-30T00:00:00.000Z to 2026-11-30T08:19:00.000Z.";
    for command in COMMANDS {
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let writer = std::thread::spawn({
            let (fifo, log) = (fifo.clone(), log.clone());
            move || fs::write(fifo, log).unwrap()
        });
        let piped = run(&[command, &[fifo.to_str().unwrap()]].concat(), &[]).out();
        writer.join().unwrap();
        fs::remove_file(&fifo).unwrap();
        let mut child = program(&[]);
        let mut child = child.args(command).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(log.as_bytes()).unwrap();
        let read = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        for text in [piped, read] {
            assert!(text.contains(expected), "{command:?}: {text}");
        }
    }
}

#[test]
fn damaged_records_are_named_and_the_others_count() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let old = "{\"kind\":\"audit\",\"time\":\"2026-11-30T03:00:00Z\",\"outcome\":\"released\",\"caller\":\"loopback\",\
               \"registry\":\"public.ecr.aws\",\"profile\":\"default\",\"credential_id\":\"00ff\",\"count\":3}\n";
    let torn = &record(2, "uid:8,gid:8")[..90];
    fs::write(&file, [&record(1, "uid:7,gid:7"), torn, "\n", &record(3, "uid:7,gid:7"), old].concat()).unwrap();
    let file = file.to_str().unwrap();
    let ended = run(&["audit", "live", "--at", AT, "-o", "json", file], &[]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.error(), format!("ecr-broker: damaged audit record: {file}:2: cannot be parsed"));
    let answer: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&answer["records"], &answer["damaged"]), (&3.into(), &1.into()));
    let old = &answer["credentials"][0];
    assert_eq!((&old["expires"], &old["expires_is_latest"]), (&"2026-11-30T15:00:00.000Z".into(), &true.into()));
    assert_eq!((&old["releases"], &old["minted_by"]), (&3.into(), &Value::Null));
    let text = run(&["audit", "live", "--at", AT, file], &[]).stdout;
    assert!(text.contains("3 audit records") && text.contains("15:00:00Z at most"), "{text}");
    let contain = run(&["audit", "contain", "--at", AT, file], &[]).stdout;
    assert!(contain.contains("An unnamed identity minted 3 credentials"), "{contain}");
}

/// Returns the memory of `audit live` after this many records, in MB.
fn memory_after(records: usize) -> u64 {
    let mut child = Command::new(PROGRAM)
        .args(["audit", "live", "--at", AT, "-o", "json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = std::io::BufWriter::new(child.stdin.take().unwrap());
    for number in 0..records {
        stdin.write_all(record(number, &format!("uid:{},gid:7", number % 50)).as_bytes()).unwrap();
    }
    stdin.flush().unwrap();
    let status = fs::read_to_string(Path::new("/proc").join(child.id().to_string()).join("status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024;
    drop(stdin);
    let answer: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!((&answer["records"], answer["credentials"].as_array().unwrap().len()), (&records.into(), 350));
    println!("{records} records of 350 holdings: peak {peak} MB");
    peak
}

#[test]
fn memory_does_not_grow_with_the_log() {
    let (few, many) = (memory_after(2_000), memory_after(40_000));
    assert!(many < few + 8, "{few} MB, then {many} MB");
}

#[test]
#[ignore = "a million records"]
fn million_records_take_no_more_memory_than_few() {
    let (few, many) = (memory_after(2_000), memory_after(1_000_000));
    assert!(many < few + 8, "{few} MB, then {many} MB");
}
