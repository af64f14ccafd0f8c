//! Notifications to the service manager, `sd_notify(3)`: readiness, a status line, reloads, the stop and the watchdog.
//!
//! Without a manager that asked for them, every call does nothing. A notification that cannot be sent is logged: the manager may be
//! starting again, and the broker serves without it.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, bail};
use sd_notify::NotifyState;
use tracing::warn;

use crate::environment;
use crate::sync::lock;

mod descriptors;

/// The variable by which the manager names its socket.
const SOCKET: &str = "NOTIFY_SOCKET";
/// Characters of a status. A message has at most 4096 bytes.
const MAX_STATUS: usize = 800;

/// The service manager of this process, if there is one. A clone is a handle of the same.
#[derive(Debug, Clone, Default)]
pub struct ServiceManager(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
    /// Locked while a message about it is sent, so that the manager receives them in their order.
    told: Mutex<Told>,
}

/// What the manager knows.
#[derive(Debug, Clone, Default)]
struct Told {
    phase: Phase,
    status: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Starting,
    Ready,
    Stopping,
}

/// A reload in progress. Dropping it tells the manager that the reload is over, even after a panic.
#[derive(Debug)]
#[must_use]
pub struct Reloading(ServiceManager);

impl ServiceManager {
    /// Takes the manager's socket and the watchdog's time out of the environment. It changes the environment, so call it once, before
    /// the process has a second thread. Processes that the broker starts do not inherit the variables.
    ///
    /// # Errors
    /// Fails if the socket's address is not one.
    pub fn take() -> anyhow::Result<Self> {
        let Some(socket) = environment::variable(SOCKET) else { return Ok(Self::default()) };
        let mut usec = 0;
        let watchdog = sd_notify::watchdog_enabled(true, &mut usec).then(|| Duration::from_micros(usec));
        // This alone removes the variable. A manager that cannot be reached now learns it later.
        _ = sd_notify::notify(true, &[NotifyState::Status("starting")]);
        Self::at(&socket, watchdog.filter(|time| !time.is_zero()))
    }

    /// Returns the manager that listens on `socket`, in the form of `NOTIFY_SOCKET`: a path, or `@` and an abstract name. It expects a
    /// sign of life at least every `watchdog`.
    ///
    /// # Errors
    /// Fails if the address is not one.
    pub fn at(socket: &OsStr, watchdog: Option<Duration>) -> anyhow::Result<Self> {
        let address = match socket.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            [b'/', ..] => SocketAddr::from_pathname(socket),
            _ => bail!("{SOCKET} is neither an absolute path nor @NAME; correct or unset it"),
        };
        let address = address.context(SOCKET)?;
        let socket = UnixDatagram::unbound().context(SOCKET)?;
        // A manager that does not read must not hold up the broker.
        socket.set_nonblocking(true)?;
        Ok(Self(Some(Arc::new(Inner { socket, address, watchdog, told: Mutex::default() }))))
    }

    /// Returns whether there is a manager that asked for notifications.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the time within which the manager expects each sign of life.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.0.as_ref()?.watchdog
    }

    /// Tells that the broker is ready, unless the manager knows. Call it again: the message is lost while the manager is too busy to read,
    /// and a manager that never receives it ends the broker.
    pub fn ready(&self, status: &str) {
        self.tell(|told| {
            (told.phase == Phase::Starting).then_some(())?;
            told.phase = Phase::Ready;
            status_of(status, told);
            Some(format!("{}\n{}", NotifyState::Ready, NotifyState::Status(&told.status)))
        });
    }

    /// Sets the status line that `systemctl status` shows, unless it has this text already.
    pub fn status(&self, status: &str) {
        self.tell(|told| status_of(status, told).then(|| NotifyState::Status(&told.status).to_string()));
    }

    /// Tells that a reload begins, and by dropping the result that it is over. Says nothing before the broker is ready.
    pub fn reloading(&self) -> Reloading {
        self.tell(|told| {
            (told.phase == Phase::Ready).then_some(())?;
            let time = NotifyState::monotonic_usec_now().ok()?;
            Some(format!("{}\n{time}", NotifyState::Reloading))
        });
        Reloading(self.clone())
    }

    /// Tells that the broker stops, `within` this time from now. The manager waits that long, if it would wait less.
    pub fn stopping(&self, within: Duration, status: &str) {
        let usec = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
        self.tell(|told| {
            told.phase = Phase::Stopping;
            status_of(status, told);
            let [stopping, extend] = [NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(usec)];
            Some(format!("{stopping}\n{extend}\n{}", NotifyState::Status(&told.status)))
        });
    }

    /// Gives a sign of life to the watchdog.
    pub fn alive(&self) {
        self.tell(|_| Some(NotifyState::Watchdog.to_string()));
    }

    /// Sends the message that `message` returns. Of one that cannot be sent the manager knows nothing; only a stop is never taken back.
    fn tell(&self, message: impl FnOnce(&mut Told) -> Option<String>) {
        let Some(inner) = &self.0 else { return };
        let mut told = lock(&inner.told);
        let mut next = told.clone();
        let Some(message) = message(&mut next) else { return };
        if let Err(error) = inner.send(&message) {
            let message = message.lines().next();
            warn!(%error, message, "service manager not notified");
            next = Told { phase: if next.phase == Phase::Stopping { next.phase } else { told.phase }, ..told.clone() };
        }
        *told = next;
    }
}

