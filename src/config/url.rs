//! URLs in settings and variables. They can hold a password or a token, so no error shows them.

use http::Uri;
use http::uri::Authority;

/// The accepted URLs.
pub(super) const A_URL: &str = "a URL with http:// or https://";

/// Checks the base of an endpoint: the SDK appends paths and queries to it.
pub(super) fn check_endpoint(text: &str) -> Result<(), String> {
    match parse(text)?.query() {
        Some(_) => Err(problem("got one with a query; remove it")),
        None => Ok(()),
    }
}

/// Checks a whole URL, which may have a query.
pub(super) fn check(text: &str) -> Result<(), String> {
    parse(text).map(drop)
}

/// Hides the user and the password of each URL in a text.
pub(super) fn without_userinfo(text: &str) -> String {
    let mut parts = text.split("://");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |shown, part| {
        let end = part.find(['/', '"', '\'', '\n']).unwrap_or(part.len());
        let visible = part[..end].rfind('@').map_or_else(|| part.to_owned(), |at| format!("***{}", &part[at..]));
        shown + "://" + &visible
    })
}

fn parse(text: &str) -> Result<Uri, String> {
    check_characters(text)?;
    let url: Uri = text.parse().map_err(|_| problem("got another text; correct it"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err(problem("got another scheme or none; correct it"));
    }
    match url.authority() {
        Some(authority) if authority.host().is_empty() => Err(problem("got one without a host; add it")),
        Some(authority) if !has_valid_port(authority) => Err(problem("got one with another text as port; correct it")),
        Some(_) => Ok(url),
        None => Err(problem("got one without a host; add it")),
    }
}

/// Returns whether the port is absent or a number. The parser accepts any text.
fn has_valid_port(authority: &Authority) -> bool {
    let text = authority.as_str();
    let after = text.rsplit_once('@').map_or(text, |(_, after)| after);
    after.len() == authority.host().len() || authority.port_u16().is_some()
}

fn check_characters(text: &str) -> Result<(), String> {
    if text.starts_with(['"', '\'']) || text.ends_with(['"', '\'']) {
        return Err(problem("got one in quotes; remove them"));
    }
    if text.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return Err(problem("got one with white space; remove it"));
    }
    Ok(())
}

fn problem(found: &str) -> String {
    format!("expected {A_URL}, {found}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_the_problem_of_a_url_and_hides_the_value() {
        for (text, found) in [
            ("\"http://secret\"", "in quotes"),
            ("http://u:secret@h:1 ", "white space"),
            ("http://h/?token=secret\n", "white space"),
            ("http://u:secret@h/?a=b", "with a query"),
            ("http://h:secret", "as port"),
            ("http://u:secret@h:99999", "as port"),
            ("http://u:secret@h<", "another text"),
            ("secret@h:4566", "another scheme or none"),
            ("ftp://u:secret@h", "another scheme or none"),
            ("/secret", "another scheme or none"),
            ("http://", "another text"),
            ("", "another text"),
        ] {
            let error = check_endpoint(text).unwrap_err();
            assert!(error.contains(found) && !error.contains("secret"), "{text:?}: {error}");
        }
        for text in ["http://localhost:4566/base", "https://sts.example", "http://u:p@[fd00::1]:1", "http://[fd00::1]"]
        {
            assert_eq!(check_endpoint(text), Ok(()), "{text}");
        }
        assert_eq!(check("http://localhost:8080/creds?role=x"), Ok(()));
    }

    #[test]
    fn users_and_passwords_of_urls_are_hidden() {
        for (text, shown) in [
            ("a = \"http://u:p@h:1/x@y\" # f", "a = \"http://***@h:1/x@y\" # f"),
            ("a = { r = \"https://u@h\", s = \"https://h\" }", "a = { r = \"https://***@h\", s = \"https://h\" }"),
            ("a = \"spiffe://d/w\"\nb = \"c@d\"", "a = \"spiffe://d/w\"\nb = \"c@d\""),
        ] {
            assert_eq!(without_userinfo(text), shown);
        }
    }
}
