//! `[shared_cache]`: a cache that several brokers share.

use crate::config::model::SharedCache;
use crate::config::reader::Reader;
use crate::config::settings;
use crate::source::aws::{self, NO_IDENTITY, OwnIdentity};
use crate::source::shared_cache::valkey::{Settings, TlsFiles};

use settings::SharedCache as Section;

pub(in crate::config) fn read(reader: &mut Reader<'_>, aws: &aws::Settings) -> Option<SharedCache> {
    let section = Section::read(reader);
    // A value that was misread is reported already, and does not count as missing.
    let has_url = reader.find(&Section::url().meta).is_some();
    let has_keys = reader.find(&Section::keys_file().meta).is_some();
    if has_keys && !has_url {
        reader.report(&Section::keys_file(), "has no cache to protect; set shared_cache.url or remove the file");
    }
    if has_url && !has_keys {
        let problem =
            "needs keys that all brokers have; create a file by ecr-broker keygen and set shared_cache.keys_file";
        reader.report(&Section::url(), problem);
    }
    check_tls(&section, reader);
    check_user(&section, reader);
    let Section { url, prefix, keys_file, identity, username, password_file, tls_ca, tls_cert, tls_key, timeout } =
        section;
    let tls = TlsFiles { ca: tls_ca, client: tls_cert.zip(tls_key) };
    let server = Settings { target: url?, prefix, username, password_file, tls, timeout };
    let keys_file = keys_file?;
    let own = OwnIdentity::find(aws, &reader.sources().sdk_settings(), identity.as_deref());
    if own.is_none() && reader.find(&Section::identity().meta).is_none() {
        reader.report(&Section::identity(), NO_IDENTITY);
    }
    Some(SharedCache { server, keys_file, own: own? })
}

fn check_tls(section: &Section, reader: &mut Reader<'_>) {
    let speaks_tls = section.url.as_ref().is_none_or(|target| target.tls);
    if !speaks_tls {
        let problem = "has no effect without TLS; use rediss:// in shared_cache.url";
        for (setting, is_set) in [
            (Section::tls_ca(), section.tls_ca.is_some()),
            (Section::tls_cert(), section.tls_cert.is_some()),
            (Section::tls_key(), section.tls_key.is_some()),
        ] {
            if is_set {
                reader.report(&setting, problem);
            }
        }
    }
    match (&section.tls_cert, &section.tls_key) {
        (Some(_), None) if reader.find(&Section::tls_key().meta).is_none() => {
            reader.report(&Section::tls_cert(), "has no key; set shared_cache.tls_key");
        }
        (None, Some(_)) if reader.find(&Section::tls_cert().meta).is_none() => {
            reader.report(&Section::tls_key(), "has no certificate; set shared_cache.tls_cert");
        }
        _ => {}
    }
}

fn check_user(section: &Section, reader: &mut Reader<'_>) {
    let has_password = reader.find(&Section::password_file().meta).is_some();
    if section.username.is_some() && !has_password {
        reader.report(&Section::username(), "has no password; set shared_cache.password_file");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::tests::{load, problems};
    use crate::source::shared_cache::valkey::{Address, Servers};

    /// A section with these lines, and what else it needs.
    fn section(lines: &str) -> String {
        format!("[shared_cache]\nkeys_file = \"/k\"\nidentity = \"farm\"\n{lines}\n")
    }

    #[test]
    fn section_names_servers_keys_and_user() {
        let text = section("url = \"redis://127.0.0.1\"");
        let cache = load(&text).unwrap().shared_cache.unwrap();
        let address = Address::Tcp { host: "127.0.0.1".into(), port: 6379 };
        assert_eq!(cache.server.target.servers, Servers::Standalone(address));
        assert_eq!((cache.server.prefix.as_str(), cache.server.timeout), ("ecr-broker", Duration::from_millis(100)));
        let text = section(
            "url = [\"rediss://a\", \"rediss://b\"]\nprefix = \"x:y\"\nusername = \"broker\"\npassword_file = \"/p\"\n\
             tls_ca = \"/ca\"\ntls_cert = \"/c\"\ntls_key = \"/t\"\ntimeout = \"500ms\"",
        );
        let cache = load(&text).unwrap().shared_cache.unwrap();
        assert!(matches!(&cache.server.target.servers, Servers::Cluster(nodes) if nodes.len() == 2));
        assert!(cache.server.tls.client.is_some() && cache.server.tls.ca.is_some());
        assert!(load("").unwrap().shared_cache.is_none());
    }

    #[test]
    fn mistake_in_the_section_is_reported_and_no_password_is_shown() {
        for (lines, problem) in [
            ("", "keys_file: has no cache to protect"),
            ("url = \"redis://:secret@host\"", "use username and password_file"),
            ("url = \"http://secret\"", "expected redis://HOST:PORT"),
            ("url = []", "got none"),
            ("url = [1]", "expected redis://HOST:PORT"),
            ("url = \"redis://a\"\nprefix = \"{a}\"", "prefix: expected 1 to 32"),
            ("url = \"redis://a\"\nprefix = \"\"", "prefix: expected"),
            ("url = \"redis://a\"\ntls_ca = \"/ca\"", "tls_ca: has no effect without TLS"),
            ("url = \"rediss://a\"\ntls_cert = \"/c\"", "tls_cert: has no key"),
            ("url = \"rediss://a\"\ntls_key = \"/c\"", "tls_key: has no certificate"),
            ("url = \"redis://a\"\nusername = \"u\"", "username: has no password"),
            ("url = \"redis://a\"\nusername = \"u v\"\npassword_file = \"/p\"", "username: expected"),
            ("url = \"redis://a\"\ntimeout = \"1ms\"", "timeout: expected a duration from 10ms to 500ms"),
        ] {
            let problems = problems(&section(lines));
            assert!(problems.len() == 1 && problems[0].contains(problem), "{lines}: {problems:#?}");
            assert!(!problems[0].contains("secret"), "{problems:?}");
        }
        let problems = problems("[shared_cache]\nurl = \"redis://a\"\nidentity = \"farm\"");
        assert!(problems.len() == 1 && problems[0].contains("create a file by ecr-broker keygen"), "{problems:?}");
        let problems = self::problems("[shared_cache]\nurl = \"redis://a\"\nkeys_file = \"/k\"");
        assert!(problems.len() == 1 && problems[0].contains("identity: not set, and the environment"), "{problems:?}");
    }
}
