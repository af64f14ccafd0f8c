//! Starts programs in turn and prints how long each takes: `interleave ROUNDS STDIN NAME=PROGRAM…`.
//!
//! hyperfine runs one program after the other, so that a load that comes and goes changes the ratio. Here each round
//! starts every program once, with the argument `get`. Ratios are to the first program.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Rounds that fill the caches and are not counted.
const WARM_UP: usize = 20;

fn run(program: &str, stdin: &str) -> Duration {
    let stdin = File::open(stdin).expect("the file for stdin");
    let mut command = Command::new(program);
    command.arg("get").stdin(stdin).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status().expect("the program starts");
    let elapsed = start.elapsed();
    assert!(status.success(), "{program} failed: {status}");
    elapsed
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rounds, stdin, programs @ ..] = arguments.as_slice() else { panic!("ROUNDS STDIN NAME=PROGRAM…") };
    let rounds: usize = rounds.parse().expect("ROUNDS is a number");
    let programs: Vec<_> = programs.iter().map(|text| text.split_once('=').expect("NAME=PROGRAM")).collect();
    let mut times = vec![Vec::with_capacity(rounds); programs.len()];
    for round in 0..WARM_UP + rounds {
        // Each round starts with another program: the one before a program decides what the CPU's caches hold.
        for turn in 0..programs.len() {
            let index = (turn + round) % programs.len();
            let time = run(programs[index].1, stdin);
            if round >= WARM_UP {
                times[index].push(time);
            }
        }
    }
    times.iter_mut().for_each(|times| times.sort());
    println!("{:<28} {:>10} {:>10} {:>10}", "", "median ms", "least ms", "ratio");
    let measure = times[0][rounds / 2];
    for ((name, _), times) in programs.iter().zip(&times) {
        let [median, least] = [times[rounds / 2], times[0]].map(milliseconds);
        println!("{name:<28} {median:>10.3} {least:>10.3} {:>10.2}", median / milliseconds(measure));
    }
}
