//! Completions in real shells, colours on a terminal, and manual pages in a real formatter.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::other::succeed;
use super::program::{PROGRAM, program};

/// What is typed before the tab, and the word that the shell completes.
const COMPLETIONS: [(&str, &str); 5] = [
    ("ecr-broker who", "whoami"),
    ("ecr-broker simulate-aws --fau", "--fault"),
    ("ecr-broker config ch", "check"),
    ("ecr-broker get --output js", "json"),
    ("ecr-broker policy explain --cal", "--caller"),
];

/// Calls the function that the script registers, with the words of a line as bash passes them.
const BASH: &str = r#"
source "$1"
read -ra COMP_WORDS <<<"$2"
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
function=$(complete -p ecr-broker | sed 's/.*-F \([^ ]*\).*/\1/')
"$function" ecr-broker "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

/// Types the line, a tab and a key that prints the line into an interactive zsh.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PS1=; autoload -Uz compinit; compinit -u -D; source ${(q)1}"
zpty -w shell 'show() { print -r -- "<$BUFFER>"; BUFFER=; }; zle -N show; bindkey "^X" show'
zpty -w -n shell "$2"$'\t'$'\x18'
zpty -r shell shown $'*<ecr-broker *>*'
print -r -- "${${shown##*<}%%>*}"
zpty -d shell
"#;

fn script(directory: &Path, shell: &str) -> String {
    let path = directory.join(format!("completions.{shell}"));
    fs::write(&path, succeed(program(&[]).args(["completions", shell]))).unwrap();
    path.display().to_string()
}

#[test]
fn bash_completes_commands_flags_and_values() {
    let directory = tempfile::tempdir().unwrap();
    let script = script(directory.path(), "bash");
    for (line, word) in COMPLETIONS {
        let shown = succeed(Command::new("bash").args(["--norc", "-c", BASH, "bash", &script, line]));
        assert_eq!(shown.trim(), word, "{line}");
    }
}

#[test]
#[ignore = "needs zsh, which .ci/tools installs"]
fn zsh_completes_commands_flags_and_values() {
    let directory = tempfile::tempdir().unwrap();
    let script = script(directory.path(), "zsh");
    for (line, word) in COMPLETIONS {
        let shown = succeed(Command::new("timeout").args(["60", "zsh", "-f", "-c", ZSH, "zsh", &script, line]));
        let before = line.rsplit_once(' ').unwrap().0;
        assert_eq!(shown.trim().trim_end_matches('='), format!("{before} {word}"), "{line}");
    }
}

#[test]
#[ignore = "needs fish, which .ci/tools installs"]
fn fish_completes_commands_flags_and_values() {
    let directory = tempfile::tempdir().unwrap();
    let script = script(directory.path(), "fish");
    for (line, word) in COMPLETIONS {
        let mut fish = Command::new("fish");
        fish.args(["--no-config", "-c", "source $argv[1]; complete -C $argv[2]", &script, line]);
        let shown = succeed(fish.env("HOME", directory.path()));
        assert_eq!(shown.lines().next().and_then(|line| line.split('\t').next()), Some(word), "{line}: {shown}");
    }
}

/// `script` runs a command on a terminal.
#[test]
#[ignore = "needs script of util-linux, which every Debian has"]
fn terminal_shows_colours_unless_the_environment_forbids_them() {
    let doctor = format!("{PROGRAM} doctor --address unix:/dev/null");
    for (name, value, coloured) in
        [("X", "", true), ("NO_COLOR", "1", false), ("NO_COLOR", "", true), ("TERM", "dumb", false)]
    {
        let mut terminal = Command::new("script");
        terminal.args(["-qc", &doctor, "/dev/null"]).env_remove("NO_COLOR").env("TERM", "xterm").env(name, value);
        let shown = succeed(&mut terminal);
        assert!(shown.contains("FAIL") && shown.contains('\u{1b}') == coloured, "{name}={value}: {shown}");
    }
}

#[test]
#[ignore = "needs groff, which .ci/tools installs"]
fn manual_pages_are_formatted_without_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    succeed(program(&[]).args(["man", "--directory"]).arg(directory.path()));
    let pages: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(pages.len() > 25, "{pages:?}");
    for page in ["ecr-broker-config-check.1", "docker-credential-ecr-broker.1"] {
        assert!(pages.contains(&directory.path().join(page)), "{page}: {pages:?}");
    }
    for page in pages {
        let output = Command::new("groff").args(["-man", "-Tutf8", "-ww"]).arg(&page).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{page:?}: {output:?}");
    }
}

/// In its own mount namespace, so that `/etc` of this host stays as it is.
#[test]
#[ignore = "needs root, for a mount namespace"]
fn default_configuration_file_is_read_if_it_exists() {
    let script = format!(
        "mount -t tmpfs tmpfs /etc; {PROGRAM} config check\n\
         mkdir /etc/ecr-broker; echo '[cache]' >/etc/ecr-broker/config.toml; {PROGRAM} config check\n\
         echo 'nonsense = 1' >/etc/ecr-broker/config.toml\n\
         for command in 'config check' 'policy check' serve; do {PROGRAM} $command 2>&1 && exit 1; done\n\
         {PROGRAM} serve --simulate --listen nowhere 2>&1 | grep nonsense && exit 1; true"
    );
    let mut namespace = Command::new("unshare");
    namespace.args(["--mount", "sh", "-c", &script]).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let out = succeed(&mut namespace);
    assert!(out.contains("no file was read: /etc/ecr-broker/config.toml does not exist"), "{out}");
    assert!(
        out.contains("valid for user 0 (/etc/ecr-broker/config.toml)")
            || out.contains("valid (/etc/ecr-broker/config.toml)"),
        "{out}"
    );
    assert_eq!(out.matches("/etc/ecr-broker/config.toml: [nonsense]").count(), 3, "{out}");
}
