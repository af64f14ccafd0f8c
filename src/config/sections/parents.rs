//! `[[parents]]`: brokers that this broker asks instead of AWS.

use std::path::PathBuf;

use toml::Value;

use crate::client::Address;
use crate::config::diagnostic::Diagnostic;
use crate::config::files::Document;
use crate::config::list::{Item, List, Listed, Unique};
use crate::config::reader::Reader;
use crate::config::sections::grants::registry_pattern;
use crate::config::value_type::Expected;
use crate::config::values::{self, NAME, strings};
use crate::credential::{ParentName, ProfileName};
use crate::policy::RegistryPattern;
use crate::source::broker::{Fallback, Settings};
use crate::trusted_file::{self, TrustedFileError};

pub(in crate::config) const PARENTS: List = List {
    key: "parents",
    heading: "parents",
    one: "parent",
    named_by: "name",
    unique: "name",
    keys: &[
        "name",
        "addresses",
        "tls_ca",
        "tls_cert",
        "tls_key",
        "token_file",
        "registries",
        "profiles",
        "fallback",
        "forward_callers",
    ],
};

const ADDRESSES: Expected = Expected::Words("a list of addresses: https://HOST:PORT or unix:/PATH");
const REGISTRIES: Expected = Expected::Words("a list of at least one table, as grants have");

/// Reads the parents; only the main file can have them.
pub(in crate::config) fn read(reader: &mut Reader<'_>) -> Vec<Settings> {
    let main = reader.documents().take(1);
    let parents = parse(main);
    reader.collect(parents)
}

fn parse<'a>(documents: impl Iterator<Item = &'a Document>) -> (Vec<Settings>, Vec<Diagnostic>) {
    let unique = Unique { are_same: |one: &Settings, other: &Settings| one.name == other.name, stays: |_| false };
    let Listed { items, diagnostics, .. } = PARENTS.read(documents, read_parent, &unique);
    (items, diagnostics)
}

fn read_parent(item: &mut Item<'_>) -> Option<Settings> {
    let name = item.required("name", NAME, |value| value.as_str()?.parse::<ParentName>().ok());
    let addresses = read_addresses(item);
    let registries = read_registries(item);
    let profiles = read_profiles(item);
    let fallback = item.optional("fallback", Expected::OneOf(&["none", "aws"]), Fallback::None, fallback);
    let forward_callers = item.optional("forward_callers", Expected::Words("true or false"), false, Value::as_bool);
    let [tls_ca, certificate, key, token_file] =
        ["tls_ca", "tls_cert", "tls_key", "token_file"].map(|key| read_path(key, item));
    let settings = Settings {
        name: name?,
        addresses: addresses?,
        tls_ca: tls_ca?,
        tls_identity: tls_identity(certificate?, key?, item),
        token_file: token_file?,
        registries: registries?,
        profiles: profiles?,
        fallback: fallback?,
        forward_callers: forward_callers?,
    };
    check(&settings, item);
    check_forwarding(&settings, item);
    Some(settings)
}

/// Reads the addresses. Plaintext is for this host: the network could read the credentials.
fn read_addresses(item: &mut Item<'_>) -> Option<Vec<Address>> {
    let texts = item.required("addresses", ADDRESSES, |value| {
        strings("addresses", value).ok().map(|texts| texts.into_iter().map(str::to_owned).collect::<Vec<_>>())
    })?;
    let addresses = texts.iter().map(|text| {
        let address: Address = text.parse().map_err(|error| format!("addresses: {error}"))?;
        if address.is_plaintext() && !is_loopback(&address) {
            return Err(format!("addresses: {text} is plaintext beyond loopback; write https://"));
        }
        Ok(address)
    });
    item.take(addresses.collect())
}

