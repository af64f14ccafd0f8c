//! Session tags, with STS's rules: limits, transitivity, `sts:TagSession`.

use super::parameter::{constraint, validation};
use super::principal::{Principal, Tag};
use super::query::Form;
use crate::aws_wire::AwsError;

const MOST_TAGS: usize = 50;
const LONGEST_KEY: usize = 128;
const LONGEST_VALUE: usize = 256;
const SIGNS: &str = " _.:/=+-@";

/// Returns the tags of the session that a call opens: those that it sets, and those that the caller's session passes on.
/// `may_tag`: whether the role's trust policy allows `sts:TagSession`.
pub(super) fn of_call(form: &Form, caller: &Principal, role: &str, may_tag: bool) -> Result<Vec<Tag>, AwsError> {
    let mut tags: Vec<Tag> = caller.tags.iter().filter(|tag| tag.is_transitive).cloned().collect();
    let set = tags_in(form)?;
    let has_tags = !set.is_empty() || !tags.is_empty();
    if has_tags && !may_tag {
        let caller = &caller.arn;
        return Err(AwsError::forbidden(
            "AccessDenied",
            format!("User: {caller} is not authorized to perform: sts:TagSession on resource: {role}"),
        ));
    }
    for tag in set {
        if tags.iter().any(|other| other.key.eq_ignore_ascii_case(&tag.key)) {
            return Err(validation(format!(
                "Tag key {} is set twice, or inherited from the calling session. Tag keys are case insensitive.",
                tag.key
            )));
        }
        tags.push(tag);
    }
    Ok(tags)
}

fn tags_in(form: &Form) -> Result<Vec<Tag>, AwsError> {
    let member = |list: &str, number: usize, field: &str| form.get(&format!("{list}.member.{number}{field}"));
    let transitive: Vec<_> = (1..).map_while(|number| member("TransitiveTagKeys", number, "")).collect();
    let pairs = (1..).map_while(|number| Some((member("Tags", number, ".Key")?, member("Tags", number, ".Value"))));
    let mut tags = Vec::new();
    for (key, value) in pairs {
        let value = value.ok_or_else(|| constraint("tags.member.value", "Member must not be null"))?;
        check("tags.member.key", key, 1, LONGEST_KEY)?;
        check("tags.member.value", value, 0, LONGEST_VALUE)?;
        if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
            return Err(validation("Tag keys that begin with aws: are reserved for system use"));
        }
        let is_transitive = transitive.iter().any(|one| one.eq_ignore_ascii_case(key));
        tags.push(Tag { key: key.to_owned(), value: value.to_owned(), is_transitive });
    }
    if tags.len() > MOST_TAGS {
        return Err(constraint("tags", "Member must have length less than or equal to 50"));
    }
    let is_set = |key: &&str| tags.iter().any(|tag| tag.key.eq_ignore_ascii_case(key));
    if transitive.iter().all(is_set) {
        return Ok(tags);
    }
    Err(validation("The specified transitive tag key must be included in the requested tags"))
}

/// STS accepts letters, numbers and separators of every script, and some signs.
fn check(name: &str, text: &str, shortest: usize, longest: usize) -> Result<(), AwsError> {
    let is_allowed = |letter: char| letter.is_alphanumeric() || letter == ' ' || SIGNS.contains(letter);
    let fits = (shortest..=longest).contains(&text.chars().count()) && text.chars().all(is_allowed);
    let expected = || {
        format!(
            "Member must have length between {shortest} and {longest} and satisfy regular expression pattern: \
             [\\p{{L}}\\p{{Z}}\\p{{N}}_.:/=+\\-@]*"
        )
    };
    if fits { Ok(()) } else { Err(constraint(name, &expected())) }
}
