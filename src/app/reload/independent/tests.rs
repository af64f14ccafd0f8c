use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::*;

mod main_file;

/// A folder with configuration files, and the files that are active.
struct Folder {
    directory: tempfile::TempDir,
    sources: Sources,
    disk: Disk,
}

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let folder = Self { directory, sources: Sources::default(), disk: Disk::default() };
        for (name, text) in files {
            folder.write(name, text);
        }
        let files = Files::read(Some(&folder.path("main.toml")));
        let disk = Disk::of(&files);
        let sources = Sources { files, ..Sources::default() };
        assert!(Config::load(&sources).is_ok(), "{:?}", Config::load(&sources));
        Self { sources, disk, ..folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    /// Returns the IDs of the grants in effect and the files with problems, once the files have settled.
    fn combine(&mut self) -> (Vec<String>, Vec<String>) {
        self.combine_with(|_| Vec::new())
    }

    fn combine_with(&mut self, check: impl Fn(&Config) -> Vec<Diagnostic>) -> (Vec<String>, Vec<String>) {
        self.disk = self.disk.read_again();
        self.combine_next(check)
    }

    /// The same after one more reading.
    fn combine_next(&mut self, check: impl Fn(&Config) -> Vec<Diagnostic>) -> (Vec<String>, Vec<String>) {
        self.disk = self.disk.read_again();
        let Combined { config, files, problems } = combine(&self.sources, &self.disk, |config, _, _| check(config));
        self.disk.activate(&files);
        self.sources.files = files;
        let ids = config.policy.grants().iter().map(|grant| grant.id.clone()).collect();
        let name = |problem: &Problem| problem.file.rsplit('/').next().unwrap_or_default().to_owned();
        let files: BTreeSet<_> = problems.iter().map(name).collect();
        (ids, files.into_iter().collect())
    }
}

fn grant(id: &str, profile: &str) -> String {
    format!(
        "[[grants]]\nid = \"{id}\"\ncallers = [{{ uid = 1 }}]\nregistries = [{{ accounts = [\"111111111111\"], regions = [\"*\"] }}]\n\
         profile = \"{profile}\"\n"
    )
}

const GLOB_ONLY: &str = "include = [\"grants.d/*.toml\"]\n";
const GLOB: &str = "include = [\"grants.d/*.toml\"]\ngrants = []\n";
const INCLUDE: &str = "include = [\"a.toml\", { files = \"b.toml\", accounts = [\"111111111111\"] }]\n";

fn main_file(rest: &str) -> String {
    format!("{INCLUDE}{rest}")
}

fn folder() -> Folder {
    let main = main_file(&(grant("main", "default") + &grant("leaver", "default")));
    Folder::new(&[("main.toml", &main), ("a.toml", &grant("a", "default")), ("b.toml", &grant("b", "default"))])
}

fn found(ids: &[&str], places: &[&str]) -> (Vec<String>, Vec<String>) {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    (texts(ids), texts(places))
}

#[test]
fn broken_file_keeps_its_contents_and_all_others_take_effect() {
    let beyond = grant("b", "default").replace("111111111111", "222222222222");
    for broken in ["= 1", "[[grants]]\nid = \"b\"\n", "[server]\nlisten = []", &beyond] {
        let mut folder = folder();
        folder.write("main.toml", &main_file(&grant("main", "default")));
        folder.write("b.toml", broken);
        let (ids, places) = folder.combine();
        assert_eq!(ids, ["main", "a", "b"], "{broken}");
        assert!(places.contains(&"b.toml".to_owned()), "{broken}: {places:?}");
        folder.write("a.toml", "");
        assert_eq!(folder.combine().0, ["main", "b"], "{broken}");
        folder.write("b.toml", &grant("mended", "default"));
        assert_eq!(folder.combine(), found(&["main", "mended"], &[]), "{broken}");
    }
}

#[test]
fn unreadable_file_keeps_its_contents() {
    for special in ["fifo", "directory", "/dev/zero", "long", "missing"] {
        let mut folder = folder();
        fs::remove_file(folder.path("b.toml")).unwrap();
        match special {
            "fifo" => {
                let made = std::process::Command::new("mkfifo").arg(folder.path("b.toml")).status().unwrap();
                assert!(made.success());
            }
            "directory" => fs::create_dir(folder.path("b.toml")).unwrap(),
            "long" => folder.write("b.toml", &"#".repeat((1 << 20) + 1)),
            "missing" => {}
            device => std::os::unix::fs::symlink(device, folder.path("b.toml")).unwrap(),
        }
        folder.write("main.toml", &main_file(&grant("main", "default")));
        assert_eq!(folder.combine(), found(&["main", "a", "b"], &["b.toml"]), "{special}");
    }
}

