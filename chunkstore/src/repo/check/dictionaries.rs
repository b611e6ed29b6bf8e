//! Dictionaries that are kept ready while a file is checked.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::format::archive::Dictionary;

/// How many dictionaries are kept ready.
const KEPT_DICTIONARIES: usize = 64;

/// How many bytes the dictionaries that are kept may have together.
const KEPT_DICTIONARY_BYTES: usize = 4 << 20;

/// Dictionaries that were used lately, the latest first.
#[derive(Default)]
pub(super) struct KeptDictionaries {
    kept: VecDeque<(u32, Arc<Dictionary>)>,
    bytes: usize,
}

impl KeptDictionaries {
    pub(super) fn get(&mut self, number: u32) -> Option<Arc<Dictionary>> {
        let at = self.kept.iter().position(|(kept, _)| *kept == number)?;
        let found = self.kept.remove(at)?;
        let dictionary = Arc::clone(&found.1);
        self.kept.push_front(found);
        Some(dictionary)
    }

    pub(super) fn keep(&mut self, number: u32, dictionary: Arc<Dictionary>) {
        self.bytes += dictionary.len();
        self.kept.push_front((number, dictionary));
        while self.kept.len() > KEPT_DICTIONARIES
            || (self.bytes > KEPT_DICTIONARY_BYTES && self.kept.len() > 1)
        {
            if let Some((_, dictionary)) = self.kept.pop_back() {
                self.bytes -= dictionary.len();
            }
        }
    }
}
