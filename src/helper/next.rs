//! Who keeps the logins of other registries: another helper, or a file as docker and podman have it.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use data_encoding::BASE64;
use serde_json::{Map, Value, json};

use super::Reply;
use super::docker::{Login, basic};

const NOT_FOUND: &str = "credentials not found in native keychain\n";
/// The name that means that the secret is an identity token.
const TOKEN: &str = "<token>";
/// Ours: asking them would be asking for ever.
const OURSELVES: [&str; 2] = ["ecr-broker", "ecr-login"];

/// `next` of `client.toml`: with a slash it is a file, otherwise a helper's name.
#[derive(Debug)]
pub(super) enum Next {
    Helper(String),
    File(PathBuf),
}

impl From<&str> for Next {
    fn from(text: &str) -> Self {
        if text.contains('/') { Self::File(text.into()) } else { Self::Helper(text.to_owned()) }
    }
}

impl Next {
    pub(super) fn get(&self, server: &str) -> Reply {
        let file = match self {
            Self::Helper(name) => return pass_on(name, "get", server),
            Self::File(file) => file,
        };
        let found = read(file).map(|config| find(&config, server).and_then(|(_, entry)| login(server, entry)));
        match found {
            Ok(Some(login)) => Reply::good(format!("{login}\n")),
            Ok(None) => Reply::bad(NOT_FOUND),
            Err(problem) => Reply::bad(problem + "\n"),
        }
    }

    pub(super) fn store(&self, login: &Login) -> Reply {
        let Login { server, username, secret } = login;
        match self {
            Self::Helper(name) => {
                let login = json!({ "ServerURL": server, "Username": username, "Secret": secret });
                pass_on(name, "store", &login.to_string())
            }
            Self::File(file) => change(file, |auths| {
                let entry = if username == TOKEN {
                    json!({ "auth": basic("0123", ""), "identitytoken": secret })
                } else {
                    json!({ "auth": basic(username, secret) })
                };
                auths.insert(server.clone(), entry);
            }),
        }
    }

    pub(super) fn erase(&self, server: &str) -> Reply {
        match self {
            Self::Helper(name) => pass_on(name, "erase", server),
            Self::File(file) => change(file, |auths| {
                auths.retain(|own, _| !is_same(own, server));
            }),
        }
    }

    pub(super) fn list(&self) -> Result<Map<String, Value>, String> {
        match self {
            Self::Helper(name) => {
                let reply = pass_on(name, "list", "unused");
                let list = serde_json::from_str(&reply.stdout).ok().filter(|_| reply.well);
                list.ok_or_else(|| format!("docker-credential-{name} list: {}", reply.stdout.trim()))
            }
            Self::File(file) => {
                let config = read(file)?;
                let auths = config.get("auths").and_then(Value::as_object);
                let user = |entry: &Value| Some(Value::from(user_of(entry)?.0));
                Ok(auths.into_iter().flatten().filter_map(|(own, entry)| Some((own.clone(), user(entry)?))).collect())
            }
        }
    }
}

/// Says what the other helper says.
fn pass_on(name: &str, action: &str, question: &str) -> Reply {
    let program = format!("docker-credential-{name}");
    if OURSELVES.contains(&name) {
        return Reply::bad(format!("next in client.toml is {name:?}, which is this helper itself; name another one\n"));
    }
    match run(Command::new(&program).arg(action), question) {
        Ok(reply) => reply,
        Err(error) => Reply::bad(format!("{program}, which next in client.toml names, cannot be run: {error}\n")),
    }
}

/// Runs a program with this on its stdin; what it says on stderr goes to ours.
pub(super) fn run(command: &mut Command, question: &str) -> std::io::Result<Reply> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read what it is asked says so by its answer.
        let _ = stdin.write_all(question.as_bytes());
    }
    let output = child.wait_with_output()?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(Reply { stdout, stderr: String::new(), well: output.status.success() })
}

/// One that is not there has nothing in it.
fn read(file: &Path) -> Result<Map<String, Value>, String> {
    match fs::read_to_string(file) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Map::new()),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}

/// By its own name first, then by that of the host alone.
fn find<'a>(config: &'a Map<String, Value>, server: &str) -> Option<(&'a String, &'a Value)> {
    let auths = config.get("auths")?.as_object()?;
    auths.get_key_value(server).or_else(|| auths.iter().find(|(own, _)| is_same(own, server)))
}

fn is_same(own: &str, server: &str) -> bool {
    host(own) == host(server)
}

fn host(server: &str) -> &str {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

fn login(server: &str, entry: &Value) -> Option<Value> {
    let (username, secret) = user_of(entry)?;
    Some(json!({ "ServerURL": server, "Username": username, "Secret": secret }))
}

fn user_of(entry: &Value) -> Option<(String, String)> {
    if let Some(token) = entry.get("identitytoken").and_then(Value::as_str).filter(|token| !token.is_empty()) {
        return Some((TOKEN.to_owned(), token.to_owned()));
    }
    let auth = BASE64.decode(entry.get("auth")?.as_str()?.as_bytes()).ok()?;
    let (user, secret) = std::str::from_utf8(&auth).ok()?.split_once(':')?;
    Some((user.to_owned(), secret.trim_end_matches('\0').to_owned()))
}

/// One after the other, and whole or not at all: whoever reads it finds what it was, or what it is.
fn change(file: &Path, change: impl FnOnce(&mut Map<String, Value>)) -> Reply {
    let changed = || -> Result<(), String> {
        let problem = |error: std::io::Error| format!("{}: {error}", file.display());
        let directory = file.parent().filter(|directory| !directory.as_os_str().is_empty());
        let directory = directory.ok_or_else(|| format!("{} is in no directory", file.display()))?;
        fs::create_dir_all(directory).map_err(problem)?;
        let beside = |suffix: &str| {
            let mut name = file.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let private = || File::options().create(true).truncate(true).write(true).mode(0o600).to_owned();
        let lock = private().open(beside(".lock")).map_err(problem)?;
        lock.lock().map_err(problem)?;
        let mut config = read(file)?;
        let auths = config.entry("auths").or_insert_with(|| json!({}));
        let auths = auths.as_object_mut().ok_or_else(|| format!("{}: auths is no object", file.display()))?;
        change(auths);
        let text = serde_json::to_string_pretty(&config).map_err(|error| error.to_string())?;
        let new = beside(".new");
        let mut written = private().open(&new).map_err(problem)?;
        written.write_all(text.as_bytes()).and_then(|()| written.sync_all()).map_err(problem)?;
        fs::rename(&new, file).map_err(problem)
    };
    match changed() {
        Ok(()) => Reply::good(String::new()),
        Err(problem) => Reply::bad(problem + "\n"),
    }
}
