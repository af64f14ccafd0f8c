use std::io::Write;
use std::sync::{Arc, Mutex};

use tracing::{debug, error, info, trace};

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
fn libraries_that_print_what_passes_through_them_are_capped_whatever_is_asked_for() {
    let lines = Lines::default();
    let writer = lines.clone();
    let environment = vec![("RUST_LOG".to_owned(), "trace".to_owned())];
    let settings = Settings { filter: "info".to_owned(), json: Some(true), environment };
    let layer = super::lines(&settings, move || writer.clone()).unwrap();
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
