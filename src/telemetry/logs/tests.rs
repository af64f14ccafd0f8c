use std::io::Write;
use std::sync::{Arc, Mutex};

use tracing::{debug, error, info, trace};
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

#[test]
fn library_targets_stay_capped_at_a_trace_filter() {
    let lines = Lines::default();
    let writer = lines.clone();
    let environment = vec![("RUST_LOG".to_owned(), "trace".to_owned())];
    let log = Log { filter: "info".to_owned(), format: LogFormat::Json };
    let layer = layer(&log, &environment, move || writer.clone()).unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        trace!(target: "aws_smithy_runtime::client::orchestrator", "secret");
        debug!(target: "h2::codec::framed_write", "secret");
        debug!(target: "hyper_util::client::legacy", "secret");
        trace!(target: "rustls::conn", "secret");
        trace!(target: "tonic::transport", "secret");
        error!(target: "aws_config::meta::credentials::chain", "secret");
        info!(target: "tonic::transport", "public");
        debug!(target: "ecr_broker::cache", "our own");
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(!text.contains("secret"), "{text}");
    assert!(text.contains("public") && text.contains("our own"), "{text}");
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
