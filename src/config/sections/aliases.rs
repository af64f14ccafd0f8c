//! `[aliases]`: other host names for registries.

use toml::Value;

use crate::config::reader::Reader;
use crate::config::values::string;
use crate::registry::{Aliases, Registry};

/// The heading.
pub(in crate::config) const ALIASES: &str = "aliases";

/// Reads the aliases; only the main file can have them.
pub(in crate::config) fn read(reader: &mut Reader<'_>) -> Aliases {
    let (aliases, problems) = parse(reader.file().get(ALIASES));
    for problem in problems {
        reader.report_file(&problem);
    }
    aliases
}

/// Reads the aliases of the section, and returns its problems.
fn parse(section: Option<&Value>) -> (Aliases, Vec<String>) {
    let mut aliases = Aliases::default();
    let problems = match section {
        None => Vec::new(),
        Some(Value::Table(table)) => {
            let add = |(alias, value): (&String, &Value)| add(&mut aliases, alias, value).err();
            table.iter().filter_map(add).collect()
        }
        Some(_) => vec!["aliases is a section; write [aliases] and \"HOST\" = \"REGISTRY\" below it".to_owned()],
    };
    (aliases, problems)
}

fn add(aliases: &mut Aliases, alias: &str, value: &Value) -> Result<(), String> {
    let named = |problem: String| format!("aliases.{alias:?}: {problem}");
    let registry = string(value).map_err(named)?.parse::<Registry>().map_err(|error| named(error.to_string()))?;
    aliases.add(alias, registry).map_err(|error| named(error.to_string()))
}

#[cfg(test)]
mod tests {
    use crate::config::print::effective;
    use crate::config::tests::{file, load, problems, sources};

    #[test]
    fn aliases_name_registries_and_bad_hosts_are_refused() {
        let text = "[aliases]\n\"a.example\" = \"public.ecr.aws\"\n\"b.example:5000\" = \"https://123456789012.dkr.ecr.us-east-1.amazonaws.com/x\"";
        assert_eq!(load(text).unwrap().aliases.iter().count(), 2);
        let file = file(text);
        assert!(effective(&sources(&file, &[])).contains("\"a.example\" = \"public.ecr.aws\""));
        for (line, problem) in [
            ("\"public.ecr.aws\" = \"public.ecr.aws\"", "an ECR host cannot be an alias"),
            ("\"A.example\" = \"public.ecr.aws\"", "full lower-case host"),
            ("\"a.example:443\" = \"public.ecr.aws\"", "is not 443"),
            ("\"https://a.example\" = \"public.ecr.aws\"", "without scheme and path"),
            ("\"localhost\" = \"public.ecr.aws\"", "a full lower-case host"),
            ("\"docker.io\" = \"public.ecr.aws\"", "Docker Hub"),
            ("\"a b\" = \"public.ecr.aws\"", "not a host name"),
            ("\"1.dkr.ecr.us-east-1.amazonaws.com\" = \"public.ecr.aws\"", "twelve digits"),
            ("\"a.example\" = \"ghcr.io\"", "not an ECR registry"),
            ("\"a.example\" = 5", "expected a string, got 5"),
        ] {
            let problems = problems(&format!("[aliases]\n{line}"));
            assert!(
                problems.len() == 1 && problems[0].starts_with("aliases.\"") && problems[0].contains(problem),
                "{problems:?}"
            );
        }
        assert!(problems("aliases = []")[0].contains("write [aliases]"));
    }
}
