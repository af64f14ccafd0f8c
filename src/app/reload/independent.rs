//! Independent files: which of the changed files take effect, and which keep their last valid contents.

use std::collections::BTreeSet;

use crate::config::{Config, Diagnostic, Files, Sources};

/// The configuration of the valid files.
#[derive(Debug)]
pub(super) struct Combined {
    pub(super) config: Config,
    /// The files in effect.
    pub(super) files: Files,
    /// The problems of all files, in effect or not.
    pub(super) problems: Vec<Diagnostic>,
}

/// Combines changed files with the active ones, which `sources` has. A changed file is at fault if it has a problem that the active files
/// do not have; it then keeps its active contents. `check` reports further problems of a configuration, its active and its new files.
///
/// A problem that an unchanged file has since another one changed cannot be mended by older contents: there the grants with a problem
/// are left out. So a profile that the main file removes takes the grants that name it with it.
pub(super) fn combine(
    sources: &Sources,
    found: Files,
    check: impl Fn(&Config, &Files, &Files) -> Vec<Diagnostic>,
) -> Combined {
    let active = &sources.files;
    let load = |files: &Files| {
        let (config, mut problems) = Config::load_valid_parts(&Sources { files: files.clone(), ..sources.clone() });
        problems.extend(check(&config, active, files));
        (config, problems)
    };
    let old = load(active).1;
    let mut files = found;
    let mut all = Vec::new();
    loop {
        let (config, problems) = load(&files);
        let is_new = |problem: &&Diagnostic| !all.contains(*problem);
        all.extend(problems.iter().filter(is_new).cloned().collect::<Vec<_>>());
        let at_fault = files_at_fault(&files, active, &old, &problems, |files| load(files).1);
        if at_fault.is_empty() {
            return Combined { config, files, problems: all };
        }
        files = files.with_files_of(active, &at_fault);
    }
}

