//! The layer of log lines, with its caps on what libraries may print.

use std::io::IsTerminal as _;

use anyhow::anyhow;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, fmt};

use self::json_fields::AppendedFields;
use self::text_fields::TextFields;
use super::variables::Variables;
use crate::config::{Log, LogFormat};

mod json_fields;
mod text_fields;

/// Targets that log nothing.
const SILENT: &str = "aws_";
/// Targets that log errors at most: those that serve peers. A peer decides how often h2 and rustls warn, by a frame of 17 bytes.
const SERVING: [&str; 5] = ["h2", "hyper", "rustls", "tonic", "tower"];
/// Targets that log at INFO at most.
const CAPPED: [&str; 3] = ["opentelemetry", "reqwest", "ecr_broker::simulator"];

/// Returns the layer that writes log lines. `RUST_LOG` takes precedence over the configured filter.
pub(super) fn layer<S, W>(
    log: &Log,
    environment: &[(String, String)],
    writer: W,
) -> anyhow::Result<Box<dyn Layer<S> + Send + Sync>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let (name, directives) = match Variables::new(environment).get("RUST_LOG") {
        Some(directives) => ("RUST_LOG", directives),
        None => ("log.filter", log.filter.as_str()),
    };
    let filter = EnvFilter::builder().parse(directives).map_err(|error| anyhow!("{name}: {error}"))?;
    // The caps apply at every level. Without a hint they would have each call of a library look at TRACE.
    let filter = filter.and(filter_fn(is_within_cap).with_max_level_hint(LevelFilter::TRACE));
    let terminal = std::io::stderr().is_terminal();
    let layer = fmt::layer().with_writer(writer);
    Ok(if is_json(log.format, terminal) {
        let layer = layer.json().flatten_event(true).with_current_span(false).with_span_list(true);
        layer.fmt_fields(AppendedFields).with_filter(filter).boxed()
    } else {
        let colours = terminal && may_colour(environment);
        layer.fmt_fields(TextFields).with_ansi(colours).with_filter(filter).boxed()
    })
}

fn is_json(format: LogFormat, terminal: bool) -> bool {
    match format {
        LogFormat::Auto => !terminal,
        LogFormat::Json => true,
        LogFormat::Text => false,
    }
}

/// Returns whether a terminal shows colours and its user wants them (<https://no-color.org>).
fn may_colour(environment: &[(String, String)]) -> bool {
    let variables = Variables::new(environment);
    variables.get("NO_COLOR").is_none() && variables.get("TERM") != Some("dumb")
}

/// Returns whether a line is within the caps, which apply under every filter.
fn is_within_cap(metadata: &Metadata<'_>) -> bool {
    if metadata.target().starts_with(SILENT) {
        return false;
    }
    let is_of = |targets: &[&str]| targets.iter().any(|target| metadata.target().starts_with(target));
    let most = if is_of(&SERVING) {
        Level::ERROR
    } else if is_of(&CAPPED) {
        Level::INFO
    } else {
        Level::TRACE
    };
    *metadata.level() <= most
}

#[cfg(test)]
mod tests;
