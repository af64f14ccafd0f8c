//! Locks that survive a panic.

use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(all(test, feature = "server"))]
pub(crate) mod counting_waker;

/// Locks `mutex`, even if a panic has poisoned it. Only for state that is consistent after each statement: then one panic must not
/// fail every later call.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_after_a_panic_returns_the_value() {
        let mutex = Mutex::new(1);
        std::thread::scope(|scope| {
            let poisoning = scope.spawn(|| {
                let _guard = lock(&mutex);
                panic!("the lock is poisoned on purpose");
            });
            assert!(poisoning.join().is_err());
        });
        assert!(mutex.is_poisoned());
        assert_eq!(*lock(&mutex), 1);
    }
}
