//! Logs: files that the broker appends to, and creates if they are missing.
//!
//! Another user who could replace the log would remove records, or make the broker write them to another file of its user.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{OFlags, fstat};
use rustix::io::Errno;

use super::entry::{check_file, check_new, is_regular};
use super::error::TrustedFileError;
use super::owners::Owners;
use super::route::Place;

/// Times that a log is looked for, because a rotation can move or create it meanwhile.
const ATTEMPTS: u32 = 3;

/// Opens a log for appending. Only root and the broker's user can write the file, and only they can replace it, as with [`super::open`].
/// A missing one is created with mode 0600, also in a directory that others can write if it has the sticky bit.
///
/// # Errors
/// Its directory is missing, it cannot be written, it is not a regular file, or another user could write or replace it.
pub fn open_log(path: &Path) -> Result<File, TrustedFileError> {
    let owners = Owners::of_broker().of_logs();
    let mut failed = Errno::NOENT;
    for _ in 0..ATTEMPTS {
        let Place { directory, name, found, .. } = find(path, &owners)?;
        let create = if found.is_some() { OFlags::empty() } else { OFlags::CREATE | OFlags::EXCL };
        match directory.open_log(&name, create) {
            Err(error @ (Errno::NOENT | Errno::EXIST)) => failed = error,
            opened => {
                let file = opened?;
                judge(path, &file, &owners)?;
                return Ok(file);
            }
        }
    }
    Err(failed.into())
}

/// Judges a log as [`open_log`] does, and neither opens nor creates it.
///
/// # Errors
/// As [`open_log`].
pub fn check_log(path: &Path) -> Result<(), TrustedFileError> {
    let owners = Owners::of_broker().of_logs();
    let Place { directory, name, found, .. } = find(path, &owners)?;
    if found.is_none() { Ok(()) } else { judge(path, directory.open_to_judge(&name)?, &owners) }
}

fn find(path: &Path, owners: &Owners) -> Result<Place, TrustedFileError> {
    let place = Place::find(path, owners)?;
    match &place.found {
        Some(found) if is_regular(found) => {}
        Some(_) => return Err(TrustedFileError::NotRegular),
        None => check_new(&place.directory, owners)?,
    }
    Ok(place)
}

fn judge(path: &Path, file: impl AsFd, owners: &Owners) -> Result<(), TrustedFileError> {
    if !is_regular(&fstat(&file)?) {
        return Err(TrustedFileError::NotRegular);
    }
    check_file(path, file, owners)
}

#[cfg(test)]
mod tests;
