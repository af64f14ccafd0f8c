//! Three brokers behind DNS round robin, Envoy and haproxy: restarted one after the other under load, no call is lost.
//!
//! `ROLLING_RESTARTS=10` restarts them ten times. `DRAIN_DELAY` and `BALANCER_CHANGE` show what loses calls.

mod balancers;
mod load;
mod replicas;

use load::{Calls, Ghz, Retrying};
use replicas::Replicas;

/// Calls that each broker answers between two restarts.
const CALLS: f64 = 30.0;
/// More time than Envoy and haproxy need to notice, by their example configurations.
const NOTICED: &str = "3s";
const ALL: [usize; 3] = [0, 1, 2];

/// Restarts the brokers one after the other, each once all answer calls. Finally all answer calls again.
fn restart_all(replicas: &mut Replicas, signal: &str) {
    for number in ALL.repeat(rounds()) {
        replicas.until_answered(&ALL, CALLS);
        replicas.restart(number, signal, CALLS);
    }
    replicas.until_answered(&ALL, CALLS);
}

fn rounds() -> usize {
    setting("ROLLING_RESTARTS", "1").parse().unwrap()
}

fn drain_delay(default: &str) -> String {
    format!("drain_delay = {:?}", setting("DRAIN_DELAY", default))
}

#[expect(clippy::disallowed_methods, reason = "a test's own settings")]
fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn assert_none_lost(calls: &Calls) {
    assert!(calls.answered > 100 && calls.lost.is_empty(), "{calls:?}");
}

/// ghz has no retry policy, and counts every attempt.
#[test]
#[ignore = "needs ghz and Python's grpcio, which .ci/tools installs"]
fn p9_rolling_restart_behind_dns_round_robin_loses_no_call() {
    let mut replicas = Replicas::start(18, "");
    let dns = balancers::dns(&replicas);
    let target = format!("dns://127.0.0.53:{}/broker.example:{}", dns.port, replicas.port);
    let ghz = Ghz::start(&replicas, &target, "round_robin");
    let retrying = Retrying::start(&replicas, &target);
    restart_all(&mut replicas, "TERM");
    assert_none_lost(&ghz.stop());
    assert_none_lost(&retrying.stop());
}

#[test]
#[ignore = "needs ghz and Envoy, which .ci/tools installs"]
fn p9_rolling_restart_behind_envoy_loses_no_call() {
    let mut replicas = Replicas::start(19, &drain_delay(NOTICED));
    let dns = balancers::dns(&replicas);
    let envoy = balancers::envoy(&replicas, &dns);
    let ghz = Ghz::start(&replicas, &envoy.address, "pick_first");
    restart_all(&mut replicas, "TERM");
    assert_none_lost(&ghz.stop());
}

#[test]
#[ignore = "needs ghz and haproxy, which .ci/tools installs"]
fn p9_rolling_restart_behind_haproxy_loses_no_call() {
    let mut replicas = Replicas::start(20, &drain_delay(NOTICED));
    let haproxy = balancers::haproxy(&replicas, "calls");
    let ghz = Ghz::start(&replicas, &haproxy.address, "pick_first");
    restart_all(&mut replicas, "TERM");
    assert_none_lost(&ghz.stop());
}

/// A broker that came back gets the connections of the next one that restarts, or those that reach their age.
#[test]
#[ignore = "needs ghz and haproxy, which .ci/tools installs"]
fn p9_rolling_restart_behind_haproxy_for_tcp_loses_no_call() {
    let mut replicas = Replicas::start(21, &format!("{}\nmax_connection_age = \"10s\"", drain_delay("0s")));
    let haproxy = balancers::haproxy(&replicas, "connections");
    let ghz = Ghz::start(&replicas, &haproxy.address, "pick_first");
    for number in ALL.repeat(rounds()) {
        replicas.until_answered(&[number], CALLS);
        replicas.restart(number, "TERM", CALLS);
    }
    replicas.until_answered(&ALL, 1.0);
    assert_none_lost(&ghz.stop());
}

/// A broker that is killed answers nothing of what it has in flight. gRPC's retry policy asks another one.
#[test]
#[ignore = "needs Python's grpcio, which .ci/tools installs"]
fn killed_brokers_lose_no_call_of_clients_with_a_retry_policy() {
    let mut replicas = Replicas::start(22, "");
    let dns = balancers::dns(&replicas);
    let target = format!("dns://127.0.0.53:{}/broker.example:{}", dns.port, replicas.port);
    let retrying = Retrying::start(&replicas, &target);
    restart_all(&mut replicas, "KILL");
    assert_none_lost(&retrying.stop());
}
