//! Request handling that every front end shares: admission, time limit, forced shutdown, panics.
//!
//! A front end decodes its protocol and encodes its errors. All limits are here, so that no front end can leave one out.

use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::caller::{Caller, Principal, Via};
use crate::error::BrokerError;
use crate::limits::{Admission, Limits, RecentUsage};
use crate::registry::Region;

/// Longest duration of a request, whatever deadline its client sets. AWS SDKs give up after a minute.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(30);
/// Longest wait for a request's body after its headers. A body is at most 64 KiB.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(6);
/// Time that assembling and sending a response needs at most.
const RESPONSE_TIME: Duration = Duration::from_millis(200);

/// Runs `handler` until it returns or panics, its deadline passes, or the broker forces the shutdown.
///
/// This is not an `async fn`: its future would hold the handler twice.
pub(crate) fn run<T>(
    handler: impl Future<Output = T>,
    deadline: Instant,
    force_shutdown: CancellationToken,
) -> impl Future<Output = Result<T, BrokerError>> {
    let handler = AssertUnwindSafe(handler).catch_unwind();
    async move {
        tokio::select! {
            // The handler first: a finished response is sent, however late it is.
            biased;
            output = handler => output.map_err(|_| BrokerError::Internal),
            () = force_shutdown.cancelled() => Err(BrokerError::ShuttingDown),
            () = sleep_until(deadline) => Err(BrokerError::Deadline),
        }
    }
}

/// Returns the time shortly before a deadline: a tenth of the time that is left, at most 200 ms.
///
/// It is the deadline of each part of a request, so that finished parts are sent beside late ones. It is also when a caller that waits
/// gets the cause that the broker knows, instead of DEADLINE.
pub(crate) fn shortly_before(deadline: Instant) -> Instant {
    let now = Instant::now();
    let left = deadline.saturating_duration_since(now);
    now + left - (left / 10).min(RESPONSE_TIME)
}

/// Admits `count` requests of a caller, all or none. They count as in flight until the admission is dropped.
///
/// An empty batch counts as one request. Those of a forwarded caller count for the broker that forwards it, too.
pub(crate) fn admit(limits: &Limits, caller: &Caller, count: usize) -> Result<Admission, BrokerError> {
    let count = non_zero(count);
    let Some(broker) = broker_of(caller) else { return Ok(limits.admit(&caller.principal(), count)?) };
    let of_broker = limits.admit_broker(&broker, count)?;
    Ok(limits.admit(&caller.principal(), count)?.beside(of_broker))
}

/// Admits one more request of a caller, which is not forwarded and always the same for `usage`.
pub(crate) fn admit_again(limits: &Limits, caller: &Caller, usage: &RecentUsage) -> Result<Admission, BrokerError> {
    if broker_of(caller).is_some() {
        return admit(limits, caller, 1);
    }
    Ok(limits.admit_again(&caller.principal(), usage)?)
}

/// Adds `count` requests to the admission of a call, all or none.
pub(crate) fn admit_more(
    limits: &Limits,
    caller: &Caller,
    admission: &Admission,
    count: usize,
) -> Result<(), BrokerError> {
    let count = non_zero(count);
    if let (Some(broker), Some(of_broker)) = (broker_of(caller), admission.of_broker()) {
        limits.admit_more(&broker, of_broker, count)?;
    }
    Ok(limits.admit_more(&caller.principal(), admission, count)?)
}

/// Admits `count` more watched registries of a caller and the `bytes` that they take, all or none. They count until the admissions
/// are dropped.
pub(crate) fn admit_watch(
    limits: &Limits,
    caller: &Caller,
    count: usize,
    bytes: usize,
) -> Result<[Admission; 2], BrokerError> {
    let (count, bytes) = (non_zero(count), non_zero(bytes));
    let Some(broker) = broker_of(caller) else { return Ok(limits.admit_watch(&caller.principal(), count, bytes)?) };
    let [registries, memory] = limits.admit_broker_watch(&broker, count, bytes)?;
    let [own_registries, own_memory] = limits.admit_watch(&caller.principal(), count, bytes)?;
    Ok([own_registries.beside(registries), own_memory.beside(memory)])
}

/// Returns the child broker that forwards a caller, as limits count it.
fn broker_of(caller: &Caller) -> Option<Principal> {
    caller.via().and_then(Via::peer).map(Principal::from)
}

/// Returns the broker's default region, for a request that names none; `fix` completes the error if there is no default.
pub(crate) fn default_region(broker: &Broker, field: &'static str, fix: &str) -> Result<Region, BrokerError> {
    broker.region().cloned().ok_or_else(|| BrokerError::RequestInvalid {
        field,
        problem: format!("no region given, and the broker has no default; {fix} or set aws.region"),
    })
}

fn non_zero(count: usize) -> NonZeroU32 {
    NonZeroU32::new(u32::try_from(count).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail() {
        panic!("scripted");
    }

    #[tokio::test(start_paused = true)]
    async fn run_ends_with_the_output_a_panic_the_deadline_or_the_shutdown() {
        let soon = || Instant::now() + Duration::from_secs(1);
        let token = CancellationToken::new();
        assert_eq!(run(async { 1 }, Instant::now(), token.clone()).await, Ok(1));
        assert_eq!(run(async { fail() }, soon(), token.clone()).await, Err(BrokerError::Internal));
        let pending = std::future::pending::<()>;
        assert_eq!(run(pending(), soon(), token.clone()).await, Err(BrokerError::Deadline));
        token.cancel();
        assert_eq!(run(pending(), soon(), token.clone()).await, Err(BrokerError::ShuttingDown));
        assert_eq!(run(async { 2 }, soon(), token).await, Ok(2), "a finished response is sent");
    }

    #[tokio::test(start_paused = true)]
    async fn shortly_before_a_deadline_is_a_tenth_but_at_most_200_ms() {
        let now = Instant::now();
        for (left, expected) in [(0, 0), (100, 90), (1_000, 900), (30_000, 29_800)] {
            let deadline = now + Duration::from_millis(left);
            assert_eq!(shortly_before(deadline) - now, Duration::from_millis(expected), "{left}");
        }
    }
}
