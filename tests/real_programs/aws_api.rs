//! AWS's own programs, configured with `AWS_ENDPOINT_URL_ECR` only: they share the broker's cache.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;

use data_encoding::{BASE64, HEXLOWER};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::PRIVATE;
use super::other::{python, run, script, succeed, text, tool, tools};
use super::program::{SERVE_SIMULATED, Server};

const REGION: &str = "eu-central-1";
/// Log event of one fetch from AWS.
const FETCHED: &str = "credential fetched";

/// A broker with a simulated AWS and the ECR API.
struct Broker {
    server: Server,
    directory: tempfile::TempDir,
    url: String,
}

impl Broker {
    fn start(more: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        let api = ["--aws-api-listen", "127.0.0.1:0", "--aws-api-secret-file", file.to_str().unwrap()];
        let (server, at) = Server::start_with_aws_api(&[&SERVE_SIMULATED[..], &api, more].concat(), &[]);
        let url = format!("http://{at}/t/{}", fs::read_to_string(file).unwrap());
        Self { server, directory, url }
    }

    /// Returns a program with a home directory, unknown keys, and an environment that names no AWS but the broker.
    fn configure(&self, mut program: Command) -> Command {
        let home = self.directory.path();
        let path = format!("{}:/usr/bin:/bin", tools().join("bin").display());
        program.env_clear().env("PATH", path).env("HOME", home).current_dir(home);
        program.env("AWS_ENDPOINT_URL_ECR", &self.url).env("AWS_ENDPOINT_URL_ECR_PUBLIC", &self.url);
        program.env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "example");
        program.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_PAGER", "").env("AWS_DEFAULT_REGION", REGION);
        program
    }

    fn cli(&self, words: &[&str]) -> Command {
        let mut cli = self.configure(tool("venv/bin/aws"));
        cli.args(words);
        cli
    }

    /// Stops the broker, and returns the number of fetches from AWS.
    fn calls(self) -> usize {
        let logs = self.server.stop();
        let secret = self.url.rsplit('/').next().unwrap();
        assert!(!logs.contains(secret), "{logs}");
        logs.matches(FETCHED).count()
    }
}

fn digest(password: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(password))
}

fn password(token: &Value) -> String {
    let clear = BASE64.decode(token.as_str().unwrap().as_bytes()).unwrap();
    String::from_utf8(clear).unwrap().strip_prefix("AWS:").unwrap().to_owned()
}

fn login_password(command: &mut Command) -> String {
    succeed(command).trim().to_owned()
}

/// Returns the response of Amazon's docker credential helper.
fn from_amazon_helper(broker: &Broker, host: &str) -> Value {
    let mut helper = broker.configure(tool("bin/docker-credential-ecr-login"));
    // Without this the helper's own cache would answer instead of the broker.
    run_helper(helper.arg("get").env("AWS_ECR_DISABLE_CACHE", "true"), broker, host)
}

/// Returns the response of the credential provider that kubelet runs on EKS.
fn from_kubelet_provider(broker: &Broker, host: &str) -> Value {
    let request = serde_json::json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "kind": "CredentialProviderRequest",
        "image": format!("{host}/team/app:v1"),
    });
    let mut provider = broker.configure(tool("bin/ecr-credential-provider"));
    let response = run_helper(provider.arg("get-credentials"), broker, &request.to_string());
    response["auth"][host].clone()
}

/// Runs a program with `input` on stdin, and returns its JSON output.
fn run_helper(program: &mut Command, broker: &Broker, input: &str) -> Value {
    let file = broker.directory.path().join("input");
    fs::write(&file, input).unwrap();
    let output = program.stdin(fs::File::open(file).unwrap()).output().unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn node(broker: &Broker, name: &str) -> Command {
    let modules: PathBuf = tools().join("node/node_modules");
    let mut node = broker.configure(Command::new(find("node")));
    node.arg(script(name)).arg(modules);
    node
}

/// Returns the path of a program on the test's own `PATH`.
fn find(name: &str) -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "a test's own setting")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| Path::is_file(path));
    found.unwrap_or_else(|| panic!("{name} is not on PATH"))
}

#[test]
#[ignore = "needs the AWS CLI, which .ci/tools installs"]
fn aws_cli_gets_tokens_and_errors_for_other_operations() {
    let broker = Broker::start(&[]);
    let output = succeed(&mut broker.cli(&["ecr", "get-authorization-token", "--output", "json"]));
    let output: Value = serde_json::from_str(&output).unwrap();
    let entry = &output["authorizationData"][0];
    assert_eq!(entry["proxyEndpoint"], format!("https://{PRIVATE}"));
    let private = login_password(&mut broker.cli(&["ecr", "get-login-password"]));
    assert_eq!(private, password(&entry["authorizationToken"]));
    // An unsigned request names no region, so the broker's default region applies.
    let mut unsigned = broker.cli(&["ecr", "get-login-password", "--no-sign-request"]);
    unsigned.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    assert!(!login_password(&mut unsigned).is_empty());
    let public = login_password(&mut broker.cli(&["ecr-public", "get-login-password", "--region", "us-east-1"]));
    assert_ne!(public, private);
    let described = run(&mut broker.cli(&["ecr", "describe-repositories"]));
    let stderr = text(&described.stderr);
    assert!(!described.status.success() && stderr.contains("UnknownOperationException"), "{stderr}");
    assert!(stderr.contains("unset AWS_ENDPOINT_URL_ECR"), "{stderr}");
    let mut wrong_secret = broker.cli(&["ecr", "get-login-password"]);
    let rejected = run(wrong_secret.env("AWS_ENDPOINT_URL_ECR", &broker.url[..broker.url.len() - 1]));
    assert!(text(&rejected.stderr).contains("AccessDeniedException"), "{}", text(&rejected.stderr));
    assert_eq!(broker.calls(), 3, "eu-central-1, the default region us-east-1, and the public registry");
}

