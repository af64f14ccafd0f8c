//! docker on a host that leaves Amazon's helper for the broker's, step by step.

use std::os::unix::fs::MetadataExt as _;

use super::super::other::tools;
use super::super::program::Server;
use super::*;

/// A host on which the broker's helper has the name of Amazon's, and Amazon's is beside it.
struct Host {
    engine: Engine,
    aws: Server,
}

/// The state of the broker during a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Well,
    Killed,
    Hung,
    Denying,
}

impl Host {
    fn new() -> Self {
        let (engine, aws) = (Engine::start(), Server::start(&["simulate-aws", "--listen", "127.0.0.1:0"], &[]));
        let host = Self { engine, aws };
        let login = "docker-credential-ecr-login";
        symlink(HELPER, host.path(login)).unwrap();
        symlink(tools().join("bin").join(login), host.path("docker-credential-ecr-login.real")).unwrap();
        for directory in [".aws", ".config/ecr-broker"] {
            fs::create_dir_all(host.path(directory)).unwrap();
        }
        let profile = format!("[default]\nregion = eu-central-1\nendpoint_url = {}\n", host.aws.address);
        fs::write(host.path(".aws/config"), profile).unwrap();
        let key = "[default]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = example\n";
        fs::write(host.path(".aws/credentials"), key).unwrap();
        host
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.engine.directory.path().join(name)
    }

    /// Pulls with this helper, and returns the password that docker sent, if any.
    fn pull(&self, helper: &str) -> Option<String> {
        let socket = format!("unix:{}", self.path("broker.sock").display());
        let config = json!({ "credHelpers": { PRIVATE: helper } });
        let (output, sent) = self.engine.docker(&config, &socket, &["pull", &format!("{PRIVATE}/team/app")]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        sent.first().and_then(|sent| Some(sent["password"].as_str()?.to_owned()))
    }

    /// Pulls in a mode while the broker is in a state.
    fn pull_in(&self, mode: &str, state: State) -> Option<String> {
        let client = format!("timeout = \"1s\"\nfallback = \"docker-credential-ecr-login.real\"\n{mode}\n");
        fs::write(self.path(".config/ecr-broker/client.toml"), client).unwrap();
        let socket = self.path("broker.sock");
        _ = fs::remove_file(&socket);
        let broker = (state != State::Hung).then(|| self.broker(state == State::Denying));
        let hung = broker.is_none().then(|| UnixListener::bind(&socket).unwrap());
        let broker = broker.filter(|_| state != State::Killed);
        let password = self.pull("ecr-login");
        drop((broker, hung));
        password
    }

    /// A broker with credentials of its AWS, which are others than those of Amazon's helper.
    fn broker(&self, denies: bool) -> Server {
        let registry = if denies { "{ public = true }" } else { "{ accounts = [\"*\"], regions = [\"*\"] }" };
        let text = format!(
            "[server]\nlisten = [\"unix:{}\"]\n[[grants]]\nid = \"farm\"\ncallers = [{{ uid = {} }}]\n\
             registries = [{registry}]\n",
            self.path("broker.sock").display(),
            fs::metadata("/proc/self").unwrap().uid(),
        );
        let file = self.path("broker.toml");
        fs::write(&file, text).unwrap();
        Server::start(&["serve", "--simulate", "--config", file.to_str().unwrap()], &[])
    }
}

#[test]
#[ignore = "needs docker's command line and docker-credential-ecr-login, which .ci/tools installs"]
fn docker_pulls_through_every_step_of_the_switch_over() {
    use State::{Denying, Hung, Killed, Well};
    let host = Host::new();
    let before = host.pull("ecr-login.real");
    assert!(before.is_some(), "Amazon's helper answers before the switch-over");
    for mode in ["mode = \"shadow\"", "mode = \"canary\"\ncanary_percent = 0"] {
        for state in [Well, Killed, Hung, Denying] {
            assert_eq!(host.pull_in(mode, state), before, "{mode} {state:?}");
        }
    }
    for mode in ["mode = \"canary\"\ncanary_percent = 100", ""] {
        let password = host.pull_in(mode, Well);
        assert!(password.is_some() && password != before, "{mode}: the broker answers");
        for state in [Killed, Hung] {
            assert_eq!(host.pull_in(mode, state), before, "{mode} {state:?}");
        }
    }
    assert_eq!(host.pull_in("mode = \"canary\"\ncanary_percent = 100", Denying), before, "a canary never denies");
    assert_eq!(host.pull_in("", Denying), None, "a denial is final in full mode");
}