/// Returns the changed files with new problems. The main file is not at fault if it has none with the active included files: then the
/// changed included files are, together.
fn files_at_fault(
    files: &Files,
    active: &Files,
    old: &[Diagnostic],
    problems: &[Diagnostic],
    load: impl Fn(&Files) -> Vec<Diagnostic>,
) -> BTreeSet<String> {
    let changed = files.changed_since(active);
    let of = |problems: &[Diagnostic]| -> BTreeSet<String> {
        problems.iter().filter(|problem| !old.contains(problem)).map(|problem| problem.place.clone()).collect()
    };
    let (main, with_problems) = (files.name(), of(problems));
    let included: BTreeSet<String> = changed.iter().filter(|name| **name != main).cloned().collect();
    if with_problems.contains(&main) && !included.is_empty() {
        let main_alone = load(&files.with_files_of(active, &included));
        if !of(&main_alone).contains(&main) {
            return included;
        }
    }
    changed.intersection(&with_problems).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    /// A folder with configuration files, and the files that are active.
    struct Folder {
        directory: tempfile::TempDir,
        sources: Sources,
    }

    impl Folder {
        fn new(files: &[(&str, &str)]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let folder = Self { directory, sources: Sources::default() };
            for (name, text) in files {
                folder.write(name, text);
            }
            let files = Files::read(Some(&folder.path("main.toml")));
            let sources = Sources { files, ..Sources::default() };
            assert!(Config::load(&sources).is_ok(), "{:?}", Config::load(&sources));
            Self { sources, ..folder }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).unwrap();
        }

        /// Returns the IDs of the grants in effect and the files with problems, after the files were read again.
        fn combine(&mut self) -> (Vec<String>, Vec<String>) {
            let Combined { config, files, problems } =
                combine(&self.sources, self.sources.files.read_again(), |_, _, _| Vec::new());
            self.sources.files = files;
            let ids = config.policy.grants().iter().map(|grant| grant.id.clone()).collect();
            let name = |problem: &Diagnostic| problem.place.rsplit('/').next().unwrap_or_default().to_owned();
            let places: BTreeSet<_> = problems.iter().map(name).collect();
            (ids, places.into_iter().collect())
        }
    }

    fn grant(id: &str, profile: &str) -> String {
        format!(
            "[[grants]]\nid = \"{id}\"\ncallers = [{{ uid = 1 }}]\nregistries = [{{ accounts = [\"111111111111\"], regions = [\"*\"] }}]\n\
             profile = \"{profile}\"\n"
        )
    }

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
    fn broken_main_file_holds_up_no_included_file() {
        for broken in ["= 1", &main_file("[cache]\ncapacity = 0\n"), "include = [7]\n", &main_file("grants = 1")] {
            let mut folder = folder();
            folder.write("main.toml", broken);
            folder.write("a.toml", "");
            assert_eq!(folder.combine(), found(&["main", "leaver", "b"], &["main.toml"]), "{broken}");
        }
    }

    #[test]
    fn new_file_with_a_mistake_is_left_out() {
        let main = "include = [\"grants.d/*.toml\"]\ngrants = []\n";
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("grants.d")).unwrap();
        fs::write(directory.path().join("main.toml"), main).unwrap();
        let files = Files::read(Some(&directory.path().join("main.toml")));
        let mut folder = Folder { directory, sources: Sources { files, ..Sources::default() } };
        folder.write("grants.d/a.toml", &grant("a", "default"));
        folder.write("grants.d/b.toml", "= 1");
        assert_eq!(folder.combine(), found(&["a"], &["b.toml"]));
        // The folder can no longer be read: its files keep their contents.
        fs::rename(folder.path("grants.d"), folder.path("moved")).unwrap();
        assert_eq!(folder.combine(), found(&["a"], &["main.toml"]));
        fs::rename(folder.path("moved"), folder.path("grants.d")).unwrap();
        fs::remove_file(folder.path("grants.d/b.toml")).unwrap();
        assert_eq!(folder.combine(), found(&["a"], &[]));
    }

    /// An ID of another team, or a new limit of the main file, is a problem of an unchanged file.
    #[test]
    fn file_cannot_replace_the_grants_of_another_by_their_ids() {
        let mut folder = folder();
        folder.write("a.toml", &(grant("a", "default") + &grant("b", "default")));
        assert_eq!(folder.combine(), found(&["main", "leaver", "a", "b"], &["a.toml", "b.toml"]));
        assert_eq!(folder.sources.files.changed_since(&Files::default()).len(), 3);
        // The main file has precedence.
        folder.write("main.toml", &main_file(&grant("b", "default")));
        folder.write("a.toml", &grant("a", "default"));
        assert_eq!(folder.combine(), found(&["b", "a"], &["b.toml"]));
    }

    #[test]
    fn narrower_limits_and_removed_profiles_take_effect_at_once() {
        let profile = "[[profiles]]\nname = \"pull\"\nrole_chain = [\"arn:aws:iam::111111111111:role/x\"]\n";
        let include =
            "include = [{ files = \"b.toml\", accounts = [\"ACCOUNT\"], profiles = [\"default\", \"pull\"] }]\n";
        let main = |account: &str| include.replace("ACCOUNT", account) + "grants = []\n";
        let team = grant("b", "default") + &grant("by-profile", "pull");
        let mut folder = Folder::new(&[("main.toml", &(main("111111111111") + profile)), ("b.toml", &team)]);
        folder.write("main.toml", &main("111111111111"));
        assert_eq!(folder.combine(), found(&["b"], &["b.toml"]), "the profile is removed");
        folder.write("main.toml", &(main("222222222222") + profile));
        assert_eq!(folder.combine(), found(&[], &["b.toml"]), "the account is removed");
    }

    /// A check of all files together blames the main file.
    #[test]
    fn included_file_that_makes_the_main_file_invalid_is_at_fault() {
        let keep = "[cache]\ncapacity = 1\nkeep_warm = [\"111111111111.dkr.ecr.us-east-1.amazonaws.com\"]\n";
        let profile = "[[profiles]]\nname = \"pull\"\nrole_chain = [\"arn:aws:iam::111111111111:role/x\"]\n";
        let main = |grants: &str| format!("include = [\"b.toml\"]\n{grants}{keep}{profile}");
        let before = main(&(grant("main", "default") + &grant("leaver", "default")));
        let mut folder = Folder::new(&[("main.toml", &before), ("b.toml", "")]);
        folder.write("main.toml", &main(&grant("main", "default")));
        folder.write("b.toml", &grant("b", "pull"));
        assert_eq!(folder.combine(), found(&["main"], &["main.toml"]));
    }
}
