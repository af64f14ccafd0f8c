//! An issuer of job tokens.

use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};

use crate::cases::Signer;

/// When a token is issued and when it ends, in seconds from now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    pub(super) issued: i64,
    pub(super) expires: i64,
}

/// Signs tokens and keeps them. Clones are the same issuer.
#[derive(Clone)]
pub(super) struct Issuer {
    signer: Arc<Signer>,
    claims: Map<String, Value>,
    issued: Arc<Mutex<Vec<String>>>,
}

impl Issuer {
    pub(super) fn new(claims: Map<String, Value>) -> Self {
        Self { signer: Arc::new(Signer::new("k1")), claims, issued: Arc::default() }
    }

    pub(super) fn jwks(&self) -> String {
        self.signer.jwks()
    }

    /// Issues a token to the job.
    pub(super) fn issue(&self, life: Life) -> String {
        let token = self.sign(life);
        self.issued.lock().unwrap().push(token.clone());
        token
    }

    /// Returns a token that is not the job's.
    pub(super) fn sign(&self, life: Life) -> String {
        let now = i64::try_from(now()).unwrap();
        let mut claims = self.claims.clone();
        claims.insert("iat".to_owned(), (now + life.issued).into());
        claims.insert("exp".to_owned(), (now + life.expires).into());
        self.signer.sign(&self.signer.header(), &Value::Object(claims).to_string())
    }

    /// Returns every token of the job, the first one first.
    pub(super) fn issued(&self) -> Vec<String> {
        self.issued.lock().unwrap().clone()
    }
}

/// Returns the seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the broker under test uses the system clock")]
pub(super) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs()
}
