//! Fields of spans as JSON.
//!
//! A call's span gets fields until the call ends, and hardly any call writes a log line. The library parses and rewrites all fields of
//! a span for each that is added; here it is appended. The library reads a span's fields as an object when it writes a line.

use std::fmt;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FormatFields, FormattedFields};

/// Writes fields as a JSON object. A field that is recorded again stands in it twice, and a reader takes the last.
#[derive(Debug)]
pub(super) struct AppendedFields;

/// Writes members of an object, each after a comma but for the first.
struct Members<'w> {
    writer: Writer<'w>,
    is_first: bool,
    result: fmt::Result,
}

impl<'w> FormatFields<'w> for AppendedFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        writer.write_char('{')?;
        let mut members = Members { writer, is_first: true, result: Ok(()) };
        fields.record(&mut members);
        members.end()
    }

    fn add_fields(&self, current: &'w mut FormattedFields<Self>, fields: &Record<'_>) -> fmt::Result {
        let is_first = current.fields.len() <= "{}".len();
        if current.fields.pop().is_none() {
            current.fields.push('{');
        }
        let mut members = Members { writer: current.as_writer(), is_first, result: Ok(()) };
        fields.record(&mut members);
        members.end()
    }
}

impl Members<'_> {
    fn add(&mut self, name: &str, value: fmt::Arguments<'_>) {
        let comma = if std::mem::take(&mut self.is_first) { "" } else { "," };
        if self.result.is_ok() {
            self.result = write!(self.writer, "{comma}\"{name}\":{value}");
        }
    }

    fn add_text(&mut self, name: &str, value: &str) {
        let quoted = serde_json::to_string(value).unwrap_or_else(|_| "\"\"".to_owned());
        self.add(name, format_args!("{quoted}"));
    }

    fn end(mut self) -> fmt::Result {
        self.result?;
        self.writer.write_char('}')
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
        self.add_text(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let name = field.name();
        self.add_text(name.strip_prefix("r#").unwrap_or(name), &format!("{value:?}"));
    }
}
