//! JSON files shared with other programs: changed under a lock, replaced atomically, foreign content kept.
//!
//! A change keeps the order of keys, the indentation, the owner and the symbolic links to the file.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use serde_json::{Map, Value};

use self::layout::Layout;

mod layout;
mod links;
mod target;

pub use self::target::Target;

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
    match fs::read_to_string(file) {
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
    let file = target.path();
    let problem = |error: std::io::Error| write_problem(file, &error);
    require_regular_file(file)?;
    let directory = file.parent().filter(|directory| directory.is_absolute());
    let directory =
        directory.ok_or_else(|| format!("{}: the path is relative; give an absolute path", file.display()))?;
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(problem)?;
    let lock = open_lock(&sibling(file, "lock")).map_err(problem)?;
    wait_for_lock(&lock, file)?;
    replace(target, mode, change)
}

/// Creates or opens a file to lock; never through a link, which could create a file elsewhere.
///
/// # Errors
/// Returns an error if the file cannot be opened, or is a link.
pub fn open_lock(path: &Path) -> std::io::Result<File> {
    without_links().create(true).append(true).mode(0o600).open(path)
}

fn without_links() -> OpenOptions {
    let mut options = File::options();
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    options
}

/// Changes a file that has no other writer and is not a link, as [`update`] does without the lock.
///
/// # Errors
/// Returns the errors of [`update`].
pub fn update_unlocked(
    file: &Path,
    mode: FileMode,
    change: impl FnOnce(&mut Map<String, Value>) -> Result<(), String>,
) -> Result<bool, String> {
    replace(&Target { file: file.to_owned(), owner: None }, mode, change)
}

fn replace(
    target: &Target,
    mode: FileMode,
    change: impl FnOnce(&mut Map<String, Value>) -> Result<(), String>,
) -> Result<bool, String> {
    let file = target.path();
    require_regular_file(file)?;
    // A fixed name: a killed program leaves at most one such file, and the next change removes it.
    let new = sibling(file, "new");
    let _ = fs::remove_file(&new);
    let (old_text, old) = read_old(file)?;
    let before = parse(file, &old_text)?;
    let mut config = before.clone();
    change(&mut config)?;
    let is_private = old.as_ref().is_none_or(|old| old.mode().trailing_zeros() >= 6);
    if config == before && (mode == FileMode::Keep || is_private) {
        return Ok(false);
    }
    let text = Layout::of(&old_text).print(&config).map_err(|error| error.to_string())?;
    let owner = (old.as_ref(), target.owner);
    let written = write_new(&new, &text, mode, owner).and_then(|()| fs::rename(&new, file));
    if let Err(error) = written {
        let _ = fs::remove_file(&new);
        return Err(write_problem(file, &error));
    }
    // Some file systems cannot sync a directory; the file is complete without it.
    let _ = file.parent().map(|directory| File::open(directory).and_then(|directory| directory.sync_all()));
    Ok(true)
}

/// Returns the error of a write. A mount of the file alone, as `docker run -v FILE:FILE` or a `subPath` makes it, cannot be renamed
/// over, and writing into it would show readers half a file.
#[must_use]
pub fn write_problem(file: &Path, error: &std::io::Error) -> String {
    let file = file.display();
    match error.kind() {
        ErrorKind::ResourceBusy => {
            format!("{file}: the file is a mount point and cannot be replaced; mount its directory instead")
        }
        ErrorKind::ReadOnlyFilesystem => {
            format!("{file}: the file system is read-only; name a file in a writable directory")
        }
        _ => format!("{file}: {error}"),
    }
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

/// Reads the old file and its metadata from one open file, so that the owner that was checked is the one that is kept.
fn read_old(file: &Path) -> Result<(String, Option<Metadata>), String> {
    let problem = |error: std::io::Error| format!("{}: {error}", file.display());
    let mut old = match without_links().read(true).open(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((String::new(), None)),
        old => old.map_err(problem)?,
    };
    let metadata = old.metadata().map_err(problem)?;
    target::check_file(file, &metadata)?;
    let mut text = String::new();
    old.read_to_string(&mut text).map_err(problem)?;
    Ok((text, Some(metadata)))
}

/// Writes the new file with the owner of the old one, and with its mode if `mode` keeps it. Without an old one, the owner is the user
/// whose link leads here.
fn write_new(
    new: &Path,
    text: &str,
    mode: FileMode,
    (old, new_owner): (Option<&Metadata>, Option<u32>),
) -> std::io::Result<()> {
    let mut written = without_links().create_new(true).write(true).mode(0o600).open(new)?;
    if let (Some(old), FileMode::Keep) = (old, mode) {
        written.set_permissions(old.permissions())?;
    }
    let owner = old.map(Metadata::uid).or(new_owner);
    if let Some(owner) = owner {
        // Only root may change the owner, and only root writes files of other users.
        let _ = std::os::unix::fs::fchown(&written, Some(owner), old.map(Metadata::gid));
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