#[test]
fn new_file_with_a_mistake_is_left_out() {
    let mut folder = Folder::new(&[("main.toml", GLOB), ("grants.d/README", "")]);
    folder.write("grants.d/a.toml", &grant("a", "default"));
    folder.write("grants.d/b.toml", "= 1");
    assert_eq!(folder.combine(), found(&["a"], &["b.toml"]));
    fs::remove_file(folder.path("grants.d/b.toml")).unwrap();
    assert_eq!(folder.combine(), found(&["a"], &[]));
}

/// Each rewrite is valid, and two readings never agree.
#[test]
fn file_that_keeps_changing_holds_up_no_other_and_is_reported() {
    let mut folder = folder();
    folder.combine();
    folder.write("main.toml", &main_file(&grant("main", "default")));
    let mut reported = Vec::new();
    for reading in 1..=8 {
        folder.write("b.toml", &format!("{}# {reading}\n", grant("changing", "default")));
        let (ids, problems) = folder.combine_next(|_| Vec::new());
        let expected: &[&str] = if reading == 1 { &["main", "leaver", "a", "b"] } else { &["main", "a", "b"] };
        assert_eq!(ids, expected, "reading {reading}");
        reported.push(!problems.is_empty());
    }
    assert_eq!(reported, [false, false, false, false, false, true, true, true]);
    assert_eq!(folder.combine_next(|_| Vec::new()), found(&["main", "a", "changing"], &[]), "it has settled");
}

/// A file that is being replaced is missing for a moment.
#[test]
fn file_that_is_missing_in_one_reading_stays() {
    let mut folder = Folder::new(&[("main.toml", GLOB), ("grants.d/a.toml", &grant("a", "default"))]);
    folder.combine();
    fs::remove_file(folder.path("grants.d/a.toml")).unwrap();
    assert_eq!(folder.combine_next(|_| Vec::new()), found(&["a"], &[]));
    folder.write("grants.d/a.toml", &grant("new", "default"));
    assert_eq!(folder.combine(), found(&["new"], &[]));
    fs::remove_file(folder.path("grants.d/a.toml")).unwrap();
    assert_eq!(folder.combine(), found(&[], &[]));
}

/// Those of the folder only: other items and the main file take effect.
#[test]
fn folder_beyond_its_number_or_length_keeps_its_contents() {
    let main = "include = [\"grants.d/*.toml\", \"b.toml\"]\ngrants = []\n";
    let files = [("main.toml", main), ("grants.d/a.toml", &grant("a", "default")), ("b.toml", "")];
    for (number, length) in [(300, 0), (5, 1 << 20)] {
        let mut folder = Folder::new(&files);
        folder.combine();
        (0..number).for_each(|file| folder.write(&format!("grants.d/{file}.toml"), &"#".repeat(length)));
        folder.write("grants.d/a.toml", "");
        folder.write("b.toml", &grant("b", "default"));
        assert_eq!(folder.combine(), found(&["a", "b"], &["*.toml"]), "{number}");
        (0..number).for_each(|file| fs::remove_file(folder.path(&format!("grants.d/{file}.toml"))).unwrap());
        assert_eq!(folder.combine(), found(&["b"], &[]), "{number}");
    }
}

#[test]
fn grants_that_move_between_files_take_effect_beside_a_broken_file() {
    for to in ["a.toml", "d/new.toml"] {
        let include = "include = [\"a.toml\", \"b.toml\", \"d/*.toml\"]\n";
        let main = format!("{include}{}", grant("moved", "default"));
        let mut folder = Folder::new(&[("main.toml", &main), ("a.toml", ""), ("b.toml", ""), ("d/README", "")]);
        folder.write("b.toml", "= 1");
        folder.write("main.toml", include);
        folder.write(to, &grant("moved", "default"));
        assert_eq!(folder.combine(), found(&["moved"], &["b.toml"]), "{to}");
        // Back, and from one included file to the other.
        folder.write("main.toml", &main);
        folder.write(to, "");
        assert_eq!(folder.combine(), found(&["moved"], &["b.toml"]), "{to}");
    }
    let mut folder = folder();
    folder.write("a.toml", &grant("b", "default"));
    folder.write("b.toml", &grant("a", "default"));
    assert_eq!(folder.combine(), found(&["main", "leaver", "b", "a"], &[]), "both at once");
}

