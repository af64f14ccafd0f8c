//! A disk of the tests, with room for a number of bytes.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::sink::Sink;
use super::target::{Target, Write};
use super::{AuditLog, OnFailure};
use crate::clock::Clock;
use crate::sync::lock;

/// The disk. A clone is a handle of the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>, Arc<AtomicU64>);

#[derive(Debug, Default)]
struct State {
    text: Vec<u8>,
    free: u64,
}

impl Disk {
    pub(crate) fn with_room(free: u64) -> Self {
        Self(Arc::new(Mutex::new(State { free, ..State::default() })), Arc::default())
    }

    /// Returns an audit log on the disk.
    pub(crate) fn audit_log(&self, reserve: u64, clock: Arc<dyn Clock>) -> AuditLog {
        self.audit_log_with((reserve, OnFailure::Refuse), clock)
    }

    pub(super) fn audit_log_with(&self, limits: (u64, OnFailure), clock: Arc<dyn Clock>) -> AuditLog {
        AuditLog::start(self.sink(), limits, clock).unwrap()
    }

    pub(super) fn sink(&self) -> Sink {
        Sink::on(Box::new(self.clone()))
    }

    pub(crate) fn set_free(&self, free: u64) {
        lock(&self.0).free = free;
    }

    pub(crate) fn free(&self) -> u64 {
        lock(&self.0).free
    }

    /// Holds up every write until the result is dropped.
    pub(crate) fn hold(&self) -> MutexGuard<'_, impl Sized> {
        lock(&self.0)
    }

    /// Returns the number of writes, also of those that are held up.
    pub(super) fn writes(&self) -> u64 {
        self.1.load(Ordering::SeqCst)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(lock(&self.0).text.clone()).unwrap()
    }
}

impl Target for Disk {
    fn with_writer(&mut self, write: Write<'_>) -> io::Result<()> {
        write(self)
    }

    fn is_regular_file(&self) -> bool {
        true
    }

    fn free(&self) -> Option<u64> {
        Some(lock(&self.0).free)
    }
}

impl io::Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.fetch_add(1, Ordering::SeqCst);
        let mut state = lock(&self.0);
        let fits = bytes.len().min(usize::try_from(state.free).unwrap());
        state.free -= u64::try_from(fits).unwrap();
        state.text.extend_from_slice(&bytes[..fits]);
        if fits == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(fits) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
