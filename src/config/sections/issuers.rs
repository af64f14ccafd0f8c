//! `[[authentication.jwt]]`: accepted issuers of bearer tokens.

use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

use crate::authn::jwt::{self, KeyLocation};
use crate::config::diagnostic::Diagnostic;
use crate::config::files::Document;
use crate::config::list::{Item, List, Listed, Unique};
use crate::config::reader::Reader;
use crate::config::value_type::{Expected, ValueType};
use crate::config::values::{self, NAME};
use crate::proxy::Proxies;

/// The heading; the list is part of the section `[authentication]`.
pub(in crate::config) const HEADING: &str = "authentication.jwt";
pub(in crate::config) const ISSUERS: List = List {
    key: "jwt",
    heading: HEADING,
    one: HEADING,
    named_by: "name",
    unique: "name or issuer",
    keys: &["name", "issuer", "audience", "jwks_uri", "jwks_file", "ca_bundle", "max_lifetime"],
};
/// Default of `max_lifetime`.
const MAX_LIFETIME: Duration = Duration::from_hours(1);
const LIFETIMES: ValueType<Duration> = values::duration(Duration::from_mins(1), Duration::from_hours(24));

/// Reads the issuers; only the main file can have them.
pub(in crate::config) fn read(reader: &mut Reader<'_>) -> Vec<jwt::Settings> {
    let section = reader.file().get("authentication").and_then(Value::as_table).cloned().unwrap_or_default();
    let section = Document { place: reader.file_name(), table: section, bound: None };
    let issuers = reader.collect(parse(section));
    // The section `[aws]` reports variables that cannot be used.
    let (proxies, _) = Proxies::read(|name| reader.variable(name).map(Into::into));
    issuers.into_iter().map(|issuer| jwt::Settings { proxies: proxies.clone(), ..issuer }).collect()
}

/// Reads the issuers of the section `[authentication]`.
fn parse(section: Document) -> (Vec<jwt::Settings>, Vec<Diagnostic>) {
    let unique = Unique {
        are_same: |one: &jwt::Settings, other: &jwt::Settings| one.name == other.name || one.issuer == other.issuer,
        stays: |_| false,
    };
    let Listed { items, diagnostics, .. } = ISSUERS.read([section].iter(), read_issuer, &unique);
    (items, diagnostics)
}

fn read_issuer(item: &mut Item<'_>) -> Option<jwt::Settings> {
    let mut text = |key, expected, is_valid: fn(&str) -> bool| {
        item.required(key, expected, |value| value.as_str().filter(|text| is_valid(text)).map(str::to_owned))
    };
    let name = text("name", NAME, values::is_name);
    let issuer = text("issuer", Expected::Hidden("the tokens' iss, a URL with https://"), jwt::is_safe_url);
    let audience = text("audience", Expected::Words("the tokens' audience"), |text| !text.is_empty());
    let keys = read_keys(item, issuer.as_deref());
    let ca_bundle = item.take(read_path("ca_bundle", item.get("ca_bundle")));
    if matches!((&keys, &ca_bundle), (Some(KeyLocation::File(_)), Some(Some(_)))) {
        item.report("ca_bundle has no effect with jwks_file; remove one of them");
    }
    let max_lifetime = item.take(read_max_lifetime(item.get("max_lifetime")));
    Some(jwt::Settings {
        name: name?,
        issuer: issuer?,
        audience: audience?,
        keys: keys?,
        ca_bundle: ca_bundle?,
        proxies: Proxies::default(),
        max_lifetime: max_lifetime?,
    })
}

fn read_max_lifetime(value: Option<&Value>) -> Result<Duration, String> {
    let Some(value) = value else { return Ok(MAX_LIFETIME) };
    LIFETIMES.read(value).map_err(|problem| format!("max_lifetime: {problem}"))
}

