//! Who keeps the logins of other registries: another helper, or a file as docker and podman have it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use data_encoding::BASE64;
use serde_json::{Map, Value, json};

use super::Reply;
use super::basic;
use super::docker::{Login, NOT_FOUND};
use super::json_file::{self, Keep, read};

/// The name that means that the secret is an identity token.
const TOKEN: &str = "<token>";
/// What docker writes beside an identity token, for those who read nothing but `auth`.
const NO_USER: (&str, &str) = ("00000000-0000-0000-0000-000000000000", "");
/// Set for whoever is asked by us: one of our own asking on would ask for ever.
const ASKED_BY_US: &str = "ECR_BROKER_HELPER";

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
        match read(file).map(|config| find(&config, server)) {
            Ok(Some((username, secret))) => {
                let login = json!({ "ServerURL": server, "Username": username, "Secret": secret });
                Reply::good(format!("{login}\n"))
            }
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
                    json!({ "auth": basic(NO_USER.0, NO_USER.1), "identitytoken": secret })
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
            Self::File(file) => change(file, |auths| auths.retain(|own, _| !is_same(own, server))),
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
                let user = |entry: &Value| Some(Value::from(login_of(entry)?.0));
                Ok(auths.into_iter().flatten().filter_map(|(own, entry)| Some((own.clone(), user(entry)?))).collect())
            }
        }
    }
}

/// Says what the other helper says.
fn pass_on(name: &str, action: &str, question: &str) -> Reply {
    let program = format!("docker-credential-{name}");
    match run(&program, &[action], question) {
        Ok(reply) if reply.well || !reply.stdout.trim().is_empty() => reply,
        Ok(_) => Reply::bad(format!("{program}, which next in client.toml names, failed and does not say why\n")),
        Err(error) => Reply::bad(format!("{program}, which next in client.toml names, cannot be run: {error}\n")),
    }
}

/// Runs a program with this on its stdin; what it says on stderr goes to ours.
pub(super) fn run(program: &str, arguments: &[&str], question: &str) -> std::io::Result<Reply> {
    #[expect(clippy::disallowed_methods, reason = "set by ourselves, for ourselves")]
    if std::env::var_os(ASKED_BY_US).is_some() {
        return Err(std::io::Error::other("it would be asked by another ecr-broker helper, and perhaps is this one"));
    }
    let mut command = Command::new(program);
    command.args(arguments).env(ASKED_BY_US, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let stdin = child.stdin.take();
    // Beside the reading: a program may say much before it has read all.
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            // One that does not read what it is asked says so by its answer.
            stdin.map(|mut stdin| stdin.write_all(question.as_bytes()))
        });
        child.wait_with_output()
    })?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(Reply { stdout, stderr: String::new(), well: output.status.success() })
}

/// By its own name first, then by another of the same registry's. docker leaves entries in which there is nothing.
fn find(config: &Map<String, Value>, server: &str) -> Option<(String, String)> {
    let auths = config.get("auths")?.as_object()?;
    let own = auths.get(server).and_then(login_of);
    own.or_else(|| auths.iter().filter(|(own, _)| is_same(own, server)).find_map(|(_, entry)| login_of(entry)))
}

/// Whether both name one registry, and not a part of it: podman has logins for repositories too.
fn is_same(own: &str, server: &str) -> bool {
    registry(own).is_some_and(|own| Some(own) == registry(server))
}

fn registry(server: &str) -> Option<&str> {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest).trim_end_matches('/');
    match rest.split_once('/') {
        None => Some(rest),
        Some((host, "v1" | "v2")) => Some(host),
        Some(_) => None,
    }
    .map(|host| if matches!(host, "index.docker.io" | "registry-1.docker.io") { "docker.io" } else { host })
}

fn login_of(entry: &Value) -> Option<(String, String)> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Some((TOKEN.to_owned(), token.to_owned()));
    }
    if let (Some(username), Some(password)) = (text("username"), text("password")) {
        return Some((username.to_owned(), password.to_owned()));
    }
    let auth = BASE64.decode(text("auth")?.as_bytes()).ok()?;
    let (user, secret) = std::str::from_utf8(&auth).ok()?.split_once(':')?;
    Some((user.to_owned(), secret.trim_end_matches('\0').to_owned()))
}

/// One after the other, and whole or not at all: whoever reads it finds what it was, or what it is.
fn change(file: &Path, change: impl FnOnce(&mut Map<String, Value>)) -> Reply {
    let into_auths = |config: &mut Map<String, Value>| match config.entry("auths").or_insert_with(|| json!({})) {
        Value::Object(auths) => {
            change(auths);
            Ok(())
        }
        _ => Err(format!("{}: auths is no object", file.display())),
    };
    match refuse_dockers_own(file).and_then(|()| json_file::update(file, Keep::Mode, into_auths)) {
        Ok(_) => Reply::good(String::new()),
        Err(problem) => Reply::bad(problem + "\n"),
    }
}

/// docker writes its own file again when a helper has stored a login, as it was and without the login.
fn refuse_dockers_own(file: &Path) -> Result<(), String> {
    #[expect(clippy::disallowed_methods, reason = "where docker looks")]
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let own = variable("DOCKER_CONFIG").or_else(|| Some(variable("HOME")?.join(".docker")));
    let own = own.map(|directory| directory.join("config.json"));
    let same = own.is_some_and(|own| {
        own == file
            || fs::canonicalize(own).ok().is_some_and(|own| fs::canonicalize(file).is_ok_and(|file| file == own))
    });
    if same {
        return Err(format!(
            "{} is docker's own file, in which docker would overwrite the login; name another one as next in client.toml",
            file.display()
        ));
    }
    Ok(())
}
