//! A service manager that keeps descriptors and passes them to the next process, as systemd does.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "each test file uses a part"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;

use ecr_broker::descriptor_store::{COPY_NAME, Inherited, KEY_NAME};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tempfile::TempDir;

use crate::program::in_shell;

pub struct Keeper {
    socket: UnixDatagram,
    directory: TempDir,
    kept: BTreeMap<String, OwnedFd>,
    /// The messages about the store, without their descriptors.
    pub messages: Vec<String>,
}

impl Keeper {
    /// Returns `None` if this process is not root's: the broker uses only root's service manager.
    pub fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        let is_root = rustix::process::geteuid().is_root();
        is_root.then(|| Self { socket, directory, kept: BTreeMap::new(), messages: Vec::new() })
    }

    /// The value of `NOTIFY_SOCKET`.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("notify")
    }

    /// Handles the messages that were sent, and returns the names of the kept descriptors.
    pub fn handle(&mut self) -> Vec<&str> {
        while let Some((text, descriptor)) = self.receive() {
            let fields: BTreeMap<_, _> = text.lines().filter_map(|line| line.split_once('=')).collect();
            let name = || fields["FDNAME"].to_owned();
            if fields.contains_key("FDSTORE") {
                assert_eq!(fields.get("FDPOLL"), Some(&"0"));
                let before = self.kept.insert(name(), descriptor.unwrap());
                assert!(before.is_none() && self.kept.len() <= 2, "FileDescriptorStoreMax=2: {text}");
            } else if fields.contains_key("FDSTOREREMOVE") {
                self.kept.remove(&name());
            } else {
                continue;
            }
            self.messages.push(text);
        }
        self.kept.keys().map(String::as_str).collect()
    }

    fn receive(&self) -> Option<(String, Option<OwnedFd>)> {
        let (mut text, mut space) = ([0; 4096], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))]);
        let mut messages = RecvAncillaryBuffer::new(&mut space);
        let (mut parts, flags) = ([IoSliceMut::new(&mut text)], RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC);
        let length = match recvmsg(&self.socket, &mut parts, &mut messages, flags) {
            Err(Errno::AGAIN) => return None,
            received => received.unwrap().bytes,
        };
        let descriptors = messages.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let mut descriptors: Vec<_> = descriptors.flatten().collect();
        assert!(descriptors.len() <= 1);
        Some((String::from_utf8(text[..length].to_vec()).unwrap(), descriptors.pop()))
    }

    /// Returns `command` as a service that gets the kept descriptors: 3 and 4, and the process's own ID in `LISTEN_PID`.
    pub fn service(&self, command: &Command) -> Command {
        let mut script = "export LISTEN_PID=$$; exec \"$@\"".to_owned();
        for (place, kept) in (3..).zip(self.kept.values()) {
            write!(script, " {place}<>/proc/{}/fd/{}", std::process::id(), kept.as_raw_fd()).unwrap();
        }
        let names = self.kept.keys().map(String::as_str).collect::<Vec<_>>().join(":");
        let mut service = in_shell(command, &script);
        service.env("NOTIFY_SOCKET", self.socket()).env("LISTEN_FDS", self.kept.len().to_string());
        service.env("LISTEN_FDNAMES", names);
        service
    }

    /// Returns the kept descriptors, for a store in this process.
    pub fn inherited(&self) -> Inherited {
        let file = |name| self.kept.get(name).map(|kept| File::from(kept.try_clone().unwrap()));
        Inherited { copy: file(COPY_NAME), key: file(KEY_NAME) }
    }

    /// Returns everything that was written to a kept file. It has holes.
    pub fn contents(&self, name: &str) -> Vec<u8> {
        let Some(kept) = self.kept.get(name) else { return Vec::new() };
        let file = File::from(kept.try_clone().unwrap());
        let (mut contents, mut at) = (Vec::new(), 0);
        while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
            at = seek(&file, SeekFrom::Hole(start)).unwrap();
            let mut extent = vec![0; usize::try_from(at - start).unwrap()];
            file.read_exact_at(&mut extent, start).unwrap();
            contents.extend(extent);
        }
        contents
    }
}
