//! Identity of a macOS host: its name. No file has the ID of the installation.

pub(super) fn machine_id() -> String {
    String::new()
}

pub(super) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
