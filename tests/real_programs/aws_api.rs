//! AWS's own programs, led to the broker by `AWS_ENDPOINT_URL_ECR` and nothing else: they share its cache.

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
/// What the log says once for each token that AWS was asked for.
const FETCHED: &str = "a credential was fetched";

/// A broker with a simulated AWS behind it and the AWS API before it.
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

    /// A program with nothing that leads it anywhere but to the broker, keys that nobody knows, and a home of its own.
    fn lead(&self, mut program: Command) -> Command {
        let home = self.directory.path();
        let path = format!("{}:/usr/bin:/bin", tools().join("bin").display());
        program.env_clear().env("PATH", path).env("HOME", home).current_dir(home);
        program.env("AWS_ENDPOINT_URL_ECR", &self.url).env("AWS_ENDPOINT_URL_ECR_PUBLIC", &self.url);
        program.env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "example");
        program.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_PAGER", "").env("AWS_DEFAULT_REGION", REGION);
        program
    }

    fn cli(&self, words: &[&str]) -> Command {
        let mut cli = self.lead(tool("venv/bin/aws"));
        cli.args(words);
        cli
    }

    /// Ends it; so often AWS was asked.
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

/// What Amazon's helper answers docker.
fn by_amazon_s_helper(broker: &Broker, host: &str) -> Value {
    let mut helper = broker.lead(tool("bin/docker-credential-ecr-login"));
    // Its own cache would answer in the broker's place.
    ask(helper.arg("get").env("AWS_ECR_DISABLE_CACHE", "true"), broker, host)
}

/// What the provider that kubelet runs on EKS answers it.
fn by_kubelet_s_provider(broker: &Broker, host: &str) -> Value {
    let question = serde_json::json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "kind": "CredentialProviderRequest",
        "image": format!("{host}/team/app:v1"),
    });
    let mut provider = broker.lead(tool("bin/ecr-credential-provider"));
    let answer = ask(provider.arg("get-credentials"), broker, &question.to_string());
    answer["auth"][host].clone()
}

/// Asks a program over its stdin; what it answers in JSON.
fn ask(program: &mut Command, broker: &Broker, question: &str) -> Value {
    let file = broker.directory.path().join("question");
    fs::write(&file, question).unwrap();
    let output = program.stdin(fs::File::open(file).unwrap()).output().unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn node(broker: &Broker) -> Command {
    let modules: PathBuf = tools().join("node/node_modules");
    let mut node = broker.lead(Command::new(find("node")));
    node.arg(script("aws_api.mjs")).arg(modules);
    node
}

/// Where the test's own `PATH` has a program.
fn find(name: &str) -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "a test's own setting")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| Path::is_file(path));
    found.unwrap_or_else(|| panic!("there is no {name} on PATH"))
}

#[test]
#[ignore = "needs the AWS CLI, which .ci/tools installs"]
fn the_aws_cli_logs_in_by_the_broker_and_is_told_what_the_broker_does_not_do() {
    let broker = Broker::start(&[]);
    let answer = succeed(&mut broker.cli(&["ecr", "get-authorization-token", "--output", "json"]));
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let entry = &answer["authorizationData"][0];
    assert_eq!(entry["proxyEndpoint"], format!("https://{PRIVATE}"));
    let private = login_password(&mut broker.cli(&["ecr", "get-login-password"]));
    assert_eq!(private, password(&entry["authorizationToken"]));
    // Without any keys of AWS's it has no region but the broker's own.
    let mut unsigned = broker.cli(&["ecr", "get-login-password", "--no-sign-request"]);
    unsigned.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    assert!(!login_password(&mut unsigned).is_empty());
    let public = login_password(&mut broker.cli(&["ecr-public", "get-login-password", "--region", "us-east-1"]));
    assert_ne!(public, private);
    let described = run(&mut broker.cli(&["ecr", "describe-repositories"]));
    let said = text(&described.stderr);
    assert!(!described.status.success() && said.contains("UnknownOperationException"), "{said}");
    assert!(said.contains("unset AWS_ENDPOINT_URL_ECR"), "{said}");
    let mut guess = broker.cli(&["ecr", "get-login-password"]);
    let guessed = run(guess.env("AWS_ENDPOINT_URL_ECR", &broker.url[..broker.url.len() - 1]));
    assert!(text(&guessed.stderr).contains("AccessDeniedException"), "{}", text(&guessed.stderr));
    assert_eq!(broker.calls(), 3, "eu-central-1, us-east-1 as the broker's own, and the public one");
}

