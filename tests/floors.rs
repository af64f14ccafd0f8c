//! Layering: imports follow the map in `src/lib.rs`, and no two files import each other, directly or in a circle.
//!
//! The map is a table in the crate's documentation. A module may use the modules in the rows above its own. The compiler does
//! not enforce this inside one crate. The test reads source text only, so `rustc --test tests/floors.rs` runs it in seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The groups of the map, in order.
const GROUPS: [&str; 7] = ["domain", "tools", "client", "outside", "broker", "front doors", "process"];

#[test]
fn imports_follow_the_map() {
    let map = crate_map();
    let order = map_order(&map);
    let sources = Sources::read();
    let mut upward = Vec::new();
    for (module, text) in &sources.files {
        let Some(own) = top_level(module).filter(|own| order.contains_key(own)) else { continue };
        for path in paths_used(&code_of(text), module) {
            let Some(used) = top_level(&path) else { continue };
            if order.contains_key(used) && used != own && order[used] >= order[own] {
                upward.push(format!("{} uses {used}", module.join("::")));
            }
        }
    }
    upward.dedup();
    assert!(upward.is_empty(), "these imports do not follow the map in src/lib.rs:\n{}", upward.join("\n"));
}

#[test]
fn map_lists_every_module_once_in_group_order() {
    let map = crate_map();
    let listed: Vec<_> = map.iter().map(|row| row.module.clone()).collect();
    let text = fs::read_to_string("src/lib.rs").expect("src/lib.rs");
    let declared: BTreeSet<_> = text.lines().filter_map(declared_module).map(str::to_owned).collect();
    assert_eq!(listed.iter().cloned().collect::<BTreeSet<_>>(), declared, "the map and the mod declarations differ");
    assert_eq!(listed.len(), declared.len(), "a module is listed twice");
    let groups: Vec<_> = map.iter().map(|row| position(&GROUPS, &row.group)).collect();
    assert!(groups.is_sorted(), "the rows of a group stand together, in the order {GROUPS:?}");
    assert!(map.iter().all(|row| !row.line.is_empty() && row.line.len() <= 90), "one short line per module");
}

#[test]
fn no_import_circle_between_files() {
    let circles = circles(&Sources::read().graph());
    assert!(circles.is_empty(), "these files import each other:\n{}", circles.join("\n"));
}

#[test]
fn main_is_short() {
    let main = fs::read_to_string("src/main.rs").expect("src/main.rs");
    assert!(main.lines().count() <= 25);
}

#[test]
fn checker_sees_upward_imports_and_circles() {
    let own = ["broker".to_owned(), "watch".to_owned()];
    let text =
        "use crate::{grpc::status, cache::{Found, Lookup}};\nuse super::release::Released;\nfn f() { self::g::h() }";
    let used: Vec<_> = paths_used(text, &own).into_iter().map(|path| path.join("::")).collect();
    assert_eq!(
        used,
        ["grpc::status", "cache::Found", "cache::Lookup", "broker::release::Released", "broker::watch::g::h"]
    );
    assert!(paths_used(&code_of("fn f() {} // crate::telemetry\n"), &own).is_empty());
    assert!(code_of("fn f() {}\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n").trim() == "fn f() {}");

    let sources = Sources::of(&[
        ("a", "mod b;\npub use self::b::B;\npub struct A;"),
        ("a::b", "use super::c::C;\npub struct B;"),
        ("a::c", "use super::B;\npub struct C;"),
        ("d", "use crate::a::{A, B};"),
    ]);
    assert_eq!(circles(&sources.graph()), ["a::b, a::c"]);
}

/// A row of the map in `src/lib.rs`.
struct Row {
    group: String,
    module: String,
    line: String,
}

/// Reads the table `| group | module | one line |`.
fn crate_map() -> Vec<Row> {
    let text = fs::read_to_string("src/lib.rs").expect("src/lib.rs");
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | ")?.strip_suffix(" |"));
    let cells = rows.map(|row| row.split(" | ").map(str::trim).collect::<Vec<_>>());
    let rows = cells.filter(|cells| cells.len() == 3 && cells[1].starts_with("[`"));
    rows.map(|cells| Row {
        group: cells[0].to_owned(),
        module: cells[1].trim_matches(|c| "[]`".contains(c)).to_owned(),
        line: cells[2].to_owned(),
    })
    .collect()
}

fn map_order(map: &[Row]) -> BTreeMap<&str, usize> {
    map.iter().enumerate().map(|(at, row)| (row.module.as_str(), at)).collect()
}

