//! Attribution of role sessions: whom their names show to AWS.

use std::fmt;
use std::str::FromStr;

use super::session_name;
use super::value_source::{SessionError, ValueSource};
use crate::caller::Caller;
use crate::quoted::Quoted;

/// The text before the values of a list of sources.
const PREFIX: &str = "ecr-broker-";
/// The text between them.
const SEPARATOR: &str = ".";

/// The identity that CloudTrail shows for a role session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribution {
    /// The broker and the profile. Callers share sessions and credentials.
    Broker,
    /// The caller. Each caller has its own session and credentials.
    Caller,
    /// A name made of claims. Callers with the same claims share sessions and credentials.
    Template(NameTemplate),
}

/// Texts and sources of which the name of a session is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameTemplate(Vec<ValueSource>);

/// The error for a text that is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is not an attribution; write \"broker\", \"caller\", [\"claim:NAME\"], or a template such as \"ci-{{claim:NAME}}\"",
    Quoted(text)
)]
pub struct AttributionError {
    text: String,
}

impl NameTemplate {
    /// Returns the template of a list of sources: their values after the broker's prefix. `None` if the list is empty.
    #[must_use]
    pub fn of_list(sources: Vec<ValueSource>) -> Option<Self> {
        let text = |text: &str| ValueSource::Text(text.into());
        let mut parts = vec![text(PREFIX)];
        for source in sources {
            if parts.len() > 1 {
                parts.push(text(SEPARATOR));
            }
            parts.push(source);
        }
        (parts.len() > 1).then_some(Self(parts))
    }

    /// Returns the texts and sources.
    #[must_use]
    pub fn parts(&self) -> &[ValueSource] {
        &self.0
    }

    /// Returns the name of a caller's sessions.
    pub(super) fn name(&self, caller: &Caller) -> Result<Box<str>, SessionError> {
        let values = self.0.iter().map(|part| part.value(caller)).collect::<Result<Vec<_>, _>>()?;
        Ok(session_name::of_values(&values).into())
    }
}

impl FromStr for Attribution {
    type Err = AttributionError;

    fn from_str(text: &str) -> Result<Self, AttributionError> {
        match text {
            "broker" => Ok(Self::Broker),
            "caller" => Ok(Self::Caller),
            template => parse(template)
                .map(|parts| Self::Template(NameTemplate(parts)))
                .ok_or_else(|| AttributionError { text: text.to_owned() }),
        }
    }
}

/// Parses texts and sources in braces, of which at least one is a source.
fn parse(text: &str) -> Option<Vec<ValueSource>> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some((before, after)) = rest.split_once('{') {
        let (source, after) = after.split_once('}')?;
        let source: ValueSource = source.parse().ok().filter(|source| !matches!(source, ValueSource::Text(_)))?;
        parts.extend((!before.is_empty()).then(|| ValueSource::Text(before.into())));
        parts.push(source);
        rest = after;
    }
    parts.extend((!rest.is_empty()).then(|| ValueSource::Text(rest.into())));
    let texts = parts.iter().filter_map(|part| if let ValueSource::Text(text) = part { Some(text) } else { None });
    let fits = texts.flat_map(|text| text.chars()).all(session_name::is_allowed);
    let has_source = parts.iter().any(ValueSource::is_of_caller);
    (fits && has_source).then_some(parts)
}

/// Writes the template with its sources in braces.
impl fmt::Display for NameTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            ValueSource::Text(text) => f.write_str(text),
            source => write!(f, "{{{source}}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> NameTemplate {
        let Ok(Attribution::Template(template)) = text.parse() else { panic!("{text}") };
        template
    }

    fn job(pipeline: &str) -> Caller {
        let claims = [("pipeline_id".to_owned(), pipeline.to_owned()), ("ref".to_owned(), "a#b".to_owned())].into();
        "jwt:gitlab:project".parse::<Caller>().unwrap().with_claims(claims).unwrap()
    }

    #[test]
    fn names_of_templates_show_their_claims_and_never_collide() {
        let name = |text: &str, caller: &Caller| template(text).name(caller).unwrap().to_string();
        let one = name("gl-{claim:pipeline_id}", &job("17"));
        assert!(one.starts_with("gl-17.") && one.len() == 5 + 1 + 24, "{one}");
        assert_eq!(one, name("gl-{claim:pipeline_id}", &job("17")));
        let replaced = name("{claim:ref}", &job("1"));
        assert!(replaced.starts_with("a-b."), "{replaced}");
        let long = "x".repeat(300);
        let names = [
            one,
            name("gl-{claim:pipeline_id}", &job("18")),
            name("gl-{claim:pipeline_id}", &job(&long)),
            name("gl-{claim:pipeline_id}", &job(&format!("{long}y"))),
            name("{claim:ref}{claim:pipeline_id}", &job("1")),
            name("{claim:pipeline_id}{claim:ref}", &job("1")),
            replaced,
        ];
        let all: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(all.len(), names.len(), "{names:?}");
        assert!(names.iter().all(|name| name.len() <= 64 && name.chars().all(session_name::is_allowed)), "{names:?}");
        let list = NameTemplate::of_list(vec!["claim:pipeline_id".parse().unwrap(), "claim:ref".parse().unwrap()]);
        let of_list = list.unwrap().name(&job("17")).unwrap();
        assert!(of_list.starts_with("ecr-broker-17.a-b."), "{of_list}");
    }

    #[test]
    fn attribution_texts_are_parsed() {
        assert_eq!("broker".parse(), Ok(Attribution::Broker));
        assert_eq!("caller".parse(), Ok(Attribution::Caller));
        for text in ["{claim:a}", "ci-{claim:a}.{claim:b}", "{caller}-x"] {
            assert_eq!(template(text).to_string(), text);
        }
        for wrong in ["", "team", "ci-{claim:a", "{text:a}", "{}", "a b{claim:a}", "a/{claim:a}", "{claim:}"] {
            assert!(wrong.parse::<Attribution>().is_err(), "{wrong}");
        }
        assert_eq!(NameTemplate::of_list(Vec::new()), None);
    }

    #[test]
    fn caller_without_the_claim_has_no_name() {
        let of = |caller: &str| template("ci-{claim:pipeline_id}").name(&caller.parse().unwrap());
        assert_eq!(of("uid:1001,gid:5"), Err(SessionError::NoClaim("pipeline_id".into())));
    }
}
