//! The secret of the AWS API: whoever has it may call.

use std::fmt;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use data_encoding::BASE64URL_NOPAD;
use rustix::fs::OFlags;
use rustix::process::geteuid;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::trusted_file;

/// So many letters leave nothing to guess, if they were drawn by lot.
const SHORTEST: usize = 32;
const LONGEST: usize = 256;
/// A file that is so long holds something else.
const TOO_LONG: usize = 1024;
/// What one is made of where there is none yet.
const RANDOM_BYTES: usize = 32;
/// Sets these digests apart from every other SHA-256 of the same bytes.
const DOMAIN: &[u8] = b"ecr-broker aws api secret v1\0";

/// The secret. It cannot be printed or written out: of the text nothing is kept but a digest.
///
/// ```compile_fail,E0277
/// fn printed<T: std::fmt::Display>() {}
/// printed::<ecr_broker::api::ecr::Secret>();
/// ```
/// ```compile_fail,E0277
/// fn written<T: serde::Serialize>() {}
/// written::<ecr_broker::api::ecr::Secret>();
/// ```
pub struct Secret {
    digest: [u8; 32],
    /// Of its file.
    owner: u32,
}

impl Secret {
    /// What the file holds; none where there is no such file.
    ///
    /// # Errors
    /// Where it is no secret, or everybody can read or change it; the error is what to say after its name.
    pub fn read(path: &Path) -> Result<Option<Self>, String> {
        let Some(place) = find(path)? else { return Ok(None) };
        let mut text = Zeroizing::new(Vec::with_capacity(TOO_LONG));
        let owner = read_private(&place, &mut text)?;
        let line = text.trim_ascii_end();
        if text.len() == TOO_LONG || !is_secret(line) {
            return Err(format!(
                "holds no secret: that is one line of {SHORTEST} to {LONGEST} letters, digits, \"_\" and \"-\"; where there is no such file, the broker makes one"
            ));
        }
        Ok(Some(Self { digest: digest(line), owner }))
    }

    /// That its file belongs to root or to the broker's own user, for another could choose it. `read` does not ask: whoever checks a
    /// configuration is often another user than the broker's.
    ///
    /// # Errors
    /// Where it does not.
    pub fn check_owner(&self) -> anyhow::Result<()> {
        check_owner(self.owner, geteuid().as_raw()).map_err(|problem| anyhow!("it {problem}"))
    }

    /// What the file holds; where there is no such file, it is made, with a new secret, and only its owner may read it.
    ///
    /// # Errors
    /// Where it can be neither read nor made.
    pub fn read_or_make(path: &Path) -> anyhow::Result<Self> {
        let read = || Self::read(path).map_err(|problem| anyhow!("it {problem}"));
        let secret = if let Some(secret) = read()? {
            secret
        } else {
            make(path, |from, to| fs::hard_link(from, to))
                .context("it is not there and cannot be made; make its directory, or name another file")?;
            read()?.context("it has gone again")?
        };
        secret.check_owner()?;
        Ok(secret)
    }

    /// Whether this is it. How long that takes says nothing of where the two differ.
    #[must_use]
    pub fn is(&self, shown: &str) -> bool {
        let shown = digest(shown.as_bytes());
        let difference = self.digest.iter().zip(shown).fold(0, |all, (own, shown)| all | (own ^ shown));
        std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

fn digest(text: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(&Sha256::new().chain_update(DOMAIN).chain_update(text).finalize());
    digest
}

/// Where the file is in truth; none where there is none. Where everybody can write beside it, it is not looked at: they could have put
/// it there.
fn find(path: &Path) -> Result<Option<PathBuf>, String> {
    let open = || {
        Err("is in a directory that everybody can write to; give it a directory of the broker's own user".to_owned())
    };
    let link = fs::symlink_metadata(path).ok().filter(Metadata::is_symlink);
    if is_in_open_directory(path) && !link.as_ref().is_some_and(|link| stays(link, path)) {
        return open();
    }
    match fs::canonicalize(path) {
        Ok(place) if is_in_open_directory(&place) => open(),
        Ok(place) => Ok(Some(place)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!("cannot be read: {error}")),
        Err(_) if link.is_some() => {
            Err("is a link to a file that is not there; make that one, or remove the link".to_owned())
        }
        Err(_) => Ok(None),
    }
}

fn is_in_open_directory(path: &Path) -> bool {
    path.parent().is_some_and(trusted_file::is_writable_by_all)
}

/// The directory of a Secret that kubelet mounts is open to all, as /tmp is. In such a one others can put nothing in the place of what
/// is not theirs.
fn stays(link: &Metadata, path: &Path) -> bool {
    let directory = path.parent().and_then(|directory| fs::metadata(directory).ok());
    directory.is_some_and(|directory| {
        directory.permissions().mode() & 0o1000 != 0 && [0, directory.uid()].contains(&link.uid())
    })
}

/// Puts what is in a file into `text`, up to what is too long, for which it has room: what grows leaves copies behind. Says who owns the
/// file, which is opened once, and judged by what was opened.
fn read_private(place: &Path, text: &mut Vec<u8>) -> Result<u32, String> {
    let unreadable = |error| format!("cannot be read: {error}");
    // Of a pipe, too, so as not to wait for its other end.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(place).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    if !found.is_file() {
        return Err("is not a file".to_owned());
    }
    if found.permissions().mode() & 0o004 != 0 {
        return Err("can be read by everybody, and so is no secret: chmod o-r".to_owned());
    }
    if trusted_file::is_open_to_all(&found) {
        return Err("can be written by everybody, and so anybody could choose the secret: chmod o-w".to_owned());
    }
    file.take(TOO_LONG as u64).read_to_end(text).map_err(unreadable)?;
    Ok(found.uid())
}

fn check_owner(owner: u32, own: u32) -> Result<(), String> {
    if owner == 0 || owner == own {
        return Ok(());
    }
    Err(format!(
        "belongs to the user {owner}, who could choose the secret; let it belong to root or to the broker's own user, {own}: chown"
    ))
}

/// What stands in the path of a URL as it is.
fn is_secret(text: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    (SHORTEST..=LONGEST).contains(&text.len()) && text.iter().all(plain)
}

/// Written beside its place, and then put there whole, unless another process has been faster: its secret is as good. What puts it there
/// is a hard link, the one way to do so that replaces nothing.
fn make(path: &Path, put: impl Fn(&Path, &Path) -> io::Result<()>) -> anyhow::Result<()> {
    let mut bytes = Zeroizing::new([0; RANDOM_BYTES]);
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    random.fill(&mut *bytes).map_err(|_| anyhow!("the system gives no random bytes"))?;
    let text = Zeroizing::new(BASE64URL_NOPAD.encode(&*bytes));
    let workplace = path.with_file_name(format!(".secret-{:016x}", fastrand::u64(..)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&workplace)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let put = written.map(|()| put(&workplace, path));
    // What stays behind otherwise is a secret that nobody asks for.
    let _ = fs::remove_file(&workplace);
    match put? {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error).context(NO_LINK),
        _ => Ok(()),
    }
}

const NO_LINK: &str = "its file system takes no hard link, which is how the broker puts it there whole; write the file by hand (umask 077; openssl rand -hex 32), or name one on another file system";

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
        make(&path, |from, to| fs::hard_link(from, to)).unwrap();
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

