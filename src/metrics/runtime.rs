//! Figures of the async runtime, as far as tokio's interface for them is stable.

use tokio::runtime::{Handle, RuntimeMetrics};

use super::registry::Registry;

/// Registers the figures of the current runtime.
pub(super) fn register(registry: &mut Registry) {
    let runtime = Handle::current().metrics();
    registry.on_scrape(move |scrape| {
        scrape.gauge("tokio_workers", "Worker threads", runtime.num_workers())?;
        scrape.gauge("tokio_alive_tasks", "Tasks that have not ended", runtime.num_alive_tasks())?;
        scrape.gauge("tokio_global_queue_depth", "Tasks that wait for any worker", runtime.global_queue_depth())?;
        let busy =
            workers(&runtime).map(|worker| runtime.worker_total_busy_duration(worker).as_secs_f64()).sum::<f64>();
        scrape.counter("tokio_workers_busy_seconds_total", "Time that all workers were busy", busy)?;
        let parks = workers(&runtime).map(|worker| runtime.worker_park_count(worker)).sum::<u64>();
        scrape.counter("tokio_workers_park_total", "Times that a worker had nothing to do", parks)
    });
}

fn workers(runtime: &RuntimeMetrics) -> std::ops::Range<usize> {
    0..runtime.num_workers()
}