#[test]
#[ignore = "needs the AWS CLI, which .ci/tools installs"]
fn aws_cli_uses_the_endpoint_of_a_services_section() {
    let broker = Broker::start(&[]);
    let file = broker.directory.path().join("config");
    let profile = format!(
        "[profile login]\nregion = {REGION}\nservices = broker\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = example\n\
         [services broker]\necr =\n  endpoint_url = {url}\necr_public =\n  endpoint_url = {url}\n",
        url = broker.url
    );
    fs::write(&file, profile).unwrap();
    let mut cli = broker.cli(&["ecr", "get-login-password", "--profile", "login"]);
    for variable in
        ["AWS_ENDPOINT_URL_ECR", "AWS_ENDPOINT_URL_ECR_PUBLIC", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
    {
        cli.env_remove(variable);
    }
    assert!(!login_password(cli.env("AWS_CONFIG_FILE", file)).is_empty());
    assert_eq!(broker.calls(), 1);
}

/// A proxy that reports the first bytes of each connection and forwards nothing.
struct Proxy {
    url: String,
    seen: mpsc::Receiver<String>,
}

impl Proxy {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, seen) = mpsc::channel();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut first = [0; 1024];
                let length = stream.read(&mut first).unwrap_or_default();
                if sender.send(text(&first[..length])).is_err() {
                    return;
                }
            }
        });
        Self { url, seen }
    }
}

#[test]
#[ignore = "needs the AWS CLI, which .ci/tools installs"]
fn aws_cli_bypasses_the_proxy_with_no_proxy() {
    let (broker, proxy) = (Broker::start(&[]), Proxy::start());
    let cli = || {
        let mut cli = broker.cli(&["ecr", "get-login-password"]);
        cli.env("http_proxy", &proxy.url).env("HTTP_PROXY", &proxy.url).env("AWS_MAX_ATTEMPTS", "1");
        cli
    };
    assert!(!login_password(cli().env("NO_PROXY", "127.0.0.1,localhost")).is_empty());
    assert!(proxy.seen.try_recv().is_err(), "the proxy got a connection");
    // Without NO_PROXY the proxy gets the secret.
    let proxied = run(&mut cli());
    assert!(!proxied.status.success() && proxy.seen.try_recv().unwrap().contains(&broker.url));
    assert_eq!(broker.calls(), 1);
}

#[test]
#[ignore = "needs the AWS CLI, which .ci/tools installs"]
fn aws_cli_retries_throttling_and_not_denials() {
    for (fault, code, tries) in [("throttle=1", "ThrottlingException", 2), ("denied=1", "AccessDeniedException", 1)] {
        let broker = Broker::start(&["--simulate-fault", fault]);
        let mut cli = broker.cli(&["ecr", "get-login-password", "--debug"]);
        let stderr = text(&cli.env("AWS_MAX_ATTEMPTS", "2").output().unwrap().stderr);
        assert!(stderr.contains(code), "{stderr}");
        assert_eq!(stderr.matches("Sending http request").count(), tries, "{stderr}");
    }
}

#[test]
#[ignore = "needs the AWS CLI, boto3, @aws-sdk/client-ecr, Amazon's helper and kubelet's provider, which .ci/tools installs"]
fn aws_programs_share_one_call_per_registry() {
    let broker = Broker::start(&[]);
    let from_cli = digest(&login_password(&mut broker.cli(&["ecr", "get-login-password"])));
    let from_boto3 = succeed(broker.configure(python()).arg(script("aws_api.py")));
    let (private, public) = from_boto3.trim().split_once(' ').unwrap();
    let from_node = succeed(&mut node(&broker, "aws_api.mjs"));
    let helper = from_amazon_helper(&broker, PRIVATE);
    assert_eq!((from_node.trim(), digest(helper["Secret"].as_str().unwrap()).as_str()), (private, private));
    assert_eq!((&helper["Username"], &helper["ServerURL"]), (&"AWS".into(), &PRIVATE.into()));
    let helper = from_amazon_helper(&broker, "public.ecr.aws");
    assert_eq!(digest(helper["Secret"].as_str().unwrap()), public);
    let provider = from_kubelet_provider(&broker, "public.ecr.aws");
    assert_eq!(digest(provider["password"].as_str().unwrap()), public);
    let provider = from_kubelet_provider(&broker, PRIVATE);
    assert_eq!(digest(provider["password"].as_str().unwrap()), from_cli, "neither request names an account");
    assert_ne!(from_cli, private, "an account in the request makes another cache key");
    assert_eq!(broker.calls(), 4, "no account, two accounts, and the public registry");
}

/// Programs catch the exceptions of ECR's documentation. SDKs retry the one of an outage.
#[test]
#[ignore = "needs boto3 and @aws-sdk/client-ecr, which .ci/tools installs"]
fn aws_sdks_catch_an_outage_as_server_exception() {
    let broker = Broker::start(&["--simulate-fault", "server-error=1"]);
    assert_eq!(succeed(broker.configure(python()).arg(script("aws_outage.py"))).trim(), "caught");
    assert_eq!(succeed(&mut node(&broker, "aws_outage.mjs")).trim(), "caught");
    assert_eq!(broker.calls(), 0);
}