    #[test]
    fn a_secret_that_others_could_have_put_there_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mode = |mode| fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
        let path = directory.path().join("secret");
        let refused = |problem: &str| {
            let error = Secret::read(&path).unwrap_err();
            assert!(error.contains(problem), "{error}");
        };
        for open in [0o777, 0o1777] {
            mode(open);
            refused("everybody can write to");
            let error = Secret::read_or_make(&path).unwrap_err();
            assert!(format!("{error:#}").contains("everybody can write to"), "nothing is made there: {error:#}");
            write(&path, &"a".repeat(SHORTEST), 0o600);
            refused("everybody can write to");
            fs::remove_file(&path).unwrap();
        }
        mode(0o700);
        write(&path, &"a".repeat(SHORTEST), 0o600);
        let secret = Secret::read(&path).unwrap().unwrap();
        secret.check_owner().unwrap();
        for (owner, own, trusted) in [(0, 0, true), (0, 7, true), (7, 7, true), (7, 0, false), (7, 8, false)] {
            assert_eq!(check_owner(owner, own).is_ok(), trusted, "{owner} {own}");
        }
        let stranger = Secret { owner: geteuid().as_raw() + 1, ..secret };
        assert!(stranger.check_owner().unwrap_err().to_string().contains("it belongs to the user"));
        // Only root can give a file away.
        if std::os::unix::fs::chown(&path, Some(12345), None).is_ok() {
            let error = Secret::read_or_make(&path).unwrap_err();
            assert!(format!("{error:#}").contains("the user 12345"), "{error:#}");
        }
    }

    #[test]
    fn a_secret_may_be_a_link_as_kubelet_makes_it_but_not_one_to_nothing() {
        use std::os::unix::fs::symlink;

        let directory = tempfile::tempdir().unwrap();
        let mode = |mode| fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
        let inner = directory.path().join("..2026");
        fs::create_dir(&inner).unwrap();
        write(&inner.join("secret"), &"a".repeat(SHORTEST), 0o440);
        symlink("..2026", directory.path().join("..data")).unwrap();
        let path = directory.path().join("secret");
        symlink("..data/secret", &path).unwrap();
        mode(0o1777);
        assert!(Secret::read(&path).unwrap().unwrap().is(&"a".repeat(SHORTEST)));
        mode(0o777);
        assert!(Secret::read(&path).unwrap_err().contains("everybody can write to"));
        mode(0o700);
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(Secret::read(&path).unwrap_err().contains("everybody can write to"), "where it is in truth");
        fs::remove_file(inner.join("secret")).unwrap();
        let error = Secret::read_or_make(&path).unwrap_err();
        assert!(format!("{error:#}").contains("a link to a file that is not there"), "{error:#}");
    }

    #[test]
    fn what_is_no_plain_file_is_refused_without_waiting_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status().unwrap().success());
        let inner = directory.path().join("directory");
        fs::create_dir(&inner).unwrap();
        for path in [pipe, inner] {
            assert_eq!(Secret::read(&path).err().as_deref(), Some("is not a file"));
        }
    }

    #[test]
    fn a_file_system_without_hard_links_is_named_as_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let error = make(&path, |_, _| Err(io::ErrorKind::PermissionDenied.into())).unwrap_err();
        assert!(format!("{error:#}").contains("takes no hard link"), "{error:#}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left");
    }
}