fn position(groups: &[&str], group: &str) -> usize {
    groups.iter().position(|known| *known == group).unwrap_or_else(|| panic!("{group:?} is not a group"))
}

/// The module that a line such as `pub mod cache;` declares.
fn declared_module(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let rest = line.split_once("mod ").filter(|(before, _)| before.is_empty() || before.starts_with("pub"))?.1;
    rest.strip_suffix(';')
}

fn top_level(path: &[String]) -> Option<&str> {
    path.first().map(String::as_str)
}

/// The path of a module, such as `["cache", "entry"]`.
type ModulePath = Vec<String>;

/// The files of `src/` by module path.
struct Sources {
    files: BTreeMap<ModulePath, String>,
}

impl Sources {
    fn read() -> Self {
        let mut files = BTreeMap::new();
        collect(Path::new("src"), &mut Vec::new(), &mut files);
        Self { files }
    }

    fn of(files: &[(&str, &str)]) -> Self {
        let path = |name: &str| name.split("::").map(str::to_owned).collect();
        Self { files: files.iter().map(|(name, text)| (path(name), (*text).to_owned())).collect() }
    }

    /// Which file uses which, without the re-exports of parent files and without test modules.
    fn graph(&self) -> BTreeMap<ModulePath, BTreeSet<ModulePath>> {
        let uses = |(module, text): (&ModulePath, &String)| {
            let code = without_reexports(&code_of(text));
            let paths = paths_used(&code, module).into_iter().chain(self.children_used(&code, module));
            let used = paths.filter_map(|path| self.file_of(&path)).filter(|used| used != module).collect();
            (module.clone(), used)
        };
        let production = self.files.iter().filter(|(module, _)| module.last().is_some_and(|name| name != "tests"));
        production.map(uses).collect()
    }

    /// The file that defines what a path names, through re-exports.
    fn file_of(&self, path: &[String]) -> Option<ModulePath> {
        let depth = (1..=path.len()).rev().find(|depth| self.files.contains_key(&path[..*depth]))?;
        let module = path[..depth].to_vec();
        let Some(item) = path.get(depth) else { return Some(module) };
        match self.reexported(&module, item) {
            Some(target) if target != path => self.file_of(&target),
            _ => Some(module),
        }
    }

    /// Where `pub use` in a module takes a name from.
    fn reexported(&self, module: &ModulePath, item: &str) -> Option<ModulePath> {
        let code = code_of(&self.files[module]);
        let statements = code.split(';').filter(|statement| is_reexport(statement));
        let paths = statements.flat_map(|statement| paths_used(statement, module));
        paths.into_iter().find(|path| path.last().is_some_and(|last| last == item))
    }

    /// Paths of a parent file that begin with the name of one of its child modules.
    fn children_used(&self, code: &str, module: &ModulePath) -> Vec<ModulePath> {
        let children = self.files.keys().filter(|path| path.len() == module.len() + 1 && path.starts_with(module));
        let used = children.filter(|child| {
            let start = format!("{}::", child.last().expect("never empty"));
            code.match_indices(&start).any(|(at, _)| !ends_in_path(&code[..at]))
        });
        used.cloned().collect()
    }
}

fn collect(directory: &Path, at: &mut ModulePath, files: &mut BTreeMap<ModulePath, String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        at.push(name);
        if path.is_dir() {
            collect(&path, at, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.insert(at.clone(), fs::read_to_string(&path).expect("a source file"));
        }
        at.pop();
    }
}

/// The text without comments and without its inline test modules.
fn code_of(text: &str) -> String {
    let production = text.split("#[cfg(test)]\nmod ").enumerate().map(|(index, part)| match index {
        0 => part,
        _ => part.split_once("\n}\n").map_or("", |(_, rest)| rest),
    });
    let lines = production.flat_map(str::lines).map(|line| line.split("//").next().unwrap_or_default());
    lines.map(|line| line.to_owned() + "\n").collect()
}

fn without_reexports(code: &str) -> String {
    let mut kept = Vec::new();
    for statement in code.split_inclusive(';') {
        if is_reexport(statement) {
            continue;
        }
        kept.push(statement);
    }
    kept.concat()
}

fn is_reexport(statement: &str) -> bool {
    let start = statement.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("#["));
    start.is_some_and(|line| line.starts_with("pub") && line.contains("use ") && !line.contains("fn "))
}

fn ends_in_path(before: &str) -> bool {
    before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '"')
}

