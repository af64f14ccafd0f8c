//! `completions`: scripts for shells.

use clap::Command;
use clap_complete::Shell;

pub(super) const EXAMPLES: &str = "\
Examples:
  ecr-broker completions bash >/usr/share/bash-completion/completions/ecr-broker
  ecr-broker completions zsh >/usr/share/zsh/vendor-completions/_ecr-broker
  ecr-broker completions fish >~/.config/fish/completions/ecr-broker.fish

Exit codes: 0 printed, 2 unknown shell";

/// Returns the script of a shell.
pub(super) fn script(shell: Shell, mut command: Command) -> anyhow::Result<String> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, &name, &mut script);
    let script = String::from_utf8(script)?;
    // clap_complete writes the name of the program in two ways in its script for bash, and they differ for a name with a hyphen.
    let (label, wanted) = (name.replace('-', "__subcmd__"), name.replace('-', "__"));
    Ok(if shell == Shell::Bash { script.replace(&label, &wanted) } else { script })
}
