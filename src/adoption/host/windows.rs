//! Identity of a Windows host: its name. The ID of the installation is in the registry, which only unsafe code reads.

use crate::environment;

pub(super) fn machine_id() -> String {
    String::new()
}

pub(super) fn host_name() -> String {
    environment::variable("COMPUTERNAME").unwrap_or_default().to_string_lossy().into_owned()
}
