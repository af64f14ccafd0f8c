//! Sources of values that a role session tells AWS about its caller: claims of the caller's token, its name, and fixed texts.

use std::fmt;
use std::str::FromStr;

use crate::caller::Caller;
use crate::quoted::Quoted;

/// The claim of the token's subject, which is not among the other claims.
const SUBJECT: &str = "sub";
/// The longest name of a claim.
const LONGEST_CLAIM: usize = 128;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueSource {
    /// A claim of the caller's token: `claim:NAME`.
    Claim(Box<str>),
    /// The caller's name: `caller`.
    Caller,
    /// A fixed text: `text:TEXT`.
    Text(Box<str>),
}

/// The error for a text that is not a source of a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a source of a value; write \"claim:NAME\", \"caller\" or \"text:TEXT\"", Quoted(text))]
pub struct ValueSourceError {
    text: String,
}

/// Why a caller has no session of a profile. The caller reads it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The caller's token lacks a claim, or the caller has no token.
    #[error("the profile needs the claim {0:?} of a bearer token; call with a token that has it")]
    NoClaim(Box<str>),
    /// The claim has no text.
    #[error("the profile needs a text in the claim {0:?} of the bearer token; call with a token that has one")]
    EmptyClaim(Box<str>),
}

impl ValueSource {
    /// Returns the claim that the value comes from.
    pub(super) fn claim(&self) -> Option<&str> {
        if let Self::Claim(name) = self { Some(name) } else { None }
    }

    /// Returns whether callers can have different values.
    pub(super) fn is_of_caller(&self) -> bool {
        !matches!(self, Self::Text(_))
    }

    /// Returns the value for a caller.
    pub(super) fn value(&self, caller: &Caller) -> Result<String, SessionError> {
        match self {
            Self::Text(text) => Ok(text.to_string()),
            Self::Caller => Ok(caller.principal().to_string()),
            Self::Claim(name) => {
                let claim = claim(caller, name).ok_or_else(|| SessionError::NoClaim(name.clone()))?;
                if claim.is_empty() { Err(SessionError::EmptyClaim(name.clone())) } else { Ok(claim.to_owned()) }
            }
        }
    }
}

fn claim<'a>(caller: &'a Caller, name: &str) -> Option<&'a str> {
    let Caller::Token(token) = caller.job() else { return None };
    if name == SUBJECT { Some(&token.subject) } else { token.claims.get(name).map(String::as_str) }
}

impl FromStr for ValueSource {
    type Err = ValueSourceError;

    fn from_str(text: &str) -> Result<Self, ValueSourceError> {
        let error = || ValueSourceError { text: text.to_owned() };
        if text == "caller" {
            return Ok(Self::Caller);
        }
        let (kind, rest) = text.split_once(':').ok_or_else(error)?;
        match kind {
            "claim" if (1..=LONGEST_CLAIM).contains(&rest.len()) && !rest.contains(char::is_control) => {
                Ok(Self::Claim(rest.into()))
            }
            "text" if !rest.is_empty() => Ok(Self::Text(rest.into())),
            _ => Err(error()),
        }
    }
}

/// Writes what [`FromStr`] parses.
impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(name) => write!(f, "claim:{name}"),
            Self::Caller => f.write_str("caller"),
            Self::Text(text) => write!(f, "text:{text}"),
        }
    }
}
