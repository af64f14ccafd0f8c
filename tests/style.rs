//! Language: banned words, and the limits of texts, names and pages. The rules are in CONTRIBUTING.md.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Phrases of the dialect that the project no longer speaks.
const BANNED: [&str; 14] = [
    "in the mean",
    "anew",
    "begun",
    "under way",
    "let go of",
    "is told",
    "turned away",
    "of its own",
    "whoever",
    "nobody",
    "somebody",
    "those who",
    "has to be",
    "as it is typed",
];
/// What may follow "is no" and "are no"; otherwise say "is not a".
const AFTER_NO: [&str; 3] = ["longer", "more", "less"];
const LONGEST_ERROR: usize = 120;
const LONGEST_SUMMARY: usize = 60;
const LONGEST_TEST_NAME: usize = 70;
const LONGEST_LINE: usize = 100;
const LONGEST_CELL: usize = 200;
const LONGEST_README: usize = 150;
/// Where an error text begins in the source.
const ERROR_STARTS: [&str; 6] = ["#[error(", "bail!(", "anyhow!(", ".context(", "unauthenticated(", "ensure!("];

#[test]
fn sources_and_docs_avoid_banned_words() {
    let roots = ["src", "tests", "benches", "fuzz/targets", "proto", "docs", "deploy", "examples", "build.rs"];
    let pages = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"];
    let files = roots.iter().chain(&pages).flat_map(|root| files_below(Path::new(root)));
    let found: Vec<_> = files
        .filter(|file| !file.ends_with("tests/style.rs"))
        .flat_map(|file| banned_in(&file.display().to_string(), &read(&file)))
        .collect();
    assert!(found.is_empty(), "{} banned phrases:\n{}", found.len(), found.join("\n"));
}

