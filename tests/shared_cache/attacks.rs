//! Values that another program put into the server: never used, and replaced by one call.

use super::fleet::{Fleet, Replica};
use super::store::{Kind, Store, with_each};
use super::support::host;

/// A server with the values of two registries; the first has been replaced once.
struct Attacked {
    store: Store,
    fleet: Fleet,
    names: [String; 2],
    /// The first value of the first registry.
    old: Vec<u8>,
    calls: u64,
}

impl Attacked {
    async fn new(kind: &Kind) -> Self {
        let store = kind.start();
        let fleet = Fleet::new(&store.url()).await;
        let replica = fleet.replica().await;
        replica.get(&host(1)).await.unwrap();
        let first = store.values().await.remove(0);
        let old = store.value(&first).await;
        replica.get(&host(2)).await.unwrap();
        let second = store.values().await.into_iter().find(|name| *name != first).unwrap();
        let calls = fleet.aws.calls();
        Self { store, fleet, names: [first, second], old, calls }
    }

    /// Lets two fresh brokers ask for the first registry; returns the calls of both and their passwords.
    async fn ask(&mut self) -> (u64, [String; 2]) {
        let mut passwords = Vec::new();
        for _ in 0..2 {
            let replica: Replica = self.fleet.replica().await;
            passwords.push(replica.timed(&host(1)).await.0);
        }
        let calls = self.fleet.aws.calls();
        let made = calls - std::mem::replace(&mut self.calls, calls);
        (made, passwords.try_into().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_value_is_not_used_and_healed_by_one_call() {
    with_each(async |kind| {
        let mut attacked = Attacked::new(&kind).await;
        let [first, second] = attacked.names.clone();
        let (own, other) = (attacked.store.value(&first).await, attacked.store.value(&second).await);
        let mut of_older_version = own.clone();
        of_older_version[2] = b'0';
        let mut of_unknown_key = own.clone();
        of_unknown_key[4..8].copy_from_slice(b"none");
        let mut changed = own.clone();
        *changed.last_mut().unwrap() ^= 1;
        for (what, value) in [
            ("copied from another key", other.as_slice()),
            ("truncated", &own[..own.len() / 2]),
            ("only a header", &own[..8]),
            ("empty", b""),
            ("sealed by an unknown key", &of_unknown_key),
            ("from an older version", &of_older_version),
            ("changed", &changed),
            ("not an envelope", b"<html>not found</html>"),
            ("too long", &vec![b'x'; 200_000]),
        ] {
            attacked.store.overwrite(&first, value).await;
            let (calls, passwords) = attacked.ask().await;
            assert_eq!(calls, 1, "{what}: {:?}", attacked.store);
            assert_eq!(passwords[0], passwords[1], "{what}");
        }
    })
    .await;
}

/// Another type in the place of a value or of a lease, and a lease without an end.
#[tokio::test(flavor = "multi_thread")]
async fn entry_of_another_type_heals() {
    with_each(async |kind| {
        let mut attacked = Attacked::new(&kind).await;
        let value = attacked.names[0].clone();
        let lease = value.trim_end_matches('t').to_owned() + "l";
        for command in [
            format!("LPUSH {value} x"),
            format!("LPUSH {lease} x"),
            format!("SET {lease} 0123456789abcdef"),
            format!("SETEX {lease} 600 {}", "x".repeat(2_000)),
        ] {
            attacked.store.run::<()>(&format!("DEL {value} {lease}")).await;
            attacked.store.run::<()>(&command).await;
            let (calls, _) = attacked.ask().await;
            assert_eq!(calls, 1, "{}: {:?}", &command[..40], attacked.store);
        }
    })
    .await;
}

/// An older value of the same key opens: its end bounds the replay. A rejected credential, though, is replaced.
#[tokio::test(flavor = "multi_thread")]
async fn replayed_value_is_not_used_once_it_was_rejected() {
    with_each(async |kind| {
        let attacked = Attacked::new(&kind).await;
        let replica = attacked.fleet.replica().await;
        let old = replica.get(&host(1)).await.unwrap();
        let lookup = super::support::lookup_rejecting(&host(1), old.id());
        let new = replica.cache.get(lookup).await.unwrap().credential;
        assert_ne!(new.id(), old.id());
        attacked.store.overwrite(&attacked.names[0], &attacked.old).await;
        let fresh = attacked.fleet.replica().await;
        let replayed = fresh.get(&host(1)).await.unwrap();
        assert_eq!(replayed.id(), old.id(), "its own end bounds it");
        let lookup = super::support::lookup_rejecting(&host(1), replayed.id());
        assert_ne!(fresh.cache.get(lookup).await.unwrap().credential.id(), old.id());
    })
    .await;
}
