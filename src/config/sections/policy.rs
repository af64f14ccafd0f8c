//! `[policy]` and `[[grants]]`: which caller may have which credential.

use super::grants::{self, Context, Grants};
use crate::config::files::INCLUDE;
use crate::config::model::Mode;
use crate::config::reader::Reader;
use crate::config::settings;
use crate::policy::Policy;

/// Reads the grants and the mode. An `include` without grants does not open the broker to every caller.
pub(in crate::config) fn read(reader: &mut Reader<'_>, context: &Context<'_>) -> Grants {
    let settings::Policy { mode } = settings::Policy::read(reader);
    let (policy, files) = grants::read(reader, context);
    let policy = match (policy, mode) {
        (Policy::Open, _) if reader.file().contains_key(INCLUDE) => {
            reader.report_file(
                "include: no file has grants, so every caller would have full access; write [[grants]] or grants = []",
            );
            Policy::Open
        }
        (Policy::Grants(grants), Mode::Observe) => Policy::Observed(grants),
        (Policy::Open, Mode::Observe) => {
            let problem = "\"observe\" needs grants to observe; write [[grants]] or grants = []";
            reader.report(&settings::Policy::mode(), problem);
            Policy::Open
        }
        (policy, Mode::Enforce) | (policy @ Policy::Observed(_), Mode::Observe) => policy,
    };
    (policy, files)
}
