//! Why an address has no connection, and whether that may pass.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use super::address::Address;
use super::error_chain::causes;
use super::failure::Failure;
use super::foreign_listener::ForeignListener;
use super::tls_problem::{RUN_DOCTOR, connection_error};
use super::transient::is_transient;

/// Shortest wait that an error names.
const NOTABLE_WAIT: Duration = Duration::from_millis(50);

/// On Windows, which has no default socket.
const NO_ADDRESS: &str = "no broker to ask: no address is set; set ECR_BROKER_ADDRESS, or address in client.toml";
const START_ONE: &str = "start one with `ecr-broker serve` or set --address, ECR_BROKER_ADDRESS or client.toml";

/// Why an address has no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) kind: ProblemKind,
    text: String,
}

/// What a [`Problem`] means for the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProblemKind {
    /// A Unix socket that does not exist; its broker may start.
    Missing,
    /// Anything else that may pass.
    Transient,
    /// A program that ends connections, which may pass: it may be a broker at a limit, or speak another protocol.
    Cut,
    /// A socket that this user may not open.
    PermissionDenied,
    /// A socket on which a foreign user's program listens.
    ForeignListener,
    /// A file of the settings that cannot be used.
    Settings,
    /// Anything else that a later attempt meets again.
    Permanent,
}

impl Problem {
    /// Reads the problem from the error of an attempt.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        Self { kind: kind(error), text: connection_error(error) }
    }

    /// The error of a file that the settings name.
    pub(super) fn of_settings(text: String) -> Self {
        Self { kind: ProblemKind::Settings, text }
    }

    /// An attempt that the deadline ended.
    pub(super) fn timed_out() -> Self {
        Self { kind: ProblemKind::Transient, text: "connection timed out".to_owned() }
    }

    /// Returns whether a later attempt may succeed.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self.kind, ProblemKind::Missing | ProblemKind::Transient | ProblemKind::Cut)
    }

    /// Returns the failure of all addresses, and names the time that the client waited for them.
    pub(super) fn failure(all: &[(&Address, Self)], waited: Duration) -> Failure {
        if all.is_empty() {
            return Failure::unreachable(NO_ADDRESS.to_owned());
        }
        let first = |kind| all.iter().find(|(_, problem)| problem.kind == kind);
        if let Some((_, problem)) = first(ProblemKind::Settings) {
            return Failure::local(problem.text.clone());
        }
        if let Some((address, problem)) = first(ProblemKind::PermissionDenied) {
            let text = format!("{address}: {}; ask the operator to add you to the socket's group", problem.text);
            return Failure::unreachable(text);
        }
        if let Some((address, problem)) = first(ProblemKind::ForeignListener) {
            let fix = "ask the operator to remove a false socket, or to chown the directory to the broker's user";
            return Failure::unreachable(format!("{address}: {}; {fix}", problem.text));
        }
        let wait = if waited < NOTABLE_WAIT { String::new() } else { format!(" within {:.1} s", waited.as_secs_f64()) };
        let texts = all.iter().enumerate().map(|(at, (address, problem))| match at {
            0 => format!("{address}{wait}: {}", problem.text),
            _ => format!("{address}: {}", problem.text),
        });
        let texts = texts.collect::<Vec<_>>().join(", nor at ");
        // A program is there: a mistake of TLS, another protocol, or a broker that closes connections.
        let has_program = [ProblemKind::Permanent, ProblemKind::Cut].into_iter().any(|kind| first(kind).is_some());
        let fix = if has_program { RUN_DOCTOR } else { START_ONE };
        Failure::unreachable(format!("no broker answers at {texts}; {fix}"))
    }
}

/// Writes the cause alone.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn kind(error: &(dyn Error + 'static)) -> ProblemKind {
    let io = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>());
    match io.map(io::Error::kind) {
        _ if io.is_some_and(ForeignListener::is_cause) => ProblemKind::ForeignListener,
        Some(io::ErrorKind::NotFound) => ProblemKind::Missing,
        Some(io::ErrorKind::PermissionDenied) => ProblemKind::PermissionDenied,
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe) => {
            ProblemKind::Cut
        }
        _ if is_transient(error) => ProblemKind::Transient,
        _ => ProblemKind::Permanent,
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn problem(kind: io::ErrorKind) -> Problem {
        Problem::of(&io::Error::from(kind))
    }

    fn text(all: &[(&Address, Problem)], waited: Duration) -> String {
        Problem::failure(all, waited).to_string()
    }

    #[test]
    fn only_problems_that_may_pass_are_retried() {
        use io::ErrorKind as Kind;
        for kind in [
            Kind::NotFound,
            Kind::ConnectionRefused,
            Kind::WouldBlock,
            Kind::ConnectionReset,
            Kind::UnexpectedEof,
            Kind::TimedOut,
            Kind::HostUnreachable,
            Kind::Other,
        ] {
            assert!(problem(kind).may_pass(), "{kind:?}");
        }
        for kind in [Kind::PermissionDenied, Kind::InvalidInput, Kind::InvalidData, Kind::NotADirectory] {
            assert!(!problem(kind).may_pass(), "{kind:?}");
        }
        assert!(!Problem::of_settings("cannot read /ca".to_owned()).may_pass());
    }

    /// rustls prints it as `Other(OtherError(CaUsedAsEndEntity))`.
    #[test]
    fn tls_failure_is_named_in_words() {
        let other = rustls::OtherError(std::sync::Arc::new(io::Error::other("CaUsedAsEndEntity")));
        let authority = rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other));
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, authority);
        assert_eq!(Problem::of(&wrapped).text, "certificate is a CA certificate, which must not serve");
    }

    #[test]
    fn failure_names_every_address_and_the_wait() {
        let (one, two) = (Address::Unix("/s".into()), Address::Plain("h:1".into()));
        let all = [(&one, problem(io::ErrorKind::NotFound)), (&two, Problem::timed_out())];
        let waited = text(&all, Duration::from_secs(3));
        assert!(
            waited.starts_with(
                "no broker answers at unix:/s within 3.0 s: entity not found, nor at http://h:1: connection timed out; "
            ),
            "{waited}"
        );
        assert!(text(&[], Duration::ZERO).contains("set ECR_BROKER_ADDRESS"));
        let at_once = text(&all[1..], Duration::ZERO);
        assert!(at_once.starts_with("no broker answers at http://h:1: connection timed out; start"), "{at_once}");
        let wrong = text(&[(&two, problem(io::ErrorKind::InvalidData))], Duration::ZERO);
        assert!(wrong.ends_with("; run `ecr-broker doctor` with the same settings for the cause and a fix"), "{wrong}");
        let cut = text(
            &[(&one, problem(io::ErrorKind::NotFound)), (&two, problem(io::ErrorKind::ConnectionReset))],
            Duration::ZERO,
        );
        assert!(cut.contains("nor at http://h:1: connection reset; run `ecr-broker doctor`"), "{cut}");
        let denied = [(&two, Problem::timed_out()), (&one, problem(io::ErrorKind::PermissionDenied))];
        let denied = Problem::failure(&denied, Duration::ZERO);
        assert_eq!(denied.message, "unix:/s: permission denied; ask the operator to add you to the socket's group");
        assert_eq!(denied.code, Code::Unavailable);
    }
}
