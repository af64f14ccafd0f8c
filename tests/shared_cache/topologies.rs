//! TLS, users, Sentinels and clusters.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::certificates::{Authority, dns, leaf};
use super::fleet::{Fleet, ask, write_secret};
use super::store::{Kind, Store, free_port, with_each};
use super::support::host;

/// As `docs/shared-cache.md` names them.
const ACL: &str = "~ecr-broker:1:* resetchannels -@all +get +set +del +pttl +pexpire +eval +evalsha +asking";

#[tokio::test(flavor = "multi_thread")]
async fn user_with_the_least_rights_over_mutual_tls_can_do_all() {
    with_each(async |kind| {
        let directory = tempfile::tempdir().unwrap();
        let ca = Authority::new(directory.path(), "ca.pem", "ca");
        let of = |pair: super::certificates::Pair, name: &str| {
            let (certificate, key) = pair.write(directory.path(), name);
            [certificate, key].map(|file| file.display().to_string())
        };
        let [server_certificate, server_key] = of(ca.server(), "server");
        let [certificate, key] = of(ca.sign(&leaf(&[dns("broker.example")])), "broker");
        let file = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(file("acl"), format!("user default off\nuser broker on >old-password {ACL}\n")).unwrap();
        write_secret(&directory.path().join("password"), "old-password\n");
        let port = free_port();
        let (port_text, ca_file, acl) = (port.to_string(), file("ca.pem"), file("acl"));
        let arguments = [
            "--port",
            "0",
            "--tls-port",
            &port_text,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--tls-cert-file",
            &server_certificate,
            "--tls-key-file",
            &server_key,
            "--tls-ca-cert-file",
            &ca_file,
            "--tls-auth-clients",
            "yes",
            "--aclfile",
            &acl,
        ];
        let Some(mut store) = start_with_tls(&kind, &arguments, port) else { return };
        let section = format!(
            "url = \"rediss://localhost:{port}\"\ntimeout = \"500ms\"\nusername = \"broker\"\npassword_file = {:?}\n\
             tls_ca = {ca_file:?}\ntls_cert = {certificate:?}\ntls_key = {key:?}",
            file("password"),
        );
        let fleet = Fleet::with(&section).await;
        let replicas = fleet.replicas(3).await;
        let passwords: BTreeSet<_> = ask(&replicas, &host(1)).await.into_iter().collect();
        assert_eq!((passwords.len(), fleet.aws.calls()), (1, 1), "{store:?}");
        // Each operation is allowed: a rejected credential deletes, a failure leaves a note.
        let old = replicas[0].get(&host(1)).await.unwrap();
        let rejecting = super::support::lookup_rejecting(&host(1), old.id());
        replicas[0].cache.get(rejecting).await.unwrap();
        fleet.fail(Some("throttle"));
        replicas[0].get(&host(2)).await.unwrap_err();
        fleet.fail(None);
        assert!(replicas[0].has_server("connected"), "{store:?}");

        // A new password is in use from the next connection on.
        store.kill();
        std::fs::write(&acl, format!("user default off\nuser broker on >new-password {ACL}\n")).unwrap();
        store.restart();
        replicas[0].until("breaker_open").await;
        write_secret(&directory.path().join("password"), "new-password\n");
        replicas[0].until("connected").await;
    })
    .await;
}

/// Not every build of the servers speaks TLS.
fn start_with_tls(kind: &Kind, arguments: &[&str], port: u16) -> Option<Store> {
    if kind.speaks_tls() {
        return Some(kind.start_as(arguments.to_vec(), port));
    }
    super::program::skipped(&format!("this build of {} does not speak TLS", kind.name));
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_follow_the_primary_of_sentinels() {
    with_each(async |kind| {
        let first = kind.start();
        let replica_of = format!("127.0.0.1 {}", first.port);
        let second = kind.start_with(&["--replicaof", &replica_of]);
        second.until_logged("REPLICA sync: Finished with success");
        let sentinel = kind.start_sentinel(&first);
        while sentinel.run::<Vec<redis::Value>>("SENTINEL REPLICAS main").await.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let fleet = Fleet::new(&format!("redis+sentinel://127.0.0.1:1,127.0.0.1:{}/main", sentinel.port)).await;
        let replicas = fleet.replicas(2).await;
        ask(&replicas, &host(1)).await;
        assert_eq!((fleet.aws.calls(), first.values().await.len()), (1, 1), "{kind:?}");
        // The Sentinel must hear of the replica's health before it promotes it.
        let mut failover = redis::cmd("SENTINEL");
        failover.arg("FAILOVER").arg("main");
        while failover.exec_async(&mut sentinel.connection().await).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        sentinel.until_logged("+switch-master");
        // A replica may still ask the old primary, which turns it away.
        let mut key = 2;
        while second.values().await.len() < 3 {
            ask(&replicas, &host(key)).await;
            key += 1;
            assert!(key < 5_000, "{kind:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_keeps_each_entry_on_its_node() {
    with_each(async |kind| {
        let nodes = [cluster_node(&kind), cluster_node(&kind)];
        for (node, slots) in nodes.iter().zip(["0 8191", "8192 16383"]) {
            node.run::<()>(&format!("CLUSTER ADDSLOTSRANGE {slots}")).await;
        }
        nodes[0].run::<()>(&format!("CLUSTER MEET 127.0.0.1 {}", nodes[1].port)).await;
        for node in &nodes {
            while !node.run::<String>("CLUSTER INFO").await.contains("cluster_state:ok") {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
        // One URL of the two suffices to find both.
        let urls = format!("url = [\"{0}\", \"{0}\"]\ntimeout = \"500ms\"", nodes[0].url());
        let fleet = Fleet::with(&urls).await;
        let replicas = fleet.replicas(3).await;
        for number in 0..20 {
            let passwords: BTreeSet<_> = ask(&replicas, &host(number)).await.into_iter().collect();
            assert_eq!(passwords.len(), 1);
        }
        assert_eq!(fleet.aws.calls(), 20, "{kind:?}");
        let counts = [nodes[0].values().await.len(), nodes[1].values().await.len()];
        assert!(counts.iter().all(|count| *count > 0) && counts.iter().sum::<usize>() == 20, "{counts:?}");

        // A node of a cluster that is configured as a single server answers MOVED for the slots of others.
        let single = Fleet::with(&format!("url = \"{}\"", nodes[0].url())).await;
        let replica = single.replica().await;
        for number in 0..20 {
            replica.get(&host(number)).await.unwrap();
        }
    })
    .await;
}

fn cluster_node(kind: &Kind) -> Store {
    kind.start_with(&["--cluster-enabled", "yes", "--cluster-node-timeout", "5000"])
}

#[tokio::test(flavor = "multi_thread")]
async fn page_names_the_rights_of_the_user() {
    let page = std::fs::read_to_string("docs/shared-cache.md").unwrap();
    let mut acl = String::new();
    write!(acl, "{ACL}").unwrap();
    assert!(page.contains(&acl), "{acl}");
}
