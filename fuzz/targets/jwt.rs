//! Bearer tokens: arbitrary input as a token, and as header and claims that the issuer's key signs, to reach the code behind the
//! signature.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use ecr_broker::authn::jwt::{Issuers, KeyLocation, Settings};
use ecr_broker::clock::{Clock, SystemClock};
use ecr_broker::proxy::Proxies;
use jsonwebtoken::{Algorithm, EncodingKey};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;

struct Fixture {
    issuers: Issuers,
    key: EncodingKey,
    runtime: Runtime,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate().unwrap();
    let point = key.public_key_raw();
    let [x, y] = [&point[1..33], &point[33..65]].map(|bytes| BASE64URL_NOPAD.encode(bytes));
    let keys = format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"k","x":"{x}","y":"{y}"}}]}}"#);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), keys).unwrap();
    let settings = Settings {
        name: "blue".into(),
        issuer: "https://issuer.example".into(),
        audience: "ecr-broker".into(),
        keys: KeyLocation::File(file.path().into()),
        ca_bundle: None,
        proxies: Proxies::default(),
        max_lifetime: Duration::from_secs(u32::MAX.into()),
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    Fixture {
        issuers: Issuers::load(vec![settings], clock).unwrap(),
        key: EncodingKey::from_ec_der(&key.serialize_der()),
        runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
    }
});

fuzz_target!(|data: &[u8]| {
    let Fixture { issuers, key, runtime } = &*FIXTURE;
    if let Ok(token) = std::str::from_utf8(data) {
        assert!(runtime.block_on(issuers.verify(token)).is_err(), "a token without a valid signature");
    }
    let (header, claims) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len()));
    let signed = format!("{}.{}", BASE64URL_NOPAD.encode(header), BASE64URL_NOPAD.encode(claims));
    let Ok(signature) = jsonwebtoken::crypto::sign(signed.as_bytes(), key, Algorithm::ES256) else { return };
    if let Ok(verified) = runtime.block_on(issuers.verify(&format!("{signed}.{signature}"))) {
        let caller = verified.caller;
        assert_eq!(caller.issuer, "blue");
        assert!(!caller.subject.is_empty() && caller.subject.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    }
});