/// Returns whether an address in plaintext names loopback by its number, or is `localhost`.
fn is_loopback(address: &Address) -> bool {
    let Ok(uri) = address.uri().parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn read_registries(item: &mut Item<'_>) -> Option<Vec<RegistryPattern>> {
    let is_list = |value: &Value| value.as_array().filter(|values| !values.is_empty()).cloned();
    let patterns = item.required("registries", REGISTRIES, is_list)?;
    let read = |value: &Value| match value {
        Value::Table(table) => registry_pattern::read(table).map_err(|problem| format!("registries: {problem}")),
        other => Err(format!("registries: {}", Expected::Words("a table").but_got(other))),
    };
    item.take(patterns.iter().map(read).collect())
}

/// Reads the profiles; without the key the parent serves the profile `default`.
fn read_profiles(item: &mut Item<'_>) -> Option<Vec<ProfileName>> {
    let Some(value) = item.get("profiles") else { return Some(vec![ProfileName::default_profile()]) };
    let name = |text: &&str| text.parse::<ProfileName>().map_err(|error| format!("profiles: {error}"));
    let names = strings("profiles", value).and_then(|texts| texts.iter().map(name).collect::<Result<Vec<_>, _>>());
    item.take(names)
}

fn fallback(value: &Value) -> Option<Fallback> {
    match value.as_str()? {
        "none" => Some(Fallback::None),
        "aws" => Some(Fallback::Aws),
        _ => None,
    }
}

/// Reads the path of a file that no other user may write. One that is missing may appear later.
#[expect(clippy::option_option, reason = "the outer one is a problem that was reported")]
fn read_path(key: &str, item: &mut Item<'_>) -> Option<Option<PathBuf>> {
    let Some(value) = item.get(key) else { return Some(None) };
    let path = values::path(value).and_then(|path| {
        let opened = if key == "tls_key" { trusted_file::open_secret(&path) } else { trusted_file::open(&path) };
        let distrusted = opened.err().filter(TrustedFileError::is_distrust);
        distrusted.map_or(Ok(()), |error| Err(format!("{} {error}", path.display()))).map(|()| path)
    });
    item.take(path.map(Some).map_err(|problem| format!("{key}: {problem}")))
}

fn tls_identity(certificate: Option<PathBuf>, key: Option<PathBuf>, item: &mut Item<'_>) -> Option<(PathBuf, PathBuf)> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => return Some((certificate, key)),
        (Some(_), None) => item.report("tls_cert has no key; set tls_key"),
        (None, Some(_)) => item.report("tls_key has no certificate; set tls_cert"),
        (None, None) => {}
    }
    None
}

/// Reports keys that are valid alone and wrong together.
fn check(settings: &Settings, item: &mut Item<'_>) {
    let has_tls = settings.addresses.iter().any(Address::is_tls);
    if !has_tls && (settings.tls_ca.is_some() || settings.tls_identity.is_some()) {
        item.report("tls_ca and tls_cert have no effect without an https:// address; correct addresses or remove them");
    }
}

