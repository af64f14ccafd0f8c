//! JSON files shared with other programs: changed under a lock, replaced atomically, foreign content kept.
//!
//! A change keeps the order of keys, the indentation, the owner and the symbolic links to the file.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};

use self::layout::Layout;
use crate::bounded_file;

mod folder;
mod layout;
mod links;
mod ownership;
mod problem;
mod target;

pub use self::problem::write_problem;
pub use self::target::Target;

/// Longest file: 16 MiB, with room for a hundred thousand registries.
const MAX_BYTES: u64 = 16 << 20;
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

/// Reads a file; a missing file is an empty object, and so is `null`, as for docker and podman.
///
/// # Errors
/// Returns an error if the file cannot be read or is not a JSON object.
pub fn read(file: &Path) -> Result<Map<String, Value>, String> {
    parse(file, &read_text(file)?)
}

fn read_text(file: &Path) -> Result<String, String> {
    match bounded_file::read_text(file, MAX_BYTES) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        text => text.map_err(|error| format!("{}: {error}", file.display())),
    }
}

fn parse(file: &Path, text: &str) -> Result<Map<String, Value>, String> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    let problem =
        |error| format!("{}: not a JSON object ({}); correct the file", file.display(), error_position(&error));
    serde_json::from_str(text).map(Option::unwrap_or_default).map_err(problem)
}

/// Returns an object of a file's content to change. It is created if it is missing or `null`.
///
/// # Errors
/// Returns an error if the value is something else.
pub fn object_mut<'a>(
    config: &'a mut Map<String, Value>,
    key: &str,
    file: &Path,
) -> Result<&'a mut Map<String, Value>, String> {
    let value = config.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().ok_or_else(|| format!("{}: {key} is not a JSON object; correct the file", file.display()))
}

/// Returns where JSON is malformed. serde's own message may quote the text, which may be a secret.
#[must_use]
pub fn error_position(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

/// Reads a checked file as [`read`] does.
///
/// # Errors
/// Returns the errors of [`read`], and an error if the file became a link or another user's.
pub fn read_target(target: &Target) -> Result<Map<String, Value>, String> {
    parse(target.path(), &read_old(target)?.0)
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
    // Through symbolic links, because a rename would replace the link. The lock is beside the target: every link to it shares the lock.
    update_target(&Target::of(file)?, mode, change)
}

/// Changes a checked file as [`update`] does.
///
/// # Errors
/// Returns the errors of [`update`].
pub fn update_target(
    target: &Target,
    mode: FileMode,
    change: impl FnOnce(&mut Map<String, Value>) -> Result<(), String>,
) -> Result<bool, String> {
    let target = &target.opened()?;
    target.require_regular()?;
    let lock = target.companion("lock").open_lock()?;
    wait_for_lock(&lock, target.path())?;
    replace(target, mode, change)
}

/// Changes a checked file that has no other writer, as [`update`] does without the lock.
///
/// # Errors
/// Returns the errors of [`update`].
pub fn update_unlocked(
    target: &Target,
    mode: FileMode,
    change: impl FnOnce(&mut Map<String, Value>) -> Result<(), String>,
) -> Result<bool, String> {
    replace(target, mode, change)
}

fn replace(
    target: &Target,
    mode: FileMode,
    change: impl FnOnce(&mut Map<String, Value>) -> Result<(), String>,
) -> Result<bool, String> {
    let file = target.path();
    let problem = |error: std::io::Error| write_problem(file, &error);
    target.require_regular()?;
    let (folder, name) = target.place()?;
    // A fixed name: a killed program leaves at most one such file, and the next change removes it.
    let new = with_suffix(name, ".new");
    let _ = folder.remove(&new);
    let (old_text, old) = read_old(target)?;
    let before = parse(file, &old_text)?;
    let mut config = before.clone();
    change(&mut config)?;
    let is_private = old.as_ref().is_none_or(ownership::is_private);
    if config == before && (mode == FileMode::Keep || is_private) {
        return Ok(false);
    }
    let text = Layout::of(&old_text).print(&config).map_err(|error| error.to_string())?;
    let created = folder.create_file(&new);
    let written = created.and_then(|new| write_new(new, &text, mode, old.as_ref()));
    if let Err(error) = written.and_then(|()| folder.rename(&new, name)) {
        let _ = folder.remove(&new);
        return Err(problem(error));
    }
    folder.sync();
    Ok(true)
}

fn with_suffix(name: &OsStr, suffix: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(suffix);
    name
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

/// Reads the old file and its metadata from one open file.
fn read_old(target: &Target) -> Result<(String, Option<Metadata>), String> {
    let Some((file, metadata)) = target.open()? else { return Ok((String::new(), None)) };
    let text = bounded_file::read_text_of(file, MAX_BYTES);
    text.map(|text| (text, Some(metadata))).map_err(|error| format!("{}: {error}", target.path().display()))
}

/// Writes the new file with the owner of the old one, and with its mode if `mode` keeps it.
fn write_new(mut new: File, text: &str, mode: FileMode, old: Option<&Metadata>) -> std::io::Result<()> {
    if let (Some(old), FileMode::Keep) = (old, mode) {
        new.set_permissions(old.permissions())?;
    }
    if let Some(old) = old {
        ownership::keep(&new, old);
    }
    new.write_all(text.as_bytes()).and_then(|()| new.sync_all())
}

#[cfg(test)]
mod tests;
