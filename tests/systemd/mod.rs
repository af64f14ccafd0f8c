//! A real systemd: a user manager in a mount namespace, so that it need not be process 1.
//!
//! Root starts it, from Debian's package `systemd`. Its `/run` is an empty tmpfs, its runtime directory (`%t`, `RuntimeDirectory=`)
//! and its units lie below [`Manager::path`], where clients outside reach the sockets. `User=`, the sandbox, socket activation,
//! the watchdog and the descriptor store work as under process 1. What the manager and its units write is one log, at debug level.

#![allow(dead_code, unreachable_pub, clippy::missing_panics_doc, clippy::unwrap_used, reason = "a test may")]

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tempfile::TempDir;

use crate::program::{Ended, Logs, signal};

/// Starts the manager in a cgroup that only it has: managers side by side have units of the same names. In cgroup v1, systemd uses
/// the hierarchy `systemd`, beside cgroup v2 at `unified`. It writes its log to `/dev/console`, which must be a terminal.
const START: &str = r#"
for hierarchy in /sys/fs/cgroup/unified /sys/fs/cgroup/systemd /sys/fs/cgroup; do
    if [ -w "$hierarchy/cgroup.procs" ] && mkdir "$hierarchy/$2"; then echo $$ >"$hierarchy/$2/cgroup.procs"; fi
done
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && mount --bind "$3" /dev/console &&
    exec /lib/systemd/systemd --user --unit=basic.target
"#;
/// `O_NOCTTY`.
const NO_CONTROLLING_TERMINAL: i32 = 0o400;
/// Hierarchies in which [`START`] makes a group.
const HIERARCHIES: [&str; 3] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup"];
/// Output of units joins the manager's. A test that fails waits no longer than this for a unit that hangs.
const CONFIGURATION: &str = "[Manager]\nDefaultStandardOutput=inherit\nDefaultTimeoutStopSec=10s\n";

/// A running manager. Dropping it stops its units.
pub struct Manager {
    process: Child,
    directory: TempDir,
    cgroup: String,
    log: Logs,
    #[expect(dead_code, reason = "closing it ends the thread that reads the console")]
    console: File,
}

impl Manager {
    /// Starts a manager without units.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        // Units run as other users.
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["run", "units", "config/systemd"] {
            fs::create_dir_all(path.join(name)).unwrap();
        }
        fs::write(path.join("config/systemd/user.conf"), CONFIGURATION).unwrap();
        fs::write(path.join("units/basic.target"), "[Unit]\nDescription=Nothing of the host\n").unwrap();
        for unit in ["shutdown.target", "exit.target", "systemd-exit.service"] {
            std::os::unix::fs::symlink(Path::new("/usr/lib/systemd/user").join(unit), path.join("units").join(unit))
                .unwrap();
        }
        let fifo = path.join("log");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        // Open for both, a FIFO never ends.
        let output = File::options().read(true).write(true).open(&fifo).unwrap();
        let (console, console_path) = console(output.try_clone().unwrap());
        let cgroup = format!("test-{}", path.file_name().unwrap().display());
        let mut command = Command::new("setpriv");
        // A test that is killed must not leave it.
        command.args(["--pdeathsig=TERM", "unshare", "--mount", "--propagation=private", "sh", "-c", START, "sh"]);
        command.arg(path).arg(&cgroup).arg(console_path).env_clear().envs(search_path());
        command.env("XDG_RUNTIME_DIR", path.join("run")).env("XDG_CONFIG_HOME", path.join("config")).env("HOME", path);
        command.env("SYSTEMD_UNIT_PATH", path.join("units")).env("SYSTEMD_LOG_TARGET", "console");
        command.env("SYSTEMD_LOG_LEVEL", "debug").env("SYSTEMD_LOG_COLOR", "0").stdin(Stdio::null());
        command.stdout(output.try_clone().unwrap()).stderr(output.try_clone().unwrap());
        let process = command.spawn().unwrap();
        let manager = Self { process, cgroup, log: Logs::of(output), console, directory };
        manager.until_logged("Startup finished in");
        manager
    }

    /// Returns the directory that lasts as long as the manager; every user can enter it.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the runtime directory, `%t` in units.
    pub fn runtime_directory(&self) -> PathBuf {
        self.path().join("run")
    }

    /// Writes a unit and has the manager read it.
    pub fn write_unit(&self, name: &str, text: &str) {
        fs::write(self.path().join("units").join(name), text).unwrap();
        self.systemctl(&["daemon-reload"]).out();
    }

    /// Runs `systemctl`, such as `["restart", "a.service"]`. It returns when the job is done.
    pub fn systemctl(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new("systemctl");
        command.arg("--user").args(arguments).env("XDG_RUNTIME_DIR", self.runtime_directory()).stdin(Stdio::null());
        Ended::of(&mut command)
    }

    /// Returns a property of a unit, as `systemctl show` prints it: `ActiveState`, `StatusText`, `NRestarts`, `Result`.
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.systemctl(&["show", "--value", "--property", name, unit]).out().trim_end().to_owned()
    }

    /// Returns the main process of a unit.
    pub fn main_pid(&self, unit: &str) -> u32 {
        self.property(unit, "MainPID").parse().unwrap()
    }

    /// Returns a command that runs where `/run` is that of the manager.
    pub fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.process.id())).args(["--", program]);
        command
    }

    /// Returns all that the manager and its units have written.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Waits until a line with this text is logged.
    pub fn until_logged(&self, text: &str) {
        self.log.until(text, 1);
    }

    /// Waits until `times` lines with this text are logged.
    pub fn until_logged_times(&self, text: &str, times: usize) {
        self.log.until(text, times);
    }

    /// Returns the messages by which a unit has notified the manager, such as `READY=1, STATUS=…`, in their order.
    pub fn notified(&self, unit: &str) -> Vec<String> {
        let start = format!("{unit}: Got notification message from PID ");
        let log = self.log();
        let messages = log.lines().filter_map(|line| line.split_once(&start)?.1.split_once(" ("));
        messages.map(|(_, message)| message.trim_end().trim_end_matches(')').to_owned()).collect()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        signal(self.process.id(), "TERM");
        _ = self.process.wait();
        for hierarchy in HIERARCHIES {
            remove_group(&Path::new(hierarchy).join(&self.cgroup));
        }
    }
}

/// Opens a terminal whose lines go to `output`, and returns it with its path.
fn console(mut output: File) -> (File, PathBuf) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = PathBuf::from(OsString::from_vec(ptsname(&master, Vec::new()).unwrap().into_bytes()));
    let console = File::options().read(true).write(true).custom_flags(NO_CONTROLLING_TERMINAL).open(&path).unwrap();
    let lines = BufReader::new(File::from(master)).lines();
    std::thread::spawn(move || lines.map_while(Result::ok).all(|line| writeln!(output, "{line}").is_ok()));
    (console, path)
}

/// Returns the test's own `PATH`.
#[expect(clippy::disallowed_methods, reason = "a variable of the test, which the program does not read")]
fn search_path() -> Option<(&'static str, std::ffi::OsString)> {
    std::env::var_os("PATH").map(|path| ("PATH", path))
}

/// Removes a cgroup with those in it.
fn remove_group(path: &Path) {
    let Ok(entries) = fs::read_dir(path) else { return };
    let entries = entries.map_while(Result::ok);
    for entry in entries.filter(|entry| entry.path().is_dir()) {
        remove_group(&entry.path());
    }
    _ = fs::remove_dir(path);
}
