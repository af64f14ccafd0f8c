//! HTTP clients of exports: through the proxies of the environment as all other calls of the broker, and without redirects, which would
//! take the headers of the export to another host.

use std::thread;

use anyhow::{Context as _, anyhow};
use reqwest::redirect::Policy;

use super::export::Export;

const FAILED: &str = "cannot create the HTTP client of the OTLP exporter; check the OTEL_EXPORTER_OTLP_* variables";

/// Returns a client for tasks of the runtime, which keeps no connection.
pub(super) fn new(export: &Export) -> anyhow::Result<reqwest::Client> {
    let (roots, identity) = export.tls.for_http(export.is_plaintext())?;
    let builder = reqwest::Client::builder().redirect(Policy::none()).proxy(export.proxies.for_reqwest());
    let builder = match roots {
        Some(roots) => builder.tls_certs_only(roots),
        None => builder,
    };
    let builder = match identity {
        Some(identity) => builder.identity(identity),
        None => builder,
    };
    builder.timeout(export.timeout).pool_max_idle_per_host(0).build().context(FAILED)
}

/// Returns a client that blocks, for threads outside the runtime. Such a client must be created on a thread outside it, too.
pub(super) fn blocking(export: &Export) -> anyhow::Result<reqwest::blocking::Client> {
    let (roots, identity) = export.tls.for_http(export.is_plaintext())?;
    let builder = reqwest::blocking::Client::builder().redirect(Policy::none()).proxy(export.proxies.for_reqwest());
    let builder = match roots {
        Some(roots) => builder.tls_certs_only(roots),
        None => builder,
    };
    let builder = match identity {
        Some(identity) => builder.identity(identity),
        None => builder,
    };
    let builder = builder.timeout(export.timeout);
    let built = thread::spawn(move || builder.build()).join();
    built.map_err(|_| anyhow!(FAILED))?.context(FAILED)
}