fn read_keys(item: &mut Item<'_>, issuer: Option<&str>) -> Option<KeyLocation> {
    let expected = Expected::Hidden("a URL with https://, or with http:// on loopback if the issuer has one");
    let jwks_uri = item.optional("jwks_uri", expected, None, |value| {
        let url = value.as_str()?;
        issuer.is_none_or(|issuer| jwt::may_have_keys_at(issuer, url)).then(|| Some(url.to_owned()))
    });
    let file = item.take(read_path("jwks_file", item.get("jwks_file")))?;
    match (jwks_uri?, file) {
        (Some(_), Some(_)) => {
            item.report("jwks_uri has no effect with jwks_file; remove one of them");
            None
        }
        (None, Some(file)) => Some(KeyLocation::File(file)),
        (jwks_uri, None) => Some(KeyLocation::Discovery { jwks_uri }),
    }
}

fn read_path(key: &str, value: Option<&Value>) -> Result<Option<PathBuf>, String> {
    let Some(value) = value else { return Ok(None) };
    values::path(value).map(Some).map_err(|problem| format!("{key}: {problem}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::authn::jwt;
    use crate::config::tests::{load, problems};

    #[test]
    fn issuers_are_read_and_every_problem_names_its_issuer() {
        let good = r#"
            grants = []
            [server]
            listen = ["127.0.0.1:1"]
            [[authentication.jwt]]
            name = "blue"
            issuer = "https://oidc.example/id/1"
            audience = "ecr-broker"
            [[authentication.jwt]]
            name = "green"
            issuer = "https://green.example"
            audience = "ecr-broker"
            jwks_file = "/etc/keys.json"
            max_lifetime = "15m"
        "#;
        let issuers = load(good).unwrap().server.issuers;
        assert_eq!(
            (issuers[0].keys.clone(), issuers[0].max_lifetime),
            (jwt::KeyLocation::Discovery { jwks_uri: None }, Duration::from_hours(1))
        );
        assert_eq!(issuers[1].keys, jwt::KeyLocation::File("/etc/keys.json".into()));
        assert_eq!(issuers[1].max_lifetime, Duration::from_mins(15));
        assert!(self::problems(&good.replace("grants = []", ""))[0].contains("every token of these issuers"));
        let text = r#"
            grants = []
            [[authentication.jwt]]
            name = "a b"
            issuer = "http://oidc.example"
            audience = ""
            jwks_file = "keys.json"
            max_lifetime = "2d"
            colour = 1
            [[authentication.jwt]]
            name = "twice"
            issuer = "https://x.example"
            audience = "a"
            [[authentication.jwt]]
            name = "twice"
            issuer = "https://y.example"
            audience = "a"
        "#;
        let problems = problems(text);
        for hint in [
            "colour: unknown key",
            "name: expected 1 to 64",
            "a URL with https://, got another value",
            "audience: expected",
            "jwks_file: expected an absolute path",
            "from 1m to 1day",
            "duplicate name or issuer",
        ] {
            assert!(
                problems.iter().any(|problem| problem.starts_with("authentication.jwt") && problem.contains(hint)),
                "{hint}: {problems:#?}"
            );
        }
        assert_eq!(problems.len(), 7, "{problems:#?}");
        assert!(self::problems("authentication.jwt = 1")[0].contains("write [[authentication.jwt]]"));
        for (issuer, jwks_uri, is_accepted) in [
            ("https://oidc.example/id/1", "https://10.0.0.1:6443/openid/v1/jwks", true),
            ("https://oidc.example/id/1", "http://127.0.0.1/keys", false),
            ("https://oidc.example/id/1", "https://user@keys.example/", false),
            ("https://oidc.example/id/1", "https://keys.example/keys?p=b2c_1_signin", true),
            ("http://127.0.0.1:1", "http://127.0.0.1:2/keys", true),
            ("http://127.0.0.1:1", "http://keys.example/keys", false),
        ] {
            let issuer = format!("issuer = \"{issuer}\"\njwks_uri = \"{jwks_uri}\"");
            let outcome = load(&good.replace("issuer = \"https://oidc.example/id/1\"", &issuer));
            assert_eq!(outcome.is_ok(), is_accepted, "{issuer}");
        }
        let both = good.replace("jwks_file =", "jwks_uri = \"https://keys.example\"\njwks_file =");
        assert!(self::problems(&both)[0].contains("jwks_uri has no effect with jwks_file"));
        let open = format!("{}\n", good.replace("127.0.0.1:1", "0.0.0.0:1"));
        assert!(self::problems(&open)[0].contains("without encryption"));
    }
}
