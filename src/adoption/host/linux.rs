//! Identity of a Linux host.

use std::path::Path;

use crate::bounded_file;

/// Identity of an installation, `machine-id(5)`.
const MACHINE_ID: &str = "/etc/machine-id";
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
const MAX_BYTES: u64 = 1 << 10;

pub(super) fn machine_id() -> String {
    read(MACHINE_ID)
}

/// Returns the name, by which hosts differ that were cloned from one image with its machine ID.
pub(super) fn host_name() -> String {
    read(HOST_NAME)
}

fn read(file: &str) -> String {
    bounded_file::read_text(Path::new(file), MAX_BYTES).unwrap_or_default().trim().to_owned()
}
