//! Names in client certificates, before any signature is verified.
#![no_main]

use ecr_broker::authn::tls;
use ecr_broker::caller::Caller;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|certificate: &[u8]| {
    for name in tls::named_in(certificate) {
        assert!(name.parse::<Caller>().is_ok(), "{name}");
    }
});
