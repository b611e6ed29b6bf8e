//! Which name was meant by one that is nearly right.

use super::reference::SETTINGS;

/// How many letters a misspelt name may have too many, too few, or wrong.
const MOST_WRONG: usize = 2;

/// The variable that names the settings file.
pub(super) const CONFIG_VARIABLE: &str = "HOLDFAST_CONFIG";

/// The environment variable that was meant by one that is none. Others inject variables that begin like ours, so
/// that one which is further from all of them was not misspelt.
pub(super) fn meant_variable(name: &str) -> Option<&'static str> {
    let variables = SETTINGS.iter().map(|setting| setting.variable);
    nearest(name, variables.chain([CONFIG_VARIABLE]))
}

/// The setting that was meant by a name in a settings file that is none.
pub(super) fn meant_key(name: &str) -> Option<&'static str> {
    nearest(name, SETTINGS.iter().map(|setting| setting.key))
}

fn nearest(name: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    // The distance costs the product of both lengths, and a name from outside may be long.
    let near = names.filter(|other| other.len().abs_diff(name.len()) <= MOST_WRONG);
    let measured = near.map(|other| (strsim::damerau_levenshtein(name, other), other));
    let (wrong, other) = measured.min_by_key(|(wrong, _)| *wrong)?;
    (wrong <= MOST_WRONG).then_some(other)
}
