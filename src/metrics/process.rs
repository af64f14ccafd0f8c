//! Figures of the process, by the names that Prometheus's client libraries share.

use super::process_file::ProcessStat;
use super::registry::Registry;

/// Registers the figures. One that the system does not tell is left out.
pub(super) fn register(registry: &mut Registry) {
    registry.on_scrape(|scrape| {
        if let Some(stat) = ProcessStat::read() {
            scrape.counter("process_cpu_seconds_total", "CPU time, user and system", stat.cpu_seconds)?;
            scrape.gauge("process_resident_memory_bytes", "Resident memory", stat.resident_bytes)?;
            scrape.gauge("process_virtual_memory_bytes", "Virtual memory", stat.virtual_bytes)?;
            scrape.gauge("process_threads", "Threads", stat.threads)?;
            scrape.gauge_if("process_start_time_seconds", "Start, in Unix time", stat.started())?;
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        scrape.gauge_if("process_max_fds", "Highest number of open file descriptors", limit)?;
        scrape.gauge_if("process_open_fds", "Open file descriptors", open_descriptors())
    });
}

/// Returns the number of open descriptors, without the one of the directory that tells it.
fn open_descriptors() -> Option<u64> {
    let entries = std::fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(entries).ok()?.checked_sub(1)
}
