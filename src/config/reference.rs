//! Holds `docs/configuration.md` to the settings table. `UPDATE_DOCS=1 cargo test --lib config::reference` rewrites the page.

use std::fmt::Write as _;
use std::fs;

use super::list::List;
use super::model::Config;
use super::sections::grants::GRANTS;
use super::sections::issuers::ISSUERS;
use super::sections::limits::callers::CALLERS;
use super::sections::parents::PARENTS;
use super::sections::profiles::PROFILES;
use super::setting::{Section, SettingMeta};
use super::settings::SECTIONS;
use super::{Files, Sources};
use crate::environment;

const PAGE: &str = "docs/configuration.md";
const START: &str = "<!-- Generated from src/config/settings.rs. Rewrite: UPDATE_DOCS=1 cargo test -->\n";
const END: &str = "<!-- End of the generated part. -->\n";

/// Returns the generated part of the page.
fn reference() -> String {
    SECTIONS.iter().map(section).collect()
}

fn section(section: &Section) -> String {
    let settings: String = section.settings.iter().map(setting).collect();
    let name = if section.name.is_empty() { "Top level".to_owned() } else { format!("`[{}]`", section.name) };
    format!("\n## {name}\n\n{}{settings}", paragraph(section.doc))
}

fn setting(setting: &SettingMeta) -> String {
    let mut text = format!("\n### `{}`\n\n{}\n", setting.name(), paragraph(setting.doc));
    let default = if setting.default.is_empty() { "none".to_owned() } else { format!("`{}`", setting.default) };
    _ = writeln!(text, "- Value: {}", setting.expected);
    _ = writeln!(text, "- Default: {default}");
    _ = writeln!(text, "- Variable: `{}`", setting.variable());
    if !setting.example.is_empty() {
        _ = writeln!(text, "- Example: `{} = {}`", setting.key, setting.example);
    }
    text
}

fn paragraph(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim().to_owned() + "\n").collect()
}

fn page() -> String {
    fs::read_to_string(PAGE).expect(PAGE)
}

/// Returns the part of the page below a heading, up to the next heading of the same level.
fn part<'a>(page: &'a str, heading: &str) -> &'a str {
    let below = page.split_once(&format!("\n## {heading}\n")).expect(heading).1;
    below.split("\n## ").next().unwrap_or(below)
}

#[test]
fn settings_page_matches_the_settings_table() {
    let old = page();
    let (head, rest) = old.split_once(START).expect("the start of the generated part");
    let (_, tail) = rest.split_once(END).expect("the end of the generated part");
    let new = [head, START, &reference(), "\n", END, tail].concat();
    if environment::variable("UPDATE_DOCS").is_some() {
        fs::write(PAGE, &new).expect(PAGE);
    } else {
        assert!(
            old == new,
            "{PAGE} differs from the settings table; run UPDATE_DOCS=1 cargo test --lib config::reference"
        );
    }
}

#[test]
fn settings_page_explains_every_key_of_the_lists() {
    let page = page();
    for List { heading, keys, .. } in [GRANTS, PROFILES, ISSUERS, CALLERS, PARENTS] {
        let part = part(&page, &format!("`[[{heading}]]`"));
        for key in keys {
            assert!(part.contains(&format!("- `{key}`: ")), "[[{heading}]] {key}");
        }
    }
}

#[test]
fn settings_page_examples_are_valid() {
    let page = page();
    let examples: Vec<_> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 4);
    for example in examples {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("grants.d")).expect("a folder");
        let file = folder.path().join("broker.toml");
        fs::write(&file, example).expect("a file");
        let loaded = Config::load(&Sources { files: Files::read(Some(&file)), ..Sources::default() });
        assert!(loaded.is_ok(), "{example}: {loaded:?}");
    }
}

#[test]
fn settings_page_lines_fit_100_columns() {
    let page = page();
    let wide: Vec<_> =
        page.lines().filter(|line| line.chars().count() > 100 && !line.starts_with("- Example: ")).collect();
    assert!(wide.is_empty(), "{wide:#?}");
}
