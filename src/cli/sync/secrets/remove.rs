//! `--remove`: deletes the Secrets that sync created.

use super::names::Names;
use super::reconcile::{foreign, is_ours};
use super::slot::failure;
use super::template::stored_values;
use crate::cli::sync::target::Problem;
use crate::exit_code::Exit;
use crate::kubernetes::{Api, ApiError, SecretName};
use crate::terminal::{print_error, print_line};

/// Deletes the Secrets. Returns the exit code of the first problem.
pub(super) async fn remove(api: &Api, names: &Names) -> anyhow::Result<Exit> {
    let namespaces = match names.selector() {
        Some(selector) => api.namespaces(selector).await?,
        None => Vec::new(),
    };
    let mut exit = Exit::Success;
    for name in names.in_namespaces(&namespaces) {
        match remove_one(api, &name).await {
            Ok(line) => print_line(line)?,
            Err(problem) => {
                print_error(&problem.text);
                exit = if exit == Exit::Success { problem.exit } else { exit };
            }
        }
    }
    Ok(exit)
}

pub(super) async fn remove_one(api: &Api, name: &SecretName) -> Result<String, Problem> {
    let problem = |error: ApiError| failure(name, &error);
    let Some(secret) = api.secret(name).await.map_err(problem)? else { return Ok(format!("{name}: not there")) };
    if !is_ours(&secret) {
        return Err(foreign(name));
    }
    api.delete(name, &secret, &stored_values(&secret).into_iter().collect()).await.map_err(problem)?;
    Ok(format!("{name}: removed"))
}
