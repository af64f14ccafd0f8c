//! JSON files shared with other programs: changed under a lock, replaced atomically, foreign content kept.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

/// Wait for the lock: 5 s, far longer than a change takes.
const LOCK_TRIES: u32 = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Mode of a file after a change; the owner always stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileMode {
    /// Unchanged.
    Keep,
    /// 0600, because the file holds secrets from now on.
    Private,
}

/// Reads a file; a missing file is an empty object.
///
/// # Errors
/// Returns an error if the file cannot be read or is not a JSON object.
pub fn read(file: &Path) -> Result<Map<String, Value>, String> {
    match fs::read_to_string(file) {
        Ok(text) if text.trim().is_empty() => Ok(Map::new()),
        Ok(text) => {
            let problem =
                |error| format!("{}: not a JSON object ({}); correct the file", file.display(), error_position(&error));
            serde_json::from_str(&text).map_err(problem)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Map::new()),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}

/// Returns where JSON is malformed. serde's own message may quote the text, which may be a secret.
#[must_use]
pub fn error_position(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

/// Changes a file under its lock and returns whether it changed. A reader sees the old content or the new, never a mixture.
///
/// # Errors
/// Returns an error if the file cannot be read or written, or the error of `change`.
pub fn update(
    file: &Path,
    mode: FileMode,
    change: impl FnOnce(&mut Map<String, Value>) -> Result<(), String>,
) -> Result<bool, String> {
    let problem = |error: std::io::Error| format!("{}: {error}", file.display());
    // Through a symbolic link, because a rename would replace the link.
    let file = &fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    require_regular_file(file)?;
    let directory = file.parent().filter(|directory| directory.is_absolute());
    let directory =
        directory.ok_or_else(|| format!("{}: the path is relative; give an absolute path", file.display()))?;
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(problem)?;
    let lock = File::options().create(true).append(true).mode(0o600).open(sibling(file, "lock")).map_err(problem)?;
    wait_for_lock(&lock, file)?;
    update_unlocked(file, mode, change)
}

/// Changes a file that has no other writer, as [`update`] does without the lock.
///
/// # Errors
/// Returns the errors of [`update`].
pub fn update_unlocked(
    file: &Path,
    mode: FileMode,
    change: impl FnOnce(&mut Map<String, Value>) -> Result<(), String>,
) -> Result<bool, String> {
    let problem = |error: std::io::Error| format!("{}: {error}", file.display());
    require_regular_file(file)?;
    // A fixed name: a killed program leaves at most one such file, and the next change removes it.
    let new = sibling(file, "new");
    let _ = fs::remove_file(&new);
    let mut config = read(file)?;
    let before = config.clone();
    change(&mut config)?;
    let is_private = fs::metadata(file).is_ok_and(|metadata| metadata.mode().trailing_zeros() >= 6);
    if config == before && (mode == FileMode::Keep || is_private || !file.exists()) {
        return Ok(false);
    }
    let text = serde_json::to_string_pretty(&config).map_err(|error| error.to_string())?;
    let written = write_new(&new, &text, (file, mode)).and_then(|()| fs::rename(&new, file));
    if let Err(error) = written {
        let _ = fs::remove_file(&new);
        return Err(problem(error));
    }
    // Some file systems cannot sync a directory; the file is complete without it.
    let _ = file.parent().map(|directory| File::open(directory).and_then(|directory| directory.sync_all()));
    Ok(true)
}

/// Rejects a directory, pipe, socket or device: a rename would replace it.
///
/// # Errors
/// Returns an error if the path exists and is not a regular file.
pub fn require_regular_file(file: &Path) -> Result<(), String> {
    match fs::metadata(file) {
        Ok(metadata) if !metadata.is_file() => {
            Err(format!("{} is not a regular file; name a regular file or a new path", file.display()))
        }
        _ => Ok(()),
    }
}

/// Waits for the lock with a limit, because its holder may hang.
fn wait_for_lock(lock: &File, file: &Path) -> Result<(), String> {
    for _ in 0..LOCK_TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(format!("{}: {error}", file.display())),
        }
    }
    Err(format!("{} stays locked by another program; stop it and retry", file.display()))
}

/// Writes the new file with the owner of the old one, and with its mode if `mode` keeps it.
fn write_new(new: &Path, text: &str, (old, mode): (&Path, FileMode)) -> std::io::Result<()> {
    let mut written = File::options().create_new(true).write(true).mode(0o600).open(new)?;
    if let Ok(old) = fs::metadata(old) {
        if mode == FileMode::Keep {
            written.set_permissions(old.permissions())?;
        }
        // Only root may change the owner, and only root writes files of other users.
        let _ = std::os::unix::fs::fchown(&written, Some(old.uid()), Some(old.gid()));
    }
    written.write_all(text.as_bytes()).and_then(|()| written.sync_all())
}

/// Returns the path of a file that accompanies another: `config.json.lock`.
#[must_use]
pub fn sibling(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}
