//! Scripts of the shared cache: each operation is one round trip, and atomic in its slot.
//!
//! The keys of an entry are its value and its lease. Whatever lies there may come from another program: a value of another type,
//! too short or too long, or a lease without an end is deleted or replaced, so that the entry heals.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use data_encoding::HEXLOWER;
use redis::Cmd;

use crate::source::shared_cache::tier::MAX_VALUE_BYTES;

/// Arguments: owner, lifetime of the lease in ms, `ETag` of the known value (empty: none), longest value.
const GET_OR_LEASE: &str = "\
local v=redis.pcall('GET',KEYS[1])
if v and (type(v)=='table' or #v<9 or #v>tonumber(ARGV[4])) then redis.call('DEL',KEYS[1]) v=false end
if v and (ARGV[3]=='' or string.sub(v,9,20)~=ARGV[3]) then return {'V',v,redis.call('PTTL',KEYS[1])} end
if redis.call('SET',KEYS[2],ARGV[1],'NX','PX',ARGV[2]) then return {'L'} end
local l,p=redis.pcall('GET',KEYS[2]),redis.call('PTTL',KEYS[2])
if not l or type(l)=='table' or #l>1024 or p<0 then redis.call('SET',KEYS[2],ARGV[1],'PX',ARGV[2]) return {'L'} end
return {'W',l,p}";

/// Arguments: owner, lifetime in ms.
const RENEW: &str = "\
if redis.pcall('GET',KEYS[2])~=ARGV[1] then return 0 end
return redis.call('PEXPIRE',KEYS[2],ARGV[2])";

/// Arguments: owner, value, lifetime in ms.
const PUT: &str = "\
if redis.pcall('GET',KEYS[2])~=ARGV[1] then return 0 end
redis.call('SET',KEYS[1],ARGV[2],'PX',ARGV[3])
redis.call('DEL',KEYS[2])
return 1";

/// Arguments: owner, note, lifetime in ms.
const FAIL: &str = "\
if redis.pcall('GET',KEYS[2])~=ARGV[1] then return 0 end
redis.call('SET',KEYS[2],'E'..ARGV[2],'PX',ARGV[3])
return 1";

/// Arguments: owner.
const RELEASE: &str = "\
if redis.pcall('GET',KEYS[2])~=ARGV[1] then return 0 end
return redis.call('DEL',KEYS[2])";

/// Arguments: `ETag` of the value to delete (empty: any).
const INVALIDATE: &str = "\
if ARGV[1]~='' then
local v=redis.pcall('GET',KEYS[1])
if not v or (type(v)~='table' and string.sub(v,9,20)~=ARGV[1]) then return 0 end
end
redis.call('DEL',KEYS[1],KEYS[2])
return 1";

/// Writes, so that a server that only reads does not pass for one that works.
const PROBE: &str = "\
redis.call('SET',KEYS[2],'probe','PX',1000)
return redis.call('DEL',KEYS[1],KEYS[2])";

/// First letter of a failure note, which no owner begins with.
pub(super) const NOTE: u8 = b'E';

/// The scripts and their hashes.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) get_or_lease: Script,
    pub(super) renew: Script,
    pub(super) put: Script,
    pub(super) fail: Script,
    pub(super) release: Script,
    pub(super) invalidate: Script,
    pub(super) probe: Script,
}

/// A script and its hash.
#[derive(Debug)]
pub(super) struct Script {
    text: &'static str,
    hash: String,
}

/// The keys of an entry: its value and its lease. The braces make one slot of a cluster of both.
#[derive(Debug)]
pub(super) struct EntryKeys {
    value: String,
    lease: String,
}

/// A script with its arguments.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) script: &'a Script,
    pub(super) keys: &'a EntryKeys,
    pub(super) arguments: &'a [&'a [u8]],
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            get_or_lease: Script::new(GET_OR_LEASE),
            renew: Script::new(RENEW),
            put: Script::new(PUT),
            fail: Script::new(FAIL),
            release: Script::new(RELEASE),
            invalidate: Script::new(INVALIDATE),
            probe: Script::new(PROBE),
        }
    }
}

impl Script {
    fn new(text: &'static str) -> Self {
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        Self { text, hash: HEXLOWER.encode(hash.as_ref()) }
    }
}

impl EntryKeys {
    /// Returns the keys of an entry by its name, under the prefix of the shared cache.
    pub(super) fn new(prefix: &str, name: &str) -> Self {
        Self { value: format!("{prefix}:1:{{{name}}}:t"), lease: format!("{prefix}:1:{{{name}}}:l") }
    }

    /// Returns the keys that a probe writes to.
    pub(super) fn of_probe(prefix: &str) -> Self {
        Self::new(prefix, "probe")
    }
}

impl Call<'_> {
    pub(super) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", &self.script.hash)
    }

    pub(super) fn by_text(&self) -> Cmd {
        self.command("EVAL", self.script.text)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(2).arg(&self.keys.value).arg(&self.keys.lease);
        for argument in self.arguments {
            command.arg(argument);
        }
        command
    }
}

/// Returns a number as an argument.
pub(super) fn longest_value() -> String {
    MAX_VALUE_BYTES.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_names_the_script_its_keys_and_its_arguments() {
        let (scripts, keys) = (Scripts::new(), EntryKeys::new("ecr-broker", "ab12"));
        let call = Call { script: &scripts.release, keys: &keys, arguments: &[b"owner"] };
        let sent = |command: Cmd| String::from_utf8(command.get_packed_command()).unwrap();
        let by_hash = sent(call.by_hash());
        assert!(by_hash.starts_with("*6\r\n$7\r\nEVALSHA\r\n$40\r\n"), "{by_hash}");
        for part in ["$21\r\necr-broker:1:{ab12}:t\r\n", "$21\r\necr-broker:1:{ab12}:l\r\n", "$5\r\nowner\r\n"] {
            assert!(by_hash.contains(part), "{part}: {by_hash}");
        }
        assert!(sent(call.by_text()).contains(RELEASE));
    }
}
