//! Files of JSON that others read and write too: changed whole or not at all, one after the other, and with all that is not ours left in them.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use super::place;

/// Nobody changes a file for so long.
const LOCK_TRIES: u32 = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// What a changed file is to keep of the old one, beside its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Who may read and write it.
    Mode,
    /// Nothing, for it holds secrets from now on: 0600.
    Private,
}

/// One that is not there has nothing in it.
///
/// # Errors
/// Where it cannot be read, or is no JSON object.
pub fn read(file: &Path) -> Result<Map<String, Value>, String> {
    match fs::read_to_string(file) {
        Ok(text) if text.trim().is_empty() => Ok(Map::new()),
        Ok(text) => {
            let problem = |error| format!("{}: it is no JSON object ({})", file.display(), place(&error));
            serde_json::from_str(&text).map_err(problem)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Map::new()),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}

/// Changes a file; whoever reads it finds what it was, or what it is. Whether there was anything to change.
///
/// # Errors
/// Where it cannot be read or written, or `change` says so.
pub fn update(
    file: &Path,
    keep: Keep,
    change: impl FnOnce(&mut Map<String, Value>) -> Result<(), String>,
) -> Result<bool, String> {
    let problem = |error: std::io::Error| format!("{}: {error}", file.display());
    // Through a link, what it leads to is changed.
    let file = &fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    check_kind(file)?;
    let directory = file.parent().filter(|directory| directory.is_absolute());
    let directory = directory.ok_or_else(|| format!("{}: give it as an absolute path", file.display()))?;
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(problem)?;
    let lock = File::options().create(true).append(true).mode(0o600).open(beside(file, "lock")).map_err(problem)?;
    take(&lock, file)?;
    update_alone(file, keep, change)
}

/// The same of a file that nobody else changes.
///
/// # Errors
/// As there.
pub fn update_alone(
    file: &Path,
    keep: Keep,
    change: impl FnOnce(&mut Map<String, Value>) -> Result<(), String>,
) -> Result<bool, String> {
    let problem = |error: std::io::Error| format!("{}: {error}", file.display());
    check_kind(file)?;
    // Always by the same name, so that nobody who is killed leaves more than one behind, and not for long.
    let new = beside(file, "new");
    let _ = fs::remove_file(&new);
    let mut config = read(file)?;
    let before = config.clone();
    change(&mut config)?;
    let is_private = fs::metadata(file).is_ok_and(|metadata| metadata.mode().trailing_zeros() >= 6);
    if config == before && (keep == Keep::Mode || is_private || !file.exists()) {
        return Ok(false);
    }
    let text = serde_json::to_string_pretty(&config).map_err(|error| error.to_string())?;
    let written = write_new(&new, &text, (file, keep)).and_then(|()| fs::rename(&new, file));
    if let Err(error) = written {
        let _ = fs::remove_file(&new);
        return Err(problem(error));
    }
    // Not every file system has a way to; it is there without.
    let _ = file.parent().map(|directory| File::open(directory).and_then(|directory| directory.sync_all()));
    Ok(true)
}

/// Nothing else is a file to be written anew: not a directory, a pipe, a socket or a device.
///
/// # Errors
/// Where it is such a thing.
pub fn check_kind(file: &Path) -> Result<(), String> {
    match fs::metadata(file) {
        Ok(metadata) if !metadata.is_file() => {
            Err(format!("{} is no regular file; name one, or none yet", file.display()))
        }
        _ => Ok(()),
    }
}

/// Waits for those who have the file now, but not for ever.
fn take(lock: &File, file: &Path) -> Result<(), String> {
    for _ in 0..LOCK_TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(format!("{}: {error}", file.display())),
        }
    }
    Err(format!("{} is being changed by another program, which does not end", file.display()))
}

/// With the owner of the file whose place it takes.
fn write_new(new: &Path, text: &str, (old, keep): (&Path, Keep)) -> std::io::Result<()> {
    let mut written = File::options().create_new(true).write(true).mode(0o600).open(new)?;
    if let Ok(old) = fs::metadata(old) {
        if keep == Keep::Mode {
            written.set_permissions(old.permissions())?;
        }
        // Only root can, and only root has to.
        let _ = std::os::unix::fs::fchown(&written, Some(old.uid()), Some(old.gid()));
    }
    written.write_all(text.as_bytes()).and_then(|()| written.sync_all())
}

/// The name of a file that goes with another.
#[must_use]
pub fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}
