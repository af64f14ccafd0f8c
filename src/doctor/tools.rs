//! Step `tools`: whether docker and podman on this machine use the broker's credential helper for the registry.

use super::finding::{Finding, StepResult};
use super::problem::Problem;
use crate::client::{Paths, registry_host};

mod paths;
mod tool;

pub(crate) use self::paths::HELPER_PROGRAM;
pub use self::paths::ToolPaths;
use self::tool::{ConfiguredHelper, Tool};

pub(super) fn check(registry: &str, tool_paths: &ToolPaths, paths: &Paths) -> StepResult<()> {
    let Some(host) = registry_host(registry) else {
        return (Finding::skip("the argument is not the name of a registry"), None);
    };
    let tools: Vec<_> = Tool::all(tool_paths, paths).into_iter().filter(|tool| tool.file.exists()).collect();
    if tools.is_empty() {
        return (Finding::skip("docker and podman have no credential file here"), None);
    }
    let helpers: Vec<_> = tools.iter().map(|tool| tool.helper(&host, tool_paths)).collect();
    let finding = tools.iter().zip(&helpers).fold(head(&helpers, tool_paths), |finding, (tool, helper)| {
        // podman reads its next file if this one has no entry.
        let same_tool = tools.iter().zip(&helpers).filter(|(other, _)| other.name == tool.name);
        let uses_broker = same_tool.into_iter().any(|(_, helper)| helper.broker_program().is_some());
        tool.note(finding, helper, (!uses_broker).then_some(&host))
    });
    (finding, Some(()))
}

fn head(helpers: &[ConfiguredHelper], tool_paths: &ToolPaths) -> Finding {
    let programs: Vec<_> = helpers.iter().filter_map(ConfiguredHelper::broker_program).collect();
    if let Some(program) = programs.iter().find(|program| tool_paths.find(program).is_none()) {
        let fix = format!(
            "install {HELPER_PROGRAM}, which comes with ecr-broker, as {program} in a PATH directory of docker and podman"
        );
        return Finding::fail(Problem::HelperNotInPath, *program).fix(fix);
    }
    if programs.is_empty() {
        let text = "the broker's helper is not configured for this registry; ignore this if you chose another way";
        return Finding::skip(text);
    }
    Finding::ok("the broker's helper is configured for this registry")
}
