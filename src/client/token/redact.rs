//! Removes tokens from what a program writes on stderr.

/// Beginning of a JSON Web Token: `{"` in base64.
const TOKEN_START: &str = "eyJ";
const REDACTED: &str = "(token)";

/// Returns the text on one line, without the secret and without words that look like tokens: a shell traces them with `set -x`.
pub(super) fn redact(text: &str, secret: &str) -> String {
    let secret = secret.trim();
    let text = if secret.is_empty() { text.to_owned() } else { text.replace(secret, REDACTED) };
    let words = text.split_whitespace().map(without_token);
    words.collect::<Vec<_>>().join(" ")
}

fn without_token(word: &str) -> String {
    let Some(start) = word.find(TOKEN_START) else { return word.to_owned() };
    let rest = &word[start..];
    let is_of_token = |letter: char| letter.is_ascii_alphanumeric() || "-_.=+/".contains(letter);
    let end = rest.find(|letter| !is_of_token(letter)).unwrap_or(rest.len());
    format!("{}{REDACTED}{}", &word[..start], without_token(&rest[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_removed_from_words_and_lines_are_joined() {
        for (text, expected) in [
            ("failed: no\n  permission\n", "failed: no permission"),
            ("+ echo eyJhbGciOi.eyJzdWI.c2ln", "+ echo (token)"),
            ("token='eyJhbGciOi.eyJzdWI.c2ln'; next=eyJx", "token='(token)'; next=(token)"),
            ("got s3cret-opaque.", "got (token)."),
            ("", ""),
        ] {
            assert_eq!(redact(text, "s3cret-opaque\n"), expected);
        }
        assert_eq!(redact("a b", " "), "a b");
    }
}