/// Reports why callers cannot be forwarded: the parent takes them only beside a client certificate, and alone decides about them.
fn check_forwarding(settings: &Settings, item: &mut Item<'_>) {
    if !settings.forward_callers {
        return;
    }
    if settings.tls_identity.is_none() || !settings.addresses.iter().all(Address::is_tls) {
        item.report(
            "forward_callers: needs a client certificate; set tls_cert and tls_key, and only https:// addresses",
        );
    }
    if settings.token_file.is_some() {
        item.report("forward_callers: the parent takes either a token or a caller; remove token_file");
    }
    if settings.fallback == Fallback::Aws {
        item.report("forward_callers: AWS would give what the parent may deny to a caller; remove fallback");
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{load, problems};
    use crate::source::broker::Fallback;

    const REST: &str = "addresses = [\"https://broker.example:50051\"]\nregistries = [{ public = true }]\n";

    const TLS: &str = "\ntls_cert = \"/etc/none/cert.pem\"\ntls_key = \"/etc/none/key.pem\"\n";

    #[test]
    fn parents_are_read() {
        let text = r#"
            [[parents]]
            name = "central"
            addresses = ["https://broker.example:50051", "https://other.example"]
            tls_ca = "/etc/none/ca.pem"
            tls_cert = "/etc/none/cert.pem"
            tls_key = "/etc/none/key.pem"
            token_file = "/etc/none/token"
            registries = [{ accounts = ["*"], regions = ["eu-*"] }, { public = true }]
            profiles = ["default", "ci-pull"]
            fallback = "aws"
            [[profiles]]
            name = "ci-pull"
            role_chain = ["arn:aws:iam::210987654321:role/hub"]
            [[parents]]
            name = "local"
            addresses = ["unix:/run/b.sock", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"]
            registries = [{ accounts = ["*"], regions = ["us-*"] }]
        "#;
        let parents = load(text).unwrap().parents;
        assert_eq!((parents.len(), parents[0].addresses.len(), parents[0].registries.len()), (2, 2, 2));
        assert!(parents[0].tls_identity.is_some() && parents[0].token_file.is_some());
        assert_eq!((parents[0].fallback, parents[1].fallback), (Fallback::Aws, Fallback::None));
        assert!(parents.iter().all(|parent| !parent.forward_callers));
        let forwarding = format!("[[parents]]\nname = \"a\"\n{REST}forward_callers = true{TLS}");
        assert!(load(&forwarding).unwrap().parents[0].forward_callers);
        let names = |index: usize| parents[index].profiles.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!((names(0), names(1)), (vec!["default".to_owned(), "ci-pull".into()], vec!["default".into()]));
    }

    #[test]
    fn every_problem_names_its_parent_and_the_accepted_values() {
        let parent = |name: &str, rest: &str| format!("[[parents]]\nname = \"{name}\"\n{rest}\n");
        for (text, hint) in [
            (parent("a b", REST), "name: expected 1 to 64"),
            (parent("a", "registries = [{ public = true }]"), "addresses is missing"),
            (parent("a", &REST.replace("https", "http")), "plaintext beyond loopback; write https://"),
            (parent("a", &REST.replace("https://broker.example:50051", "ftp://x")), "is not a broker address"),
            (parent("a", &REST.replace("[\"https://broker.example:50051\"]", "[]")), "addresses: expected a list"),
            (parent("a", "addresses = [\"unix:/run/b\"]"), "registries is missing"),
            (parent("a", &REST.replace("[{ public = true }]", "[]")), "registries: expected a list"),
            (parent("a", &REST.replace("public = true", "public = 1")), "{ public = true }"),
            (parent("a", &format!("{REST}profiles = []")), "profiles: expected a list of at least one string"),
            (parent("a", &format!("{REST}profiles = [\"a b\"]")), "is not a profile name"),
            (parent("a", &format!("{REST}fallback = \"gcp\"")), "\"aws\""),
            (parent("a", &format!("{REST}tls_cert = \"/c\"")), "tls_cert has no key; set tls_key"),
            (parent("a", &format!("{REST}tls_key = \"/c\"")), "tls_key has no certificate; set tls_cert"),
            (parent("a", &format!("{REST}token_file = \"token\"")), "token_file: expected an absolute path"),
            (parent("a", &format!("{REST}colour = 1")), "colour: unknown key; the keys are name"),
            (
                parent("a", "addresses = [\"unix:/b\"]\nregistries = [{ public = true }]\ntls_ca = \"/c\""),
                "no effect without an https:// address",
            ),
            (parent("a", &format!("{REST}forward_callers = 1")), "expected true or false, got 1"),
            (parent("a", &format!("{REST}forward_callers = true")), "needs a client certificate; set tls_cert"),
            (
                parent("a", &format!("{}forward_callers = true{TLS}", REST.replace("50051\"", "50051\", \"unix:/b\""))),
                "only https:// addresses",
            ),
            (parent("a", &format!("{REST}forward_callers = true{TLS}token_file = \"/t\"")), "remove token_file"),
            (parent("a", &format!("{REST}forward_callers = true{TLS}fallback = \"aws\"")), "remove fallback"),
            (parent("a", REST) + &parent("a", REST), "duplicate name"),
            (
                parent("a", &format!("{REST}profiles = [\"far\"]\nfallback = \"aws\"")),
                "fallback: \"aws\" does not have the profile far",
            ),
        ] {
            let problems = problems(&text);
            assert!(
                problems.len() == 1 && problems[0].starts_with("parent ") && problems[0].contains(hint),
                "{hint}: {problems:#?}"
            );
        }
    }

    #[test]
    fn grants_may_name_the_profiles_of_parents() {
        let grant = |profile: &str| {
            format!(
                "[[parents]]\nname = \"a\"\nprofiles = [\"far\"]\n{REST}[[grants]]\nid = \"g\"\ncallers = [{{ uid = 1 }}]\n\
                 registries = [{{ public = true }}]\nprofile = \"{profile}\""
            )
        };
        assert!(load(&grant("far")).is_ok());
        assert!(problems(&grant("near"))[0].contains("the profiles are \"default\", \"far\""));
    }
}
