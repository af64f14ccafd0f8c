//! Configuration files that are made to use up memory or to flood the log, on the real program.
//!
//! The test prints what it reached, for `docs/reliability.md`.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod program;

use std::fs;

use program::{SERVE_SIMULATED, Server, run, signal};

/// Memory that a broker may take for a file beyond what it takes without one, of a debug build.
const MOST_MB: u64 = 64;
const MIB: usize = 1 << 20;

/// Returns a text of at most 1 MiB, of as many parts as fit.
fn filled(part: impl Fn(usize) -> String) -> String {
    let mut text = String::with_capacity(MIB);
    for number in 0.. {
        let part = part(number);
        if text.len() + part.len() > MIB - 16 {
            break;
        }
        text += &part;
    }
    text
}

/// Returns such texts, each of parts of one kind.
fn texts() -> [(&'static str, String); 6] {
    [
        ("keys", filled(|number| format!("k{number:x}=1\n"))),
        ("parts", filled(|number| format!("k{number}{}=1\n", ".a".repeat(70)))),
        ("tables", format!("a=[{}]", filled(|_| "{a=1},".to_owned()))),
        ("values", format!("a=[{}]", filled(|_| "1,".to_owned()))),
        ("headings", filled(|number| format!("[k{number:x}]\n"))),
        // As many as are parsed, each with a problem.
        ("problems", (0..32_768).map(|key| format!("k{key}=1\n")).collect::<Vec<_>>().concat()),
    ]
}

/// The figure: such a file took 588 MB to parse, and each key had a line of 150 bytes.
#[test]
fn files_of_a_million_keys_take_bounded_memory_and_lines() {
    let directory = tempfile::tempdir().unwrap();
    let (main, teams) = (directory.path().join("main.toml"), directory.path().join("teams"));
    fs::create_dir(&teams).unwrap();
    let include = "include = [{ files = \"teams/*.toml\", accounts = [\"123456789012\"] }]\ngrants = []\n";
    fs::write(&main, include).unwrap();
    let arguments = [&SERVE_SIMULATED[..], &["--config", main.to_str().unwrap()]].concat();
    let broker = Server::start(&arguments, &[]);
    let before = broker.peak_memory_mb();
    for (kind, text) in texts() {
        let team = teams.join(format!("{kind}.toml"));
        fs::write(&team, &text).unwrap();
        signal(broker.pid(), "HUP");
        let problem = if kind == "problems" { "and 32668 more problems" } else { "has more than 32,768 keys" };
        broker.until_logged(&format!("{kind}.toml: {problem}"));
        let checked = run(&["config", "check", "--config", main.to_str().unwrap()], &[]);
        assert!(checked.code == 1 && checked.stderr.contains(problem), "{kind}: {}", checked.stderr);
        assert!(checked.stderr.lines().count() <= 101, "{kind}: {} lines", checked.stderr.lines().count());
        fs::remove_file(&team).unwrap();
    }
    let more = broker.peak_memory_mb() - before;
    println!("files of 1 MiB: {more} MB above {before} MB at the peak");
    assert!(more <= MOST_MB, "{more} MB");
}
