//! Keys of the index: what a pattern names exactly. A pattern with a `*` has the part before it as its key.

use std::borrow::Cow;

use crate::caller::{BrokerId, Caller, DnsName};
use crate::policy::pattern::{Accounts, CallerPattern, RegistryPattern};
use crate::registry::{AccountId, Registry};

/// What a pattern of callers names exactly.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum CallerKey<'a> {
    Uid(u32),
    Gid(u32),
    Loopback,
    AwsApi,
    /// A trust domain, and the path or the start of it.
    Spiffe(Cow<'a, str>, Cow<'a, str>),
    Dns(DnsName),
    /// An issuer, and the subject or the start of it.
    Token(Cow<'a, str>, Cow<'a, str>),
}

/// What a pattern of registries names exactly.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum RegistryKey {
    Public,
    /// Patterns that list the account.
    Account(AccountId),
    /// Patterns for every account.
    EveryAccount,
    /// All patterns of private registries, for a request whose account is unknown.
    Private,
}

/// The end of a segment in paths and subjects.
const SEPARATORS: [char; 2] = [':', '/'];

impl CallerKey<'static> {
    /// Returns the key of a pattern. Every caller that the pattern matches, and as a deny also one that it denies, has this key.
    pub(super) fn of_pattern(pattern: &CallerPattern) -> Self {
        match pattern.job() {
            CallerPattern::Uid(uid) => Self::Uid(*uid),
            CallerPattern::Gid(gid) => Self::Gid(*gid),
            CallerPattern::Loopback => Self::Loopback,
            CallerPattern::AwsApi => Self::AwsApi,
            CallerPattern::Spiffe(pattern) => {
                Self::Spiffe(pattern.trust_domain().as_str().to_owned().into(), exact_start(pattern.path()).into())
            }
            CallerPattern::Dns(name) => Self::Dns(name.clone()),
            CallerPattern::Token(pattern) => {
                let subject = pattern.subject.as_ref().map_or_else(|| "*".to_owned(), ToString::to_string);
                Self::Token(pattern.issuer.clone().into(), exact_start(subject).into())
            }
            // A pattern of callers that are forwarded twice does not exist.
            CallerPattern::Forwarded(job, _) => Self::of_pattern(job),
        }
    }

    /// Returns the length of the start of a name; 0 for a key without one.
    pub(super) fn start_len(&self) -> usize {
        if let Self::Spiffe(_, start) | Self::Token(_, start) = self { start.len() } else { 0 }
    }
}

impl<'a> CallerKey<'a> {
    /// Passes every key of a caller to `each`; no start that is longer than `longest`. A forwarded caller also has those of its
    /// brokers, whose denies apply to it.
    pub(super) fn each_of(caller: &'a Caller, longest: usize, each: &mut impl FnMut(Self)) {
        match caller {
            Caller::Process { uid, gid } => [Self::Uid(*uid), Self::Gid(*gid)].into_iter().for_each(each),
            Caller::Loopback => each(Self::Loopback),
            Caller::AwsApi => each(Self::AwsApi),
            Caller::Spiffe(id) => Self::of_workload(id, longest).for_each(each),
            Caller::Dns(name) => each(Self::Dns(name.clone())),
            Caller::Token(token) => {
                let key = |start: &'a str| Self::Token(token.issuer.as_str().into(), start.into());
                starts(&token.subject, longest).map(key).for_each(each);
            }
            Caller::Forwarded(forwarded) => {
                Self::each_of(forwarded.job(), longest, each);
                forwarded.via().brokers().iter().for_each(|broker| Self::each_of_broker(broker, longest, each));
            }
        }
    }

    fn each_of_broker(broker: &'a BrokerId, longest: usize, each: &mut impl FnMut(Self)) {
        match broker {
            BrokerId::Spiffe(id) => Self::of_workload(id, longest).for_each(each),
            BrokerId::Dns(name) => each(Self::Dns(name.clone())),
        }
    }

    fn of_workload(id: &'a spiffe::SpiffeId, longest: usize) -> impl Iterator<Item = Self> {
        starts(id.path(), longest).map(|start| Self::Spiffe(id.trust_domain().as_str().into(), start.into()))
    }
}

impl RegistryKey {
    /// Returns the keys of a pattern.
    pub(super) fn of_pattern(pattern: &RegistryPattern) -> Vec<Self> {
        match pattern {
            RegistryPattern::Public => vec![Self::Public],
            RegistryPattern::Private { accounts: Accounts::Any, .. } => vec![Self::EveryAccount, Self::Private],
            RegistryPattern::Private { accounts: Accounts::Of(accounts), .. } => {
                accounts.iter().copied().map(Self::Account).chain([Self::Private]).collect()
            }
        }
    }

    /// Returns the keys of a registry. Every pattern that may cover it has one of them.
    pub(super) fn of(registry: &Registry) -> impl Iterator<Item = Self> {
        let (first, second) = match registry {
            Registry::Public { .. } => (Self::Public, None),
            Registry::Private(private) => match private.account() {
                Some(account) => (Self::Account(account), Some(Self::EveryAccount)),
                None => (Self::Private, None),
            },
        };
        std::iter::once(first).chain(second)
    }
}

/// Returns a pattern without a `*`, or the whole segments before its first `*`.
fn exact_start(mut pattern: String) -> String {
    if let Some(star) = pattern.find('*') {
        pattern.truncate(pattern[..star].rfind(SEPARATORS).map_or(0, |separator| separator + 1));
    }
    pattern
}

/// Returns the possible keys of a name: itself, and each start of whole segments. Callers choose their names, so none is longer than
/// `longest`, the longest that the index has.
fn starts(name: &str, longest: usize) -> impl Iterator<Item = &str> {
    let ends = name.match_indices(SEPARATORS).map(|(at, _)| at + 1).take_while(move |end| *end <= longest);
    let whole = (name.len() <= longest).then_some(name);
    std::iter::once("").chain(ends.map(|end| &name[..end])).chain(whole)
}
