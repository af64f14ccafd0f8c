//! Callers and caller patterns, with SPIFFE IDs, as certificates and grants contain them.
#![no_main]

use ecr_broker::caller::Caller;
use ecr_broker::policy::{ClaimPattern, SpiffePattern};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(caller) = Caller::spiffe(text) {
        assert_eq!(caller.to_string(), text, "a workload has one name");
        let pattern: SpiffePattern = text.parse().expect("an ID is a pattern of itself");
        assert_eq!(pattern.to_string(), text);
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains(['%', '?', '#', '*', '@']));
    }
    if let Ok(caller) = text.parse::<Caller>() {
        assert_eq!(caller.to_string().parse(), Ok(caller));
    }
    if let Ok(pattern) = text.parse::<ClaimPattern>() {
        assert_eq!(pattern.to_string(), text);
        assert!(pattern.contains(&pattern) && (pattern.is_open() || pattern.matches(text)));
    }
});
