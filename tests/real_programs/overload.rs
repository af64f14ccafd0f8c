//! h2load at ten times its rate limit.

use std::fs;
use std::process::Command;
use std::time::Duration;

use ecr_broker::clock::SystemClock;
use tokio::time::Instant;

use super::PRIVATE;
use super::cases::{AUDIENCE, ISSUER, SUBJECT, Signer, seconds};
use super::other::succeed;
use super::program::{Server, run};

const PATH: &str = "ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials";
/// Requests per second that the caller may make.
const RATE: u32 = 30;

/// Puts the broker under load. The audit log counts the served requests, because h2load takes a gRPC error for a success.
fn overload(time: Duration) {
    let (directory, signer) = (tempfile::tempdir().unwrap(), Signer::new("k1"));
    let place = directory.path().display();
    fs::write(directory.path().join("jwks.json"), signer.jwks()).unwrap();
    let config = directory.path().join("broker.toml");
    let written = format!(
        "audit.output = \"{place}/audit.log\"\nlimits.requests_per_second = {RATE}\n\
         [[authentication.jwt]]\nname = \"blue\"\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks_file = \"{place}/jwks.json\"\n\
         [[grants]]\nid = \"a\"\ncallers = [{{ jwt = \"blue\", subject = \"{SUBJECT}\" }}]\n\
         registries = [{{ accounts = [\"*\"], regions = [\"*\"] }}]\n"
    );
    fs::write(&config, written).unwrap();
    let broker =
        Server::start(&["serve", "--simulate", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"], &[]);
    let body = directory.path().join("body");
    let host = [&[0x0a, u8::try_from(PRIVATE.len()).unwrap()], PRIVATE.as_bytes()].concat();
    fs::write(&body, [&[0, 0, 0, 0, u8::try_from(host.len()).unwrap()], &host[..]].concat()).unwrap();
    let token = signer.token(ISSUER, SUBJECT, seconds(&SystemClock::new()));

    // In a thread, so that health is probed at the same time.
    let (start, length) = (Instant::now(), time.as_secs().to_string());
    let mut load = Command::new("h2load");
    // 30 clients with 10 requests per second each: ten times the rate.
    load.args(["--clients=30", "--threads=1", "--max-concurrent-streams=10", "--rps=10", "--duration", &length])
        .arg("--data")
        .arg(&body)
        .args(["--header=content-type: application/grpc", "--header=te: trailers"])
        .arg(format!("--header=authorization: Bearer {token}"))
        .arg(format!("{}/{PATH}", broker.address.replace("grpc://", "http://")));
    let load = std::thread::spawn(move || succeed(&mut load));
    let (mut slowest, mut probes) = (Duration::ZERO, 0);
    while !load.is_finished() {
        let call_start = Instant::now();
        assert_eq!(run(&["probe", "--address", &broker.address], &[]).code, 0);
        // This includes the start of a process.
        slowest = slowest.max(call_start.elapsed());
        probes += 1;
    }
    let (report, elapsed) = (load.join().unwrap(), start.elapsed());
    let requests: f64 = report
        .lines()
        .find_map(|line| line.strip_prefix("requests: "))
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let audit = fs::read_to_string(directory.path().join("audit.log")).unwrap();
    let served = f64::from(u32::try_from(audit.lines().count()).unwrap());
    let (offered, goodput) = (requests / elapsed.as_secs_f64(), served / elapsed.as_secs_f64());
    println!(
        "h2load: {offered:.0} requests per second, limit {RATE}, {goodput:.0} served; {probes} probes, the slowest {slowest:.0?}"
    );
    assert!(offered > 9.0 * f64::from(RATE), "{report}");
    assert!(goodput >= 0.9 * f64::from(RATE), "{goodput}");
    // The burst adds ten seconds of the rate.
    assert!(served <= f64::from(RATE) * (elapsed.as_secs_f64() + 11.0), "{served}");
    broker.stop();
}

#[test]
#[ignore = "needs h2load, which .ci/tools installs"]
fn p8_h2load_at_ten_times_its_rate_limit_gets_the_limit() {
    overload(Duration::from_secs(10));
}
