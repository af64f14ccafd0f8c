//! The command line.

use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{Arg, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::environment;
use crate::terminal::{print_error, print_line};

#[cfg(feature = "client")]
mod adopt;
#[cfg(feature = "server")]
mod audit;
#[cfg(feature = "server")]
mod broker_user;
#[cfg(feature = "client")]
mod client_log;
mod completions;
#[cfg(feature = "server")]
mod config;
#[cfg(feature = "client")]
mod configure;
#[cfg(feature = "client")]
mod connection_args;
#[cfg(feature = "client")]
mod doctor;
#[cfg(any(feature = "client", feature = "simulator"))]
mod duration;
#[cfg(feature = "client")]
mod exec;
#[cfg(feature = "client")]
mod fetch;
#[cfg(feature = "client")]
mod get;
mod groups;
#[cfg(feature = "client")]
mod helper;
#[cfg(feature = "server")]
mod keygen;
#[cfg(feature = "client")]
mod list;
#[cfg(feature = "client")]
mod login;
mod man;
#[cfg(feature = "client")]
mod output;
#[cfg(feature = "server")]
mod policy;
#[cfg(feature = "client")]
mod probe;
#[cfg(feature = "server")]
mod prove;
#[cfg(feature = "client")]
mod query_args;
#[cfg(feature = "server")]
mod serve;
#[cfg(feature = "simulator")]
mod simulate;
#[cfg(all(feature = "server", feature = "simulator"))]
mod simulation;
#[cfg(feature = "client")]
mod status;
#[cfg(feature = "client")]
mod sync;
#[cfg(feature = "client")]
mod table;
#[cfg(feature = "client")]
mod watch;
#[cfg(feature = "client")]
mod watch_args;
#[cfg(feature = "client")]
mod whoami;

/// Output of `--version`, after the name.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("ECR_BROKER_COMMIT"),
    "; features: ",
    env!("ECR_BROKER_FEATURES"),
    ")"
);

/// A test compares this list with [`crate::exit_code::Exit`].
const EXIT_CODES: &str = "\
Exit codes:
  0  Success
  1  Any other failure
  2  Wrong flags or arguments
  3  Not an ECR registry
  4  Caller not authenticated or not allowed
  5  Broker, AWS or registry unavailable; a retry can help";