impl Inner {
    /// Sends by address, not over a connection: a manager that starts again has a new socket.
    fn send(&self, message: &str) -> io::Result<()> {
        self.socket.send_to_addr(message.as_bytes(), &self.address).map(drop)
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        self.0.tell(|told| (told.phase == Phase::Ready).then(|| NotifyState::Ready.to_string()));
    }
}

/// Sets the status, in one line; returns whether it is another one.
fn status_of(status: &str, told: &mut Told) -> bool {
    let words: Vec<_> = status.split_whitespace().collect();
    let status: String = words.join(" ").chars().take(MAX_STATUS).collect();
    let is_new = status != told.status;
    told.status = status;
    is_new
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A manager of a test that reads its messages.
    fn manager(directory: &Path) -> (UnixDatagram, ServiceManager) {
        let path = directory.join("notify");
        let receiver = UnixDatagram::bind(&path).unwrap();
        receiver.set_nonblocking(true).unwrap();
        (receiver, ServiceManager::at(path.as_os_str(), None).unwrap())
    }

    fn received(receiver: &UnixDatagram) -> Vec<String> {
        let mut bytes = [0; 4096];
        let next =
            || receiver.recv(&mut bytes).ok().map(|length| String::from_utf8_lossy(&bytes[..length]).into_owned());
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn messages_follow_the_phases_of_the_broker() {
        let directory = tempfile::tempdir().unwrap();
        let (receiver, manager) = manager(directory.path());
        drop(manager.reloading());
        manager.ready("serving");
        manager.ready("again");
        manager.status("serving");
        manager.status("serving:\n 1 cached");
        drop(manager.reloading());
        let late = manager.reloading();
        manager.stopping(Duration::from_secs(2), "draining");
        drop(late);
        drop(manager.reloading());
        manager.alive();
        let mut messages = received(&receiver);
        for message in &mut messages {
            let digits = message.find("MONOTONIC_USEC=").map(|at| at + "MONOTONIC_USEC=".len());
            if let Some(at) = digits {
                assert!(message[at..].parse::<u64>().unwrap() > 0);
                message.truncate(at);
            }
        }
        let expected = [
            "READY=1\nSTATUS=serving",
            "STATUS=serving: 1 cached",
            "RELOADING=1\nMONOTONIC_USEC=",
            "READY=1",
            "RELOADING=1\nMONOTONIC_USEC=",
            "STOPPING=1\nEXTEND_TIMEOUT_USEC=2000000\nSTATUS=draining",
            "WATCHDOG=1",
        ];
        assert_eq!(messages, expected, "none before it is ready, and none about a reload after the stop");
    }

    #[test]
    fn message_that_a_busy_manager_did_not_receive_is_sent_again() {
        let directory = tempfile::tempdir().unwrap();
        let (receiver, manager) = manager(directory.path());
        let sender = UnixDatagram::unbound().unwrap();
        sender.set_nonblocking(true).unwrap();
        let fill = || while sender.send_to(b"other", directory.path().join("notify")).is_ok() {};
        for (tell, message) in [
            ((|manager| manager.ready("serving")) as fn(&ServiceManager), "READY=1\nSTATUS=serving"),
            (|manager| manager.status("serving: 1 cached"), "STATUS=serving: 1 cached"),
        ] {
            fill();
            tell(&manager);
            assert!(received(&receiver).iter().all(|message| message == "other"));
            tell(&manager);
            tell(&manager);
            assert_eq!(received(&receiver), [message]);
        }
        fill();
        manager.stopping(Duration::from_secs(1), "draining");
        received(&receiver);
        drop(manager.reloading());
        assert!(received(&receiver).is_empty(), "no reload after the stop");
    }

    #[test]
    fn status_is_one_line_that_fits_a_message() {
        let directory = tempfile::tempdir().unwrap();
        let (receiver, manager) = manager(directory.path());
        manager.status(&format!("broken:\n  |\n1 | é\nREADY=1 {}", "é".repeat(10_000)));
        let messages = received(&receiver);
        assert!(
            messages[0].starts_with("STATUS=broken: | 1 | é READY=1 éé") && !messages[0].contains('\n'),
            "{messages:?}"
        );
        assert_eq!(messages[0].chars().count(), MAX_STATUS + "STATUS=".len());
    }

    #[test]
    fn abstract_names_and_managers_that_start_again_are_reached() {
        let name = format!("ecr-broker-test-{}", std::process::id());
        let bind = || UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let receiver = bind();
        let manager = ServiceManager::at(OsStr::new(&format!("@{name}")), None).unwrap();
        drop(receiver);
        manager.status("lost");
        let receiver = bind();
        receiver.set_nonblocking(true).unwrap();
        manager.status("received");
        assert_eq!(received(&receiver), ["STATUS=received"]);
        assert!(ServiceManager::at(OsStr::new("vsock:2:1"), None).is_err());
    }
}