#[test]
#[ignore = "needs the AWS CLI, which .ci/tools installs"]
fn the_aws_cli_finds_the_broker_by_the_services_section_of_a_profile() {
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

/// A proxy that says what each program sent to it first, and nothing more.
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
fn the_aws_cli_sends_nothing_to_a_proxy_where_no_proxy_names_the_broker() {
    let (broker, proxy) = (Broker::start(&[]), Proxy::start());
    let cli = || {
        let mut cli = broker.cli(&["ecr", "get-login-password"]);
        cli.env("http_proxy", &proxy.url).env("HTTP_PROXY", &proxy.url).env("AWS_MAX_ATTEMPTS", "1");
        cli
    };
    assert!(!login_password(cli().env("NO_PROXY", "127.0.0.1,localhost")).is_empty());
    assert!(proxy.seen.try_recv().is_err(), "the proxy was asked");
    // What the setting is for.
    let lost = run(&mut cli());
    assert!(!lost.status.success() && proxy.seen.try_recv().unwrap().contains(&broker.url));
    assert_eq!(broker.calls(), 1);
}

#[test]
#[ignore = "needs the AWS CLI, which .ci/tools installs"]
fn the_aws_cli_tries_again_what_aws_throttles_and_not_what_is_denied() {
    for (fault, code, tries) in [("throttle=1", "ThrottlingException", 2), ("denied=1", "AccessDeniedException", 1)] {
        let broker = Broker::start(&["--simulate-fault", fault]);
        let mut cli = broker.cli(&["ecr", "get-login-password", "--debug"]);
        let said = text(&cli.env("AWS_MAX_ATTEMPTS", "2").output().unwrap().stderr);
        assert!(said.contains(code), "{said}");
        assert_eq!(said.matches("Sending http request").count(), tries, "{said}");
    }
}

#[test]
#[ignore = "needs the AWS CLI, boto3, @aws-sdk/client-ecr, Amazon's helper and kubelet's provider, which .ci/tools installs"]
fn the_programs_of_aws_share_one_call_for_each_registry() {
    let broker = Broker::start(&[]);
    let by_cli = digest(&login_password(&mut broker.cli(&["ecr", "get-login-password"])));
    let by_boto3 = succeed(broker.lead(python()).arg(script("aws_api.py")));
    let (private, public) = by_boto3.trim().split_once(' ').unwrap();
    let by_node = succeed(&mut node(&broker));
    let helper = by_amazon_s_helper(&broker, PRIVATE);
    assert_eq!((by_node.trim(), digest(helper["Secret"].as_str().unwrap()).as_str()), (private, private));
    assert_eq!((&helper["Username"], &helper["ServerURL"]), (&"AWS".into(), &PRIVATE.into()));
    let helper = by_amazon_s_helper(&broker, "public.ecr.aws");
    assert_eq!(digest(helper["Secret"].as_str().unwrap()), public);
    let provider = by_kubelet_s_provider(&broker, "public.ecr.aws");
    assert_eq!(digest(provider["password"].as_str().unwrap()), public);
    let provider = by_kubelet_s_provider(&broker, PRIVATE);
    assert_eq!(digest(provider["password"].as_str().unwrap()), by_cli, "neither names an account");
    assert_ne!(by_cli, private, "which is another key");
    assert_eq!(broker.calls(), 4, "no account, two accounts, and the public one");
}
