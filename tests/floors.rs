//! Imports only go down: a file of `src/` may use the floors below its own, and its own module. Nothing else holds this in one
//! crate, and crates that did not hold it have rotted into one big cycle.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The floor of each module of `src/lib.rs`. `pb` and `client` stand aside, with rules of their own.
const FLOORS: [(&str, u8); 27] = [
    ("address", 0),
    ("aws_wire", 0),
    ("caller", 0),
    ("clock", 0),
    ("credential", 0),
    ("echo", 0),
    ("error", 0),
    ("policy", 0),
    ("profile", 0),
    ("registry", 0),
    ("request_id", 0),
    ("trace", 0),
    ("trusted_file", 0),
    ("audit", 1),
    ("jwt", 1),
    ("limits", 1),
    ("restart", 0),
    ("simulator", 1),
    ("tls", 1),
    ("upstream", 1),
    ("cache", 2),
    ("broker", 3),
    ("aws_api", 4),
    ("grpc", 4),
    ("config", 5),
    ("server", 5),
    ("telemetry", 5),
];
/// Within floor 0, who may use whom.
const GROUND: [(&str, &[&str]); 7] = [
    ("aws_wire", &["registry"]),
    ("caller", &["echo"]),
    ("credential", &["caller", "clock", "registry"]),
    ("error", &["echo", "registry"]),
    ("policy", &["caller", "credential", "echo", "profile", "registry"]),
    ("profile", &["caller", "credential", "echo", "registry"]),
    ("registry", &["echo"]),
];
/// Who may use the generated types.
const USERS_OF_PB: [&str; 2] = ["grpc", "client"];

#[test]
fn imports_only_go_down() {
    let mut edges = Vec::new();
    for (file, text) in sources() {
        let own = module_of(&file);
        for used in modules_used(&text) {
            if used != own && !may_use(&own, &used) {
                edges.push(format!("{} uses {used}", file.display()));
            }
        }
    }
    assert!(edges.is_empty(), "these imports do not go down:\n{}", edges.join("\n"));
}

#[test]
fn every_module_has_a_floor() {
    let known: Vec<_> = FLOORS.iter().map(|(module, _)| *module).chain(["pb", "client", "helper", "cli"]).collect();
    for file in sources().into_keys() {
        let module = module_of(&file);
        assert!(["lib", "main", "bin"].contains(&module.as_str()) || known.contains(&module.as_str()), "{module}");
    }
}

#[test]
fn the_test_sees_an_import_that_goes_up() {
    assert_eq!(
        modules_used("use crate::{grpc::status, cache::Found};\nuse crate::server::bind;"),
        ["grpc", "cache", "server"]
    );
    assert_eq!(modules_used("fn f() { crate::config::load() } // crate::telemetry"), ["config"]);
    assert!(!may_use("cache", "broker") && !may_use("server", "config") && !may_use("client", "cache"));
    assert!(may_use("cache", "upstream") && may_use("cli", "server") && may_use("client", "pb"));
}

#[test]
fn the_program_s_main_is_short() {
    let main = fs::read_to_string("src/main.rs").expect("src/main.rs");
    assert!(main.lines().count() <= 25);
}

fn may_use(own: &str, used: &str) -> bool {
    let floor = |module| FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor);
    match (own, used) {
        ("lib" | "main" | "bin", _) => true,
        (_, "pb") => USERS_OF_PB.contains(&own),
        ("cli", _) => used != "main",
        ("client", _) => floor(used) == Some(0),
        ("helper", _) => used == "client" || floor(used) == Some(0),
        _ => match (floor(own), floor(used)) {
            (Some(0), Some(0)) => GROUND.iter().any(|(module, below)| *module == own && below.contains(&used)),
            (Some(own), Some(used)) => used < own,
            _ => false,
        },
    }
}

/// Every file of `src/` with its text.
fn sources() -> BTreeMap<PathBuf, String> {
    files_below("src")
}

/// Every file of Rust below a directory, with its text.
fn files_below(root: &str) -> BTreeMap<PathBuf, String> {
    fn collect(root: &str, directory: &Path, into: &mut BTreeMap<PathBuf, String>) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                collect(root, &path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                into.insert(path.strip_prefix(root).expect("a path below it").to_owned(), text);
            }
        }
    }
    let mut files = BTreeMap::new();
    collect(root, Path::new(root), &mut files);
    files
}

/// The module of `src/lib.rs` that a file belongs to.
fn module_of(file: &Path) -> String {
    let first = file.components().next().expect("a path").as_os_str().to_string_lossy().into_owned();
    first.strip_suffix(".rs").map_or_else(|| first.clone(), str::to_owned)
}

/// The modules in a text's `crate::` paths, comments left out.
fn modules_used(text: &str) -> Vec<String> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect();
    let mut used = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let path = &code[at + "crate::".len()..];
        if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
            continue;
        }
        match path.strip_prefix('{') {
            Some(group) => used.extend(heads(group)),
            None => used.push(name(path)),
        }
    }
    used
}

/// The first names of a group such as `{grpc::status, cache::{Found, Lookup}}`.
fn heads(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut heads = vec![String::new()];
    for character in group.chars() {
        match character {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(String::new()),
            _ if depth == 0 => heads.last_mut().expect("never empty").push(character),
            _ => {}
        }
    }
    heads.iter().map(|head| name(head.trim())).filter(|name| !name.is_empty()).collect()
}

fn name(path: &str) -> String {
    path.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

/// A threat, or a failure, is held by a test, and not by the name of one.
#[test]
fn every_test_that_the_documents_name_is_there() {
    let tests: String =
        ["src", "tests"].into_iter().flat_map(|directory| files_below(directory).into_values()).collect();
    for (document, at_least) in [("docs/security.md", 40), ("docs/reliability.md", 20), ("docs/clients.md", 8)] {
        let text = fs::read_to_string(document).expect(document);
        let is_name = |text: &&str| {
            text.len() > 20
                && text.bytes().all(|byte| b"_".contains(&byte) || byte.is_ascii_digit() || byte.is_ascii_lowercase())
        };
        let named: Vec<_> = text.split('`').skip(1).step_by(2).filter(is_name).collect();
        assert!(named.len() >= at_least, "{document}: {named:?}");
        let missing: Vec<_> = named.iter().filter(|name| !tests.contains(&format!("fn {name}()"))).collect();
        assert!(missing.is_empty(), "{document}: {missing:?}");
    }
}
