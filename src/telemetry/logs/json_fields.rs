//! Fields of spans as JSON.
//!
//! A call's span gets fields until the call ends, and hardly any call writes a log line. The library parses and rewrites all fields of
//! a span for each that is added; here it is appended. The library reads a span's fields as an object when it writes a line.

use std::fmt;

use tracing::span::Record;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FormatFields, FormattedFields};

/// Writes fields as a JSON object. A field that is recorded again stands in it twice, and a reader takes the last.
#[derive(Debug)]
pub(super) struct AppendedFields;

impl<'w> FormatFields<'w> for AppendedFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        JsonFields::new().format_fields(writer, fields)
    }

    fn add_fields(&self, current: &'w mut FormattedFields<Self>, fields: &Record<'_>) -> fmt::Result {
        let mut added = String::new();
        self.format_fields(Writer::new(&mut added), fields)?;
        append(&mut current.fields, &added);
        Ok(())
    }
}

/// Appends the members of one JSON object to another.
fn append(object: &mut String, added: &str) {
    if matches!(object.as_str(), "" | "{}") {
        added.clone_into(object);
    } else if added != "{}" {
        object.pop();
        object.push(',');
        object.push_str(added.strip_prefix('{').unwrap_or(added));
    }
}