/// Hand out Amazon ECR credentials over gRPC
///
/// The broker caches credentials, shares one AWS call between concurrent requests, and refreshes credentials ahead of their
/// expiry. Its clients run on the same or other hosts. Each command has more help and examples: ecr-broker COMMAND --help
#[derive(Debug, Parser)]
#[command(
    name = "ecr-broker",
    version = VERSION,
    arg_required_else_help = true,
    max_term_width = 120,
    after_long_help = EXIT_CODES
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker
    #[cfg(feature = "server")]
    Serve(serve::Args),
    /// Run a simulated AWS for tests
    ///
    /// It answers ECR, ECR Public and STS over their own protocols, with faults on request.
    #[cfg(feature = "simulator")]
    SimulateAws(simulate::Args),
    /// Print registry credentials
    #[cfg(feature = "client")]
    Get(get::Args),
    /// Run a command with a temporary docker configuration
    ///
    /// COMMAND gets a docker configuration in which the credential helper answers for the registries. It is a copy of yours: contexts,
    /// plugins, proxies and the credentials of other registries stay usable. No secret is written. The copy is removed when COMMAND
    /// ends, and changes to it are lost.
    #[cfg(feature = "client")]
    Exec(exec::Args),
    /// Log docker, podman or helm in to a registry
    ///
    /// Runs the tool's own login command with the password on its stdin. The tool stores the password.
    #[cfg(feature = "client")]
    Login(login::Args),
    /// Keep a credential file or Kubernetes Secrets up to date
    ///
    /// For jobs that cannot call the broker. sync removes an entry when it expires, and keeps valid entries while no broker
    /// answers.
    #[cfg(feature = "client")]
    Sync(sync::Args),
    /// Watch registry credentials, a line per event
    #[cfg(feature = "client")]
    Watch(watch::Args),
    /// Configure docker, podman, kubelet or Bazel
    ///
    /// Each tool then asks the broker for registry credentials.
    #[cfg(feature = "client")]
    Configure(configure::Args),
    /// Answer credential requests of docker, kubelet or Bazel
    ///
    /// Reads one request from stdin in the tool's own protocol and prints the answer.
    #[cfg(feature = "client")]
    Helper(helper::Args),
    /// Report on the switch-over from another helper
    #[cfg(feature = "client")]
    Adopt(adopt::Args),
    /// Diagnose a failing pull and suggest a fix
    ///
    /// Checks each step from this machine's settings to the registry. Prints a line for each step, and fixes for problems. The
    /// exit code is that of the first step that fails.
    #[cfg(feature = "client")]
    Doctor(doctor::Args),
    /// List the registries that you may request
    #[cfg(feature = "client")]
    List(list::Args),
    /// Show the state of a running broker
    ///
    /// For operators: root, the broker's user on its Unix socket, and callers of grants with operator = true. Shows each cached
    /// key, and the broker's calls, limits, reloads and audit log; no secrets.
    #[cfg(feature = "client")]
    Status(status::Args),
    /// Check the health of a running broker
    ///
    /// Without flags it checks liveness: the broker answers and is not shutting down. --ready checks readiness: it can also release
    /// credentials.
    #[cfg(feature = "client")]
    Probe(probe::Args),
    /// Show how the broker identifies you, and your grants
    #[cfg(feature = "client")]
    Whoami(whoami::Args),
    /// Check or print the broker's configuration
    #[cfg(feature = "server")]
    Config(config::Args),
    /// Lint, explain, test, suggest and tighten grants
    #[cfg(feature = "server")]
    Policy(policy::Args),
    /// Find valid or leaked credentials in the audit log
    #[cfg(feature = "server")]
    Audit(audit::Args),
    /// Check in a real account what the broker assumes of AWS
    ///
    /// Calls AWS and registries with the operator's identity. Prints what each check did, AWS's answers and what it proves; no secrets.
    #[cfg(feature = "server")]
    Prove(prove::Args),
    /// Print or check keys of a shared cache
    ///
    /// The keys file has one line "names BASE64", the same for all brokers and never rotated, and lines "seal BASE64": the first key
    /// seals, and all open.
    #[cfg(feature = "server")]
    Keygen(keygen::Args),
    /// Print shell completions
    #[command(after_long_help = completions::EXAMPLES)]
    Completions {
        /// Shell to complete in
        shell: clap_complete::Shell,
    },
    /// Print manual pages
    Man(man::Args),
}

