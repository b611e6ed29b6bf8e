//! Names that there are, for an error about one that there is not.

use std::fmt;

/// How many names are shown.
const SHOWN: usize = 10;

/// Some of the names that there are, and the one among all that is nearest to what was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownNames {
    nearest: Option<String>,
    first: Vec<String>,
    count: usize,
}

impl KnownNames {
    /// Looks among names for those that are shown where `wanted` is not found.
    pub fn near<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Self {
        let mut known = Self::default();
        let mut least = farthest(wanted);
        for name in names {
            known.count += 1;
            if known.first.len() < SHOWN {
                known.first.push(name.to_owned());
            }
            let is_in_reach = name.len().abs_diff(wanted.len()) <= least;
            if is_in_reach && let Some(distance) = distance(wanted, name, least) {
                known.nearest = Some(name.to_owned());
                // Of two that are as near the first is taken.
                match distance.checked_sub(1) {
                    Some(nearer) => least = nearer,
                    None => break,
                }
            }
        }
        known
    }

    /// What may have been meant, and what there is; nothing where there is nothing.
    pub fn hint(&self) -> Option<String> {
        (self.count > 0).then(|| self.to_string())
    }
}

impl fmt::Display for KnownNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |name: &String| name.escape_default().to_string();
        if let Some(nearest) = &self.nearest {
            write!(f, "did you mean {}? ", shown(nearest))?;
        }
        let names: Vec<_> = self.first.iter().map(shown).collect();
        let are = if self.count == 1 { "is" } else { "are" };
        write!(f, "there {are} {}", names.join(", "))?;
        match self.count - self.first.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// How far a name may be from what was asked for to be meant by it.
fn farthest(wanted: &str) -> usize {
    match wanted.chars().count() {
        0 => 0,
        1..=3 => 1,
        4..=8 => 2,
        _ => 3,
    }
}

/// How many letters are added, left out, changed, or exchanged with the next one, if that is at most `most`; the case of
/// letters does not count.
fn distance(one: &str, other: &str, most: usize) -> Option<usize> {
    let letters = |text: &str| {
        text.chars()
            .flat_map(char::to_lowercase)
            .collect::<Vec<_>>()
    };
    let (one, other) = (letters(one), letters(other));
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (row, letter) in one.iter().enumerate() {
        let mut this = vec![row + 1];
        for (column, theirs) in other.iter().enumerate() {
            let changed = last[column] + usize::from(letter != theirs);
            let mut least = changed.min(last[column + 1] + 1).min(this[column] + 1);
            let is_exchanged =
                row > 0 && column > 0 && *letter == other[column - 1] && one[row - 1] == *theirs;
            if is_exchanged {
                least = least.min(before[column - 1] + 1);
            }
            this.push(least);
        }
        before = std::mem::replace(&mut last, this);
    }
    last.pop().filter(|distance| *distance <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_differ_are_counted() {
        for (one, other, wanted) in [
            ("main", "main", 0),
            ("main", "Main", 0),
            ("main", "mian", 1),
            ("main", "mai", 1),
            ("main", "maain", 1),
            ("main", "moon", 2),
            ("", "abc", 3),
            ("äö", "öä", 1),
        ] {
            assert_eq!(distance(one, other, 9), Some(wanted), "{one} {other}");
            assert_eq!(distance(other, one, 9), Some(wanted), "{other} {one}");
        }
        assert_eq!(distance("main", "moon", 1), None);
    }

    #[test]
    fn what_may_be_meant_comes_first_and_many_are_not_all_shown() {
        let names: Vec<_> = (0..12)
            .map(|number| format!("branch-{number:02}"))
            .collect();
        let known = |wanted| KnownNames::near(wanted, names.iter().map(String::as_str));
        let told = known("brnach-11").hint().unwrap();
        assert!(
            told.starts_with("did you mean branch-11? there are branch-00, "),
            "{told}"
        );
        assert!(told.ends_with("branch-09 and 2 more"), "{told}");
        let told = known("other").hint().unwrap();
        assert!(told.starts_with("there are branch-00"), "{told}");
        let told = KnownNames::near("mian", ["main", "mia"].into_iter());
        assert_eq!(told.to_string(), "did you mean main? there are main, mia");
        let told = KnownNames::near("x", ["a\x1b[2Jb"].into_iter());
        assert!(!told.to_string().contains('\x1b'), "{told}");
        assert_eq!(KnownNames::near("x", std::iter::empty()).hint(), None);
    }
}
