//! Registries: hosts, URLs and image references, as callers may send them.
#![no_main]

use ecr_broker::registry::Registry;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(registry) = text.parse::<Registry>() else { return };
    // Every parsed registry has its account, and its host parses to the same registry.
    let host = registry.host().expect("a parsed registry has a host");
    assert_eq!(host.parse::<Registry>().as_ref(), Ok(&registry), "{host}");
    assert!(host.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte)));
});
