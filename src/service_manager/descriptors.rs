//! The service manager as the keeper of descriptors, which outlive the process: `FDSTORE=1`.

use std::fs;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::ServiceManager;

impl ServiceManager {
    /// Returns whether root runs the manager. Every process of another user could read the descriptors that its manager keeps.
    #[must_use]
    pub fn is_of_root(&self) -> bool {
        let path = self.0.as_ref().and_then(|inner| inner.address.as_pathname());
        path.and_then(|path| fs::metadata(path).ok()).is_some_and(|socket| socket.uid() == 0)
    }

    /// Has the manager keep a descriptor by a name, until it stops the service. It passes it to the next process.
    ///
    /// # Errors
    /// The manager is absent or cannot be reached.
    pub fn keep(&self, name: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let inner = self.0.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&inner.address)?;
        let text = format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0");
        let (text, descriptors) = ([IoSlice::new(text.as_bytes())], [descriptor]);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        sendmsg(&socket, &text, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Has the manager close the descriptors of a name.
    pub fn forget(&self, name: &str) {
        self.tell(|_| Some(format!("FDSTOREREMOVE=1\nFDNAME={name}")));
    }
}
