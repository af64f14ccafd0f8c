//! `[policy]` and `[[grants]]`: which caller may have which credential.

use super::grants;
use crate::config::files::INCLUDE;
use crate::config::model::Mode;
use crate::config::reader::Reader;
use crate::config::settings;
use crate::policy::Policy;
use crate::profile::Profile;

pub(in crate::config) fn read(reader: &mut Reader<'_>, profiles: &[Profile]) -> Policy {
    match (grants::read(reader, profiles), reader.get(&settings::POLICY_MODE)) {
        (Policy::Open, _) if reader.file().contains_key(INCLUDE) => {
            reader.report_file("include: there are no [[grants]] in this file nor in those that it includes, and everybody would have everything; write some, or grants = []");
            Policy::Open
        }
        (Policy::Grants(grants), Mode::Observe) => Policy::Observed(grants),
        (Policy::Open, Mode::Observe) => {
            reader.report(&settings::POLICY_MODE, "there are no [[grants]] to observe; write some, or grants = []");
            Policy::Open
        }
        (policy, _) => policy,
    }
}
