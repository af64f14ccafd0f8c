//! Windows has access lists in place of owners. Files in a user's profile inherit theirs; none is checked or changed.

use std::fs::{File, Metadata};
use std::path::Path;

use crate::json_file::folder::{Entry, Folder};
use crate::json_file::links::Link;

pub(in crate::json_file) fn is_private(_metadata: &Metadata) -> bool {
    true
}

pub(in crate::json_file) fn keep(_new: &File, _old: &Metadata) {}

pub(in crate::json_file) fn check_entry(_file: &Path, _folder: Option<&Folder>, _entry: &Entry) -> Result<(), String> {
    Ok(())
}

pub(in crate::json_file) fn check_file(
    _file: &Path,
    _folder: Option<&Folder>,
    _found: &Metadata,
) -> Result<(), String> {
    Ok(())
}

pub(in crate::json_file) fn check_link(
    _target: &Path,
    _folder: Option<&Folder>,
    _link: &Link,
    _entry: Option<&Entry>,
) -> Result<(), String> {
    Ok(())
}
