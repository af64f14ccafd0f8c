//! `session_tags` and `transitive` of a profile.

use toml::Value;

use crate::config::list::Item;
use crate::config::value_type::Expected;
use crate::config::values::strings;
use crate::profile::{MOST_TAGS, SessionTag, SessionTags, ValueSource, is_key};

const TABLE: Expected = Expected::Words("a table such as { team = \"claim:namespace_path\" }");

/// Reads the tags.
pub(super) fn read(item: &mut Item<'_>) -> Option<SessionTags> {
    let tags = item.take(tags(item.get("session_tags")));
    let transitive = item
        .take(item.get("transitive").map_or(Ok(Vec::new()), |value| {
            Ok(strings("transitive", value)?.into_iter().map(str::to_owned).collect())
        }));
    let (mut tags, transitive) = (tags?, transitive?);
    for key in &transitive {
        match tags.iter_mut().find(|tag| *tag.key == **key) {
            Some(tag) => tag.is_transitive = true,
            None => {
                item.report(format!("transitive: {key:?} is not a key of session_tags; add it there, or remove it"));
            }
        }
    }
    Some(SessionTags(tags))
}

fn tags(value: Option<&Value>) -> Result<Vec<SessionTag>, String> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let table = value.as_table().ok_or_else(|| format!("session_tags: {}", TABLE.but_got(value)))?;
    if table.len() > MOST_TAGS {
        return Err(format!("session_tags: expected at most {MOST_TAGS} tags, got {}", table.len()));
    }
    let mut tags: Vec<SessionTag> = Vec::new();
    for (key, value) in table {
        if !is_key(key) {
            return Err(format!(
                "session_tags: {key:?} is not a tag key; write 1 to 128 letters, digits, spaces and _.:/=+-@"
            ));
        }
        if tags.iter().any(|tag| tag.key.eq_ignore_ascii_case(key)) {
            return Err(format!("session_tags: {key:?} is there twice; AWS ignores the case of letters in keys"));
        }
        let text = value.as_str().ok_or_else(|| format!("session_tags: {}", TABLE.but_got(value)))?;
        let value: ValueSource = text.parse().map_err(|error| format!("session_tags: {key}: {error}"))?;
        tags.push(SessionTag { key: key.as_str().into(), value, is_transitive: false });
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::super::read_text;
    use super::*;

    fn read_keys(keys: &str) -> (Vec<SessionTag>, Vec<String>) {
        let head = "[[profiles]]\nname = \"a\"\nrole_chain = [\"arn:aws:iam::210987654321:role/x\"]\n";
        let (mut profiles, problems) = read_text(&format!("{head}{keys}"));
        (profiles.pop().map(|profile| profile.session_tags.0).unwrap_or_default(), problems)
    }

    #[test]
    fn session_tags_are_read() {
        let (tags, problems) = read_keys(
            r#"session_tags = { repo = "claim:repository", team = "claim:namespace_path", who = "caller", by = "text:broker" }
            transitive = ["team"]"#,
        );
        assert!(problems.is_empty(), "{problems:?}");
        let text = |tag: &SessionTag| format!("{}={} {}", tag.key, tag.value, tag.is_transitive);
        let mut texts: Vec<_> = tags.iter().map(text).collect();
        texts.sort();
        let expected = [
            "by=text:broker false",
            "repo=claim:repository false",
            "team=claim:namespace_path true",
            "who=caller false",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn tags_that_sts_would_reject_are_reported() {
        let many = (0..=MOST_TAGS).map(|number| format!("k{number} = \"caller\"")).collect::<Vec<_>>().join(", ");
        for (keys, hint) in [
            ("session_tags = \"team\"", "a table such as"),
            ("session_tags = { team = 1 }", "a table such as"),
            ("session_tags = { team = \"namespace_path\" }", "write \\\"claim:NAME\\\", \\\"caller\\\" or"),
            ("session_tags = { \"aws:x\" = \"caller\" }", "is not a tag key"),
            ("session_tags = { team = \"caller\", Team = \"caller\" }", "is there twice"),
            (&format!("session_tags = {{ {} }}", many.trim_end_matches(", ")), "at most 50 tags"),
            ("session_tags = { team = \"caller\" }\ntransitive = [\"repo\"]", "is not a key of session_tags"),
            ("transitive = [\"repo\"]", "is not a key of session_tags"),
        ] {
            let (_, problems) = read_keys(keys);
            let hint = hint.replace("\\\"", "\"");
            assert!(problems.len() == 1 && problems[0].contains(&hint), "{hint}: {problems:?}");
        }
    }
}
