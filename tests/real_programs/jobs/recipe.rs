//! The broker's half of a recipe in `examples/ci`, and the claims of the job that it allows.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::cases::{AUDIENCE, ISSUER, SUBJECT};
use crate::certificates::RUNNER;

pub(super) struct Recipe {
    broker: String,
    /// Issuer, subject, audience and the platform's own claims.
    pub(super) claims: Map<String, Value>,
}

/// A file of a recipe.
pub(super) fn file(system: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ci").join(system).join(name)
}

fn read(system: &str, name: &str) -> String {
    fs::read_to_string(file(system, name)).unwrap()
}

impl Recipe {
    /// Reads a recipe; the first of its expectations is the job that is allowed.
    pub(super) fn of(system: &str) -> Self {
        let broker = read(system, "broker.toml");
        let settings: toml::Table = broker.parse().unwrap();
        let issuer = &settings["authentication"]["jwt"][0];
        let expectations: toml::Table = read(system, "expectations.toml").parse().unwrap();
        let expected = &expectations["expect"][0];
        assert_eq!(expected["allow"].as_bool(), Some(true));
        let prefix = format!("jwt:{}:", issuer["name"].as_str().unwrap());
        let subject = expected["caller"].as_str().unwrap().strip_prefix(&prefix).unwrap();
        let mut claims = Map::from_iter([
            ("iss".to_owned(), json!(issuer["issuer"].as_str())),
            ("sub".to_owned(), json!(subject)),
            ("aud".to_owned(), json!(issuer["audience"].as_str())),
        ]);
        let more = expected.get("claims").and_then(toml::Value::as_table).into_iter().flatten();
        claims.extend(more.map(|(name, value)| (name.clone(), json!(value.as_str()))));
        Self { broker, claims }
    }

    /// Jobs with SVIDs.
    pub(super) fn spiffe() -> Self {
        let broker = format!(
            "[[authentication.jwt]]\nname = \"ci\"\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\n\
             [[grants]]\nid = \"jobs\"\ncallers = [{{ jwt = \"ci\", subject = \"{SUBJECT}\" }}, \
             {{ spiffe = \"{RUNNER}\" }}]\n\
             registries = [{{ accounts = [\"123456789012\"], regions = [\"*\"] }}]\n"
        );
        let claims = [("iss", ISSUER), ("sub", SUBJECT), ("aud", AUDIENCE)];
        Self { broker, claims: claims.map(|(name, value)| (name.to_owned(), json!(value))).into_iter().collect() }
    }

    /// Returns the configuration, with the issuer's keys in a file.
    pub(super) fn with_keys(&self, jwks: &Path) -> String {
        let audience = format!("\"{AUDIENCE}\"");
        let (before, after) = self.broker.split_once(&audience).unwrap();
        format!("{before}{audience}\njwks_file = \"{}\"{after}", jwks.display())
    }
}
