//! Descriptors that the service manager passes at the start, `sd_listen_fds(3)`: activated sockets, and the files of the descriptor
//! store. The manager tells them apart by names.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context as _, bail};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::environment;

/// The first descriptor that is passed.
const FIRST: u32 = 3;
/// The open descriptors of this process, by their numbers.
const OPEN: &str = "/proc/self/fd";

/// The descriptors that no part of the program has taken yet.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Descriptor>);

/// A descriptor.
#[derive(Debug)]
pub struct Descriptor {
    /// Its place among the descriptors, from one on.
    pub place: usize,
    /// Its name, if the manager gave one.
    name: Option<String>,
    /// The descriptor.
    pub descriptor: OwnedFd,
}

impl Inherited {
    /// Takes the descriptors that the environment (`LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`) declares to be this process's own.
    /// Child processes do not inherit them. Call it once: each call would own the same descriptors.
    ///
    /// # Errors
    /// Fails if the environment is malformed, or if a descriptor is not open.
    pub fn take() -> anyhow::Result<Self> {
        check_open()?;
        let passed = sd_listen_fds::get().context("cannot read LISTEN_FDS")?;
        let descriptors = passed.into_iter().zip(1..).map(|((name, descriptor), place)| {
            let descriptor = descriptor.into_std();
            let closed = || format!("descriptor {place} of LISTEN_FDS is not open");
            fcntl_setfd(&descriptor, FdFlags::CLOEXEC).with_context(closed)?;
            Ok(Descriptor { place, name, descriptor })
        });
        descriptors.collect::<anyhow::Result<_>>().map(Self)
    }

    /// Takes the descriptor of a name; of several the last, and the others are closed.
    pub fn take_named(&mut self, name: &str) -> Option<OwnedFd> {
        let is_named = |one: &mut Descriptor| one.name.as_deref() == Some(name);
        self.0.extract_if(.., is_named).last().map(|one| one.descriptor)
    }

    /// Returns those that are left.
    #[must_use]
    pub fn rest(self) -> Vec<Descriptor> {
        self.0
    }
}

/// Checks that the declared descriptors are open, before anything owns them: Rust ends a program that closes one which is not. The first
/// that is missing ends the search, so a huge number takes no memory.
fn check_open() -> anyhow::Result<()> {
    let number = |name| environment::variable(name).and_then(|text| text.to_str()?.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) || !Path::new(OPEN).exists() {
        return Ok(());
    }
    let is_missing = |place: &u32| fs::symlink_metadata(format!("{OPEN}/{}", place.saturating_add(FIRST - 1))).is_err();
    if let Some(place) = (1..=number("LISTEN_FDS").unwrap_or(0)).find(is_missing) {
        bail!("descriptor {place} of LISTEN_FDS is not open; unset LISTEN_FDS, or pass as many as it says");
    }
    Ok(())
}
