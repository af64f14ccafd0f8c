//! Settings of the switch-over from other credential helpers: the fallback program, the failures after which it answers, and the mode.
//! Only `client.toml` has them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tonic::Code;

use super::failure::Failure;

/// Default time limit of the fallback. With the default `timeout` it leaves kubelet, which waits for a minute, time for the answer.
const DEFAULT_FALLBACK_TIMEOUT: Duration = Duration::from_secs(45);
/// Default share of the hosts that ask the broker in canary mode.
const DEFAULT_CANARY_PERCENT: u8 = 10;

/// A protocol of credential helpers. Each tool has a fallback program of its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// docker's and podman's credential helpers.
    Docker,
    /// kubelet's credential providers.
    Kubelet,
    /// Bazel's credential helpers.
    Bazel,
}

/// Who answers for ECR registries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The broker; the fallback only after the failures of `fallback_on`.
    #[default]
    Full,
    /// The broker on a share of the hosts, with the fallback after any failure. Other hosts are in shadow mode.
    Canary,
    /// The fallback. The broker is asked beside it, and its answer is only reported.
    Shadow,
}

/// A kind of failure after which the fallback may answer. Denials are not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FallbackCause {
    /// No broker answers, it shuts down, or the client's settings prevent the question.
    NoBroker,
    /// The time for the answer is over.
    Timeout,
    /// The broker has no credential: UNAVAILABLE, for a failure of AWS or of a parent.
    Unavailable,
    /// A limit of the broker or of AWS: `RESOURCE_EXHAUSTED`.
    ResourceExhausted,
    /// The broker cannot write its audit log: `AUDIT_UNAVAILABLE`.
    AuditUnavailable,
}

/// Percentage of the hosts that ask the broker in canary mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub struct CanaryPercent(pub u8);

/// Time limit of the fallback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct FallbackTimeout(pub Duration);

/// Commands to run as a fallback: programs and their arguments, separated by spaces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct FallbackCommands {
    docker: Option<String>,
    kubelet: Option<String>,
    bazel: Option<String>,
}

/// The forms of `fallback`: docker's command, or one for each protocol.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "fallback is not a command; write fallback = \"PROGRAM\", or a table with docker, kubelet, bazel"
)]
enum Written {
    Docker(String),
    ByProtocol(ByProtocol),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ByProtocol {
    docker: Option<String>,
    kubelet: Option<String>,
    bazel: Option<String>,
}

/// The settings of the switch-over, of one file or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adoption {
    fallback: Option<FallbackCommands>,
    fallback_on: Option<Vec<FallbackCause>>,
    fallback_timeout: Option<FallbackTimeout>,
    mode: Option<Mode>,
    canary_percent: Option<CanaryPercent>,
}

impl Adoption {
    /// Reads the settings of a file. One with a mistake counts as not set: the mistake is reported where the whole file is read.
    pub(super) fn of(table: &toml::Table) -> Self {
        fn value<'de, T: Deserialize<'de>>(table: &toml::Table, key: &str) -> Option<T> {
            table.get(key)?.clone().try_into().ok()
        }
        Self {
            fallback: value(table, "fallback"),
            fallback_on: value(table, "fallback_on"),
            fallback_timeout: value(table, "fallback_timeout"),
            mode: value(table, "mode"),
            canary_percent: value(table, "canary_percent"),
        }
    }

