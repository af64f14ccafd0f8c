//! Creation of a secret's file.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

/// Random bytes of a new secret.
const RANDOM_BYTES: usize = 32;
const NO_LINK: &str =
    "its file system refuses hard links; create the file by hand (umask 077; openssl rand -hex 32), or use another one";

/// Creates a file with a random secret. A file that another process creates at the same time is kept: its secret is as good.
///
/// The text is written to a temporary file and moved by `link`: a hard link is the one way to do so that replaces nothing.
pub(super) fn create(path: &Path, link: impl Fn(&Path, &Path) -> io::Result<()>) -> anyhow::Result<()> {
    let text = random_text()?;
    let temporary = path.with_file_name(format!(".secret-{:016x}", fastrand::u64(..)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let linked = written.map(|()| link(&temporary, path));
    // A temporary file left behind would hold a secret that the broker does not use.
    let _ = fs::remove_file(&temporary);
    match linked? {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error).context(NO_LINK),
        _ => Ok(()),
    }
}

fn random_text() -> anyhow::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; RANDOM_BYTES]);
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    random.fill(&mut *bytes).map_err(|_| anyhow!("the system has no random bytes"))?;
    Ok(Zeroizing::new(BASE64URL_NOPAD.encode(&*bytes)))
}
