//! `--remove`: deletes the Secrets that sync created.

use super::names::{Names, unlisted};
use super::reconcile::{foreign, give_up, is_ours};
use super::slot::failure;
use super::template::stored_values;
use crate::cli::sync::target::Problem;
use crate::exit_code::Exit;
use crate::kubernetes::{Api, Scope, SecretName};
use crate::terminal::{print_error, print_line};

/// Deletes the Secrets. Returns the exit code of the first problem.
pub(super) async fn remove(api: &Api, names: &Names) -> anyhow::Result<Exit> {
    let (namespaces, problem) = selected(api, names).await;
    let mut exit = report(problem.map_or(Ok(None), Err))?;
    for name in names.in_namespaces(&namespaces) {
        let ended = report(remove_one(api, &name).await.map(Some))?;
        exit = if exit == Exit::Success { ended } else { exit };
    }
    Ok(exit)
}

/// Returns the selected namespaces, or why none is known. A failure leaves the Secrets that are named with their namespace.
async fn selected(api: &Api, names: &Names) -> (Vec<String>, Option<Problem>) {
    let Some(selector) = names.selector() else { return (Vec::new(), None) };
    match api.namespaces(selector).await {
        Ok(namespaces) => {
            let problem = names.without_match(&namespaces, "nothing is removed there; correct --namespace-selector");
            (namespaces, problem)
        }
        Err(error) => (Vec::new(), Some(unlisted(&error))),
    }
}

/// Prints a line or a problem, and returns its exit code.
fn report(result: Result<Option<String>, Problem>) -> anyhow::Result<Exit> {
    match result {
        Ok(line) => {
            line.map_or(Ok(()), print_line)?;
            Ok(Exit::Success)
        }
        Err(problem) => {
            print_error(&problem.text);
            Ok(problem.exit)
        }
    }
}

pub(super) async fn remove_one(api: &Api, name: &SecretName) -> Result<String, Problem> {
    let absent = || Ok(format!("{name}: not there"));
    let Some(secret) = api.secret(name).await.map_err(|error| failure(name, &error))? else { return absent() };
    if !is_ours(&secret) {
        give_up(api, name, &secret).await.map_err(|error| failure(name, &error))?;
        return Err(foreign(name));
    }
    match api.delete(name, &secret, &stored_values(&secret).into_iter().collect()).await {
        Ok(()) => Ok(format!("{name}: removed")),
        Err(error) if error.scope == Scope::Missing => absent(),
        Err(error) => Err(failure(name, &error)),
    }
}
