//! Changes and mistakes of the main file.

use super::*;
use crate::policy::Policy;

/// The folder's problem is neither the main file's nor that of its files, which keep their contents.
#[test]
fn unreadable_folder_holds_up_no_change_of_the_main_file() {
    let main = format!("{GLOB_ONLY}{}", grant("leaver", "default"));
    let mut folder = Folder::new(&[("main.toml", &main), ("grants.d/a.toml", &grant("a", "default"))]);
    fs::rename(folder.path("grants.d"), folder.path("moved")).unwrap();
    folder.write("main.toml", GLOB);
    assert_eq!(folder.combine(), found(&["a"], &["*.toml"]));
    fs::rename(folder.path("moved"), folder.path("grants.d")).unwrap();
    assert_eq!(folder.combine(), found(&["a"], &[]));
    // A new pattern could take the place of one with a denial: the main file is at fault.
    folder.write("main.toml", &GLOB.replace("grants.d", "missing.d"));
    assert_eq!(folder.combine(), found(&["a"], &["main.toml"]));
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

/// Files are deleted and added while the main file is broken, or waits for a restart.
#[test]
fn broken_main_file_holds_up_no_deletion_and_no_new_denial() {
    let waits = format!("{GLOB}[[profiles]]\nname = \"new\"\nrole_chain = [\"arn:aws:iam::111111111111:role/x\"]\n");
    for broken in ["= 1", &waits, &GLOB.replace("grants.d", "missing.d"), ""] {
        let team = |id: &str| grant(id, "default");
        let mut folder =
            Folder::new(&[("main.toml", GLOB), ("grants.d/a.toml", &team("a")), ("grants.d/b.toml", &team("b"))]);
        folder.write("main.toml", broken);
        fs::remove_file(folder.path("grants.d/a.toml")).unwrap();
        folder.write("grants.d/c.toml", &(team("c") + "effect = \"deny\"\n"));
        let needs_restart = |config: &Config| {
            let needs = !config.aws.profiles.is_empty() || config.policy == Policy::Open;
            let problem = || Diagnostic { place: "main.toml".to_owned(), problem: "restart the broker".to_owned() };
            needs.then(problem).into_iter().collect()
        };
        assert_eq!(folder.combine_with(needs_restart), found(&["b", "c"], &["main.toml"]), "{broken}");
    }
}

/// With the main file's precedence, its grant would otherwise take the place of the denial.
#[test]
fn main_file_lifts_no_denial_by_its_id() {
    let denial = grant("b", "default") + "effect = \"deny\"\n";
    let mut folder = Folder::new(&[("main.toml", &main_file("")), ("a.toml", ""), ("b.toml", &denial)]);
    folder.write("main.toml", &main_file(&grant("b", "default")));
    assert_eq!(folder.combine(), found(&["b", "b"], &["b.toml"]));
    folder.write("b.toml", &denial.replace("id = \"b\"", "id = \"never\""));
    assert_eq!(folder.combine(), found(&["b", "never"], &[]));
}

#[test]
fn narrower_limits_and_removed_profiles_take_effect_at_once() {
    let profile = "[[profiles]]\nname = \"pull\"\nrole_chain = [\"arn:aws:iam::111111111111:role/x\"]\n";
    let include = "include = [{ files = \"b.toml\", accounts = [\"ACCOUNT\"], profiles = [\"default\", \"pull\"] }]\n";
    let main = |account: &str| include.replace("ACCOUNT", account) + "grants = []\n";
    let team = grant("b", "default") + &grant("by-profile", "pull");
    let mut folder = Folder::new(&[("main.toml", &(main("111111111111") + profile)), ("b.toml", &team)]);
    folder.write("main.toml", &main("111111111111"));
    assert_eq!(folder.combine(), found(&["b"], &["b.toml"]), "the profile is removed");
    folder.write("main.toml", &(main("222222222222") + profile));
    assert_eq!(folder.combine(), found(&[], &["b.toml"]), "the account is removed");
}