/// An ID of another team, or a new limit of the main file, is a problem of an unchanged file.
#[test]
fn file_cannot_replace_the_grants_of_another_by_their_ids() {
    let mut folder = folder();
    folder.write("a.toml", &(grant("a", "default") + &grant("b", "default")));
    assert_eq!(folder.combine(), found(&["main", "leaver", "a", "b"], &["a.toml"]));
    // The other file is not held up.
    folder.write("b.toml", &(grant("b", "default") + &grant("b2", "default")));
    assert_eq!(folder.combine(), found(&["main", "leaver", "a", "b", "b2"], &["a.toml"]));
    folder.write("b.toml", &grant("b", "default"));
    assert_eq!(folder.combine(), found(&["main", "leaver", "a", "b"], &["a.toml"]));
    // The main file has precedence.
    folder.write("main.toml", &main_file(&grant("b", "default")));
    folder.write("a.toml", &grant("a", "default"));
    assert_eq!(folder.combine(), found(&["b", "a"], &["b.toml"]));
}

/// The problem is the main file's, and one included file causes it.
#[test]
fn included_file_that_makes_the_main_file_invalid_is_at_fault() {
    let keep = "[cache]\ncapacity = 1\nkeep_warm = [\"111111111111.dkr.ecr.us-east-1.amazonaws.com\"]\n";
    let profile = "[[profiles]]\nname = \"pull\"\nrole_chain = [\"arn:aws:iam::111111111111:role/x\"]\n";
    let main = |grants: &str| format!("include = [\"a.toml\", \"b.toml\", \"c.toml\"]\n{grants}{keep}{profile}");
    let before = main(&(grant("main", "default") + &grant("leaver", "default")));
    let (team, c) = (grant("a", "default") + &grant("a2", "default"), grant("c", "default"));
    let mut folder = Folder::new(&[("main.toml", &before), ("a.toml", &team), ("b.toml", ""), ("c.toml", &c)]);
    folder.write("main.toml", &main(&grant("main", "default")));
    folder.write("a.toml", &grant("a", "default"));
    folder.write("b.toml", &grant("b", "pull"));
    folder.write("c.toml", "");
    assert_eq!(folder.combine(), found(&["main", "a"], &["b.toml"]));
}

/// A profile and a grant of a file, both beyond the limits that the main file now gives it.
/// Without the limited grant its callers would get the credentials of the wider one, which have no limit.
#[test]
fn main_file_cannot_lift_the_limit_of_an_included_grant() {
    let limited = format!("{}max_lifetime = \"15m\"\n", grant("limited", "default"));
    let main = |before: &str| format!("{before}{INCLUDE}{}", grant("wide", "default"));
    let enabled = main("experimental = [\"bearer-tokens\"]\n");
    let mut folder = Folder::new(&[("main.toml", &enabled), ("a.toml", &limited), ("b.toml", "")]);
    for lifting in [main(""), format!("{enabled}[cache]\nsafety_margin = \"10m\"\n")] {
        folder.write("main.toml", &lifting);
        assert_eq!(folder.combine(), found(&["wide", "limited"], &["main.toml"]), "{lifting}");
    }
    folder.write("main.toml", &format!("{enabled}[cache]\nsafety_margin = \"6m\"\n"));
    assert_eq!(folder.combine(), found(&["wide", "limited"], &[]));
}

#[test]
fn problems_of_grants_and_of_other_settings_have_separate_effects() {
    let profile = "[[profiles]]\nname = \"b\"\nrole_chain = [\"arn:aws:iam::111111111111:role/b\"]\n";
    let include = "include = [{ files = \"b.toml\", accounts = [\"111111111111\"], profiles = [\"b\"] }]\n";
    let mut folder = Folder::new(&[("main.toml", include), ("b.toml", &(profile.to_owned() + &grant("b", "b")))]);
    folder.write("main.toml", &include.replace("[\"b\"]", "[\"other\"]"));
    folder.combine();
    let Combined { problems, .. } = combine(&folder.sources, &folder.disk, |_, _, _| Vec::new());
    let mut effects: Vec<_> = problems.iter().map(|it| (it.effect, &it.diagnostic.problem[..8])).collect();
    effects.sort_by_key(|(_, problem)| *problem);
    effects.dedup();
    assert_eq!(effects, [(Effect::GrantLeftOut, "grant \"b"), (Effect::SettingLeftOut, "profile ")], "{problems:?}");
}
