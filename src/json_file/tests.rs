use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use super::*;

/// Two directories, of which the second is where a link leads.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for name in ["own", "elsewhere"] {
            fs::create_dir(place.path(name)).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn is_empty(&self, name: &str) -> bool {
        fs::read_dir(self.path(name)).unwrap().next().is_none()
    }
}

fn set(target: &Target) -> Result<bool, String> {
    update_target(target, FileMode::Private, |config| {
        config.insert("a".to_owned(), 1.into());
        Ok(())
    })
}

#[test]
fn directory_swapped_for_a_link_after_its_check_is_not_followed() {
    let place = Place::new();
    let target = Target::of(&place.path("own/config.json")).unwrap();
    fs::rename(place.path("own"), place.path("moved")).unwrap();
    symlink(place.path("elsewhere"), place.path("own")).unwrap();
    assert_eq!(set(&target), Ok(true));
    assert!(place.is_empty("elsewhere"), "nothing is written where the link leads");
    assert!(place.path("moved/config.json").exists() && place.path("moved/config.json.lock").exists());
    target.companion("sync").open_lock().unwrap();
    target.companion("sync").remove().unwrap();
    assert!(place.is_empty("elsewhere"));
}

#[test]
fn missing_directory_replaced_by_a_link_is_not_followed() {
    let place = Place::new();
    let file = place.path("own/new/config.json");
    let target = Target::of(&file).unwrap();
    symlink(place.path("elsewhere"), place.path("own/new")).unwrap();
    assert!(set(&target).is_err());
    assert!(place.is_empty("elsewhere"));
    fs::remove_file(place.path("own/new")).unwrap();
    assert_eq!(set(&target), Ok(true));
    fs::write(&file, "{\"b\":2}").unwrap();
    assert_eq!(set(&target), Ok(true), "the file of another program in the new directory is kept");
    assert_eq!(read(&file).unwrap().len(), 2);
    assert_eq!(fs::metadata(place.path("own/new")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn file_that_becomes_a_link_or_a_pipe_is_refused() {
    let place = Place::new();
    let file = place.path("own/config.json");
    let target = Target::of(&file).unwrap();
    symlink(place.path("elsewhere/config.json"), &file).unwrap();
    assert!(set(&target).unwrap_err().contains("became a link during the change"));
    assert!(read_target(&target).is_err());
    fs::remove_file(&file).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    assert!(set(&target).unwrap_err().contains("is not a regular file"));
    assert!(read_target(&target).unwrap_err().contains("is not a regular file"));
    assert!(place.is_empty("elsewhere"));
}

/// A link at the name of each file that a change makes.
#[test]
fn link_beside_the_file_leads_nowhere() {
    for (name, written) in [("config.json.lock", false), ("config.json.new", true)] {
        let place = Place::new();
        let target = Target::of(&place.path("own/config.json")).unwrap();
        symlink(place.path("elsewhere/planted"), place.path("own").join(name)).unwrap();
        assert_eq!(set(&target).is_ok(), written, "{name}");
        assert!(place.is_empty("elsewhere"), "{name}");
    }
}

#[test]
fn relative_path_is_refused() {
    let refused = Target::of(Path::new("config.json")).unwrap_err();
    assert!(refused.ends_with("the path is relative; give an absolute path"), "{refused}");
}
