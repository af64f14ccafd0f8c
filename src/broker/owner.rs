//! The broker's owners: callers that may learn why it has no AWS credentials, and read its status.
//!
//! The reasons and the status name files, profiles, variables and accounts. Root and the broker's own user can read these anyway,
//! and the log too. On a Unix socket the kernel proves who they are. Other callers get a request ID. A bearer token speaks for its
//! subject, whichever process sends it.
//!
//! The broker answers, because only it knows: `doctor` runs with another environment and without the AWS SDK, and not every log is
//! a journal. Root of a container in the host's user namespace counts as root. If the broker runs as
//! the overflow user, root alone counts: users of unmapped user namespaces have the same ID. It learns names, but no content, no secret and none
//! of AWS's own words.

use crate::caller::Caller;

const ROOT: u32 = 0;
/// The user ID that the kernel reports for every user of an unmapped user namespace.
const OVERFLOW: u32 = 65534;

/// Returns whether the caller is root or the broker's own user.
pub(super) fn is_owner(caller: &Caller) -> bool {
    let own = rustix::process::geteuid().as_raw();
    matches!(caller, Caller::Process { uid, .. } if is_trusted(*uid, own))
}

/// Returns whether a process with this user ID may read the log of a broker with the user ID `own`.
fn is_trusted(uid: u32, own: u32) -> bool {
    uid == ROOT || (uid == own && uid != OVERFLOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_brokers_user_on_a_unix_socket_see_the_reasons() {
        let own = rustix::process::geteuid().as_raw();
        let process = |uid| Caller::Process { uid, gid: 0 };
        assert!(is_owner(&process(ROOT)) && is_owner(&process(own)));
        assert!(!is_owner(&process(own + 1001)));
        assert!(!is_owner(&Caller::Loopback) && !is_owner(&Caller::AwsApi));
        assert!(!is_owner(&"jwt:blue:root".parse().unwrap()) && !is_owner(&"dns:broker.example".parse().unwrap()));
    }
    #[test]
    fn broker_with_the_overflow_user_trusts_only_root() {
        assert!(is_trusted(1000, 1000) && !is_trusted(1001, 1000));
        assert!(is_trusted(ROOT, OVERFLOW) && !is_trusted(OVERFLOW, OVERFLOW));
    }
}
