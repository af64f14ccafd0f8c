//! Authentication on Unix sockets, by the peer credentials that the kernel reports.

use std::io;

use tokio::net::UnixStream;

use super::peer::Peer;
use crate::caller::Caller;
use crate::limits::Origin;

const OVERFLOW_UID: &str =
    "your uid is unmapped (65534) in the broker's user namespace; run as a uid that is mapped there";

/// The process at the other end of a Unix socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UnixPeer {
    uid: u32,
    gid: u32,
}

impl UnixPeer {
    /// Reads the credentials of the process that connected.
    pub(crate) fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        Ok(Self { uid: credentials.uid(), gid: credentials.gid() })
    }

    pub(crate) fn origin(self) -> Origin {
        Origin::Uid(self.uid)
    }

    pub(crate) fn peer(self) -> Peer {
        Caller::process(self.uid, self.gid).map_or(Peer::Unknown(OVERFLOW_UID), Peer::Known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn unix_peer_is_the_process_that_connected() {
        let (here, _there) = UnixStream::pair().expect("a pair of sockets");
        let peer = UnixPeer::of(&here).expect("credentials");
        assert_eq!((peer.uid, peer.gid), (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()));
        assert_eq!(peer.origin(), Origin::Uid(peer.uid));
    }

    #[test]
    fn unix_peer_with_an_unmapped_uid_is_unknown() {
        let peer = UnixPeer { uid: 65534, gid: 1 }.peer();
        assert!(matches!(peer, Peer::Unknown(problem) if problem.contains("unmapped (65534)")), "{peer:?}");
        let peer = UnixPeer { uid: 1001, gid: 1 }.peer();
        assert!(matches!(peer, Peer::Known(Caller::Process { uid: 1001, gid: 1 })), "{peer:?}");
    }
}
