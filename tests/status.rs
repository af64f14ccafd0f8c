//! `ecr-broker status`: output, exit codes, and the live view on a terminal.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod program;
mod support;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use ecr_broker::policy::Policy;
use program::{Server, program, run, signal, simulated_broker};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;
use support::{HOST, TestBroker};

fn address(server: &Server) -> String {
    server.address.replace("grpc://", "http://")
}

/// A simulated broker with two cached credentials, of which one has a hit.
fn broker() -> (Server, String) {
    let server = simulated_broker(&[], &[]);
    let address = address(&server);
    run(&["get", HOST, "public.ecr.aws", "--address", &address], &[]).out();
    run(&["get", HOST, "--address", &address], &[]).out();
    (server, address)
}

#[test]
fn status_prints_tables_for_people_and_json_for_scripts() {
    let (_server, address) = broker();
    let text = run(&["status", "--address", &address], &[]).out();
    for part in [
        concat!("ecr-broker ", env!("CARGO_PKG_VERSION"), " (commit "),
        ", ready, at 20",
        "policy      open: no grants are configured",
        "cache       2 of 10000 credentials, first expiry in 1",
        "audit log   none",
        "eu-central-1",
        HOST,
        "public.ecr.aws",
        "[##########]",
    ] {
        assert!(text.contains(part), "{part:?}: {text}");
    }
    let json = run(&["status", "-o", "json", "--sort", "hits", "--address", &address], &[]).out();
    let status: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json.lines().count(), &status["policy_mode"]), (1, &"OPEN".into()));
    let [first, second] = status["keys"].as_array().unwrap().as_slice() else { panic!("{json}") };
    assert_eq!((&first["registry"], &first["cached"]["hits"]), (&HOST.into(), &1.into()));
    assert_eq!((&second["registry"], &second["cached"]["hits"]), (&"public.ecr.aws".into(), &0.into()));
    let remaining = first["cached"]["remaining"].as_f64().unwrap();
    assert!((11.0 * 3600.0..=12.0 * 3600.0).contains(&remaining), "{json}");
    assert!(first["cached"]["expire_time"].as_str().unwrap().ends_with('Z'));
    assert!(status["checks"].as_array().unwrap().iter().all(|check| check["passed"] == true), "{json}");
    assert_eq!(first["failure"], Value::Null);

    let filtered = run(&["status", "--region", "eu-central-1", "--limit", "1", "--address", &address], &[]).out();
    assert!(filtered.contains(HOST) && !filtered.contains("public.ecr.aws"), "{filtered}");
    let limited = run(&["status", "--limit", "1", "--address", &address], &[]).out();
    assert!(limited.contains("… and 1 more keys; raise --limit, or filter"), "{limited}");
}

