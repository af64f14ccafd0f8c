//! `completions`: scripts for shells.

use clap::Command;
use clap_complete::Shell;

pub(super) const EXAMPLES: &str = "\
Examples:
  ecr-broker completions bash >/usr/share/bash-completion/completions/ecr-broker
  ecr-broker completions zsh >/usr/local/share/zsh/site-functions/_ecr-broker
  ecr-broker completions fish >~/.config/fish/completions/ecr-broker.fish

Exit codes: 0 printed, 2 unknown shell";

/// Returns the script of a shell.
pub(super) fn script(shell: Shell, command: &Command) -> anyhow::Result<String> {
    let (mut command, name) = (visible(command), command.get_name().to_owned());
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, &name, &mut script);
    let script = String::from_utf8(script)?;
    // clap_complete writes the name of the program in two ways in its script for bash, and they differ for a name with a hyphen.
    let (label, wanted) = (name.replace('-', "__subcmd__"), name.replace('-', "__"));
    Ok(if shell == Shell::Bash { script.replace(&label, &wanted) } else { script })
}

/// Returns the commands without their hidden flags, which `clap_complete` would offer. No other argument depends on these.
fn visible(command: &Command) -> Command {
    let about = command.get_about().cloned().unwrap_or_default();
    let visible = Command::new(leaked(command.get_name())).about(about);
    let visible = command.get_version().map(leaked).into_iter().fold(visible, Command::version);
    visible
        .args(command.get_arguments().filter(|arg| !arg.is_hide_set()))
        .subcommands(command.get_subcommands().map(self::visible))
}

/// Returns a text as clap takes names. The program ends once the script is printed.
fn leaked(text: &str) -> &'static str {
    text.to_owned().leak()
}
