//! One job per platform.

use std::fs;
use std::sync::Arc;

use crate::endpoint::{Endpoint, PROOF};
use crate::job::{Job, PRIVATE, token};
use crate::tokens::{AUDIENCE, SUBJECT};
use crate::workload_api::{self, X509Svid};

/// What each script of a platform prints on stderr if its arguments are wrong.
const USAGE: &str = "echo \"usage: $*\" >&2; exit 2";

fn is_caller(job: &Job, arguments: &[&str], environment: &[(&str, &str)]) {
    let identity = job.run(&[&["whoami"], arguments].concat(), environment).out();
    assert!(identity.contains(&format!("jwt:ci:{SUBJECT}")), "{arguments:?} {environment:?}: {identity}");
}

#[test]
fn github_job_requests_a_token_with_the_audience() {
    let job = Job::new("12h");
    let signer = Arc::clone(&job.signer);
    let endpoint = Endpoint::start(move || token(&signer, 60));
    let runner = [("ACTIONS_ID_TOKEN_REQUEST_URL", endpoint.url.as_str()), ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", PROOF)];
    is_caller(&job, &["--token-source", "github"], &runner);
    is_caller(&job, &["--token-source", "auto"], &runner);
    assert_eq!(endpoint.paths(), ["/token?api-version=2.0&audience=ecr-broker"; 2]);
    let none = job.run(&["get", PRIVATE, "--token-source", "github"], &[]);
    assert_eq!(none.code, 1, "{none:?}");
    assert!(none.stderr.contains("ACTIONS_ID_TOKEN_REQUEST_URL is not set; add `permissions: { id-token: write }`"));
    let wrong = [runner[0], ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "wr0ng")];
    let refused = job.run(&["get", PRIVATE, "-v", "--token-source", "github"], &wrong);
    assert!(refused.stderr.contains("the token endpoint answered 401; check the job's permissions"), "{refused:?}");
    assert!(!refused.stderr.contains("wr0ng"), "{refused:?}");
}

#[test]
fn gitlab_job_uses_its_variable_until_the_token_ends() {
    let job = Job::new("12h");
    let good = job.token(60);
    is_caller(&job, &["--token-source", "gitlab"], &[("ECR_BROKER_ID_TOKEN", &good)]);
    is_caller(&job, &[], &[("GITLAB_CI", "true"), ("ECR_BROKER_TOKEN_SOURCE", "auto"), ("ECR_BROKER_ID_TOKEN", &good)]);
    is_caller(&job, &["--token-source", "gitlab", "--token-variable", "JOB"], &[("JOB", &good)]);
    let ended = job.token(-120);
    let late = job.run(&["get", PRIVATE, "--token-source", "gitlab", "-v"], &[("ECR_BROKER_ID_TOKEN", &ended)]);
    assert_eq!(late.code, 4, "{late:?}");
    assert!(late.stderr.contains("ECR_BROKER_ID_TOKEN ended 2m"), "{late:?}");
    assert!(late.stderr.contains("; raise the job's `timeout`") && !late.stderr.contains(&ended), "{late:?}");
    let none = job.run(&["get", PRIVATE, "--token-source", "gitlab"], &[]);
    assert!(none.stderr.contains("add `id_tokens: { ECR_BROKER_ID_TOKEN: { aud: ecr-broker } }` to the job"));
}

