use std::path::{Path, PathBuf};
use std::sync::Mutex as StdMutex;
use std::time::UNIX_EPOCH;

use data_encoding::BASE64URL_NOPAD;

use super::*;
use crate::client::token::CommandLine;
use crate::moment::Moment;

/// A wall clock that stands still until it is set.
#[derive(Debug, Clone, Default)]
struct WallClock(Arc<StdMutex<u64>>);

impl WallClock {
    fn set(&self, seconds: u64) {
        *self.0.lock().unwrap() = seconds;
    }
}

impl Clock for WallClock {
    fn now(&self) -> Moment {
        Moment { wall: UNIX_EPOCH + Duration::from_secs(*self.0.lock().unwrap()), steady: Duration::ZERO }
    }
}

/// A program that prints the file `token`, and notes each run in `runs`.
struct Program {
    directory: tempfile::TempDir,
    clock: WallClock,
    tokens: Tokens,
}

impl Program {
    fn new() -> Self {
        Self::running("echo run >>runs; echo 'cannot ask' >&2; cat token")
    }

    fn running(script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let script = format!("cd {}; {script}", directory.path().display());
        let command = CommandLine(["sh", "-c", &script].map(str::to_owned).to_vec());
        let clock = WallClock::default();
        let tokens = Tokens::with_clock(TokenSource::Exec(command), "a".to_owned(), Box::new(clock.clone()));
        Self { directory, clock, tokens }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Issues a token for these times as the next one.
    fn issue(&self, name: &str, issued: u64, expires: u64) {
        std::fs::write(self.path("token"), token(name, issued, expires)).unwrap();
    }

    fn runs(&self) -> usize {
        std::fs::read_to_string(self.path("runs")).unwrap_or_default().lines().count()
    }

    /// Returns the name of the token at a time.
    async fn at(&self, seconds: u64) -> Result<String, Failure> {
        self.clock.set(seconds);
        self.tokens.get(soon()).await.map(|issued| name(&issued.unwrap()))
    }
}

fn token(name: &str, issued: u64, expires: u64) -> String {
    let claims = format!(r#"{{"sub":"{name}","iat":{issued},"exp":{expires}}}"#);
    format!("eyJhIjoxfQ.{}.c2ln", BASE64URL_NOPAD.encode(claims.as_bytes()))
}

fn name(issued: &Issued) -> String {
    let payload = issued.token.expose().split('.').nth(1).unwrap();
    let claims: serde_json::Value =
        serde_json::from_slice(&BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap()).unwrap();
    claims["sub"].as_str().unwrap().to_owned()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

#[tokio::test]
async fn token_is_cached_and_renewed_before_it_ends() {
    let program = Program::new();
    program.issue("one", 100, 120);
    assert_eq!(program.at(100).await.unwrap(), "one");
    program.issue("two", 115, 135);
    assert_eq!((program.at(115).await.unwrap().as_str(), program.runs()), ("one", 1));
    assert_eq!((program.at(116).await.unwrap().as_str(), program.runs()), ("two", 2));
    assert_eq!((program.at(130).await.unwrap().as_str(), program.runs()), ("two", 2));
}

#[tokio::test]
async fn last_token_serves_until_its_end_while_the_source_fails() {
    let program = Program::new();
    program.issue("one", 100, 120);
    assert_eq!(program.at(100).await.unwrap(), "one");
    std::fs::remove_file(program.path("token")).unwrap();
    assert_eq!((program.at(116).await.unwrap().as_str(), program.runs()), ("one", 2));
    // The source is not asked at each call.
    assert_eq!((program.at(118).await.unwrap().as_str(), program.runs()), ("one", 2));
    let failure = program.at(119).await.unwrap_err();
    assert!(failure.token_missing && failure.message.contains("sh failed (exit status: 1): cannot ask"), "{failure}");
    program.issue("two", 120, 140);
    assert_eq!(program.at(120).await.unwrap(), "two");
}

#[tokio::test]
async fn token_without_a_known_end_is_asked_for_at_each_call() {
    let program = Program::new();
    std::fs::write(program.path("token"), "opaque\n").unwrap();
    for _ in 0..2 {
        let issued = program.tokens.get(soon()).await.unwrap().unwrap();
        assert_eq!((issued.token.expose(), issued.cached), ("opaque\n", false));
    }
    assert_eq!(program.runs(), 2);
}

#[tokio::test]
async fn refused_token_is_replaced_once_if_it_was_cached() {
    let program = Program::new();
    program.issue("one", 100, 200);
    program.clock.set(100);
    let fresh = program.tokens.get(soon()).await.unwrap().unwrap();
    let cached = program.tokens.get(soon()).await.unwrap().unwrap();
    program.issue("two", 100, 200);
    assert!(program.tokens.refused(&cached).await);
    assert_eq!(program.at(100).await.unwrap(), "two");
    // The refusal of an old token does not drop its successor.
    assert!(!program.tokens.refused(&fresh).await);
    assert_eq!((program.at(100).await.unwrap().as_str(), program.runs()), ("two", 2));
}

#[tokio::test]
async fn concurrent_calls_share_one_request_and_its_outcome() {
    let program = Program::running("echo run >>runs; cat token");
    program.issue("one", 100, 200);
    program.clock.set(100);
    let both = tokio::join!(program.tokens.get(soon()), program.tokens.get(soon()));
    assert_eq!((name(&both.0.unwrap().unwrap()), name(&both.1.unwrap().unwrap())), ("one".into(), "one".into()));
    assert_eq!(program.runs(), 1);
    let failing = Program::running("echo run >>runs; exit 3");
    let both = tokio::join!(failing.tokens.get(soon()), failing.tokens.get(soon()));
    assert_eq!(both.0.unwrap_err(), both.1.unwrap_err());
    assert_eq!(failing.runs(), 1);
}

#[tokio::test]
async fn slow_program_is_an_error_that_names_the_timeout() {
    let program = Program::running("sleep 600");
    let failure = program.tokens.get(Instant::now() + Duration::from_millis(100)).await.unwrap_err();
    assert!(failure.message.contains("token_exec sh: no answer within the timeout; raise --timeout"), "{failure}");
}

#[tokio::test]
async fn dropped_request_kills_the_program_and_what_it_started() {
    let program = Program::running("sleep 600 & echo $! >new; mv new pid; wait");
    let (tokens, pid) = (program.tokens.clone(), program.path("pid"));
    let request = tokio::spawn(async move { tokens.get(soon()).await.map(drop) });
    until(|| pid.exists()).await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    let id = std::fs::read_to_string(&pid).unwrap();
    let stat = Path::new("/proc").join(id.trim()).join("stat");
    until(|| std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z ")) || !stat.exists()).await;
}

/// Waits for another process, at most a minute.
async fn until(condition: impl Fn() -> bool) {
    let end = soon();
    while !condition() {
        assert!(Instant::now() < end);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn token_is_in_neither_errors_nor_debug_output() {
    let secret = token("s3cret", 1, 2);
    let program = Program::running(&format!("set -x; echo {secret}; echo 'no permission' >&2; exit 1"));
    let failure = program.tokens.get(soon()).await.unwrap_err();
    assert!(failure.message.contains("no permission") && failure.message.contains("; run it by hand"), "{failure}");
    assert!(!format!("{failure:?}").contains(&secret), "{failure:?}");
    let long = Program::running("yes");
    assert!(long.tokens.get(soon()).await.unwrap_err().message.contains("prints more than 64 KiB"));
    let missing = Tokens::new(TokenSource::Exec(CommandLine(vec!["/no/such".into()])), "a".into());
    assert!(missing.get(soon()).await.unwrap_err().message.contains("/no/such does not exist"));
    let good = Program::new();
    good.issue("one", 100, 200);
    good.clock.set(100);
    let issued = good.tokens.get(soon()).await.unwrap();
    let text = format!("{:?} {issued:?}", good.tokens);
    assert!(text.starts_with("Tokens(token_exec sh, \"a\") "), "{text}");
    assert!(text.contains("BearerToken(…)") && !text.contains("c2ln"), "{text}");
}

#[tokio::test]
async fn program_learns_the_audience() {
    let program = Program::running("printf '%s' \"$ECR_BROKER_AUDIENCE\"");
    assert_eq!(program.tokens.get(soon()).await.unwrap().unwrap().token.expose(), "a");
}

#[tokio::test]
async fn auto_takes_the_first_source_that_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let auto = Tokens::new(TokenSource::Auto(vec![TokenSource::Kubernetes(path.clone())]), "a".to_owned());
    assert!(auto.get(soon()).await.unwrap().is_none());
    let claims = BASE64URL_NOPAD.encode(br#"{"aud":"a","sub":"pod","exp":4000000000}"#);
    std::fs::write(&path, format!("eyJhIjoxfQ.{claims}.c2ln")).unwrap();
    let issued = auto.get(soon()).await.unwrap().unwrap();
    assert_eq!((name(&issued), issued.cached), ("pod".to_owned(), false));
}
