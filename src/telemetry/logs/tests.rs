use std::io::Write;
use std::sync::{Arc, Mutex};

use tracing::{debug, error, field, info, trace, warn};
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Returns what `events` logs in a format.
fn logged(format: LogFormat, events: impl FnOnce()) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let environment = vec![("RUST_LOG".to_owned(), "trace".to_owned())];
    let log = Log { filter: "info".to_owned(), format };
    let layer = layer(&log, &environment, move || writer.clone()).unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), events);
    String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
}

/// Texts that a caller may choose, which look like fields or lines.
const HOSTILE: [&str; 9] = [
    "x principal=root",
    "a registry=\"x\" caller=uid:0",
    "\" principal=\"root",
    "x}: ecr_broker: request denied principal=root",
    "x\n2026-01-01T00:00:00Z  INFO ecr_broker: forged principal=root",
    "x\r\u{1b}[2Kprincipal=root",
    "x\u{2028}principal=root\u{202e}",
    "\\\" principal=root",
    "",
];

/// Splits a line at the spaces outside of quotes.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut is_quoted, mut is_escaped) = (vec![String::new()], false, false);
    for char in line.chars() {
        if char == ' ' && !is_quoted {
            words.push(String::new());
            continue;
        }
        is_quoted ^= char == '"' && !is_escaped;
        is_escaped = char == '\\' && !is_escaped;
        words.last_mut().unwrap().push(char);
    }
    assert!(!is_quoted, "{line}");
    words
}

#[test]
fn hostile_subject_forges_neither_a_field_nor_a_line() {
    for subject in HOSTILE {
        let caller = format!("jwt:ci:{subject}");
        let span = || tracing::info_span!("call", request_id = "1", caller = %caller);
        let event = || {
            let _span = span().entered();
            info!(caller = %caller, alias = subject, debug = ?caller, count = 3, "request denied");
        };
        let text = logged(LogFormat::Text, event);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.trim_end().contains(|char: char| char.is_control() || char == '\u{202e}'), "{text:?}");
        let names: Vec<_> =
            words(text.trim_end()).iter().filter_map(|word| Some(word.split_once('=')?.0.to_owned())).collect();
        assert_eq!(names, ["call{request_id", "caller", "caller", "alias", "debug", "count"], "{text}");

        let json: serde_json::Value = serde_json::from_str(logged(LogFormat::Json, event).trim_end()).unwrap();
        assert_eq!((&json["caller"], &json["alias"]), (&caller.as_str().into(), &subject.into()));
        assert!(json.get("principal").is_none() && json.get("registry").is_none(), "{json}");
    }
}

/// Fields that are recorded after the span began are appended to its first ones.
#[test]
fn json_line_has_each_field_of_its_span_with_the_last_value() {
    for hostile in HOSTILE {
        let text = logged(LogFormat::Json, || {
            let span = tracing::info_span!("call", request_id = "1", trace_id = field::Empty, caller = hostile);
            span.record("trace_id", "of the client");
            span.record("caller", hostile);
            span.record("trace_id", field::display("2"));
            let unset = field::Empty;
            let empty = tracing::info_span!(parent: &span, "fetch", count = unset, ok = unset, debug = unset);
            empty.record("count", -3);
            empty.record("ok", true);
            empty.record("debug", field::debug(Some(hostile)));
            let bare = tracing::info_span!(parent: &empty, "bare");
            bare.in_scope(|| info!("request denied"));
        });
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        let expected = serde_json::json!([
            { "name": "call", "request_id": "1", "trace_id": "2", "caller": hostile },
            { "name": "fetch", "count": -3, "ok": true, "debug": format!("{:?}", Some(hostile)) },
            { "name": "bare" },
        ]);
        assert_eq!(line["spans"], expected, "{text}");
    }
}

#[test]
fn names_and_addresses_are_not_quoted_in_text() {
    let text = logged(LogFormat::Text, || {
        let (caller, origin) = ("uid:1001,gid:1001", "2001:db8::/64");
        info!(%caller, %origin, for_roles = "a b", free = 5, "audit {}", "done");
    });
    let fields = "audit done caller=uid:1001,gid:1001 origin=2001:db8::/64 for_roles=\"a b\" free=5\n";
    assert!(text.ends_with(fields), "{text}");
}

#[test]
fn library_targets_stay_capped_at_a_trace_filter() {
    let text = logged(LogFormat::Json, || {
        trace!(target: "aws_smithy_runtime::client::orchestrator", "secret");
        debug!(target: "h2::codec::framed_write", "secret");
        debug!(target: "hyper_util::client::legacy", "secret");
        trace!(target: "rustls::conn", "secret");
        trace!(target: "tonic::transport", "secret");
        error!(target: "aws_config::meta::credentials::chain", "secret");
        warn!(target: "h2::proto::ping_pong", "secret of a flood");
        info!(target: "reqwest::connect", "public");
        error!(target: "tonic::transport", "public");
        debug!(target: "ecr_broker::cache", "our own");
    });
    assert!(!text.contains("secret"), "{text}");
    assert!(text.matches("public").count() == 2 && text.contains("our own"), "{text}");
}

#[test]
fn colours_are_off_with_no_color_and_on_a_dumb_terminal() {
    for (variables, expected) in [
        (&[][..], true),
        (&[("TERM", "xterm-256color")], true),
        (&[("NO_COLOR", "1"), ("TERM", "xterm")], false),
        (&[("NO_COLOR", "")], true),
        (&[("TERM", "dumb")], false),
    ] {
        let owned: Vec<_> = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(may_colour(&owned), expected, "{variables:?}");
    }
}
