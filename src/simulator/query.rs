//! The query protocol of AWS: forms come in, XML goes out.

use std::fmt::Write as _;

use http::{Method, StatusCode};

use crate::aws_wire::{Answer, Call, Refusal};

const CONTENT: &str = "text/xml";
const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// The parameters of a call.
pub(super) struct Form(Vec<(String, String)>);

/// A piece of XML.
#[derive(Default)]
pub(super) struct Xml(String);

impl Form {
    /// The form in the body of a POST or in the query of a GET.
    pub(super) fn of(call: &Call) -> Self {
        match call.head.method {
            Method::GET => Self::parse(call.head.uri.query().unwrap_or_default().as_bytes()),
            _ => Self::parse(&call.body),
        }
    }

    fn parse(form: &[u8]) -> Self {
        let pairs = form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
        Self(pairs.map(parameter).collect())
    }

    /// The first parameter of this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

fn parameter(pair: &[u8]) -> (String, String) {
    let mut sides = pair.splitn(2, |byte| *byte == b'=').map(decoded);
    (sides.next().unwrap_or_default(), sides.next().unwrap_or_default())
}

/// Undoes the encoding of forms; a percent sign that starts no escape stands for itself.
fn decoded(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let (byte, tail) = match (first, tail) {
            (b'+', _) => (b' ', tail),
            (b'%', [high, low, after @ ..]) => escaped(*high, *low).map_or((b'%', tail), |byte| (byte, after)),
            _ => (*first, tail),
        };
        bytes.push(byte);
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn escaped(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

impl Xml {
    /// Adds an element that holds a text.
    pub(super) fn text(mut self, name: &str, text: &str) -> Self {
        let mut escaped = String::with_capacity(text.len());
        text.chars().for_each(|character| escape(character, &mut escaped));
        self.push(name, &escaped);
        self
    }

    /// Adds an element that holds a text, where there is one.
    pub(super) fn optional_text(self, name: &str, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(name, text),
            None => self,
        }
    }

    /// Adds an element that holds others.
    pub(super) fn element(mut self, name: &str, content: &Self) -> Self {
        self.push(name, &content.0);
        self
    }

    fn push(&mut self, name: &str, content: &str) {
        // Writing to a text cannot fail.
        let _ = write!(self.0, "<{name}>{content}</{name}>");
    }

    fn into_document(self, root: &str) -> String {
        format!("<{root} xmlns=\"{NAMESPACE}\">{}</{root}>\n", self.0)
    }
}

fn escape(character: char, text: &mut String) {
    match character {
        '&' => text.push_str("&amp;"),
        '<' => text.push_str("&lt;"),
        '>' => text.push_str("&gt;"),
        '"' => text.push_str("&quot;"),
        // XML 1.0 has no way to write these.
        '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}' => text.push('\u{fffd}'),
        _ => text.push(character),
    }
}

/// The answer to an action that succeeded.
pub(super) fn answer(action: &str, result: &Xml, id: &str) -> Answer {
    let metadata = Xml::default().text("RequestId", id);
    let document = Xml::default().element(&format!("{action}Result"), result).element("ResponseMetadata", &metadata);
    Answer::answered(CONTENT, document.into_document(&format!("{action}Response")))
}

/// The answer to an action that was refused.
pub(super) fn refuse(refusal: &Refusal, id: &str) -> Answer {
    let (status, code) = in_query_terms(refusal);
    let error = Xml::default()
        .text("Type", if status.is_server_error() { "Receiver" } else { "Sender" })
        .text("Code", code)
        .text("Message", &refusal.message);
    let document = Xml::default().element("Error", &error).text("RequestId", id);
    Answer::refused(status, code, CONTENT, document.into_document("ErrorResponse"))
}

/// The refusals that every service has are older in the query protocol, and named differently.
fn in_query_terms(refusal: &Refusal) -> (StatusCode, &'static str) {
    match refusal.code {
        "AccessDeniedException" => (StatusCode::FORBIDDEN, "AccessDenied"),
        "IncompleteSignatureException" => (refusal.status, "IncompleteSignature"),
        "InvalidSignatureException" => (refusal.status, "SignatureDoesNotMatch"),
        "MissingAuthenticationTokenException" => (refusal.status, "MissingAuthenticationToken"),
        "ServerException" => (refusal.status, "InternalFailure"),
        "ThrottlingException" => (refusal.status, "Throttling"),
        code => (refusal.status, code),
    }
}