#[test]
fn help_and_example_avoid_banned_words() {
    let mut found = banned_in("config example", &output(&["config", "example"]));
    for command in commands() {
        let arguments: Vec<_> = command.iter().map(String::as_str).chain(["--help"]).collect();
        found.extend(banned_in(&arguments.join(" "), &output(&arguments)));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn checker_finds_banned_words_across_lines_and_in_names() {
    let found = |text| banned_in("file.rs", text).len();
    assert_eq!(found("/// A call that is under\n    /// way."), 1);
    assert_eq!(found("fn nobody_is_asked() {}"), 1);
    assert_eq!(found("// This is no registry, and these are no\n// hosts."), 2);
    assert_eq!(found("// There is no registry. It is no longer one. There are no hosts."), 0);
    assert_eq!(found("// Renewed, not a new one; begin again."), 0);
}

#[test]
fn error_texts_are_short_lower_case_and_without_full_stop() {
    let mut wrong = Vec::new();
    for file in files_below(Path::new("src")).into_iter().filter(|file| !file.ends_with("tests.rs")) {
        for text in error_texts(&production_code(&read(&file))) {
            let bare = without_values(&text);
            let upper =
                bare.starts_with(|c: char| c.is_uppercase()) && !bare.chars().nth(1).is_some_and(char::is_uppercase);
            if bare.chars().count() > LONGEST_ERROR || bare.ends_with('.') || upper {
                wrong.push(format!("{}: {text}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} texts:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn checker_reads_error_texts() {
    let texts = error_texts("#[error(\"not a host: {0}\")]\nbail!(\n    \"a \\\"b\\\" \\\n     c\"\n)\n.context(what)");
    assert_eq!(texts, ["not a host: {0}", "a \"b\" c"]);
    assert_eq!(without_values("not a host: {0:?}; {{name}}"), "not a host: ; {name}");
}

#[test]
fn command_summaries_are_short() {
    let summaries: Vec<_> = commands().iter().flat_map(|command| summaries(command)).collect();
    assert!(summaries.len() >= 20, "{summaries:?}");
    let long: Vec<_> = summaries.iter().filter(|(_, summary)| summary.chars().count() > LONGEST_SUMMARY).collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn test_names_are_short() {
    let files = ["src", "tests"].into_iter().flat_map(|root| files_below(Path::new(root)));
    let names: Vec<_> = files.flat_map(|file| test_names(&read(&file))).collect();
    assert!(names.len() >= 400, "{}", names.len());
    let long: Vec<_> = names.iter().filter(|name| name.len() > LONGEST_TEST_NAME).collect();
    assert!(long.is_empty(), "{} names:\n{long:#?}", long.len());
}

#[test]
fn pages_keep_their_limits() {
    let mut wrong = Vec::new();
    let pages = ["docs", "deploy", "examples", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"];
    for file in pages.iter().flat_map(|root| files_below(Path::new(root))).filter(|file| extension(file) == "md") {
        let text = read(&file);
        for (line, problem) in page_problems(&text) {
            wrong.push(format!("{}:{line}: {problem}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let readme = read(Path::new("README.md"));
    assert!(readme.lines().count() <= LONGEST_README);
    // The commands of a newcomer from a checkout; CI runs the tests by the same.
    for command in ["\n$ cargo run --release -- serve --simulate\n", "\n$ cargo test\n"] {
        assert!(readme.contains(command), "{command}");
    }
}

/// Lines of prose that are too wide, and table cells that are too long. Code, tables and addresses may be wider.
fn page_problems(text: &str) -> Vec<(usize, String)> {
    let mut problems = Vec::new();
    let mut in_code = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if line.starts_with('|') {
            let long = line.split('|').map(|cell| cell.trim().chars().count()).filter(|width| *width > LONGEST_CELL);
            problems.extend(long.map(|width| (number + 1, format!("a table cell of {width} characters"))));
        } else if !in_code && line.chars().count() > LONGEST_LINE && !line.contains("://") {
            problems.push((number + 1, format!("{} columns", line.chars().count())));
        }
    }
    problems
}

/// The banned phrases of a text with their surroundings.
fn banned_in(place: &str, text: &str) -> Vec<String> {
    let words = words(text);
    let mut found = Vec::new();
    for phrase in BANNED {
        let phrase: Vec<_> = phrase.split(' ').collect();
        let hits = words.windows(phrase.len()).enumerate().filter(|(_, window)| *window == phrase);
        found.extend(hits.map(|(at, _)| surroundings(place, &words, at)));
    }
    for (at, window) in words.windows(3).enumerate() {
        let negated = matches!(window[0].as_str(), "is" | "are") && window[1] == "no";
        let after_there = at > 0 && words[at - 1] == "there";
        if negated && !after_there && !AFTER_NO.contains(&window[2].as_str()) {
            found.push(surroundings(place, &words, at));
        }
    }
    found
}

fn surroundings(place: &str, words: &[String], at: usize) -> String {
    format!("{place}: … {} …", words[at.saturating_sub(4)..words.len().min(at + 8)].join(" "))
}

/// The words of a text in lower case, without comment marks and line breaks; names fall into their words.
fn words(text: &str) -> Vec<String> {
    let letters = |c: char| !(c.is_alphanumeric() || c == '\'');
    text.to_lowercase().split(letters).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The text of a file without its inline test module.
fn production_code(text: &str) -> String {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()
}

/// The first text literal after each start of an error.
fn error_texts(code: &str) -> Vec<String> {
    let starts = ERROR_STARTS.iter().flat_map(|start| code.match_indices(start));
    starts
        .filter_map(|(at, start)| {
            let rest = code[at + start.len()..].trim_start();
            rest.strip_prefix('"').or_else(|| rest.strip_prefix("format!(\"")).map(literal)
        })
        .collect()
}

/// A text literal up to its closing quote; a backslash at the end of a line joins it with the next.
fn literal(rest: &str) -> String {
    let mut text = String::new();
    let mut characters = rest.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => match characters.next() {
                Some('\n') => {
                    let after = characters.as_str().trim_start();
                    characters = after.chars();
                }
                Some(escaped) => text.push(escaped),
                None => break,
            },
            other => text.push(other),
        }
    }
    text
}

/// A text without its inserted values.
fn without_values(text: &str) -> String {
    let text = text.replace("{{", "\u{1}").replace("}}", "\u{2}");
    let mut bare = String::new();
    let mut depth = 0;
    for character in text.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            other if depth == 0 => bare.push(other),
            _ => {}
        }
    }
    bare.replace('\u{1}', "{").replace('\u{2}', "}")
}

/// The names of the functions that follow a test attribute.
fn test_names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test && !line.starts_with("//")) {
            names.push(rest.split('(').next().unwrap_or_default().to_owned());
            is_test = false;
        }
    }
    names
}

/// Every command of the program and its subcommands, the program itself among them.
fn commands() -> Vec<Vec<String>> {
    let mut all = vec![Vec::new()];
    let mut next = 0;
    while next < all.len() {
        let command = all[next].clone();
        let below = summaries(&command).into_iter().map(|(name, _)| name).filter(|name| name != "help");
        all.extend(below.map(|name| command.iter().cloned().chain([name]).collect()).collect::<Vec<_>>());
        next += 1;
    }
    all
}

/// The subcommands of a command, each with its summary.
fn summaries(command: &[String]) -> Vec<(String, String)> {
    let arguments: Vec<_> = command.iter().map(String::as_str).chain(["-h"]).collect();
    let help = output(&arguments);
    // The program's own commands are in groups.
    let is_list = |block: &&str| {
        let heading = block.trim_start().lines().next().unwrap_or_default();
        heading.to_lowercase().ends_with("commands:") || heading == "Tools:"
    };
    let lines = help.split("\n\n").filter(is_list).flat_map(|block| block.trim_start().lines().skip(1));
    lines
        .filter_map(|line| line.trim_start().split_once("  "))
        .map(|(name, summary)| (name.to_owned(), summary.trim().to_owned()))
        .collect()
}

fn output(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ecr-broker")).args(arguments).output().expect("the program runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The text files below a path, or the file itself.
fn files_below(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let entries = entries.map(|entry| entry.expect("an entry").path());
    // What Maven and npm leave in an example that is built where it is.
    let entries = entries.filter(|path| !path.ends_with("target") && !path.ends_with("node_modules"));
    let below = entries.flat_map(|path| files_below(&path));
    below.filter(|file| file.to_str().is_some() && !["json", "sum", "mod", "png"].contains(&extension(file))).collect()
}

fn extension(file: &Path) -> &str {
    file.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
