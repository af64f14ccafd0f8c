//! `TOKIO_WORKER_THREADS`: tokio reads it, and panics over a value that it cannot use.

use super::variable;

/// The number of threads of the async runtime; by default as many as CPUs.
pub const WORKER_THREADS: &str = "TOKIO_WORKER_THREADS";
/// Far above the CPUs of any host, far below what a process can start.
const MOST: usize = 1_024;

/// Checks the process's variable. Call it before a runtime with worker threads starts.
///
/// # Errors
/// tokio cannot use the value.
pub fn check_worker_threads() -> Result<(), String> {
    let Some(value) = variable(WORKER_THREADS) else { return Ok(()) };
    let problem = value.to_str().map_or_else(|| Some(super::NOT_UTF8.to_owned()), worker_threads_problem);
    problem.map_or(Ok(()), |problem| Err(format!("{WORKER_THREADS}: {problem}")))
}

/// Returns why tokio cannot use a value.
#[must_use]
pub fn worker_threads_problem(text: &str) -> Option<String> {
    let is_valid = text.parse().is_ok_and(|threads| (1..=MOST).contains(&threads));
    (!is_valid).then(|| format!("expected a whole number from 1 to {MOST}, got {text:?}; correct or unset it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_threads_are_a_number_that_tokio_can_start() {
        for text in ["1", "2", "1024", "08"] {
            assert_eq!(worker_threads_problem(text), None, "{text}");
        }
        for text in ["abc", "0", "-1", " 2", "1025", "99999999999999999999", "2.0"] {
            assert!(worker_threads_problem(text).is_some(), "{text}");
        }
    }
}
