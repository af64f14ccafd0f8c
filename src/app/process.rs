//! What the process does for itself before it holds a secret.

use std::panic::PanicHookInfo;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use tracing::{error, warn};

/// Descriptors beside those of connections: listeners, AWS, logs, files.
const OTHER_DESCRIPTORS: u64 = 256;

/// Keeps the memory from other processes, its own user's too, and out of core files. What cannot be done is said and changes nothing.
pub(crate) fn guard_memory() {
    if let Err(problem) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        warn!(%problem, "other processes of this user can read the broker's memory");
    }
    if let Err(problem) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        warn!(%problem, "a core file would hold every credential");
    }
}

/// As many descriptors as the system lets the process have, which is said where they are too few for so many connections.
pub(crate) fn raise_descriptor_limit(connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(problem) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        warn!(%problem, "the limit of descriptors could not be raised");
    }
    let needed = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHER_DESCRIPTORS);
    if let Some(limit) = getrlimit(Resource::Nofile).current.filter(|limit| *limit < needed) {
        warn!(
            limit,
            needed, "the system lets the broker have fewer descriptors than server.max_connections needs (ulimit -n)"
        );
    }
}

/// A panic is logged by its place. Its message is not: it could hold anything, a password too.
pub(crate) fn log_panics_without_their_message() {
    std::panic::set_hook(Box::new(|panic| error!(place = place(panic), "a mistake in the program: please report it")));
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
    fn p10_a_panic_is_logged_by_its_place_and_not_by_what_it_says() {
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
        assert!(text.contains("src/cli/process.rs:") && !text.contains("very-secret"), "{text}");
    }
}
