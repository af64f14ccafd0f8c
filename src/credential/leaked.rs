//! Passwords in a text that someone found: a log, a docker configuration, a header, a URL or a Kubernetes secret.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, SystemTime};

use data_encoding::{BASE64, BASE64_NOPAD};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{CredentialId, MAX_TOKEN_BYTES, Password, USERNAME};

/// Characters between the words of a text. Base64 has none of them.
const DELIMITERS: &[char] = &['"', '\'', '`', ',', ';', '<', '>', '(', ')', '{', '}', '[', ']', '|', '&'];
/// Separators in a word, such as `password=` and `https://AWS:`, after which the rest may be a password.
const MAX_SEPARATORS: usize = 4;
/// A part of a password of this length identifies it; two random texts do not share one.
const TELLING: usize = 16;

/// A text that may be a password, and the ID that its credential has then.
#[derive(Debug)]
pub struct LeakedPassword {
    id: CredentialId,
    password: Password,
}

/// What the password of a private registry says about itself: it is base64 of JSON.
#[derive(Deserialize)]
struct Stated {
    expiration: u64,
}

/// Returns every text of `text` that could be a password. The words around a password are among them: only an ID that a
/// log has tells which one is a password.
#[must_use]
pub fn passwords_in(text: &str) -> Vec<LeakedPassword> {
    let mut found = Candidates::default();
    found.add_text(text, true);
    found.0.into_values().collect()
}

/// The texts that could be passwords, by ID.
#[derive(Default)]
struct Candidates(BTreeMap<CredentialId, LeakedPassword>);

impl Candidates {
    fn add_text(&mut self, text: &str, is_outer: bool) {
        self.add_word(text.trim(), is_outer);
        // Base64 may be wrapped.
        let joined: Zeroizing<String> = Zeroizing::new(text.split_whitespace().collect());
        self.add_word(&joined, is_outer);
        let words = text.split(|letter: char| letter.is_whitespace() || DELIMITERS.contains(&letter));
        words.for_each(|word| self.add_variants(word, is_outer));
    }

    /// Adds a word, and what it is with JSON's and a URL's escapes resolved and without the names before it.
    fn add_variants(&mut self, word: &str, is_outer: bool) {
        self.add_named(word, is_outer);
        if let Some((start, _)) = word.split_once('\\') {
            self.add_named(start, is_outer);
            let plain = word.trim_end_matches('\\').replace("\\/", "/");
            let plain = Zeroizing::new(plain.replace("\\u003d", "=").replace("\\u002b", "+").replace("\\u002f", "/"));
            self.add_named(&plain, is_outer);
        }
        if word.contains('%') {
            let plain = Zeroizing::new(percent_decode_str(word).decode_utf8_lossy().into_owned());
            self.add_named(&plain, is_outer);
        }
    }

    fn add_named(&mut self, word: &str, is_outer: bool) {
        // The user information of a URL ends in the last @.
        for word in [Some(word), word.rsplit_once('@').map(|(user, _)| user)].into_iter().flatten() {
            self.add_word(word, is_outer);
            word.strip_prefix("-p").into_iter().for_each(|rest| self.add_word(rest, is_outer));
            let ends = word.match_indices([':', '=']).take(MAX_SEPARATORS).map(|(at, _)| at + 1);
            ends.for_each(|end| self.add_word(&word[end..], is_outer));
        }
    }

    /// Adds a word as a password, and as base64 of a user name and a password or of a Kubernetes secret.
    fn add_word(&mut self, word: &str, is_outer: bool) {
        self.add(word);
        let decoded = BASE64.decode(word.as_bytes()).or_else(|_| BASE64_NOPAD.decode(word.as_bytes()));
        let decoded = Zeroizing::new(decoded.unwrap_or_default());
        let Ok(clear) = std::str::from_utf8(&decoded) else { return };
        if let Some((USERNAME, password)) = clear.split_once(':') {
            self.add(password);
        } else if is_outer && clear.starts_with('{') {
            self.add_text(clear, false);
        }
    }

    fn add(&mut self, password: &str) {
        if password.is_empty() || password.len() > MAX_TOKEN_BYTES {
            return;
        }
        let Ok(id) = CredentialId::of(USERNAME, password) else { return };
        self.0.entry(id).or_insert_with(|| LeakedPassword { id, password: Password::new(password) });
    }
}

impl LeakedPassword {
    /// Returns the ID of the credential that has the password.
    #[must_use]
    pub fn id(&self) -> CredentialId {
        self.id
    }

