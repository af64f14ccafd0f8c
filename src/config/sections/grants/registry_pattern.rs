//! Registry patterns of grants, such as `{ public = true }`.

use toml::{Table, Value};

use crate::config::value_type::Expected;
use crate::config::values::{accounts as accounts_of, strings};
use crate::policy::{LabelPattern, RegistryPattern};
use crate::registry::Partition;

const PATTERN: Expected = Expected::Words("{ public = true } or { accounts = [\"…\"], regions = [\"…\"] }");

pub(in crate::config) fn read(table: &Table) -> Result<RegistryPattern, String> {
    if table.len() == 1 && table.get("public") == Some(&Value::Boolean(true)) {
        return Ok(RegistryPattern::Public);
    }
    match (table.get("accounts"), table.get("regions")) {
        (Some(accounts), Some(regions)) if table.len() == 2 => {
            Ok(RegistryPattern::Private { accounts: accounts_of(accounts)?, regions: read_regions(regions)? })
        }
        _ => Err(PATTERN.but_got(&Value::Table(table.clone()))),
    }
}

fn read_regions(value: &Value) -> Result<Vec<LabelPattern>, String> {
    let region = |text: &str| {
        let pattern: LabelPattern = text.parse().map_err(|error| format!("regions: {error}"))?;
        let problem = || {
            format!("regions: {text:?} matches none of AWS's regions; write it like \"eu-central-1\" or \"eu-west-*\"")
        };
        Partition::all_owning(text).next().map(|_| pattern).ok_or_else(problem)
    };
    strings("regions", value)?.into_iter().map(region).collect()
}
