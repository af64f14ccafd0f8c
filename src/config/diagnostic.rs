//! A problem in the configuration and where it is.

use std::collections::HashMap;
use std::fmt;

/// Problems of one place that are reported: an operator mends the first ones first, and a file may have thousands.
const MAX_OF_A_PLACE: usize = 100;

/// A problem in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file, environment variable or flag to change.
    pub place: String,
    /// The problem and its fix.
    pub problem: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

/// Keeps the first problems of each place, and then the number of its others.
pub(super) fn limited(all: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut kept: Vec<_> = all
        .into_iter()
        .filter(|one| {
            let number = numbers.entry(one.place.clone()).or_default();
            *number += 1;
            *number <= MAX_OF_A_PLACE
        })
        .collect();
    let mut beyond: Vec<_> = numbers.into_iter().filter(|(_, number)| *number > MAX_OF_A_PLACE).collect();
    beyond.sort();
    kept.extend(beyond.into_iter().map(|(place, number)| Diagnostic {
        place,
        problem: format!("and {} more problems; correct the others first", number - MAX_OF_A_PLACE),
    }));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_of_a_place_beyond_its_first_hundred_are_counted() {
        let problems = |place: &str, number| {
            let place = place.to_owned();
            (0..number).map(move |at| Diagnostic { place: place.clone(), problem: format!("problem {at}") })
        };
        let few: Vec<_> = problems("a", 100).chain(problems("b", 1)).collect();
        assert_eq!(limited(few.clone()), few);
        let many = limited(problems("c", 102).chain(problems("b", 1)).chain(problems("a", 101)).collect());
        let texts: Vec<_> = many.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 203);
        assert_eq!(texts[99..102], ["c: problem 99", "b: problem 0", "a: problem 0"]);
        let counted =
            ["a: and 1 more problems; correct the others first", "c: and 2 more problems; correct the others first"];
        assert_eq!(texts[201..], counted);
    }
}
