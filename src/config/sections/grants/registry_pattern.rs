//! Registry patterns of grants, such as `{ public = true }`.

use toml::{Table, Value};

use crate::config::value_type::Expected;
use crate::config::values::strings;
use crate::policy::{Accounts, LabelPattern, RegistryPattern};
use crate::registry::Partition;

const PATTERN: Expected = Expected::Words("{ public = true } or { accounts = [\"…\"], regions = [\"…\"] }");

pub(super) fn read(table: &Table) -> Result<RegistryPattern, String> {
    if table.len() == 1 && table.get("public") == Some(&Value::Boolean(true)) {
        return Ok(RegistryPattern::Public);
    }
    match (table.get("accounts"), table.get("regions")) {
        (Some(accounts), Some(regions)) if table.len() == 2 => {
            Ok(RegistryPattern::Private { accounts: read_accounts(accounts)?, regions: read_regions(regions)? })
        }
        _ => Err(PATTERN.but_got(&Value::Table(table.clone()))),
    }
}

fn read_accounts(value: &Value) -> Result<Accounts, String> {
    let texts = strings("accounts", value)?;
    if texts == ["*"] {
        return Ok(Accounts::Any);
    }
    if texts.contains(&"*") {
        return Err("accounts: \"*\" matches every account; remove the others".to_owned());
    }
    let accounts = texts.iter().map(|text| text.parse().map_err(|error| format!("accounts: {error}")));
    accounts.collect::<Result<_, String>>().map(Accounts::Of)
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
