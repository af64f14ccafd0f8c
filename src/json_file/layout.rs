//! Layout of a JSON file: indentation and the line break at the end, which a change keeps.

use serde::Serialize as _;
use serde_json::ser::PrettyFormatter;
use serde_json::{Map, Serializer, Value};

/// Indentation of a new file. docker and podman write the same.
const TAB: &str = "\t";

/// Indentation and end of a JSON text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout<'a> {
    /// Indentation of one level; `None` if the whole object is on one line.
    indentation: Option<&'a str>,
    ends_with_line_break: bool,
}

impl<'a> Layout<'a> {
    /// Returns the layout of a text. Without any entries, it is the layout of a new file.
    pub(super) fn of(text: &'a str) -> Self {
        Self { indentation: indentation(text), ends_with_line_break: text.ends_with('\n') }
    }

    pub(super) fn print(&self, config: &Map<String, Value>) -> serde_json::Result<String> {
        let mut text = match self.indentation {
            None => serde_json::to_string(config)?,
            Some(indentation) => pretty(config, indentation)?,
        };
        if self.ends_with_line_break {
            text.push('\n');
        }
        Ok(text)
    }
}

fn indentation(text: &str) -> Option<&str> {
    let content = text.trim().trim_start_matches('{');
    if matches!(content.trim(), "" | "}" | "null") {
        return Some(TAB);
    }
    let before_the_first_key = content.get(..content.find('"')?)?;
    before_the_first_key.rsplit_once('\n').map(|(_, indentation)| indentation)
}

fn pretty(config: &Map<String, Value>, indentation: &str) -> serde_json::Result<String> {
    let mut text = Vec::new();
    config
        .serialize(&mut Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(indentation.as_bytes())))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_object_keeps_key_order_indentation_and_end() {
        for text in [
            "{\n\t\"z\": {\n\t\t\"b\": 1,\n\t\t\"a\": []\n\t},\n\t\"c\": \"x\"\n}",
            "{\n  \"z\": 1,\n  \"a\": {}\n}\n",
            "{\n    \"z\": 1,\n    \"a\": {}\n}\n",
            "{\n\"z\": 1,\n\"a\": 2\n}",
            "{\"z\":1,\"a\":{\"d\":1,\"c\":2}}",
        ] {
            let config = serde_json::from_str(text).unwrap();
            assert_eq!(Layout::of(text).print(&config).unwrap(), text);
        }
    }

    #[test]
    fn new_file_is_indented_with_tabs_as_docker_writes_it() {
        let config = serde_json::from_str("{\"a\":1}").unwrap();
        for (text, end) in [("", ""), ("{}", ""), ("{\n}\n", "\n"), ("null", ""), ("{ }\n", "\n")] {
            assert_eq!(Layout::of(text).print(&config).unwrap(), format!("{{\n\t\"a\": 1\n}}{end}"), "{text:?}");
        }
    }
}
