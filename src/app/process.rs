//! Protection of the process: its memory, its descriptors, its log and its exit.

use std::panic::PanicHookInfo;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tikv_jemalloc_ctl::{Access as _, AsName as _, arenas, background_thread};
use tracing::{error, warn};

use crate::memory_guard;
use crate::signal::Signals;

/// Descriptors beside those of connections: listeners, AWS, logs, files.
const OTHER_DESCRIPTORS: u64 = 256;
/// Milliseconds after which freed memory is returned. A burst reuses it meanwhile.
const RETURN_MEMORY: isize = 500;
/// Exit code after a second signal: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// Prepares the process to hold secrets and `connections`. A protection that fails is logged, and the process goes on.
pub(super) fn prepare(connections: usize) {
    log_panics_without_their_message();
    guard_memory();
    if let Err(error) = return_memory() {
        warn!(%error, "allocator not set up: freed memory is not returned");
    }
    raise_descriptor_limit(connections);
}

/// Completes at the first signal. The second one ends the process at once.
#[expect(clippy::exit, reason = "the second signal ends the process at once")]
pub(super) async fn shutdown(mut signals: Signals) {
    signals.received().await;
    tokio::spawn(async move {
        signals.received().await;
        std::process::exit(INTERRUPTED);
    });
}

/// Disables core files, and tells whether the memory is hidden: `main` has hidden it, before there was a log.
fn guard_memory() {
    if let Err(error) = memory_guard::hide() {
        warn!(%error, "memory not protected: other processes of this user can read it");
    }
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        warn!(%error, "core files not disabled: a core file would hold every credential");
    }
}

/// Has a thread of the allocator return freed memory. Otherwise an idle process keeps it.
fn return_memory() -> tikv_jemalloc_ctl::Result<()> {
    b"arenas.dirty_decay_ms\0".name().write(RETURN_MEMORY)?;
    for arena in 0..arenas::narenas::read()? {
        // Only those that exist can be set. The others begin with the value above.
        _ = format!("arena.{arena}.dirty_decay_ms\0").as_bytes().name().write(RETURN_MEMORY);
    }
    background_thread::write(true)
}

/// Raises the soft limit of descriptors to the hard limit.
fn raise_descriptor_limit(connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        warn!(%error, "descriptor limit not raised");
    }
    let needed = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHER_DESCRIPTORS);
    if let Some(limit) = getrlimit(Resource::Nofile).current.filter(|limit| *limit < needed) {
        warn!(limit, needed, "descriptor limit (ulimit -n) is lower than server.max_connections needs");
    }
}

/// Logs only the place of a panic. The message could contain anything, even a password.
fn log_panics_without_their_message() {
    std::panic::set_hook(Box::new(|panic| error!(place = place(panic), "task panicked; please report it")));
}

fn place(panic: &PanicHookInfo<'_>) -> String {
    panic.location().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn p10_panic_is_logged_by_its_place_without_its_message() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let before = std::panic::take_hook();
        tracing::subscriber::with_default(subscriber, || {
            log_panics_without_their_message();
            let password = "very-secret";
            assert!(std::panic::catch_unwind(|| panic!("it was {password}")).is_err());
        });
        std::panic::set_hook(before);
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("src/app/process.rs:") && !text.contains("very-secret"), "{text}");
    }
}
