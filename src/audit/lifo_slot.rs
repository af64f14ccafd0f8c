//! Clears the LIFO slot of a worker before it may block.
//!
//! tokio keeps the task that was woken last in a slot of its worker, from which no other worker steals. If the worker blocked in a
//! write, that task would wait for the disk, too: the fetch of a key for many callers, for instance. Waking another task moves it to
//! the worker's queue, from which others steal.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;

thread_local! {
    /// The spacer of this worker.
    static OWN: RefCell<Option<Arc<Spacer>>> = const { RefCell::new(None) };
}

/// A task that does nothing but take the slot.
#[derive(Debug, Default)]
struct Spacer {
    waker: OnceLock<Waker>,
    /// Whether waking it schedules it: it is not scheduled already.
    is_idle: AtomicBool,
}

/// Moves the task in the slot of this worker to where others find it.
pub(super) fn clear() {
    OWN.with_borrow_mut(|own| {
        if let Some(spacer) = own
            && spacer.is_idle.swap(false, Ordering::Relaxed)
            && let Some(waker) = spacer.waker.get()
        {
            return waker.wake_by_ref();
        }
        // The first one, or the last one has not run since: another task may have taken the slot after it.
        let Ok(runtime) = Handle::try_current() else { return };
        let spacer = Arc::<Spacer>::default();
        *own = Some(Arc::clone(&spacer));
        drop(runtime.spawn(poll_fn(move |context| spacer.poll(context))));
    });
}

impl Spacer {
    /// Waits to be woken again. It ends on another worker that stole it, and after another spacer has replaced it: woken there, it
    /// would not take the slot that it is for.
    fn poll(self: &Arc<Self>, context: &Context<'_>) -> Poll<()> {
        if !OWN.with_borrow(|own| own.as_ref().is_some_and(|own| Arc::ptr_eq(own, self))) {
            return Poll::Ready(());
        }
        self.waker.get_or_init(|| context.waker().clone());
        self.is_idle.store(true, Ordering::Relaxed);
        Poll::Pending
    }
}
