//! Connections to Unix sockets, where the system has them.

#[cfg_attr(unix, path = "unix_socket/unix.rs")]
#[cfg_attr(windows, path = "unix_socket/windows.rs")]
mod system;

pub(super) use self::system::{connect, connect_to_broker};
