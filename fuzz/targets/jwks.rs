//! Key sets of issuers.
#![no_main]

use ecr_broker::authn::jwt::KeySet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    if let Ok(keys) = KeySet::read(json) {
        // A published symmetric key would let every reader sign.
        assert!(
            keys.is_empty()
                || json
                    .windows(3)
                    .any(|part| [b"RSA".as_slice(), b"\"EC", b"OKP"].contains(&part) || part.contains(&b'\\'))
        );
    }
});
