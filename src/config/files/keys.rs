//! Number of keys and values in a text of TOML. A key in a table that it makes takes more than a kilobyte while the text is parsed.

/// Maximum number of keys and values of a file. The parts of a key count singly: `a.b.c = 1` has three.
pub(super) const MAX_KEYS: usize = 32_768;
pub(super) const TOO_MANY: &str =
    "has more than 32,768 keys and values; remove unknown ones, or divide it among several files";

/// Counts the parts of keys, headings and items of lists: a dot, an equals sign, a comma or a bracket at the start of a line, outside of
/// strings and comments. Dots of numbers count too.
pub(super) fn count(text: &str) -> usize {
    let (mut rest, mut found) = (text, 0);
    while let Some(at) = rest.find(['=', '.', ',', '[', '#', '"', '\'']) {
        let before = &text[..text.len() - rest.len() + at];
        rest = match rest.as_bytes()[at] {
            b'#' => after(&rest[at..], '\n'),
            b'"' => after_string(&rest[at..], "\"\"\""),
            b'\'' => after_string(&rest[at..], "'''"),
            sign => {
                found += usize::from(sign != b'[' || starts_line(before));
                &rest[at + 1..]
            }
        };
    }
    found
}

fn starts_line(before: &str) -> bool {
    let before = before.trim_end_matches([' ', '\t']);
    before.is_empty() || before.ends_with('\n')
}

fn after(text: &str, end: char) -> &str {
    text.split_once(end).map_or("", |(_, rest)| rest)
}

/// Returns what follows the string with which a text begins. A string on one line ends with the line, even without its quotation mark.
fn after_string<'a>(text: &'a str, triple: &str) -> &'a str {
    let quote = &triple[..1];
    let is_long = text.starts_with(triple);
    let end = if is_long { triple } else { quote };
    let mut rest = &text[end.len()..];
    loop {
        let Some(at) = rest.find(['\\', '\n', '"', '\'']) else { return "" };
        let found = &rest[at..];
        rest = match found.as_bytes()[0] {
            b'\n' if !is_long => return found,
            b'\\' if quote == "\"" && (is_long || !found.starts_with("\\\n")) => after_two_characters(found),
            _ if found.starts_with(end) => return &found[end.len()..],
            _ => &found[1..],
        };
    }
}

fn after_two_characters(text: &str) -> &str {
    text.char_indices().nth(2).map_or("", |(at, _)| &text[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_keys_are_counted_outside_of_strings_and_comments() {
        for (text, expected) in [
            ("", 0),
            ("a = 1\nb.c.d = 2\n", 4),
            ("[a.b]\nc = { d = 1, e.f = 2 }\n", 7),
            ("[a]\n \t[[b]]\nc = [[], [],\n  1, 2]", 6),
            ("\"a.b\" = \"c = d.e\" # f = 1\ng = 1", 2),
            ("a = \"\\\"b = 1\" \nc = '\\'\nd = 1", 3),
            ("a = \"\"\"\nb = 1 \"\" \\\"\"\" c = 2\n\"\"\"\nd = '''\ne = 1\n'''\nf = 3", 3),
            ("a = \"no end\nb = 1\nc = 'no end\nd = 1", 4),
            ("a = \"\"\"no end\nb = 1", 1),
            ("a = \"\\é\" \nb = 1", 2),
            ("a = \"\\\nb = 1\nc = 1", 3),
        ] {
            assert_eq!(count(text), expected, "{text}");
        }
    }

    /// What a text may have is at least what the parser finds.
    #[test]
    fn no_table_that_the_parser_reads_has_more_keys_than_were_counted() {
        fn keys(value: &toml::Value) -> usize {
            match value {
                toml::Value::Table(table) => table.len() + table.values().map(keys).sum::<usize>(),
                toml::Value::Array(values) => values.iter().map(keys).sum(),
                _ => 0,
            }
        }
        let example = super::super::super::example();
        for text in
            [example.as_str(), "a.b = [{ c = 1 }, { d = '''x''', e = \"\"\"\\\n \"\"\"\" }]\nf = ''''y''''\ng = 2"]
        {
            let table = super::super::text::parse(text).unwrap();
            assert!(keys(&toml::Value::Table(table)) <= count(text), "{text}");
        }
    }
}
