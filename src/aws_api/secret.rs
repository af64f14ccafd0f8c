//! The secret of the AWS API: whoever has it may call.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::trusted_file;

/// So many letters leave nothing to guess, if they were drawn by lot.
const SHORTEST: usize = 32;
const LONGEST: usize = 256;
/// What one is made of where there is none yet.
const RANDOM_BYTES: usize = 32;
/// Sets these digests apart from every other SHA-256 of the same bytes.
const DOMAIN: &[u8] = b"ecr-broker aws api secret v1\0";

/// The secret. It cannot be printed or written out: of the text nothing is kept but a digest.
///
/// ```compile_fail,E0277
/// fn printed<T: std::fmt::Display>() {}
/// printed::<ecr_broker::aws_api::Secret>();
/// ```
/// ```compile_fail,E0277
/// fn written<T: serde::Serialize>() {}
/// written::<ecr_broker::aws_api::Secret>();
/// ```
pub struct Secret([u8; 32]);

impl Secret {
    /// What the file holds; none where there is no such file.
    ///
    /// # Errors
    /// Where it is no secret, or everybody can read or change it; the error is what to say after its name.
    pub fn read(path: &Path) -> Result<Option<Self>, String> {
        let found = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("cannot be read: {error}")),
            Ok(found) => found,
        };
        if found.permissions().mode() & 0o004 != 0 {
            return Err("can be read by everybody, and so is no secret: chmod o-r".to_owned());
        }
        let text = Zeroizing::new(trusted_file::read(path)?);
        let line = text.trim_ascii_end();
        if !is_secret(line) {
            return Err(format!(
                "holds no secret: that is one line of {SHORTEST} to {LONGEST} letters, digits, \"_\" and \"-\"; where there is no such file, the broker makes one"
            ));
        }
        Ok(Some(Self::of(line)))
    }

    /// What the file holds; where there is no such file, it is made, with a new secret, and only its owner may read it.
    ///
    /// # Errors
    /// Where it can be neither read nor made.
    pub fn read_or_make(path: &Path) -> anyhow::Result<Self> {
        let read = || Self::read(path).map_err(|problem| anyhow!("it {problem}"));
        if let Some(secret) = read()? {
            return Ok(secret);
        }
        make(path).context("it is not there and cannot be made; make its directory, or name another file")?;
        read()?.context("it has gone again")
    }

    /// Whether this is it. How long that takes says nothing of where the two differ.
    #[must_use]
    pub fn is(&self, shown: &str) -> bool {
        let Self(shown) = Self::of(shown.as_bytes());
        let difference = self.0.iter().zip(shown).fold(0, |all, (own, shown)| all | (own ^ shown));
        std::hint::black_box(difference) == 0
    }

    fn of(text: &[u8]) -> Self {
        let mut digest = [0; 32];
        digest.copy_from_slice(&Sha256::new().chain_update(DOMAIN).chain_update(text).finalize());
        Self(digest)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What stands in the path of a URL as it is.
fn is_secret(text: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    (SHORTEST..=LONGEST).contains(&text.len()) && text.iter().all(plain)
}

/// Written beside its place, and then put there whole, unless another process has been faster: its secret is as good.
fn make(path: &Path) -> anyhow::Result<()> {
    let mut bytes = Zeroizing::new([0; RANDOM_BYTES]);
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    random.fill(&mut *bytes).map_err(|_| anyhow!("the system gives no random bytes"))?;
    let text = Zeroizing::new(BASE64URL_NOPAD.encode(&*bytes));
    let workplace = path.with_file_name(format!(".secret-{:016x}", fastrand::u64(..)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&workplace)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let placed = written.and_then(|()| fs::hard_link(&workplace, path));
    // What stays behind otherwise is a secret that nobody asks for.
    let _ = fs::remove_file(&workplace);
    match placed {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_secret_that_is_not_there_is_made_once_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        assert!(Secret::read(&path).unwrap().is_none());
        let secret = Secret::read_or_make(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.len(), 43, "256 bits");
        assert!(secret.is(&text) && !secret.is(&text[1..]) && !secret.is(""));
        assert!(Secret::read_or_make(&path).unwrap().is(&text), "it stays the same");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
        make(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "another process's is not replaced");
        let nowhere = Secret::read_or_make(&directory.path().join("no/secret")).unwrap_err();
        assert!(format!("{nowhere:#}").contains("make its directory"), "{nowhere:#}");
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_repeated() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let good = "a".repeat(SHORTEST);
        for (text, mode, problem) in [
            (good.as_str(), 0o644, "chmod o-r"),
            (good.as_str(), 0o602, "chmod o-w"),
            ("", 0o600, "32 to 256"),
            (&good[1..], 0o600, "32 to 256"),
            (&"a".repeat(LONGEST + 1), 0o600, "32 to 256"),
            (&format!("{good}/x"), 0o600, "32 to 256"),
            (&format!("{good}\n{good}"), 0o600, "32 to 256"),
            (&format!("{good}\u{e9}"), 0o600, "32 to 256"),
        ] {
            write(&path, text, mode);
            let error = Secret::read(&path).unwrap_err();
            assert!(error.contains(problem) && !error.contains(&good[1..]), "{text:?}: {error}");
        }
        write(&path, &format!("{good}\n"), 0o640);
        let secret = Secret::read(&path).unwrap().unwrap();
        assert!(secret.is(&good), "the end of the line is none of it");
        assert_eq!(format!("{secret:?}"), "[redacted]");
    }
}
