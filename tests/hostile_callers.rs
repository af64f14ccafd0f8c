//! Attacks by callers that prove who they are, on the real program with default settings and 128 MB of memory.
//!
//! Honest callers run beside each attack. Each test prints what it reached, for `docs/reliability.md`.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod attack;
mod certificates;
mod program;
mod raw_frames;
mod support;

use std::time::Duration;

use attack::{Scene, Setup, attacker};
use data_encoding::HEXLOWER;
use ecr_broker::pb;
use ecr_broker::pb::get_registry_credentials_request::Target;
use ecr_broker::pb::watch_registry_credentials_response::Event;
use futures_util::future::join_all;
use raw_frames::{BATCH, DATA, END_HEADERS, END_STREAM, HEADERS, Raw, WHOAMI, block, frame};
use rustix::process::getuid;
use support::{Client, HOST, request};
use tokio::net::UnixStream;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

const ATTACKER: &str = "spiffe://a.example/ns/attack/sa/any";
/// Streams of one connection.
const STREAMS: usize = 100;

type Events = Streaming<pb::WatchRegistryCredentialsResponse>;

/// A grant that gives the attacker every registry.
fn everything() -> String {
    format!(
        "[[grants]]\nid = \"attacker\"\ncallers = [{{ spiffe = \"{ATTACKER}\" }}]\nregistries = [{{ accounts = [\"*\"], regions = [\"*\"] }}]\n"
    )
}

async fn connect(scene: &Scene, number: u8) -> Client {
    Client::new(scene.certified(ATTACKER, attacker(number)).connect().await.unwrap())
}

