//! Disks that are full and writes that hang. Both need the whole process, so each has its own: this program again.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use ecr_broker::audit::Output;
use futures_util::FutureExt as _;
use rustix::fs::OFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::call::{Call, Target, Twist};
use crate::check;
use crate::normal::Normal;
use crate::proofs::Proofs;
use crate::side::Side;
use crate::steps::one;
use crate::wire::Answer;
use crate::world::World;

/// The signal of a write beyond the limit of files.
const SIGXFSZ: i32 = 25;
/// The longest that a process may take. Each of its waits ends after a minute.
const PATIENCE: Duration = Duration::from_mins(5);

#[test]
fn p11_full_disk_refuses_alike_with_and_without_the_fast_path() {
    run_alone("outages::full_disk");
}

#[test]
fn p11_hung_audit_log_refuses_alike_with_and_without_the_fast_path() {
    run_alone("outages::hung_audit_log");
}

/// Runs a test of this program in its own process, whose standard error is a pipe without a reader.
///
/// A write to the full pipe hangs for ever, and so may the process that makes it. It is ended after [`PATIENCE`].
fn run_alone(test: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--ignored", test]).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (ended, end) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut output = String::new();
        stdout.read_to_string(&mut output).unwrap();
        _ = ended.send(());
        output
    });
    let is_in_time = end.recv_timeout(PATIENCE).is_ok();
    if !is_in_time {
        child.kill().unwrap();
    }
    let (status, output) = (child.wait().unwrap(), reader.join().unwrap());
    assert!(is_in_time && status.success() && output.contains("1 passed"), "in time: {is_in_time}, {status}\n{output}");
}

fn plain() -> Call {
    Call::plain(Target::Host(0))
}

/// Both brokers, with the fast path and without it.
pub struct Both(pub [Side; 2]);

impl Both {
    pub fn start(world: &World, output: Option<&Output>) -> Self {
        let proofs = Arc::new(Proofs::new());
        Self([true, false].map(|fast_path| {
            Side::start_as(world, &proofs, fast_path, |config| {
                if let (Some(audit), Some(output)) = (&mut config.audit, output) {
                    audit.output = output.clone();
                }
            })
        }))
    }

    /// Makes a call several times, one after the other, and compares all that it shows.
    pub async fn call(&mut self, call: &Call, count: usize) -> Vec<Normal> {
        let mut answers = [Vec::new(), Vec::new()];
        for (side, answers) in self.0.iter_mut().zip(&mut answers) {
            for _ in 0..count {
                answers.push(one(side, 0, call).await);
                side.rest().await;
            }
        }
        self.compare(answers).await
    }

    async fn begin(&mut self, call: &Call) -> [JoinHandle<Answer>; 2] {
        let [fast, ordinary] = &mut self.0;
        [fast.begin(0, call).await, ordinary.begin(0, call).await]
    }

    async fn ended(&mut self, calls: Vec<(Call, [JoinHandle<Answer>; 2])>) -> [Vec<Normal>; 2] {
        let mut answers = [Vec::new(), Vec::new()];
        for (call, started) in calls {
            for ((side, answers), started) in self.0.iter_mut().zip(&mut answers).zip(started) {
                answers.push(side.understand(&started.await.unwrap(), &call));
            }
        }
        answers
    }

    /// Waits for the end of the shutdown, with room for the last records.
    async fn until_stopped(&mut self, pipe: &mut Pipe) {
        let [fast, ordinary] = &mut self.0;
        let mut stopped = pin!(async { tokio::join!(fast.until_stopped(), ordinary.until_stopped()) });
        while stopped.as_mut().now_or_never().is_none() {
            pipe.drain();
            tokio::task::yield_now().await;
        }
    }

    async fn compare(&mut self, [of_fast, of_ordinary]: [Vec<Normal>; 2]) -> Vec<Normal> {
        let [fast, ordinary] = &mut self.0;
        let seen = [
            crate::Seen { answers: of_fast, state: fast.observe().await },
            crate::Seen { answers: of_ordinary, state: ordinary.observe().await },
        ];
        check(&seen).unwrap_or_else(|difference| panic!("{difference}"));
        let [_, ordinary] = seen;
        ordinary.answers
    }
}

