//! Mounts: facts about a directory that its mode does not show.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatVfsMountFlags, StatxAttributes, StatxFlags, fstatvfs, statx};

/// Directories of kubelet whose volumes only kubelet fills, from the Kubernetes API. Containers get them read-only.
const API_VOLUMES: [&str; 4] =
    ["kubernetes.io~configmap", "kubernetes.io~secret", "kubernetes.io~projected", "kubernetes.io~downward-api"];

/// Returns whether an open file or directory is on a volume of the Kubernetes API, mounted read-only.
///
/// A read-only mount alone protects nothing: other processes can have the same directory writable, and systemd's
/// `ProtectSystem=strict` makes each mount of a service read-only. kubelet's directories can be recognised by the root of the mount,
/// which is the volume's path on the node: `/var/lib/kubelet/pods/UID/volumes/kubernetes.io~configmap/NAME`.
#[must_use]
pub fn is_api_volume(file: impl AsFd) -> bool {
    is_read_only(&file).unwrap_or(false) && root_of(&file).is_ok_and(|root| is_path_of_api_volume(&root))
}

/// Returns whether this process sees an open file or directory on a mount that it cannot write.
fn is_read_only(file: impl AsFd) -> io::Result<bool> {
    Ok(fstatvfs(file)?.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Returns the path in its file system of the directory that is mounted where an open file or directory is.
fn root_of(file: impl AsFd) -> io::Result<String> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_fd().as_raw_fd()))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")).map(str::trim);
    let mounts = fs::read("/proc/self/mountinfo")?;
    id.and_then(|id| root_in(&String::from_utf8_lossy(&mounts), id)).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Returns the root of the mount with this ID.
fn root_in(mounts: &str, id: &str) -> Option<String> {
    Line::find(mounts, id).map(|line| line.root.to_owned())
}

/// Returns whether a path is that of such a volume, or below it. The folder of kubelet's pods is a setting of kubelet.
fn is_path_of_api_volume(root: &str) -> bool {
    let parts: Vec<_> = root.split('/').collect();
    parts
        .windows(5)
        .any(|at| at[0] == "pods" && at[2] == "volumes" && API_VOLUMES.contains(&at[3]) && !at[4].is_empty())
}

/// Returns whether an entry is the root of a mount that shows other contents than the path has without it: a volume of a container. The
/// path has no links.
///
/// systemd makes directories of a service writable, such as `RuntimeDirectory=`, by mounting them at their own paths. That is not a
/// volume: users of the host see and write the same directory.
///
/// # Errors
/// The entry or its directory cannot be examined.
pub fn is_volume(path: &Path) -> io::Result<bool> {
    Ok(is_root(path)? && !is_at_its_own_path(path).unwrap_or(false))
}

/// Returns whether an entry is the root of a mount.
///
/// Asks `statx`, because a bind mount of the same file system has its parent's device number. A kernel before Linux 5.8 does not
/// know the attribute; there such a bind mount is not recognised.
fn is_root(path: &Path) -> io::Result<bool> {
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())?;
    if found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) {
        return Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    }
    let device = |path: &Path| fs::symlink_metadata(path).map(|metadata| metadata.dev());
    Ok(path.parent().is_none_or(|parent| device(path).ok() != device(parent).ok()))
}

/// Returns whether the root of a mount is a part of the file system around it, mounted where it is anyway.
fn is_at_its_own_path(path: &Path) -> io::Result<bool> {
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID)?;
    let mounts = fs::read("/proc/self/mountinfo")?;
    Ok(shows_its_own_path(&String::from_utf8_lossy(&mounts), &found.stx_mnt_id.to_string()).unwrap_or(false))
}

/// A line of `/proc/self/mountinfo`, `proc_pid_mountinfo(5)`.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    id: &'a str,
    parent: &'a str,
    device: &'a str,
    /// The directory of the file system that is mounted.
    root: &'a str,
    point: &'a str,
}

impl<'a> Line<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let mut fields = text.split(' ');
        let mut next = || fields.next();
        Some(Self { id: next()?, parent: next()?, device: next()?, root: next()?, point: next()? })
    }

    fn find(mounts: &'a str, id: &str) -> Option<Self> {
        mounts.lines().filter_map(Self::read).find(|line| line.id == id)
    }
}