fn in_region(account: usize, region: &str) -> pb::GetRegistryCredentialsRequest {
    let parts =
        pb::PrivateRegistry { account_id: format!("{account:012}"), region: region.into(), ..Default::default() };
    pb::GetRegistryCredentialsRequest { target: Some(Target::PrivateRegistry(parts)), ..Default::default() }
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

async fn watch(client: &Client, known: usize) -> Result<Events, Status> {
    let known_credential_ids = (0..known).map(|number| format!("{number:032x}")).collect();
    let message = pb::WatchRegistryCredentialsRequest { requests: vec![request(HOST)], known_credential_ids };
    client.clone().watch_registry_credentials(message).await.map(tonic::Response::into_inner)
}

/// Reads events up to the end of the snapshot.
async fn until_snapshot(mut events: Events) -> Result<Events, Status> {
    while let Some(event) = events.message().await? {
        if matches!(event.event, Some(Event::SnapshotComplete(_))) {
            return Ok(events);
        }
    }
    Err(Status::ok("ended"))
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_of_60_kb_and_invented_regions_cost_no_memory() {
    let scene = Scene::start(Setup { tables: everything(), ..Setup::default() }).await;
    let client = connect(&scene, 1).await;
    let long = "b".repeat(60_000);
    let refused = |number: usize| {
        let mut client = client.clone();
        let request = match number % 4 {
            0 => in_region(1, &format!("aa-{long}-1")),
            1 => in_region(1, &format!("aa-{}-1", "b".repeat(1 + number % 27))),
            2 => {
                in_region(1, &format!("{}a-{}-1", char::from(b'a' + u8::try_from(number % 26).unwrap()), "c".repeat(9)))
            }
            _ => pb::GetRegistryCredentialsRequest { profile: long.clone(), ..request(HOST) },
        };
        async move { client.get_registry_credentials(request).await.unwrap_err() }
    };
    let before = scene.aws.calls();
    for round in 0..20 {
        for status in join_all((0..STREAMS).map(|number| refused(round * STREAMS + number))).await {
            assert!(["REGISTRY_INVALID", "REQUEST_INVALID"].contains(&reason(&status).as_str()), "{status:?}");
        }
    }
    assert_eq!(scene.aws.calls(), before);
    let logged = scene.end("texts of 60 KB and invented regions", "2,000 calls refused, none reached AWS").await;
    let longest = logged.lines().map(str::len).max().unwrap_or(0);
    assert!(longest < 2_000, "a log line of {longest} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_without_a_grant_end_and_keep_nothing() {
    let scene = Scene::start(Setup::default()).await;
    for number in 1..=20 {
        let client = connect(&scene, number).await;
        let opened = join_all((0..STREAMS).map(|_| watch(&client, 1_000))).await;
        for ended in join_all(opened.into_iter().map(|events| until_snapshot(events.unwrap()))).await {
            assert_eq!(ended.unwrap_err().code(), Code::PermissionDenied);
        }
    }
    scene.end("watches without a grant", "2,000 opened with 1,000 known IDs each, all ended").await;
}

/// Opens watches until the caller's limit refuses one, and holds all of them.
async fn fill_with_watches(name: &str, known: usize) {
    let scene = Scene::start(Setup { tables: everything(), ..Setup::default() }).await;
    let mut held = Vec::new();
    let refused = 'full: loop {
        let client = connect(&scene, u8::try_from(held.len() / STREAMS + 1).unwrap()).await;
        for _ in 0..STREAMS {
            match watch(&client, known).await {
                Ok(events) => held.push((client.clone(), until_snapshot(events).await.unwrap())),
                Err(status) => break 'full status,
            }
        }
    };
    assert_eq!(reason(&refused), "CALLER_RATE_LIMITED", "{refused:?}");
    assert!(refused.message().contains("memory"), "{refused:?}");
    scene.more_honest_calls(10).await;
    scene.end(name, &format!("{} held at once", held.len())).await;
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_of_one_caller_stay_within_the_memory() {
    fill_with_watches("watches with 1,000 known IDs", 1_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens 3,700 watches"]
async fn most_watches_of_one_caller_stay_within_the_memory() {
    fill_with_watches("watches without known IDs", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caller_of_every_region_leaves_calls_and_descriptors_to_others() {
    const REGIONS: [&str; 12] = [
        "af-south-1",
        "ap-east-1",
        "ap-south-1",
        "ca-central-1",
        "eu-west-1",
        "eu-west-2",
        "eu-west-3",
        "me-south-1",
        "sa-east-1",
        "us-east-1",
        "us-east-2",
        "us-west-2",
    ];
    let scene = Scene::start(Setup { tables: everything(), ..Setup::default() }).await;
    scene.aws.set_latency(Duration::from_secs(2));
    let before = scene.aws.calls();
    let mut calls = Vec::new();
    for number in 1..=12 {
        let client = connect(&scene, number).await;
        calls.extend((0..STREAMS).map(|call| {
            let (mut client, region) = (client.clone(), REGIONS[call % REGIONS.len()]);
            let asked = in_region(usize::from(number) * STREAMS + call, region);
            tokio::spawn(async move { client.get_registry_credentials(asked).await })
        }));
    }
    scene.aws.until_calls(before + 90).await;
    scene.more_honest_calls(20).await;
    let (started, descriptors) = (scene.aws.calls() - before, scene.broker.descriptors());
    assert!(descriptors < 1_000, "{descriptors}");
    let figure = format!("1,200 cold registries of 12 slow regions: {started} calls to AWS, {descriptors} descriptors");
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    scene.end("a caller of every region", &figure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_cost_the_same_however_much_others_have_cached() {
    let others = (0..300).map(|number| {
        format!(
            "[[grants]]\nid = \"team-{number}\"\ncallers = [{{ uid = {} }}]\nregistries = [{{ accounts = [\"{:012}\"], regions = [\"*\"] }}]\n",
            70_000 + number,
            number + 1
        )
    });
    let owner = "spiffe://a.example/ns/owner/sa/any";
    let all = everything().replace(ATTACKER, owner).replace("\"attacker\"", "\"owner\"");
    let scene = Scene::start(Setup { tables: others.collect::<String>() + &all, ..Setup::default() }).await;
    let client = Client::new(scene.certified(owner, attacker(1)).connect().await.unwrap());
    for batch in 0..20 {
        let requests = (0..STREAMS).map(|number| in_region(batch * STREAMS + number + 1, "eu-west-1")).collect();
        let batch = pb::BatchGetRegistryCredentialsRequest { requests };
        client.clone().batch_get_registry_credentials(batch).await.unwrap();
    }
    let attacker = connect(&scene, 2).await;
    let mut lists = 0;
    for _ in 0..20 {
        let list = |_| {
            let mut client = attacker.clone();
            async move { client.list_registries(pb::ListRegistriesRequest { page_size: 1, ..Default::default() }).await }
        };
        for listed in join_all((0..50).map(list)).await {
            assert_eq!(listed.unwrap().into_inner(), pb::ListRegistriesResponse::default());
            lists += 1;
        }
    }
    let figure = format!("{lists} lists without a grant, beside 2,000 cached credentials and 300 grants");
    scene.end("lists", &figure).await;
}

/// Calls that a user repeats on 100 streams of a connection.
struct Repeated {
    headers: Vec<u8>,
    body: Vec<u8>,
}

impl Repeated {
    /// So many that the answers fit into the window of the connection, which this peer does not update.
    const ROUNDS: u32 = 8;

    fn new(path: &str, encoding: Option<&str>, message: &[u8]) -> Self {
        let mut fields = raw_frames::call_fields(path).to_vec();
        fields.extend(encoding.map(|encoding| ("grpc-encoding", encoding)));
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        Self { headers: block(&fields), body: [&[u8::from(encoding.is_some())], &length[..], message].concat() }
    }

    /// Makes the calls on each connection, a hundred at once. Returns their number.
    async fn run(&self, users: Vec<UnixStream>) -> u32 {
        let on_each = users.into_iter().map(|stream| self.on_connection(stream));
        join_all(on_each).await.into_iter().sum()
    }

    async fn on_connection(&self, stream: UnixStream) -> u32 {
        let mut peer = Raw::open_over(stream, &[]).await;
        let mut next = (1..).step_by(2);
        for _ in 0..Self::ROUNDS {
            let streams = next.by_ref().take(STREAMS);
            let calls = streams.flat_map(|stream| {
                let head = frame(HEADERS, END_HEADERS, stream, &self.headers);
                [head, frame(DATA, END_STREAM, stream, &self.body)].concat()
            });
            peer.write(&calls.collect::<Vec<_>>()).await.unwrap();
            let mut answered = 0;
            while answered < STREAMS {
                let read = peer.read_and_answer().await.unwrap();
                answered += usize::from(read.kind == HEADERS && read.flags & END_STREAM != 0);
            }
        }
        Self::ROUNDS * u32::try_from(STREAMS).unwrap()
    }
}

/// 32,700 empty requests of a batch, compressed with gzip: 100 bytes.
fn many_items() -> Vec<u8> {
    let head = "1f8b0800000000000203edc2310d00000002206ffb0736860f83a6";
    let end = "1c0d01be455278ff0000";
    HEXLOWER.decode(format!("{head}{}{end}", "0".repeat(200 - head.len() - end.len())).as_bytes()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_list_of_thousands_costs_no_more_than_a_few_calls() {
    // As many calls at once as the memory of one user's requests holds.
    const CONNECTIONS: usize = 3;
    if !getuid().is_root() {
        println!("skipped: this process may not call as another user");
        return;
    }
    let scene = Scene::start(Setup::default()).await;
    let cost = async |calls: Repeated, uid| {
        let before = scene.broker.cpu_seconds();
        let number = calls.run(scene.users(uid, CONNECTIONS)).await;
        (scene.broker.cpu_seconds() - before) * 1e6 / f64::from(number)
    };
    let plain = cost(Repeated::new(WHOAMI, None, &[]), 2001).await;
    let list = cost(Repeated::new(BATCH, Some("gzip"), &many_items()), 2002).await;
    let figure = format!("{plain:.0} us of CPU for a call, {list:.0} us for one of 32,700 items");
    scene.end("compressed lists", &figure).await;
    assert!(list < 8.0 * plain, "{figure}");
}

/// tonic decodes all messages of a call that should have one. Each costs as much as a call, and none counts in the caller's rate.
#[tokio::test(flavor = "multi_thread")]
async fn call_with_several_messages_costs_as_much_as_with_one() {
    if !getuid().is_root() {
        println!("skipped: this process may not call as another user");
        return;
    }
    let scene = Scene::start(Setup::default()).await;
    let cost = async |messages: usize, uid| {
        let mut calls = Repeated::new(BATCH, Some("gzip"), &many_items());
        calls.body = calls.body.repeat(messages);
        let before = scene.broker.cpu_seconds();
        let number = calls.run(scene.users(uid, 2)).await;
        (scene.broker.cpu_seconds() - before) * 1e6 / f64::from(number)
    };
    let (one, five) = (cost(1, 2001).await, cost(5, 2002).await);
    let figure = format!("{one:.0} us of CPU for a call with one message, {five:.0} us with five");
    scene.end("several messages", &figure).await;
    assert!(five < 2.0 * one, "{figure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_after_the_message_of_a_call_are_not_read() {
    let scene = Scene::start(Setup { memory_mb: None, ..Setup::default() }).await;
    let mut peer = Raw::open_over(scene.users(getuid().as_raw(), 1).remove(0), &[]).await;
    let mut calls = Repeated::new(WHOAMI, None, &[]);
    calls.body.extend([9; 100]);
    peer.send(HEADERS, END_HEADERS, 1, &calls.headers).await.unwrap();
    peer.send(DATA, 0, 1, &calls.body).await.unwrap();
    let mut kinds = Vec::new();
    while !kinds.contains(&DATA) {
        let frame = peer.read_and_answer().await.unwrap();
        if frame.stream == 1 {
            assert!(frame.flags & END_STREAM == 0, "the call is refused: {frame:?}");
            kinds.push(frame.kind);
        }
    }
    scene.end("bytes after a message", "answered").await;
}