#[test]
fn buildkite_and_aws_jobs_ask_the_programs_of_their_platform() {
    let job = Job::new("12h");
    let good = job.token(60);
    let script = |arguments: &str| format!("[ \"$*\" = '{arguments}' ] || {{ {USAGE}; }}\necho '{good}'");
    job.install("buildkite-agent", &script("oidc request-token --audience ecr-broker"));
    is_caller(&job, &["--token-source", "buildkite"], &[]);
    let auto = ("ECR_BROKER_TOKEN_SOURCE", "auto");
    is_caller(&job, &[], &[auto, ("BUILDKITE_JOB_ID", "1"), ("BUILDKITE_AGENT_ACCESS_TOKEN", "a")]);
    let aws = "sts get-web-identity-token --audience ecr-broker --signing-algorithm ES384 --duration-seconds 300 \
               --query WebIdentityToken --output text";
    job.install("aws", &format!("[ \"$AWS_STS_REGIONAL_ENDPOINTS\" = regional ] || exit 9\n{}", script(aws)));
    is_caller(&job, &["--token-source", "aws"], &[]);
    is_caller(&job, &[], &[auto, ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1")]);
    // Version 1 of the CLI reads only AWS_DEFAULT_REGION.
    job.install("aws", &format!("[ \"$AWS_DEFAULT_REGION\" = eu-west-1 ] || exit 8\n{}", script(aws)));
    for regions in [&[("AWS_REGION", "eu-west-1")][..], &[("AWS_REGION", "x"), ("AWS_DEFAULT_REGION", "eu-west-1")]] {
        is_caller(&job, &["--token-source", "aws"], regions);
    }
    job.install("aws", "echo 'AccessDenied: not authorized' >&2; exit 254");
    let denied = job.run(&["get", PRIVATE, "--token-source", "aws"], &[]);
    assert!(denied.stderr.contains("aws failed (exit status: 254): AccessDenied: not authorized; the role needs"));
    let other = job.run(&["get", PRIVATE, "--token-source", "buildkite", "--audience", "x"], &[]);
    assert!(other.stderr.contains("usage: oidc request-token --audience x"), "{other:?}");
}

#[test]
fn pod_and_program_prove_the_job() {
    let job = Job::new("12h");
    fs::write(job.path("token"), job.token(60)).unwrap();
    let file = job.text("token");
    is_caller(&job, &["--token-source", "kubernetes", "--token-file", &file], &[]);
    is_caller(&job, &["--token-exec", &format!("cat {file}")], &[]);
    fs::create_dir_all(job.path(".config/ecr-broker")).unwrap();
    fs::write(job.path(".config/ecr-broker/client.toml"), format!("token_exec = [\"cat\", {file:?}]\n")).unwrap();
    is_caller(&job, &[], &[]);
    let wrong = job.run(&["whoami", "--token-source", "kubernetes", "--token-file", &file, "--audience", "x"], &[]);
    assert!(wrong.stderr.contains("is for the audience \"ecr-broker\", not x;"), "{wrong:?}");
    let both = job.run(&["whoami", "--token-exec", "cat /t", "--token-file", "/t"], &[]);
    assert!(both.stderr.contains("token_file and token_exec are both set; remove one"), "{both:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn workload_with_a_spiffe_identity_gets_a_jwt_svid() {
    let job = Job::new("12h");
    let signer = Arc::clone(&job.signer);
    let issue = move |audience: &str| (audience == AUDIENCE).then(|| token(&signer, 60));
    workload_api::serve(&job.path("agent"), issue, X509Svid::default);
    let socket = format!("unix://{}", job.text("agent"));
    tokio::task::spawn_blocking(move || {
        let agent = ("SPIFFE_ENDPOINT_SOCKET", socket.as_str());
        is_caller(&job, &["--token-source", "spiffe"], &[agent]);
        is_caller(&job, &["--token-source", "auto"], &[agent]);
        let unknown = job.run(&["whoami", "--token-source", "spiffe", "--audience", "x"], &[agent]);
        assert!(unknown.stderr.contains("knows no identity of this process; register an entry for it"), "{unknown:?}");
        let missing = ("SPIFFE_ENDPOINT_SOCKET", "unix:///no/such.sock");
        let missing = job.run(&["whoami", "--token-source", "spiffe"], &[missing]);
        assert!(missing.stderr.contains("the agent at unix:///no/such.sock does not answer: "), "{missing:?}");
    })
    .await
    .unwrap();
}

#[test]
fn doctor_names_the_source_and_its_failure() {
    let job = Job::new("12h");
    let good = job.token(60);
    let ok = job.run(&["doctor", PRIVATE, "--token-source", "gitlab"], &[("ECR_BROKER_ID_TOKEN", &good)]);
    assert!(ok.stdout.contains("token_source gitlab (--token-source), audience ecr-broker"), "{ok:?}");
    let failed = job.run(&["doctor", "--token-source", "gitlab"], &[]);
    assert!(failed.stdout.contains("ECR_BROKER_ID_TOKEN is not set;"), "{failed:?}");
    assert!(failed.stdout.contains("make the token source answer"), "{failed:?}");
    let none = job.run(&["doctor", "--token-source", "auto"], &[]);
    assert!(none.stdout.contains("finds none: calls have no token"), "{none:?}");
}