/// The absolute paths that a module's code names by `crate::`, `super::` and `self::`, groups taken apart.
fn paths_used(code: &str, module: &[String]) -> Vec<ModulePath> {
    let mut used = Vec::new();
    for (start, _) in
        code.match_indices("crate::").chain(code.match_indices("super::")).chain(code.match_indices("self::"))
    {
        // `pub(in crate::server)` is a visibility.
        if ends_in_path(&code[..start]) || code[..start].ends_with("in ") {
            continue;
        }
        let mut base: ModulePath = module.to_vec();
        let mut rest = &code[start..];
        if let Some(after) = rest.strip_prefix("crate::") {
            (base, rest) = (Vec::new(), after);
        } else if let Some(after) = rest.strip_prefix("self::") {
            rest = after;
        }
        while let Some(after) = rest.strip_prefix("super::") {
            base.pop();
            rest = after;
        }
        used.push((start, expand(&base, rest)));
    }
    used.sort();
    used.into_iter().flat_map(|(_, paths)| paths).collect()
}

/// The paths of `cache::{Found, entry::Entry}` below a base.
fn expand(base: &[String], text: &str) -> Vec<ModulePath> {
    if let Some(group) = text.strip_prefix('{') {
        return members(group).into_iter().flat_map(|member| expand(base, member.trim())).collect();
    }
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if name.is_empty() || name == "self" {
        return vec![base.to_vec()];
    }
    let below: ModulePath = base.iter().cloned().chain([name.clone()]).collect();
    match text[name.len()..].strip_prefix("::") {
        Some(rest) if rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '{') => expand(&below, rest),
        _ => vec![below],
    }
}

/// The parts of a group up to its closing brace, split at the commas of the outermost level.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut members) = (0, 0, Vec::new());
    for (at, character) in group.char_indices() {
        match character {
            '}' if depth == 0 => {
                members.push(&group[start..at]);
                break;
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    members.retain(|member| !member.trim().is_empty());
    members
}

/// The groups of files that reach each other, one line each.
fn circles(graph: &BTreeMap<ModulePath, BTreeSet<ModulePath>>) -> Vec<String> {
    let reach: BTreeMap<_, _> = graph.keys().map(|file| (file, reachable(graph, file))).collect();
    let mut circles = BTreeSet::new();
    for file in graph.keys().filter(|file| reach[file].contains(*file)) {
        let circle = reach[file].iter().filter(|other| reach.get(other).is_some_and(|back| back.contains(file)));
        let names: Vec<_> = circle.map(|path| path.join("::")).collect();
        circles.insert(names.join(", "));
    }
    circles.into_iter().collect()
}

fn reachable(graph: &BTreeMap<ModulePath, BTreeSet<ModulePath>>, from: &ModulePath) -> BTreeSet<ModulePath> {
    let mut found = BTreeSet::new();
    let mut next = vec![from];
    while let Some(file) = next.pop() {
        for used in graph.get(file).into_iter().flatten() {
            if found.insert(used.clone()) {
                next.push(used);
            }
        }
    }
    found
}

/// A threat, a failure or a guarantee is held by a test that exists.
#[test]
fn tests_named_in_the_docs_exist() {
    let mut tests = String::new();
    for root in ["src", "tests"] {
        let mut files = BTreeMap::new();
        collect(Path::new(root), &mut Vec::new(), &mut files);
        tests.extend(files.into_values());
    }
    let mut named = 0;
    // The other pages name settings and parameters, not tests. A metric has the prefix `ecr_broker_`.
    let named_otherwise = ["configuration.md", "metrics.md", "operations.md", "runbook.md"];
    let without_tests =
        |page: &Path| page.starts_with("docs/adr") || named_otherwise.iter().any(|name| page.ends_with(name));
    for page in pages(Path::new("docs")).into_iter().filter(|page| !without_tests(page)) {
        let text = fs::read_to_string(&page).expect("a page");
        let is_name = |text: &&str| {
            text.len() > 20
                && text.contains('_')
                && !text.starts_with("ecr_broker_")
                && text.bytes().all(|byte| b"_".contains(&byte) || byte.is_ascii_digit() || byte.is_ascii_lowercase())
        };
        let tests_named: Vec<_> = text.split('`').skip(1).step_by(2).filter(is_name).collect();
        let missing: Vec<_> = tests_named.iter().filter(|name| !tests.contains(&format!("fn {name}()"))).collect();
        assert!(missing.is_empty(), "{}: {missing:?}", page.display());
        named += tests_named.len();
    }
    assert!(named >= 100, "{named}");
}

fn pages(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    let pages = entries.flat_map(|path| if path.is_dir() { pages(&path) } else { vec![path] });
    pages.filter(|page| page.extension().is_some_and(|extension| extension == "md")).collect()
}
