//! Fields of spans as JSON.
//!
//! A call's span gets fields until the call ends, and hardly any call writes a log line. The library parses and rewrites all fields of
//! a span for each that is added; here it is appended. The library reads a span's fields as an object when it writes a line.

use std::fmt::{self, Write as _};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FormatFields, FormattedFields};

/// Room for the fields that a call's span begins with. More may follow.
const FIRST_FIELDS: usize = 512;

/// Writes fields as a JSON object. A field that is recorded again stands in it twice, and a reader takes the last.
#[derive(Debug)]
pub(super) struct AppendedFields;

/// Writes members of an object, each after a comma but for the first.
struct Members<'t> {
    text: &'t mut String,
    is_first: bool,
    result: fmt::Result,
}

/// Writes the inside of a JSON text.
struct Escaped<'t>(&'t mut String);

impl<'w> FormatFields<'w> for AppendedFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        // The writer's own text would grow with each field.
        let mut text = String::with_capacity(FIRST_FIELDS);
        text.push('{');
        let mut members = Members { text: &mut text, is_first: true, result: Ok(()) };
        fields.record(&mut members);
        members.end()?;
        writer.write_str(&text)
    }

    fn add_fields(&self, current: &'w mut FormattedFields<Self>, fields: &Record<'_>) -> fmt::Result {
        let is_first = current.fields.len() <= "{}".len();
        if current.fields.pop().is_none() {
            current.fields.push('{');
        }
        let mut members = Members { text: &mut current.fields, is_first, result: Ok(()) };
        fields.record(&mut members);
        members.end()
    }
}

impl Members<'_> {
    fn begin(&mut self, name: &str) {
        if !std::mem::take(&mut self.is_first) {
            self.text.push(',');
        }
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
    }

    fn add(&mut self, name: &str, value: fmt::Arguments<'_>) {
        self.begin(name);
        self.write(|text| text.write_fmt(value));
    }

    fn add_text(&mut self, name: &str, value: fmt::Arguments<'_>) {
        self.begin(name);
        self.text.push('"');
        self.write(|text| Escaped(text).write_fmt(value));
        self.text.push('"');
    }

    fn write(&mut self, write: impl FnOnce(&mut String) -> fmt::Result) {
        let result = write(self.text);
        self.result = self.result.and(result);
    }

    fn end(self) -> fmt::Result {
        self.text.push('}');
        self.result
    }
}

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        // Hardly any value has a character to escape.
        if !part.bytes().any(|byte| byte < b' ' || matches!(byte, b'"' | b'\\')) {
            self.0.push_str(part);
            return Ok(());
        }
        let quoted = serde_json::to_string(part).map_err(|_| fmt::Error)?;
        self.0.push_str(quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).ok_or(fmt::Error)?);
        Ok(())
    }
}

/// Values are as in the library's own JSON. Names are the code's own, and none needs quotes.
impl Visit for Members<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), format_args!("{}", Value::from(value)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), format_args!("{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_text(field.name(), format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let name = field.name();
        self.add_text(name.strip_prefix("r#").unwrap_or(name), format_args!("{value:?}"));
    }
}
