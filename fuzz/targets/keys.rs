//! Keys files of the shared cache: a file that is accepted reads back from the lines that it is written with.
#![no_main]

use ecr_broker::source::shared_cache::keys::Keys;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(keys) = Keys::parse(text) else { return };
    let lines: Vec<_> = keys.to_lines().iter().map(|line| line.to_string()).collect();
    let again = Keys::parse(lines.join("\n").as_bytes()).expect("lines that were written");
    assert_eq!(keys.summary(), again.summary());
    assert!(keys.summary().len() >= 2, "a names key and a seal key");
});
