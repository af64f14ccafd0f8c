//! The client's log on stderr: warnings, and with `-v` or `RUST_LOG` each step of a connection.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, layer};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::environment;
use crate::quoted::Visible;

/// The only targets that log: libraries could print a token.
const OWN_TARGETS: &str = "ecr_broker";

/// Starts the log. Without `-v` the filter is `RUST_LOG`, or the default.
pub(super) fn start(is_verbose: bool, default: LevelFilter) {
    let variable = || EnvFilter::try_new(environment::variable("RUST_LOG")?.to_str()?).ok();
    let usual = || variable().unwrap_or_else(|| EnvFilter::default().add_directive(default.into()));
    let filter = if is_verbose { EnvFilter::default().add_directive(LevelFilter::DEBUG.into()) } else { usual() };
    let filter = filter.and(filter_fn(|metadata| metadata.target().starts_with(OWN_TARGETS)));
    let log = layer().with_writer(std::io::stderr).event_format(Line).with_filter(filter);
    // A second start changes nothing.
    let _ = tracing_subscriber::registry().with(log).try_init();
}

/// Writes an event as one line, as errors are. Its fields may come from a broker or a file, so it is escaped.
#[derive(Debug)]
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            _ => "",
        };
        let mut text = String::new();
        context.format_fields(Writer::new(&mut text), event)?;
        writeln!(writer, "ecr-broker: {level}{}", Visible(&text.replace('\n', " ")))
    }
}
