//! Faults: why an operation of the shared cache failed.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::target::Address;
use crate::metrics::{Label as _, labels};

labels! {
    /// Class of a fault, for operators. Never the server's own words.
    pub enum FaultClass: "fault" {
        /// No answer within the time limit.
        Timeout = "timeout",
        /// No connection, or the server closed it.
        Unreachable = "unreachable",
        /// TLS was not agreed on.
        Tls = "tls",
        /// The server refused the credentials or the command.
        Denied = "denied",
        /// A file of the broker's own could not be read: of the password, or of TLS.
        Files = "files",
        /// The server is a replica, or does not accept writes.
        ReadOnly = "read_only",
        /// The server's memory is full.
        Full = "full",
        /// Another node of a cluster has the entry.
        Moved = "moved",
        /// The server is starting, busy, or part of a cluster that is down.
        Busy = "busy",
        /// No Sentinel named a primary.
        NoPrimary = "no_primary",
        /// The answer was not one to the question.
        Invalid = "invalid_answer",
    }
}

impl FaultClass {
    /// Returns the word for logs, metrics and the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::VALUES[self.index()]
    }

    /// Returns whether the connection is of no further use: it is broken, or leads to the wrong server.
    pub(super) fn ends_connection(self) -> bool {
        !matches!(self, Self::Full | Self::Busy)
    }
}

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    Of(FaultClass),
    /// A cluster's node that does not have the entry names the one that has it.
    Moved(Address),
    /// As `Moved`, but only for this operation: the slot is being moved.
    Ask(Address),
    /// The server does not know the script.
    NoScript,
    /// The node failed before, and is not asked for a moment.
    Open,
}

impl Fault {
    pub(super) fn class(&self) -> FaultClass {
        match self {
            Self::Of(class) => *class,
            Self::Moved(_) | Self::Ask(_) => FaultClass::Moved,
            Self::NoScript => FaultClass::Invalid,
            Self::Open => FaultClass::Unreachable,
        }
    }
}

impl From<FaultClass> for Fault {
    fn from(class: FaultClass) -> Self {
        Self::Of(class)
    }
}

impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Self {
        let redirect = || error.redirect_node().map(|(node, _)| Address::parse_node(node));
        let class = match error.kind() {
            ErrorKind::Server(ServerErrorKind::NoScript) => return Self::NoScript,
            ErrorKind::Server(ServerErrorKind::Moved) => {
                return redirect().flatten().map_or(Self::Of(FaultClass::Moved), Self::Moved);
            }
            ErrorKind::Server(ServerErrorKind::Ask) => {
                return redirect().flatten().map_or(Self::Of(FaultClass::Moved), Self::Ask);
            }
            ErrorKind::Server(ServerErrorKind::ReadOnly) => FaultClass::ReadOnly,
            ErrorKind::Server(ServerErrorKind::NoPerm) => FaultClass::Denied,
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::TryAgain,
            ) => FaultClass::Busy,
            ErrorKind::Io => FaultClass::Unreachable,
            _ => match error.code() {
                Some("OOM") => FaultClass::Full,
                Some("NOAUTH" | "WRONGPASS") => FaultClass::Denied,
                Some("MISCONF" | "NOREPLICAS") => FaultClass::ReadOnly,
                Some("BUSY") => FaultClass::Busy,
                _ => FaultClass::Invalid,
            },
        };
        Self::Of(class)
    }
}

#[cfg(test)]
mod tests {
    use redis::{RedisResult, Value, parse_redis_value};

    use super::*;

    fn fault_of(line: &str) -> Fault {
        let value = parse_redis_value(format!("-{line}\r\n").as_bytes()).expect("an error");
        let answer: RedisResult<Value> = value.extract_error();
        Fault::from(answer.expect_err("an error"))
    }

    #[test]
    fn error_of_the_server_has_a_class() {
        for (line, class) in [
            ("OOM command not allowed when used memory > 'maxmemory'.", FaultClass::Full),
            ("READONLY You can't write against a read only replica.", FaultClass::ReadOnly),
            ("MISCONF Redis is configured to save RDB snapshots", FaultClass::ReadOnly),
            ("NOAUTH Authentication required.", FaultClass::Denied),
            ("WRONGPASS invalid username-password pair or user is disabled.", FaultClass::Denied),
            ("NOPERM this user has no permissions to run the 'set' command", FaultClass::Denied),
            ("LOADING Redis is loading the dataset in memory", FaultClass::Busy),
            ("BUSY Redis is busy running a script.", FaultClass::Busy),
            ("CLUSTERDOWN The cluster is down", FaultClass::Busy),
            ("MOVED", FaultClass::Moved),
            ("MOVED 1 nonsense", FaultClass::Moved),
            ("ERR unknown command", FaultClass::Invalid),
            ("", FaultClass::Invalid),
        ] {
            assert_eq!(fault_of(line), Fault::Of(class), "{line}");
        }
        let node = Address::Tcp { host: "10.0.0.2".into(), port: 6381 };
        assert_eq!(fault_of("MOVED 3999 10.0.0.2:6381"), Fault::Moved(node.clone()));
        assert_eq!(fault_of("ASK 3999 10.0.0.2:6381"), Fault::Ask(node));
        assert_eq!(fault_of("NOSCRIPT No matching script."), Fault::NoScript);
    }
}
