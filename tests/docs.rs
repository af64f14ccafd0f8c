//! Documentation: pages exist where others link to them, named tests exist, and troubleshooting has a heading for every error and
//! finding.

#![cfg(feature = "client")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ecr_broker::doctor::Problem;

#[test]
fn every_error_reason_has_a_heading() {
    let proto = read(Path::new("proto/ecrbroker/v1/registry_credentials.proto"));
    let reasons = reasons(&proto);
    assert!(reasons.len() >= 17, "{reasons:?}");
    let headings = headings(&read(Path::new("docs/troubleshooting.md")));
    let missing: Vec<_> = reasons.iter().filter(|reason| !headings.contains(reason)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_error_reason_has_a_status_of_the_json_api() {
    let page = read(Path::new("docs/clients/json.md"));
    let mut reasons = reasons(&read(Path::new("proto/ecrbroker/v1/registry_credentials.proto")));
    reasons.retain(|reason| !page.contains(&format!("`{reason}`")));
    assert!(reasons.is_empty(), "{reasons:?}");
}

#[test]
fn every_doctor_finding_has_a_heading() {
    let headings = headings(&read(Path::new("docs/troubleshooting.md")));
    let missing: Vec<_> = Problem::ALL
        .iter()
        .map(|problem| problem.text())
        .filter(|text| !headings.iter().any(|one| one == text))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn messages_in_troubleshooting_are_those_of_the_program() {
    let page = read(Path::new("docs/troubleshooting.md"));
    let (_, section) = page.split_once("## Messages of commands").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let heads = section.split("\n- **").skip(1).map(|item| item.split(":**").next().unwrap().replace("\n  ", " "));
    let texts: Vec<_> =
        heads.flat_map(|head| head.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect();
    assert!(texts.len() > 15, "{texts:?}");
    let sources: String = files_below(Path::new("src"), "rs").iter().map(|file| read(file)).collect();
    let is_printed = |text: &str| text.split('…').all(|part| sources.contains(part.trim()));
    let missing: Vec<_> = texts.iter().filter(|text| !is_printed(text)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn links_lead_to_files_and_headings() {
    let mut broken = Vec::new();
    let pages = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs", "deploy", "examples"];
    for page in pages.iter().flat_map(|root| pages_below(Path::new(root))) {
        for link in links(&read(&page)) {
            if !leads_somewhere(&page, &link) {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn files_named_in_the_pages_exist() {
    let mut missing = Vec::new();
    let pages = ["README.md", "CONTRIBUTING.md", "docs"];
    for page in pages.iter().flat_map(|root| pages_below(Path::new(root))) {
        let text = read(&page);
        let is_file = |word: &&str| {
            let known = ["src/", "tests/", "benches/", "fuzz/", "deploy/", "examples/"]
                .iter()
                .any(|root| word.starts_with(root));
            known && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte))
        };
        let files = text.split('`').skip(1).step_by(2).filter(is_file);
        let gone = files.filter(|file| !Path::new(file).exists());
        missing.extend(gone.map(|file| format!("{}: {file}", page.display())));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// The lines of a page that shows an example are those of the program that CI compiles and runs.
#[test]
fn code_of_the_grpc_page_is_that_of_the_examples() {
    let page = read(Path::new("docs/clients/grpc.md"));
    for (language, file, blocks) in [
        ("go", "go/main.go", 1),
        ("java", "java/src/main/java/Client.java", 1),
        ("js", "node/client.js", 1),
        ("python", "python/client.py", 1),
        ("rust", "rust/main.rs", 2),
    ] {
        let example = unindented(&read(&Path::new("examples").join(file)));
        let shown = code_blocks(&page, language);
        assert_eq!(shown.len(), blocks, "{language}");
        for block in shown {
            assert!(example.contains(&unindented(&block)), "examples/{file} has other lines than:\n{block}");
        }
    }
}

/// The code blocks of a page in this language.
fn code_blocks(page: &str, language: &str) -> Vec<String> {
    let start = format!("\n```{language}\n");
    page.split(start.as_str())
        .skip(1)
        .filter_map(|rest| rest.split_once("\n```"))
        .map(|(code, _)| code.into())
        .collect()
}

/// Lines without their indentation: a page shows a method without its class.
fn unindented(code: &str) -> String {
    code.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

/// Blocks below a link to a file of `examples/` are parts of that file, which CI checks or runs.
#[test]
fn recipes_in_pages_are_those_of_examples() {
    let mut different = Vec::new();
    let mut compared = 0;
    for page in pages_below(Path::new("docs/ci")) {
        for (file, block) in shown(&read(&page)) {
            compared += 1;
            if !read(&page.parent().expect("a folder").join(&file)).contains(&block) {
                different.push(format!("{}: {file}", page.display()));
            }
        }
    }
    assert!(compared >= 15 && different.is_empty(), "{compared} blocks: {different:?}");
}

/// A guarantee is worth as much as the test that holds it.
#[test]
fn tests_named_as_proofs_exist() {
    let tests: BTreeSet<_> = ["src", "tests"].iter().flat_map(|root| files_below(Path::new(root), "rs")).collect();
    let tests: BTreeSet<_> = tests.iter().flat_map(|file| tests_in(&read(file))).collect();
    assert!(tests.len() > 500, "{}", tests.len());
    for page in ["docs/security.md", "docs/reliability.md"] {
        let text = read(Path::new(page));
        let named: Vec<_> = text.split('`').skip(1).step_by(2).filter(|word| is_name_of_a_test(word)).collect();
        let missing: Vec<_> = named.iter().filter(|name| !tests.contains(**name)).collect();
        assert!(named.len() > 40 && missing.is_empty(), "{page}: {missing:?}");
    }
}

#[test]
fn checker_reads_links_headings_and_reasons() {
    assert_eq!(links("see [a](b.md#c), [d](https://e.example) and `[f](g)`"), ["b.md#c"]);
    assert_eq!(anchor("docker's credential helper (`-o`)"), "dockers-credential-helper--o");
    let page = "[a](../../examples/a):\n\n```toml\nb = 1\n```\n\nc\n```\nd\n```\n";
    assert_eq!(shown(page), [("../../examples/a".to_owned(), "b = 1\n".to_owned())]);
    let proto = "// Reasons:\n//   INTERNAL  INTERNAL_ERROR: a bug.\n//             DEADLINE: late.\n\nservice S {}";
    assert_eq!(reasons(proto), ["INTERNAL_ERROR", "DEADLINE"]);
    let code = "#[tokio::test]\n#[ignore = \"x\"]\nasync fn a_b() {}\nfn no_test() {}\n    #[test]\n    fn c_d() {}";
    assert_eq!(tests_in(code), ["a_b", "c_d"]);
    assert!(is_name_of_a_test("p8_one_of_them") && !is_name_of_a_test("client_crl") && !is_name_of_a_test("a_b_c d_e"));
}

/// The code blocks that follow a line with a link to a file of `examples/`, with that file.
fn shown(page: &str) -> Vec<(String, String)> {
    let parts: Vec<_> = page.split("```").collect();
    let blocks = parts.chunks_exact(2).filter_map(|pair| {
        let line = pair[0].trim_end().lines().last()?;
        let (_, target) = line.split_once("](").filter(|(_, target)| target.starts_with("../../examples/"))?;
        let (file, (_, block)) = (target.split(')').next()?, pair[1].split_once('\n')?);
        Some((file.to_owned(), block.to_owned()))
    });
    blocks.collect()
}

/// Settings in these pages have fewer words.
fn is_name_of_a_test(word: &str) -> bool {
    let is_part =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    word.split('_').count() >= 4 && word.split('_').all(is_part)
}

/// The functions after `#[test]` and `#[tokio::test]`.
fn tests_in(code: &str) -> Vec<String> {
    let (mut names, mut is_test) = (Vec::new(), false);
    for line in code.lines().map(str::trim) {
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        if let Some((name, _)) = function.filter(|_| is_test).and_then(|rest| rest.split_once('(')) {
            names.push(name.to_owned());
            is_test = false;
        }
    }
    names
}

/// The reasons in the proto's first comment: names in upper case before a colon.
fn reasons(proto: &str) -> Vec<String> {
    let is_name = |word: &&str| word.len() > 4 && word.bytes().all(|byte| byte == b'_' || byte.is_ascii_uppercase());
    let head = proto.split("\nservice ").next().unwrap_or_default();
    let before_colons = head.split(':').filter_map(|part| part.split_whitespace().last());
    before_colons.filter(is_name).map(str::to_owned).collect()
}

fn headings(page: &str) -> Vec<String> {
    page.lines().filter_map(|line| line.split_once("# ")).map(|(_, heading)| heading.trim().to_owned()).collect()
}

/// The targets of a page's links, without those to other sites and those in code.
fn links(page: &str) -> Vec<String> {
    let prose: String = page.split('`').step_by(2).collect();
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

fn leads_somewhere(page: &Path, link: &str) -> bool {
    let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
    let target =
        if file.is_empty() { page.to_owned() } else { page.parent().unwrap_or_else(|| Path::new("")).join(file) };
    match heading {
        None => target.exists(),
        Some(heading) => {
            fs::read_to_string(&target).is_ok_and(|text| headings(&text).iter().any(|one| anchor(one) == heading))
        }
    }
}

/// The anchor that forges give a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

fn pages_below(path: &Path) -> Vec<PathBuf> {
    files_below(path, "md")
}

/// The file itself, or the files of a folder with this extension.
fn files_below(path: &Path, extension: &str) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path());
    let files = entries.flat_map(|path| files_below(&path, extension));
    files.filter(|file| file.extension().is_some_and(|found| found == extension)).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