pub fn contains(answers: &[Normal], text: &str) -> bool {
    answers.iter().all(|answer| answer.to_string().contains(text))
}

/// A limit of files stands for the end of the disk: a write may be cut there, and the next one fails.
#[tokio::test]
#[ignore = "it limits the files of its process"]
async fn full_disk() {
    let _ignored = signal(SignalKind::from_raw(SIGXFSZ)).unwrap();
    let unlimited = getrlimit(Resource::Fsize);
    let mut both = Both::start(&World::of(Vec::new()), None);
    for room in [0, 1, 40, 5_000] {
        assert!(contains(&both.call(&plain(), 4).await, "grpc-status 0"));
        let [size, same] = both.0.each_ref().map(|side| std::fs::metadata(side.audit_file()).unwrap().len());
        assert_eq!(size, same);
        setrlimit(Resource::Fsize, Rlimit { current: Some(size + room), ..unlimited }).unwrap();
        let answers = both.call(&plain(), 20).await;
        setrlimit(Resource::Fsize, unlimited).unwrap();
        assert!(contains(&answers[15..], "AUDIT_UNAVAILABLE"), "{room}");
        assert_eq!(contains(&answers[..5], "grpc-status 0"), room == 5_000);
    }
}

/// The pipe behind the standard error, as its writer and its reader.
struct Pipe(File);

impl Pipe {
    fn new() -> Self {
        let mut options = OpenOptions::new();
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
        Self(options.read(true).write(true).custom_flags(nonblocking).open("/proc/self/fd/2").unwrap())
    }

    /// Fills the pipe, so that the next write hangs.
    fn fill(&mut self) {
        for bytes in [&[b'\n'; 4_096][..], b"\n"] {
            while matches!(self.0.write(bytes), Ok(1..)) {}
        }
    }

    /// Makes room.
    fn drain(&mut self) {
        let mut bytes = [0; 4_096];
        loop {
            match self.0.read(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                read => assert!(read.unwrap() > 0),
            }
        }
    }

    async fn drain_while(&mut self, mut is_needed: impl FnMut() -> bool) {
        while is_needed() {
            self.drain();
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
#[ignore = "it takes the standard error of its process"]
async fn hung_audit_log() {
    let (mut both, mut pipe) = (Both::start(&World::of(Vec::new()), Some(&Output::Stderr)), Pipe::new());
    assert!(contains(&both.call(&plain(), 4).await, "grpc-status 0"));
    pipe.fill();
    let mut calls = Vec::new();
    let within = ["1S", "1500m", "5S", "200m"].map(|time| plain().within(time));
    let other = Call { target: Target::Host(1), twists: vec![Twist::Reordered] };
    for call in [plain(), plain(), other].into_iter().chain(within) {
        calls.push((call.clone(), both.begin(&call).await));
    }
    let mut answers = both.ended(calls).await;
    for (index, reason) in [(0, "AUDIT_UNAVAILABLE"), (3, "DEADLINE"), (5, "AUDIT_UNAVAILABLE"), (6, "DEADLINE")] {
        assert!(contains(&answers[1][index..=index], reason), "{index} {}", answers[1][index]);
    }
    // Its record is the last one that is written.
    let started = both.begin(&plain()).await;
    pipe.drain_while(|| started.iter().any(|answer| !answer.is_finished())).await;
    for (answers, more) in answers.iter_mut().zip(both.ended(vec![(plain(), started)]).await) {
        answers.extend(more);
    }
    both.compare(answers).await;

    pipe.fill();
    let call = plain();
    let started = both.begin(&call).await;
    for side in &mut both.0 {
        side.until_in_flight().await;
        side.begin_shutdown();
    }
    let answers = both.ended(vec![(call, started)]).await;
    assert!(contains(&answers[1], "SHUTTING_DOWN"), "{}", answers[1][0]);
    both.until_stopped(&mut pipe).await;
    both.compare(answers).await;
}