    /// Fills the gaps from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            fallback: self.fallback.or(other.fallback),
            fallback_on: self.fallback_on.or(other.fallback_on),
            fallback_timeout: self.fallback_timeout.or(other.fallback_timeout),
            mode: self.mode.or(other.mode),
            canary_percent: self.canary_percent.or(other.canary_percent),
        }
    }

    /// Returns the fallback command of a protocol.
    #[must_use]
    pub fn command(&self, protocol: Protocol) -> Option<&str> {
        let FallbackCommands { docker, kubelet, bazel } = self.fallback.as_ref()?;
        match protocol {
            Protocol::Docker => docker,
            Protocol::Kubelet => kubelet,
            Protocol::Bazel => bazel,
        }
        .as_deref()
    }

    /// Returns whether the fallback may answer after a failure.
    #[must_use]
    pub fn allows_fallback(&self, failure: &Failure) -> bool {
        FallbackCause::of(failure).is_some_and(|cause| self.fallback_on().contains(&cause))
    }

    /// Returns the failures after which the fallback answers.
    #[must_use]
    pub fn fallback_on(&self) -> &[FallbackCause] {
        // On "retry later" every node would call AWS itself, unless the operator wants that.
        self.fallback_on.as_deref().unwrap_or(&[FallbackCause::NoBroker, FallbackCause::Timeout])
    }

    /// Returns whether a setting has a value, by its key in `client.toml`.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        match key {
            "fallback" => self.fallback.is_some(),
            "fallback_on" => self.fallback_on.is_some(),
            "fallback_timeout" => self.fallback_timeout.is_some(),
            "mode" => self.mode.is_some(),
            "canary_percent" => self.canary_percent.is_some(),
            _ => false,
        }
    }

    /// Returns the time limit of the fallback.
    #[must_use]
    pub fn fallback_timeout(&self) -> Duration {
        self.fallback_timeout.map_or(DEFAULT_FALLBACK_TIMEOUT, |FallbackTimeout(limit)| limit)
    }

    /// Returns the mode.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode.unwrap_or_default()
    }

    /// Returns the percentage of the hosts that ask the broker in canary mode.
    #[must_use]
    pub fn canary_percent(&self) -> u8 {
        self.canary_percent.map_or(DEFAULT_CANARY_PERCENT, |CanaryPercent(percent)| percent)
    }
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Self; 3] = [Self::Docker, Self::Kubelet, Self::Bazel];
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Kubelet => "kubelet",
            Self::Bazel => "Bazel",
        })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Canary => "canary",
            Self::Shadow => "shadow",
        })
    }
}

impl FallbackCause {
    /// Returns the name in `fallback_on`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoBroker => "no-broker",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::ResourceExhausted => "resource-exhausted",
            Self::AuditUnavailable => "audit-unavailable",
        }
    }

    /// Returns the kind of a failure; none for a denial, a wrong request, or a mistake that the operator must correct.
    #[must_use]
    pub fn of(failure: &Failure) -> Option<Self> {
        match (failure.reason.as_deref(), failure.code) {
            (Some("SHUTTING_DOWN"), _) => Some(Self::NoBroker),
            (Some("AUDIT_UNAVAILABLE"), _) => Some(Self::AuditUnavailable),
            (_, Code::DeadlineExceeded) => Some(Self::Timeout),
            (_, Code::ResourceExhausted) => Some(Self::ResourceExhausted),
            (Some(_), Code::Unavailable) => Some(Self::Unavailable),
            // A broker gives a reason. UNKNOWN is a failure on this side of the connection: wrong settings, or a missing CA or token
            // file. INTERNAL and UNIMPLEMENTED come from a program that is not a broker.
            (None, Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal | Code::Unimplemented) => {
                Some(Self::NoBroker)
            }
            _ => None,
        }
    }
}

impl TryFrom<Written> for FallbackCommands {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let commands = match written {
            Written::Docker(command) => Self { docker: Some(command), ..Self::default() },
            Written::ByProtocol(ByProtocol { docker, kubelet, bazel }) => Self { docker, kubelet, bazel },
        };
        let all = [&commands.docker, &commands.kubelet, &commands.bazel];
        if all.into_iter().flatten().any(|command| command.trim().is_empty()) {
            return Err("fallback is empty; name a program, or remove the key".to_owned());
        }
        Ok(commands)
    }
}

impl TryFrom<u8> for CanaryPercent {
    type Error = String;

    fn try_from(percent: u8) -> Result<Self, String> {
        if percent <= 100 { Ok(Self(percent)) } else { Err(format!("canary_percent is {percent}; use 0 to 100")) }
    }
}