/// Runs the command of the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    // First: until then, other processes of the user can read the environment. The broker logs a failure later.
    #[cfg(feature = "client")]
    let _ = crate::memory_guard::hide();
    if let Err(error) = environment::restart_without_blank_variables() {
        print_error(error);
        return ExitCode::FAILURE;
    }
    #[cfg(feature = "client")]
    if let Some(code) = helper::run_by_program_name() {
        return code;
    }
    match run(parse().command) {
        Ok(code) => code,
        Err(error) => {
            print_error(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Parses the arguments, and exits if they are wrong.
fn parse() -> Cli {
    let matches = without_blank_variables(program()).get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Returns the program's commands, grouped in the help.
fn program() -> clap::Command {
    groups::grouped(Cli::command())
}

/// Hides blank variables from clap, which would take them for values.
fn without_blank_variables(command: clap::Command) -> clap::Command {
    let is_blank = |arg: &Arg| arg.get_env().is_some_and(environment::is_set_and_blank);
    let unset = |arg: Arg| if is_blank(&arg) { arg.env(Resettable::Reset) } else { arg };
    command.mut_args(unset).mut_subcommands(without_blank_variables)
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        #[cfg(feature = "server")]
        Command::Serve(args) => serve::run(&args),
        #[cfg(feature = "simulator")]
        Command::SimulateAws(args) => simulate::run(&args),
        #[cfg(feature = "client")]
        Command::Get(args) => get::run(&args),
        #[cfg(feature = "client")]
        Command::Sync(args) => sync::run(&args),
        #[cfg(feature = "client")]
        Command::Exec(args) => exec::run(&args),
        #[cfg(feature = "client")]
        Command::Login(args) => login::run(&args),
        #[cfg(feature = "client")]
        Command::List(args) => list::run(&args),
        #[cfg(feature = "client")]
        Command::Watch(args) => watch::run(&args),
        #[cfg(feature = "client")]
        Command::Configure(args) => configure::run(args),
        #[cfg(feature = "client")]
        Command::Helper(args) => Ok(helper::run(args)),
        #[cfg(feature = "client")]
        Command::Adopt(args) => adopt::run(&args),
        #[cfg(feature = "client")]
        Command::Doctor(args) => doctor::run(args),
        #[cfg(feature = "client")]
        Command::Status(args) => status::run(&args),
        #[cfg(feature = "client")]
        Command::Probe(args) => probe::run(&args),
        #[cfg(feature = "client")]
        Command::Whoami(args) => whoami::run(&args),
        #[cfg(feature = "server")]
        Command::Config(args) => config::run(args),
        #[cfg(feature = "server")]
        Command::Policy(args) => policy::run(&args),
        #[cfg(feature = "server")]
        Command::Audit(args) => audit::run(&args),
        #[cfg(feature = "server")]
        Command::Prove(args) => prove::run(args),
        #[cfg(feature = "server")]
        Command::Keygen(args) => keygen::run(&args),
        Command::Completions { shell } => {
            print_line(completions::script(shell, &program())?.trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Man(args) => man::run(&args, program()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn summaries_are_at_most_60_characters() {
        let mut commands = vec![Cli::command()];
        while let Some(command) = commands.pop() {
            let summary = command.get_about().map(ToString::to_string).unwrap_or_default();
            let name = command.get_name();
            assert!((1..=60).contains(&summary.chars().count()), "{name}: {summary}");
            assert!(!summary.ends_with('.'), "{name}: {summary}");
            commands.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn completions_offer_no_hidden_flag() {
        use clap_complete::Shell;
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = completions::script(shell, &program()).unwrap();
            #[cfg(feature = "client")]
            assert!(script.contains("min-validity") && script.contains("k8s-secret"), "{shell}");
            for hidden in ["runtime-dir", "config-home", "runtime_dir"] {
                assert!(!script.contains(hidden), "{shell}: {hidden}");
            }
        }
    }

    #[test]
    fn long_help_of_every_command_has_examples_and_exit_codes() {
        for command in program().get_subcommands() {
            let notes = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            let has = |heading: &str| notes.split("\n\n").any(|paragraph| paragraph.starts_with(heading));
            assert!(has("Examples:\n  ecr-broker ") && has("Exit codes: "), "{}: {notes}", command.get_name());
            // Width without a terminal. clap breaks longer lines, and an example must stay as it is.
            for line in notes.lines().filter(|line| line.starts_with("  ")) {
                assert!(line.chars().count() <= 100, "{}: {line}", command.get_name());
            }
        }
    }

    /// Returns the variables that the commands read.
    #[cfg(feature = "client")]
    fn variables_of(command: &clap::Command) -> Vec<String> {
        let own = command.get_arguments().filter_map(Arg::get_env).map(|name| name.to_string_lossy().into_owned());
        own.chain(command.get_subcommands().flat_map(variables_of)).collect()
    }

    #[test]
    #[cfg(feature = "server")]
    fn variable_of_any_command_does_not_stop_the_broker() {
        use crate::config::{Config, Sources};
        let variables = variables_of(&Cli::command());
        assert!(variables.iter().any(|name| name == "ECR_BROKER_CONFIG"), "{variables:?}");
        let environment = variables.into_iter().map(|name| (name, "anything".to_owned())).collect();
        let loaded = Config::load(&Sources { environment, ..Sources::default() });
        assert!(loaded.is_ok(), "{:?}", loaded.err());
    }

    #[test]
    #[cfg(feature = "client")]
    fn every_client_setting_has_a_variable_in_every_client_command() {
        let command = Cli::command();
        let get = command.find_subcommand("get").map(variables_of).unwrap_or_default();
        for setting in environment::CLIENT_SETTINGS {
            assert!(get.contains(&environment::client_variable(setting)), "{setting}: {get:?}");
        }
    }

    #[test]
    fn help_lists_every_exit_code() {
        use crate::exit_code::Exit;
        for exit in [Exit::Success, Exit::Failure, Exit::Usage, Exit::NotRegistry, Exit::Denied, Exit::Unavailable] {
            assert!(EXIT_CODES.contains(&format!("\n  {}  ", exit as u8)), "{exit:?}");
        }
    }
}