fn shows_its_own_path(mounts: &str, id: &str) -> Option<bool> {
    let line = Line::find(mounts, id)?;
    let around = Line::find(mounts, line.parent)?;
    let below = Path::new(line.point).strip_prefix(around.point).ok()?;
    Some(line.device == around.device && Path::new(line.root) == Path::new(around.root).join(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_root_and_plain_directory_differ() {
        let directory = tempfile::tempdir().unwrap();
        assert!(is_root("/proc".as_ref()).unwrap() && !is_root(directory.path()).unwrap());
        assert!(!is_read_only(std::fs::File::open(directory.path()).unwrap()).unwrap());
        assert!(is_root(&directory.path().join("missing")).is_err());
    }

    /// Lines of a service with `ProtectSystem=strict` and `RuntimeDirectory=ecr-broker`, a pod, and a docker container.
    #[test]
    fn directory_mounted_at_its_own_path_is_not_a_volume() {
        const MOUNTS: &str = "1 0 259:1 / / ro - ext4 /dev/root ro\n2 1 0:25 / /run ro - tmpfs tmpfs ro\n\
            3 2 0:25 /ecr-broker /run/ecr-broker rw - tmpfs tmpfs rw\n4 3 0:25 /ecr-broker /run/ecr-broker rw - tmpfs tmpfs rw\n\
            5 1 259:1 /srv/sockets /srv/sockets rw - ext4 /dev/root rw\n\
            6 1 259:1 /var/lib/docker/volumes/broker/_data /run/volume rw - ext4 /dev/root rw\n\
            7 2 0:99 / /run/memory rw - tmpfs tmpfs rw\n8 6 259:1 /srv/sockets /run/volume/sockets rw - ext4 /dev/root rw";
        for (id, is_own) in [("3", true), ("4", true), ("5", true), ("6", false), ("7", false), ("8", false)] {
            assert_eq!(shows_its_own_path(MOUNTS, id), Some(is_own), "{id}");
        }
        assert_eq!((shows_its_own_path(MOUNTS, "1"), shows_its_own_path(MOUNTS, "9")), (None, None));
        assert!(is_volume("/proc".as_ref()).unwrap());
    }

    #[test]
    fn root_of_a_mount_is_found_by_the_descriptor() {
        let proc = std::fs::File::open("/proc").unwrap();
        assert_eq!(root_of(&proc).unwrap(), "/");
        assert!(!is_api_volume(&proc));
    }

    /// Lines of a pod (containerd), a service with `ProtectSystem=strict` and `ReadOnlyPaths`, and a docker container.
    #[test]
    fn only_volumes_of_the_kubernetes_api_are_recognised() {
        const POD: &str = "/var/lib/kubelet/pods/6f1c3b1e-9d0a-4a7e-8a53-2d3d0f6c1e11/volumes";
        let line = |root: &str| {
            format!("21 9 0:5 / / rw - overlay overlay rw\n1187 21 259:1 {root} /etc/b ro,relatime - ext4 /dev/sda1 rw")
        };
        for (root, expected) in [
            (format!("{POD}/kubernetes.io~configmap/config"), true),
            (format!("{POD}/kubernetes.io~configmap/config/..2026_11_30/broker.toml"), true),
            (format!("{POD}/kubernetes.io~projected/token"), true),
            ("/pods/6f1c/volumes/kubernetes.io~secret/tls".to_owned(), true),
            (format!("{POD}/kubernetes.io~empty-dir/shared"), false),
            (format!("{POD}/kubernetes.io~configmap/"), false),
            (format!("{POD}/kubernetes.io~configmap-of-a-user/config"), false),
            ("/".to_owned(), false),
            ("/@srv".to_owned(), false),
            ("/etc/ecr-broker".to_owned(), false),
            ("/home/alice/broker".to_owned(), false),
        ] {
            let found = root_in(&line(&root), "1187").unwrap();
            assert_eq!((found.as_str(), is_path_of_api_volume(&found)), (root.as_str(), expected));
        }
        assert_eq!(root_in(&line("/"), "118"), None);
    }
}
