//! Groups of commands in `--help`. clap has one list only, so the groups are part of the help template.

use std::fmt::Write as _;

use clap::Command;
use clap::builder::StyledStr;

/// Headings and commands, in the order of the help. A build without a feature lacks some of the commands.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Server commands", &["serve", "status", "probe", "audit"]),
    ("Client commands", &["get", "list", "exec", "login", "sync", "watch", "whoami", "adopt", "doctor"]),
    ("Configuration commands", &["config", "policy", "configure"]),
    ("Tools", &["helper", "simulate-aws", "prove", "keygen", "completions", "man"]),
];
/// Columns of the longest command name.
const NAME_WIDTH: usize = 12;

/// Groups the commands in the help. A command without a group is in the last one.
pub(super) fn grouped(command: Command) -> Command {
    let template = template(&command);
    command.help_template(template)
}

fn template(command: &Command) -> StyledStr {
    let mut text = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    let styles = command.get_styles();
    let (header, literal) = (*styles.get_header(), *styles.get_literal());
    for (at, (heading, _)) in GROUPS.iter().enumerate() {
        let members: Vec<_> = members(command, at).collect();
        if members.is_empty() {
            continue;
        }
        _ = writeln!(text, "\n{header}{heading}:{header:#}");
        for member in members {
            let name = format!("{:NAME_WIDTH$}", member.get_name());
            _ = writeln!(text, "  {literal}{name}{literal:#}  {}", member.get_about().unwrap_or_default());
        }
    }
    _ = write!(text, "\n{header}Options:{header:#}\n{{options}}{{after-help}}");
    text.into()
}

/// Returns the commands of a group in its order, then those without a group if it is the last one.
fn members(command: &Command, group: usize) -> impl Iterator<Item = &Command> {
    let has_group = |name: &str| GROUPS.iter().any(|(_, names)| names.contains(&name));
    let is_last = group + 1 == GROUPS.len();
    let named = GROUPS[group].1.iter().filter_map(|name| command.find_subcommand(name));
    named.chain(command.get_subcommands().filter(move |one| is_last && !has_group(one.get_name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_the_help_once() {
        let known = GROUPS.iter().flat_map(|(_, names)| *names);
        let all = known.chain(&["new"]).map(|name| Command::new(*name).about("Do it"));
        let help = grouped(Command::new("ecr-broker").subcommands(all)).render_help().to_string();
        for name in GROUPS.iter().flat_map(|(_, names)| *names).chain(&["new"]) {
            assert_eq!(help.matches(&format!("  {name:NAME_WIDTH$}  Do it\n")).count(), 1, "{name}: {help}");
        }
        assert!(help.find("Tools:") < help.find("  new "), "{help}");
    }
}