    /// Returns the expiry that the password itself states, unverified: the passwords of private registries are base64
    /// of JSON.
    #[must_use]
    pub fn stated_expiry(&self) -> Option<SystemTime> {
        let decoded = Zeroizing::new(BASE64.decode(self.password.expose().as_bytes()).ok()?);
        let Stated { expiration } = serde_json::from_slice(&decoded).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(expiration))
    }

    /// Returns whether a text has the password, its authorization token, or a telling part of one.
    #[must_use]
    pub fn is_in(&self, text: &str) -> bool {
        let password = self.password.expose();
        let clear = Zeroizing::new(format!("{USERNAME}:{}", &*password));
        let token = Zeroizing::new(BASE64.encode(clear.as_bytes()));
        [&*password, token.as_str()].into_iter().any(|secret| shares_part(secret, text))
    }
}

/// Returns whether two texts share a part of [`TELLING`] bytes, or the whole secret if it is shorter.
fn shares_part(secret: &str, text: &str) -> bool {
    if secret.len() < TELLING {
        return text.contains(secret);
    }
    let parts: HashSet<&[u8]> = secret.as_bytes().windows(TELLING).collect();
    text.as_bytes().windows(TELLING).any(|part| parts.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<CredentialId> {
        passwords_in(text).iter().map(LeakedPassword::id).collect()
    }

    fn password() -> String {
        let parts =
            [r#""payload":"a+/b??","datakey":"AQEBAHhwm0YaISJe""#, r#""type":"DATA_KEY","expiration":1796000000"#];
        BASE64.encode(format!("{{{}}}", parts.join(",")).as_bytes())
    }

    #[test]
    fn password_is_found_in_every_form_that_holds_it() {
        let password = password();
        let id = CredentialId::of("AWS", &password).unwrap();
        let token = BASE64.encode(format!("AWS:{password}").as_bytes());
        let config = format!(r#"{{"auths":{{"123456789012.dkr.ecr.eu-west-1.amazonaws.com":{{"auth":"{token}"}}}}}}"#);
        let wrapped: Vec<_> = token.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let percent = password.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let escaped = password.replace('=', "\\u003d").replace('/', "\\/");
        for text in [
            password.clone(),
            format!("{password}\r\n"),
            token.clone(),
            token.trim_end_matches('=').to_owned(),
            format!("Authorization: Basic {token}"),
            format!("authorization:basic {token}\n"),
            format!("docker login -u AWS -p {password} 123456789012.dkr.ecr.eu-west-1.amazonaws.com"),
            format!("docker login --username AWS --password='{password}' host"),
            format!("docker login -u AWS -p{password}"),
            format!("AWS:{password}"),
            format!("curl https://AWS:{password}@host/v2/"),
            format!("curl https://AWS:{percent}@host/v2/"),
            config.clone(),
            format!("  .dockerconfigjson: {}\n", BASE64.encode(config.as_bytes())),
            format!(r#"{{"ServerURL":"host","Username":"AWS","Secret":"{password}"}}"#),
            format!(r#"{{"Secret":"{escaped}"}}"#),
            format!(r#"{{"log":"{{\"auth\":\"{token}\"}}\n"}}"#),
            format!(r#"{{"log":"auth {token}\n"}}"#),
            wrapped.join("\n"),
            format!("2026-11-30T10:00:00Z step 3: got {password}, done"),
        ] {
            assert!(ids(&text).contains(&id), "{text}");
        }
        for text in ["", "AWS", "AWS:", &password[1..], &BASE64.encode(format!("root:{password}").as_bytes())] {
            assert!(!ids(text).contains(&id), "{text}");
        }
    }

    #[test]
    fn expiry_is_the_one_that_the_password_states() {
        let stated = |text: &str| passwords_in(text).iter().find_map(LeakedPassword::stated_expiry);
        let seconds = stated(&password()).unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(seconds, 1_796_000_000);
        assert_eq!(stated(&BASE64.encode(br#"{"expiration":18446744073709551615}"#)), None);
        assert_eq!(stated("not a password"), None);
    }

    #[test]
    fn part_of_a_password_is_recognized_in_a_text() {
        let all = passwords_in(&password());
        let leaked = all.iter().find(|one| one.stated_expiry().is_some()).unwrap();
        let (text, token) = (password(), BASE64.encode(format!("AWS:{}", password()).as_bytes()));
        for part in [text.as_str(), &text[10..26], &token, &token[20..40]] {
            assert!(leaked.is_in(&format!("uid:1 {part} x")), "{part}");
        }
        for other in ["", "uid:1001,gid:1001", "ecr-broker-pull", &text[10..25]] {
            assert!(!leaked.is_in(other), "{other}");
        }
        assert!(!format!("{leaked:?}").contains(&text[10..26]));
    }

    #[test]
    fn megabyte_of_words_takes_bounded_work() {
        let many = "a:b:c:d:e:f@g ".repeat(70_000);
        assert!(passwords_in(&many).len() < 100);
        let long = "=".repeat(1 << 20);
        assert!(passwords_in(&long).is_empty());
        let distinct = (0..100_000).map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(ids(&distinct).len(), 100_000);
    }
}
