//! SPIFFE: jobs with SVIDs of a conforming fake of the Workload API.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::issuer::now;
use super::program::{self, Ended};
use super::recipe::Recipe;
use super::report::CLIENTS;
use super::site::{Site, Times, full};
use crate::cases::AUDIENCE;
use crate::certificates::{Pair, RUNNER, leaf, uri};
use crate::other::succeed;
use crate::workload_api::{self, X509Svid};

/// Runs the job in another thread, because the agent runs on this one.
async fn push(site: Arc<Site>, seconds: i64, source: (&'static str, &'static str)) {
    let run = move || {
        let mut job = site.command("./push.sh", seconds);
        job.env("SPIFFE_ENDPOINT_SOCKET", format!("unix://{}", site.path("agent").display()));
        succeed(job.env(source.0, source.1));
    };
    tokio::task::spawn_blocking(run).await.unwrap();
}

/// Asserts that the helper, `exec` and `get` had one SVID each time, and `sync` several.
fn assert_pushed_throughout(site: &Site, kind: &str, svids: usize) {
    let report = site.report();
    report.assert_complete();
    let pushes = CLIENTS.map(|client| report.pushes(client));
    assert!(svids >= pushes[0] + pushes[1] + 4, "{svids} SVIDs, {pushes:?} pushes");
    println!("{kind}: {CLIENTS:?} made {pushes:?} pushes, {svids} SVIDs, no denial");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs crane, docker-registry and htpasswd, which .ci/tools installs"]
async fn job_with_jwt_svids_pushes_for_longer_than_one_lives() {
    let (site, times) = (Arc::new(Site::new(&Recipe::spiffe())), Times::of_this_run());
    let issuer = site.issuer.clone();
    let issue = move |audience: &str| (audience == AUDIENCE).then(|| issuer.issue(times.life));
    workload_api::serve(&site.path("agent"), issue, X509Svid::default);
    push(Arc::clone(&site), times.seconds, ("ECR_BROKER_TOKEN_SOURCE", "spiffe")).await;
    site.assert_first_token_ended_without_a_denial();
    assert_pushed_throughout(&site, "JWT-SVID", site.issuer.issued().len());
}

/// The broker tolerates no clock difference for certificates.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs crane, docker-registry and htpasswd, which .ci/tools installs"]
async fn job_with_x509_svids_pushes_for_longer_than_one_lives() {
    let site = Arc::new(Site::new(&Recipe::spiffe()));
    let (seconds, life) = full().map_or((11, 5), |seconds| (seconds, 20));
    let issued = Arc::<Mutex<Vec<Pair>>>::default();
    let (signer, kept) = (Arc::clone(&site), Arc::clone(&issued));
    let issue = move || {
        let mut params = leaf(&[uri(RUNNER)]);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now() + life);
        let pair = signer.aws.authority.sign(&params);
        let svid = X509Svid::of(RUNNER, &pair, &signer.aws.authority);
        kept.lock().unwrap().push(pair);
        svid
    };
    workload_api::serve(&site.path("agent"), |_| None, issue);
    push(Arc::clone(&site), seconds, ("ECR_BROKER_TLS_SOURCE", "spiffe")).await;
    site.assert_no_denial();
    assert_refused(&site, &issued.lock().unwrap()[0]);
    assert_pushed_throughout(&site, "X.509-SVID", issued.lock().unwrap().len());
}

fn assert_refused(site: &Site, first: &Pair) {
    let (certificate, key) = first.write(&site.path("home"), "first");
    let mut whoami = program::program(&[("ECR_BROKER_ADDRESS", site.address())]);
    whoami.arg("whoami").env("ECR_BROKER_TLS_CA", &site.aws.authority.file);
    let refused = Ended::of(whoami.env("ECR_BROKER_TLS_CERT", certificate).env("ECR_BROKER_TLS_KEY", key));
    assert!(refused.code != 0 && refused.stderr.contains("certificate"), "{refused:?}");
}
