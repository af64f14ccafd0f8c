//! A registry's host, URL or image reference, in any form that a caller may send.
#![no_main]

use ecr_broker::registry::Registry;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(registry) = text.parse::<Registry>() else { return };
    // Every host that is named has its account, and is read as the same registry again.
    let host = registry.host().expect("a registry that was named has a host");
    assert_eq!(host.parse::<Registry>().as_ref(), Ok(&registry), "{host}");
    assert!(host.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte)));
});