#[test]
fn status_walks_pages_up_to_its_limit() {
    let server = simulated_broker(&[], &[]);
    let address = address(&server);
    let hosts: Vec<_> = (0..600).map(support::host).collect();
    for batch in hosts.chunks(100) {
        let batch: Vec<_> = batch.iter().map(String::as_str).collect();
        run(&[&["get", "--address", &address, "--timeout", "60s"], batch.as_slice()].concat(), &[]).out();
    }
    for (limit, keys) in [("550", 550), ("10000", 600)] {
        let json = run(&["status", "-o", "json", "--limit", limit, "--address", &address], &[]).out();
        let status: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(status["keys"].as_array().unwrap().len(), keys, "{limit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_code_tells_denied_from_unreachable_and_wrong() {
    let broker = TestBroker::start_as(Policy::Grants(Vec::new()), None, |_| ());
    let address = format!("http://{}", broker.tcp);
    let socket = format!("unix:{}", broker.socket.display());
    let ended = tokio::task::spawn_blocking(move || {
        assert!(run(&["status", "--address", &socket], &[]).out().contains("grants enforced"));
        for arguments in [&["status"][..], &["status", "--watch"], &["status", "-o", "json"]] {
            let denied = run(&[arguments, &["--address", &address]].concat(), &[]);
            assert_eq!((denied.code, denied.stdout.as_str()), (4, ""), "{denied:?}");
            assert!(denied.error().contains("access denied"), "{denied:?}");
        }
        run(&["status", "--address", "http://127.0.0.1:1", "--timeout", "200ms"], &[])
    });
    let unreachable = ended.await.unwrap();
    assert_eq!(unreachable.code, 5, "{unreachable:?}");
    for wrong in [["--interval", "1ms"], ["--limit", "0"], ["--sort", "colour"]] {
        assert_eq!(run(&["status", wrong[0], wrong[1]], &[]).code, 2);
    }
}

/// Returns `status --watch` with a short interval.
fn watch(address: &str, more: &[&str]) -> Command {
    let mut command = program(&[("TERM", "xterm")]);
    let interval = if more.contains(&"--interval") { &[][..] } else { &["--interval", "500ms"] };
    command.args(["status", "--watch", "--address", address]).args(interval).args(more);
    command.stdin(Stdio::null());
    command
}

#[test]
fn watch_without_a_terminal_prints_plain_statuses_until_a_signal() {
    let (server, address) = broker();
    let mut command = watch(&address, &["-o", "json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        let line = lines.next().unwrap().unwrap();
        assert!(serde_json::from_str::<Value>(&line).unwrap()["keys"].is_array() && !line.contains('\u{1b}'));
    }
    // A broker that is away for a while does not end the view.
    drop(server);
    let mut problem = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut problem).unwrap();
    assert!(problem.starts_with("ecr-broker: "), "{problem}");
    signal(child.id(), "TERM");
    assert!(child.wait().unwrap().success());
}

/// Reads from a terminal until a text is there.
fn until(terminal: &mut File, seen: &mut String, wanted: &str) {
    let mut bytes = [0; 4096];
    while !seen.contains(wanted) {
        let count = terminal.read(&mut bytes).unwrap_or(0);
        assert!(count > 0, "{wanted:?} is not drawn: {seen:?}");
        seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
}

/// Returns both ends of a new terminal.
fn terminal() -> (File, File) {
    let terminal = File::from(openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap());
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    (terminal, File::options().read(true).write(true).open(name).unwrap())
}

/// Nothing but the events redraws within the hour.
#[test]
fn watch_follows_the_size_of_its_terminal_and_gives_it_back_while_stopped() {
    let (_server, address) = broker();
    let (mut terminal, other_end) = terminal();
    let echoes = || tcgetattr(&other_end).unwrap().local_modes.contains(LocalModes::ECHO);
    let own = || Stdio::from(other_end.try_clone().unwrap());
    let mut command = watch(&address, &["--interval", "1h"]);
    let mut child = command.stdin(own()).stdout(own()).stderr(Stdio::null()).spawn().unwrap();
    let mut seen = String::new();
    until(&mut terminal, &mut seen, "REGISTRY");
    until(&mut terminal, &mut seen, "\u{1b}[J");
    assert!(!echoes(), "what is typed must not show");
    seen.clear();
    tcsetwinsize(&other_end, Winsize { ws_row: 24, ws_col: 12, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    signal(child.id(), "WINCH");
    until(&mut terminal, &mut seen, "\u{1b}[J");
    assert!(seen.contains("\u{1b}[Hecr-broker 0\u{1b}[K"), "{seen:?}");
    seen.clear();
    signal(child.id(), "TSTP");
    until(&mut terminal, &mut seen, "\u{1b}[?25h\u{1b}[?1049l");
    let is_stopped = || std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap().contains(") T ");
    while !is_stopped() {
        std::thread::yield_now();
    }
    assert!(echoes());
    signal(child.id(), "CONT");
    until(&mut terminal, &mut seen, "\u{1b}[?1049h");
    until(&mut terminal, &mut seen, "\u{1b}[J");
    signal(child.id(), "INT");
    assert!(child.wait().unwrap().success());
    assert!(echoes());
}

#[test]
fn watch_redraws_in_place_on_a_terminal_and_restores_it() {
    let (_server, address) = broker();
    let (mut terminal, other_end) = terminal();
    let mut child = watch(&address, &[]).stdout(other_end).stderr(Stdio::null()).spawn().unwrap();
    let mut seen = String::new();
    until(&mut terminal, &mut seen, "\u{1b}[?1049h");
    until(&mut terminal, &mut seen, "REGISTRY");
    seen.clear();
    // The second frame begins at the upper left corner, and clears what the first one left.
    until(&mut terminal, &mut seen, "\u{1b}[H");
    until(&mut terminal, &mut seen, "\u{1b}[J");
    signal(child.id(), "INT");
    until(&mut terminal, &mut seen, "\u{1b}[?25h\u{1b}[?1049l");
    assert!(child.wait().unwrap().success());
}
