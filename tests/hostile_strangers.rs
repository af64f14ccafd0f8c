//! Attacks by peers that prove nothing, on the real program with default settings and 128 MB of memory.
//!
//! Honest callers run beside each attack. Each test prints what it reached, for `docs/security.md`.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod attack;
mod certificates;
mod program;
mod raw_frames;
mod support;

use attack::{MemoryCgroup, Scene, Setup, attacker};

/// The harness itself: a process above the limit is killed, and the broker is within a cgroup wherever that works.
#[tokio::test(flavor = "multi_thread")]
async fn memory_limit_of_the_harness_ends_a_process_that_exceeds_it() {
    let scene = Scene::start(Setup::default()).await;
    drop(scene.stranger(attacker(1)).await);
    scene.end("no attack", "one connection").await;
    let Some(cgroup) = MemoryCgroup::create(32 * 1024 * 1024) else { return };
    let mut greedy = std::process::Command::new("sh");
    greedy.args(["-c", "x=x; while true; do x=$x$x; done"]);
    let status = cgroup.within(&greedy).status().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}");
}
