//! Metrics: counters and histograms of the hot path, gauges that are read at scrape time, and their text formats.
//!
//! Each module registers its own metrics where it is built (`Metrics::new(&mut Registry)`), and records at one point. `app.rs`
//! makes the registry first, passes it to every module, and hands the [`Exposition`] to what serves it.
//!
//! - Recording takes no lock and allocates nothing: counters and histograms are atomics in a few shards, one of them a thread's own.
//! - Figures that mirror the state of a module are not kept in step by hand: [`Registry::on_scrape`] reads the module.
//! - Label values come from closed sets ([`Label`]), or from the configuration. A caller is never a label.
//! - Names in the source are those of a scrape, `_total` included. `docs/metrics.md` lists every one; a test compares.

mod build_info;
mod counter;
mod exposition;
mod family;
mod histogram;
mod label;
mod otlp;
mod process;
mod process_file;
mod region;
mod registry;
mod runtime;
mod scrape;
mod sharded;

pub use self::counter::Counter;
pub use self::exposition::{Exposition, Format};
pub use self::family::Family;
pub use self::histogram::{Buckets, Histogram};
pub use self::label::{Label, Labels};
pub use self::otlp::Covered;
pub use self::region::region_label;
pub use self::registry::Registry;
pub use self::scrape::Scrape;

pub(crate) use self::label::labels;

/// Registers what belongs to the program rather than to a module: its build, its process and its async runtime.
///
/// Must be called inside the runtime.
pub fn register_program(registry: &mut Registry) {
    build_info::register(registry);
    process::register(registry);
    runtime::register(registry);
}
