//! AWS's query protocol: form parameters in, XML out.

use std::fmt::Write as _;

use http::{Method, StatusCode};

use crate::aws_wire::{AwsError, AwsRequest, AwsResponse};

const XML_CONTENT_TYPE: &str = "text/xml";
const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// The parameters of a request.
pub(super) struct Form(Vec<(String, String)>);

/// A piece of XML.
#[derive(Default)]
pub(super) struct Xml(String);

impl Form {
    /// Parses the form in the query of a GET, or in the body of any other request.
    pub(super) fn of(request: &AwsRequest) -> Self {
        match request.head.method {
            Method::GET => Self::parse(request.head.uri.query().unwrap_or_default().as_bytes()),
            _ => Self::parse(&request.body),
        }
    }

    fn parse(form: &[u8]) -> Self {
        let pairs = form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
        Self(pairs.map(parameter).collect())
    }

    /// Returns the first parameter of this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

fn parameter(pair: &[u8]) -> (String, String) {
    let mut sides = pair.splitn(2, |byte| *byte == b'=').map(decoded);
    (sides.next().unwrap_or_default(), sides.next().unwrap_or_default())
}

/// Decodes a form value. A percent sign that starts no escape stays as it is.
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
    /// Adds an element with a text.
    pub(super) fn text(mut self, name: &str, text: &str) -> Self {
        let mut escaped = String::with_capacity(text.len());
        text.chars().for_each(|character| escape(character, &mut escaped));
        self.push(name, &escaped);
        self
    }

    /// Adds an element with a text, if there is one.
    pub(super) fn optional_text(self, name: &str, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(name, text),
            None => self,
        }
    }

    /// Adds an element with other elements.
    pub(super) fn element(mut self, name: &str, content: &Self) -> Self {
        self.push(name, &content.0);
        self
    }

    fn push(&mut self, name: &str, content: &str) {
        // Writing to a `String` cannot fail.
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
        // XML 1.0 cannot represent these.
        '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}' => text.push('\u{fffd}'),
        _ => text.push(character),
    }
}

/// Returns the response to a successful action.
pub(super) fn success(action: &str, result: &Xml, id: &str) -> AwsResponse {
    let metadata = Xml::default().text("RequestId", id);
    let document = Xml::default().element(&format!("{action}Result"), result).element("ResponseMetadata", &metadata);
    AwsResponse::success(XML_CONTENT_TYPE, document.into_document(&format!("{action}Response")))
}

/// Returns the response to a rejected action.
pub(super) fn error(error: &AwsError, id: &str) -> AwsResponse {
    let (status, code) = in_query_terms(error);
    let element = Xml::default()
        .text("Type", if status.is_server_error() { "Receiver" } else { "Sender" })
        .text("Code", code)
        .text("Message", &error.message);
    let document = Xml::default().element("Error", &element).text("RequestId", id);
    AwsResponse::error(status, code, XML_CONTENT_TYPE, document.into_document("ErrorResponse"))
}

/// Translates the errors that every service has: the query protocol is older and has other names for them.
fn in_query_terms(error: &AwsError) -> (StatusCode, &'static str) {
    match error.code {
        "AccessDeniedException" => (StatusCode::FORBIDDEN, "AccessDenied"),
        "IncompleteSignatureException" => (error.status, "IncompleteSignature"),
        "InvalidSignatureException" => (error.status, "SignatureDoesNotMatch"),
        "MissingAuthenticationTokenException" => (error.status, "MissingAuthenticationToken"),
        "ServerException" => (error.status, "InternalFailure"),
        "ThrottlingException" => (error.status, "Throttling"),
        code => (error.status, code),
    }
}
