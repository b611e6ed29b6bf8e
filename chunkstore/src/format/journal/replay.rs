//! What the bytes of a journal say, read from the front, and whether damage hides something behind it.
//!
//! A journal ends at the first bytes that are no record: torn by a crash, or the zeros that Dolt once wrote ahead.
//! That is no loss, unless a root record and any record after it can still be made out behind that place: then roots
//! were committed that the valid part does not have, and whoever opens the store must not go on.

use super::record::{MAX_RECORD_LEN, MIN_RECORD_LEN, Record, RecordError, is_intact};

/// What lies at the front of some bytes of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A record of so many bytes.
    Record {
        /// What it says.
        record: Record,
        /// Its length, all included.
        len: u32,
    },
    /// More bytes are needed to tell: so many in all.
    More {
        /// How many.
        needed: u32,
    },
    /// No record: the valid part ends before these bytes.
    End,
}

/// Looks at the front of `bytes`. `is_last` says that the journal ends with them.
pub fn step(bytes: &[u8], is_last: bool) -> Result<Step, RecordError> {
    let incomplete = |needed| match is_last {
        true => Step::End,
        false => Step::More { needed },
    };
    let Some(len) = bytes.first_chunk() else {
        return Ok(incomplete(4));
    };
    let len = u32::from_be_bytes(*len);
    if !(MIN_RECORD_LEN..=MAX_RECORD_LEN).contains(&len) {
        return Ok(Step::End);
    }
    let Some(record) = usize::try_from(len).ok().and_then(|len| bytes.get(..len)) else {
        return Ok(incomplete(len));
    };
    if !is_intact(record) {
        return Ok(Step::End);
    }
    let record = Record::decode(record)?;
    Ok(Step::Record { record, len })
}

/// Searches what lies behind the valid part of a journal for records that were lost.
#[derive(Debug, Default)]
pub struct LossSearch {
    has_root: bool,
    records: u64,
    has_noise: bool,
}

/// What a search found at the front of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing here: go on so many bytes further.
    Nothing {
        /// How many.
        skip: usize,
    },
    /// More bytes are needed to tell: so many in all.
    More {
        /// How many.
        needed: u32,
    },
    /// A root that was committed, and records behind it: data was lost.
    Loss,
}

impl LossSearch {
    /// How many intact records were found so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Whether anything but zeros was seen so far.
    pub fn has_noise(&self) -> bool {
        self.has_noise
    }

    /// Looks at the front of `bytes`. `is_last` says that the journal ends with them.
    pub fn look(&mut self, bytes: &[u8], is_last: bool) -> Found {
        // Zeros come by the mebibyte.
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        if zeros > 4 {
            return Found::Nothing { skip: zeros - 3 };
        }
        self.has_noise |= zeros < bytes.len();
        // Only what begins with a field can be a record.
        if bytes.get(4).is_some_and(|tag| !(1..=4).contains(tag)) {
            return Found::Nothing { skip: 1 };
        }
        match step(bytes, is_last) {
            Ok(Step::More { needed }) => Found::More { needed },
            Ok(Step::Record { .. }) if self.has_root => Found::Loss,
            Ok(Step::Record {
                record: Record::Root { .. },
                len,
            }) => {
                self.has_root = true;
                self.records += 1;
                let skip = usize::try_from(len).unwrap_or(1);
                Found::Nothing { skip }
            }
            Ok(Step::Record { .. }) => {
                self.records += 1;
                Found::Nothing { skip: 1 }
            }
            _ => Found::Nothing { skip: 1 },
        }
    }
}
