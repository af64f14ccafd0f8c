//! Manual page of docker-credential-ecr-broker. The program reads its one argument itself, so that it starts fast; this describes it.

use clap::builder::PossibleValue;
use clap::{Arg, ArgAction, Args as _, Command};
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::helper::Options;
use crate::environment::{CLIENT_SETTINGS, DELEGATE, client_variable};

const NAME: &str = "docker-credential-ecr-broker";

const DESCRIPTION: &str = "\
docker, podman, buildah, skopeo, crane and oras run it for the registries that their configuration names under credHelpers. It asks \
the broker for credentials and stores none. The key next of client.toml names a helper or file for other registries.

A registry or an entry comes on stdin, the answer goes to stdout, and the reason of a failure to stderr. Run as \
docker-credential-ecr-login, it replaces Amazon's helper.";

const NOTES: &str = "\
Files:
  /etc/ecr-broker/client.toml                settings of the host
  $XDG_CONFIG_HOME/ecr-broker/client.toml    settings of the user, which precede
  /run/ecr-broker/broker.sock                broker of the host
  $XDG_RUNTIME_DIR/ecr-broker/broker.sock    broker of the user

Exit status: 0 answered, 1 without credentials or failed

Examples:
  ecr-broker configure docker public.ecr.aws
  echo public.ecr.aws | docker-credential-ecr-broker get

See also: ecr-broker(1), ecr-broker-configure-docker(1), ecr-broker-helper-docker(1), ecr-broker-doctor(1)";

/// Returns the program's command line, and the section of its variables.
pub(super) fn page() -> (Command, Roff) {
    let flag = |name: &'static str, short, action| Arg::new(name).long(name).short(short).action(action);
    let command = Command::new(NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .about("Credential helper of docker and podman that asks ecr-broker")
        .long_about(DESCRIPTION)
        .after_long_help(NOTES)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(Arg::new("ACTION").help("Action of docker's protocol").required(true).value_parser(actions()))
        .arg(flag("help", 'h', ArgAction::Help).help("Print help"))
        .arg(flag("version", 'v', ArgAction::Version).help("Print version"));
    (command, environment())
}

fn actions() -> [PossibleValue; 5] {
    [
        ("get", "print the credentials of the registry on stdin, as JSON"),
        ("store", "pass the entry on stdin to the helper or file for other registries; succeed without it for ECR"),
        ("erase", "erase the registry on stdin there; do nothing for ECR"),
        ("list", "list the registries that the broker has cached, and those of the other helper"),
        ("version", "print version"),
    ]
    .map(|(name, help)| PossibleValue::new(name).help(help))
}

/// Describes each variable as the flag of `ecr-broker helper docker` is.
fn environment() -> Roff {
    let flags = Options::augment_args(Command::new(NAME));
    let help = |setting: &str| {
        let flag = flags.get_arguments().find(|flag| flag.get_id() == setting);
        flag.and_then(Arg::get_help).map(ToString::to_string).unwrap_or_default()
    };
    let mut roff = Roff::new();
    roff.control("SH", ["ENVIRONMENT"]);
    let settings = CLIENT_SETTINGS.map(|setting| (client_variable(setting), help(setting)));
    for (variable, help) in settings.into_iter().chain([(DELEGATE.to_owned(), help("next"))]) {
        roff.control("TP", []);
        roff.text([bold(&*variable)]);
        roff.text([roman(help.replace(&format!(" [env: {variable}]"), ""))]);
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::man::{file_name, page as rendered};
    use crate::helper::{Setup, docker};

    #[test]
    fn page_of_dockers_helper_describes_each_variable() {
        let (command, environment) = page();
        let page = rendered(&command, Some(&environment)).unwrap();
        for variable in CLIENT_SETTINGS.map(client_variable).iter().map(String::as_str).chain([DELEGATE]) {
            let (_, text) = page.split_once(&format!(".TP\n\\fB{variable}\\fR\n")).expect(variable);
            let help = text.lines().next().unwrap();
            assert!(help.len() > 10 && !help.contains("[env"), "{variable}: {help}");
        }
        for section in ["NAME", "SYNOPSIS", "OPTIONS", "ENVIRONMENT", "FILES", "EXAMPLES"] {
            assert_eq!(page.matches(&format!(".SH {section}\n")).count(), 1, "{section}: {page}");
        }
        assert_eq!(file_name(&command), "docker-credential-ecr-broker.1");
    }

    #[test]
    fn page_of_dockers_helper_names_pages_that_exist() {
        let (_, others) = NOTES.split_once("See also: ").unwrap();
        let mut program = crate::cli::program().disable_help_subcommand(true);
        program.build();
        for page in others.split(", ") {
            let words = page.strip_suffix("(1)").unwrap().strip_prefix("ecr-broker").unwrap();
            let words = words.split('-').skip(1);
            let found = words.into_iter().try_fold(&program, |command, word| command.find_subcommand(word));
            assert!(found.is_some(), "{page}");
        }
    }

    #[test]
    fn page_of_dockers_helper_names_the_actions_of_the_program() {
        let usage = docker::run(Setup::from_environment, "--help").stdout;
        let actions = actions().map(|action| action.get_name().to_owned());
        for action in &actions {
            assert!(usage.lines().next().unwrap().contains(action.as_str()), "{action}: {usage}");
        }
        assert_eq!(usage.lines().next().unwrap().matches('|').count() + 1, actions.len(), "{usage}");
    }
}
