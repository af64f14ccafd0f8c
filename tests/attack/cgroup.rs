//! Memory cgroups, of version 1 and 2.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

const ROOT: &str = "/sys/fs/cgroup";
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A cgroup that limits memory. Dropping it removes it, once its processes have ended.
pub struct MemoryCgroup(PathBuf);

impl MemoryCgroup {
    /// Creates a cgroup; `None` if this process may not, or has no memory controller.
    pub fn create(bytes: u64) -> Option<Self> {
        let parents = if Path::new(ROOT).join("cgroup.controllers").exists() { of_version_2() } else { of_version_1() };
        let name = format!("ecr-broker-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        parents.into_iter().find_map(|parent| create(&parent, &name, bytes).ok())
    }

    /// Returns the command within the cgroup. Its process ID stays that of the child.
    pub fn within(&self, command: &Command) -> Command {
        let mut within = Command::new("sh");
        within.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(self.0.join("cgroup.procs"));
        within.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => within.env(name, value),
                None => within.env_remove(name),
            };
        }
        within
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        _ = fs::remove_dir(&self.0);
    }
}

/// The cgroup of this process, which needs to have no process beside its children, and the root, which may have some.
fn of_version_2() -> Vec<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).map(|path| Path::new(ROOT).join(path));
    own.into_iter().chain([PathBuf::from(ROOT)]).collect()
}

fn of_version_1() -> Vec<PathBuf> {
    vec![Path::new(ROOT).join("memory")]
}

fn create(parent: &Path, name: &str, bytes: u64) -> io::Result<MemoryCgroup> {
    let directory = parent.join(name);
    fs::create_dir(&directory)?;
    let cgroup = MemoryCgroup(directory);
    let file = |name| cgroup.0.join(name);
    if parent.join("cgroup.controllers").exists() {
        if !file("memory.max").exists() {
            fs::write(parent.join("cgroup.subtree_control"), "+memory")?;
        }
        fs::write(file("memory.max"), bytes.to_string())?;
        write_if_there(&file("memory.swap.max"), "0")?;
    } else {
        fs::write(file("memory.limit_in_bytes"), bytes.to_string())?;
        write_if_there(&file("memory.swappiness"), "0")?;
    }
    Ok(cgroup)
}

/// A kernel without swap accounting has no such file.
fn write_if_there(file: &Path, text: &str) -> io::Result<()> {
    if file.exists() { fs::write(file, text) } else { Ok(()) }
}
