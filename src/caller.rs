//! Who asks, and how that is known.

use std::fmt;
use std::str::FromStr;

use crate::echo::Echo;

/// The kernel's stand-in for a user that has no name in its own namespace: many users, and so nobody in particular.
const OVERFLOW_UID: u32 = 65534;

/// Who asks. There is one answer for each request, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A process on a Unix socket, by what the kernel says of it.
    Process {
        /// Its user.
        uid: u32,
        /// Its primary group.
        gid: u32,
    },
    /// Some process of this host, over loopback TCP. Which one is not known.
    Loopback,
}

impl Caller {
    /// The process at the other end of a Unix socket, unless it is nobody in particular.
    #[must_use]
    pub fn process(uid: u32, gid: u32) -> Option<Self> {
        (uid != OVERFLOW_UID).then_some(Self::Process { uid, gid })
    }

    /// How it is known, for people.
    #[must_use]
    pub fn proof(self) -> &'static str {
        match self {
            Self::Process { .. } => "the kernel named the process at the other end of the Unix socket",
            Self::Loopback => "the connection comes from this host, over loopback; nothing more is known",
        }
    }
}

/// Why a text names no caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is no caller: those are uid:1001,gid:1001, with the user's primary group, and loopback", Echo(text))]
pub struct CallerError {
    text: String,
}

/// For those who ask what a policy decides.
impl FromStr for Caller {
    type Err = CallerError;

    fn from_str(text: &str) -> Result<Self, CallerError> {
        parse(text).ok_or_else(|| CallerError { text: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<Caller> {
    if text == "loopback" {
        return Some(Caller::Loopback);
    }
    let (uid, gid) = text.split_once(',')?;
    Caller::process(uid.strip_prefix("uid:")?.parse().ok()?, gid.strip_prefix("gid:")?.parse().ok()?)
}

/// The name in answers, logs and on the command line: `uid:1001,gid:1001`, the group being the primary one, or `loopback`.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { uid, gid } => write!(f, "uid:{uid},gid:{gid}"),
            Self::Loopback => f.write_str("loopback"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overflow_user_is_nobody_and_root_is_a_user_like_another() {
        assert_eq!(Caller::process(65534, 65534), None);
        assert_eq!(Caller::process(0, 0).map(|caller| caller.to_string()).as_deref(), Some("uid:0,gid:0"));
        assert_eq!(Caller::Loopback.to_string(), "loopback");
    }

    #[test]
    fn callers_are_read_as_they_are_written() {
        let process = |uid, gid| Some(Caller::Process { uid, gid });
        for (text, expected) in [
            ("uid:1001,gid:5", process(1001, 5)),
            ("uid:1001", None),
            ("loopback", Some(Caller::Loopback)),
            ("uid:65534,gid:65534", None),
            ("1001", None),
            ("uid:-1", None),
            ("gid:5", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }
}
