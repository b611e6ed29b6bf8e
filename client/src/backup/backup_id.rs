//! The numbers of backups, and the names of what is kept of each.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The number of a backup: one more than that of the backup before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BackupId(u64);

/// Text that is not the number of a backup.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the number of a backup")]
pub struct BackupIdError {
    text: String,
}

impl BackupId {
    /// That of the first backup.
    pub const FIRST: Self = Self(1);

    /// That of the backup behind this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// That of this number, which is not zero.
    pub(super) fn of_number(number: u64) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }

    /// The number itself.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }

    /// The name of its record. Names sort as numbers do.
    pub(super) fn record_name(self) -> String {
        format!("{:010}.json", self.0)
    }

    /// The name of what says that it is forgotten.
    pub(super) fn forgotten_name(self) -> String {
        format!("{:010}.forgotten", self.0)
    }

    /// Reads the name of a file that ends with `suffix`.
    pub(super) fn of_name(name: &str, suffix: &str) -> Option<Self> {
        let digits = name.strip_suffix(suffix)?;
        let is_number = digits.len() >= 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse().ok().map(Self)).flatten()
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for BackupId {
    type Err = BackupIdError;

    fn from_str(text: &str) -> Result<Self, BackupIdError> {
        let wrong = || BackupIdError {
            text: text.chars().take(64).collect(),
        };
        let number: u64 = text.parse().map_err(|_| wrong())?;
        match number {
            0 => Err(wrong()),
            number => Ok(Self(number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_numbers_do() {
        let names = [9, 10, 99_999].map(|number| BackupId(number).record_name());
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(BackupId::of_name(&names[1], ".json"), Some(BackupId(10)));
        assert_eq!(BackupId::of_name(&names[1], ".forgotten"), None);
        assert_eq!(BackupId::of_name("x.json", ".json"), None);
        assert!("0".parse::<BackupId>().is_err());
        assert_eq!("0000000010".parse(), Ok(BackupId(10)));
    }
}
