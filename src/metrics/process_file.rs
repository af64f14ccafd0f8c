//! `/proc/self/stat`, as far as metrics need it: `man 5 proc_pid_stat`.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};

/// What the kernel says of this process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ProcessStat {
    pub(super) cpu_seconds: f64,
    pub(super) threads: u64,
    pub(super) virtual_bytes: u64,
    pub(super) resident_bytes: u64,
    /// Start after the boot, in seconds.
    start_seconds: f64,
}

impl ProcessStat {
    pub(super) fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The name of the program, the second field, may hold blanks and parentheses.
        let (_, after_name) = text.rsplit_once(')')?;
        let fields: Vec<_> = after_name.split_ascii_whitespace().collect();
        // The manual counts from 1, and the first field after the name is the third.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_seconds: seconds(field(14)?.checked_add(field(15)?)?),
            threads: field(20)?,
            start_seconds: seconds(field(22)?),
            virtual_bytes: field(23)?,
            resident_bytes: field(24)?.checked_mul(u64::try_from(page_size()).ok()?)?,
        })
    }

    /// Returns the start in Unix time.
    pub(super) fn started(&self) -> Option<f64> {
        let system = fs::read_to_string("/proc/stat").ok()?;
        let boot = system.lines().find_map(|line| line.strip_prefix("btime "))?;
        Some(boot.trim().parse::<f64>().ok()? + self.start_seconds)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a tick is 10 ms")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / clock_ticks_per_second() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_name_may_hold_parentheses_and_blanks() {
        let tail = "S 1 2 3 4 5 6 7 8 9 10 200 300 0 0 20 0 9 0 4000 1000000 25 18446744073709551615 1";
        let stat = ProcessStat::parse(&format!("42 (ecr ) (broker) {tail}\n")).unwrap();
        assert_eq!((stat.threads, stat.virtual_bytes), (9, 1_000_000));
        assert_eq!(stat.resident_bytes, 25 * u64::try_from(page_size()).unwrap());
        assert!((stat.cpu_seconds - seconds(500)).abs() < 1e-9 && (stat.start_seconds - seconds(4_000)).abs() < 1e-9);
        assert_eq!(ProcessStat::parse("42 (ecr-broker) S 1"), None);
    }

    #[test]
    fn own_process_has_memory_threads_and_a_start() {
        let stat = ProcessStat::read().unwrap();
        assert!(stat.resident_bytes > 1_000_000 && stat.virtual_bytes >= stat.resident_bytes && stat.threads >= 1);
        assert!(stat.started().unwrap() > 1_600_000_000.0);
    }
}