impl TryFrom<String> for FallbackTimeout {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let problem = |error| format!("fallback_timeout is not a duration: {error}; use a form such as 45s");
        humantime::parse_duration(&text).map(Self).map_err(problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adoption(text: &str) -> Adoption {
        Adoption::of(&text.parse().unwrap())
    }

    fn failure(code: Code, reason: Option<&str>) -> Failure {
        Failure { code, reason: reason.map(str::to_owned), ..Failure::local(String::new()) }
    }

    #[test]
    fn fallback_is_dockers_command_or_one_per_protocol() {
        let of = |text: &str| {
            let adoption = adoption(text);
            [Protocol::Docker, Protocol::Kubelet, Protocol::Bazel]
                .map(|protocol| adoption.command(protocol).map(str::to_owned))
        };
        assert_eq!(of("fallback = \"a b\""), [Some("a b".to_owned()), None, None]);
        let table = of("[fallback]\nkubelet = \"/k get-credentials\"\nbazel = \"/b\"");
        assert_eq!(table, [None, Some("/k get-credentials".to_owned()), Some("/b".to_owned())]);
        for wrong in ["fallback = 1", "fallback = \" \"", "fallback = { podman = \"x\" }", "other = 1"] {
            assert_eq!(of(wrong), [None, None, None], "{wrong}");
        }
    }

    #[test]
    fn earlier_file_takes_precedence_key_by_key() {
        let both = adoption("mode = \"shadow\"\nfallback_timeout = \"7s\"")
            .or(adoption("mode = \"canary\"\ncanary_percent = 30\nfallback_timeout = \"9s\""));
        assert_eq!((both.mode(), both.canary_percent()), (Mode::Shadow, 30));
        assert_eq!(both.fallback_timeout(), Duration::from_secs(7));
        let default = adoption("mode = \"half\"\ncanary_percent = 101\nfallback_timeout = 9");
        assert_eq!((default.mode(), default.canary_percent()), (Mode::Full, 10));
        assert_eq!(default.fallback_timeout(), Duration::from_secs(45));
    }

    /// Code, reason, the name of the cause in `fallback_on`, and whether it is a default.
    const FAILURES: [(Code, Option<&str>, &str, bool); 20] = [
        (Code::Unavailable, None, "no-broker", true),
        (Code::Unknown, None, "no-broker", true),
        (Code::Cancelled, None, "no-broker", true),
        (Code::Internal, None, "no-broker", true),
        (Code::Unimplemented, None, "no-broker", true),
        (Code::Unavailable, Some("SHUTTING_DOWN"), "no-broker", true),
        (Code::DeadlineExceeded, None, "timeout", true),
        (Code::DeadlineExceeded, Some("DEADLINE"), "timeout", true),
        (Code::Unavailable, Some("AWS_UNAVAILABLE"), "unavailable", false),
        (Code::Unavailable, Some("PARENT_UNAVAILABLE"), "unavailable", false),
        (Code::ResourceExhausted, Some("OVERLOADED"), "resource-exhausted", false),
        (Code::ResourceExhausted, Some("CALLER_RATE_LIMITED"), "resource-exhausted", false),
        (Code::Unavailable, Some("AUDIT_UNAVAILABLE"), "audit-unavailable", false),
        (Code::PermissionDenied, Some("CALLER_NOT_ALLOWED"), "", false),
        (Code::PermissionDenied, Some("AWS_ACCESS_DENIED"), "", false),
        (Code::PermissionDenied, None, "", false),
        (Code::Unauthenticated, Some("CALLER_UNAUTHENTICATED"), "", false),
        (Code::InvalidArgument, Some("PROFILE_UNKNOWN"), "", false),
        (Code::FailedPrecondition, Some("BROKER_MISCONFIGURED"), "", false),
        (Code::Internal, Some("INTERNAL_ERROR"), "", false),
    ];

    #[test]
    fn fallback_answers_after_the_configured_failures_and_never_denials() {
        let names = ["no-broker", "timeout", "unavailable", "resource-exhausted", "audit-unavailable"];
        let all = adoption(&format!("fallback_on = {names:?}"));
        for (code, reason, name, is_default) in FAILURES {
            let failure = failure(code, reason);
            assert_eq!(Adoption::default().allows_fallback(&failure), is_default, "{failure:?}");
            assert_eq!(all.allows_fallback(&failure), !name.is_empty(), "{failure:?}");
            for one in names {
                let allows = adoption(&format!("fallback_on = [{one:?}]")).allows_fallback(&failure);
                assert_eq!(allows, one == name, "{one}: {failure:?}");
            }
            assert_eq!(FallbackCause::of(&failure).map_or("", FallbackCause::name), name, "{failure:?}");
            assert!(!adoption("fallback_on = []").allows_fallback(&failure));
        }
    }
}
