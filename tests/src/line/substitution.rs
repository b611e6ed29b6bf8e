//! One text in place of another in a stream of bytes.

/// Replaces a text by one of the same length, wherever the stream is cut, and holds no byte back.
///
/// What begins like the text and then goes on in another way is changed as far as it was alike. For addresses of
/// servers on one machine that is no loss: it concerns ports with the same first digits.
#[derive(Debug, Clone)]
pub(super) struct Substitution {
    old: Vec<u8>,
    new: Vec<u8>,
    /// How many bytes of the text the stream has just ended with.
    matched: usize,
}

impl Substitution {
    /// One of `old` by `new`; `None` unless they are equally long, or where the first byte of `old` comes again in it.
    pub(super) fn new(old: &str, new: &str) -> Option<Self> {
        let (first, rest) = old.as_bytes().split_first()?;
        (old.len() == new.len() && !rest.contains(first)).then(|| Self {
            old: old.into(),
            new: new.into(),
            matched: 0,
        })
    }

    /// Replaces it in the next bytes of the stream.
    pub(super) fn apply(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if *byte != self.old[self.matched] {
                // The text can only begin anew here, as its first byte comes once.
                self.matched = 0;
            }
            if *byte == self.old[self.matched] {
                *byte = self.new[self.matched];
                self.matched = (self.matched + 1) % self.old.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_occurrence_is_replaced_wherever_the_stream_is_cut() {
        let old = "at http://one:123/a, hhttp://one:123http://one:123 http://two:123 http://one";
        let new = "at http://one:789/a, hhttp://one:789http://one:789 http://two:123 http://one";
        for size in 1..=old.len() {
            let mut substitution = Substitution::new("http://one:123", "http://one:789").unwrap();
            let mut bytes = old.as_bytes().to_vec();
            for piece in bytes.chunks_mut(size) {
                substitution.apply(piece);
            }
            assert_eq!(String::from_utf8(bytes).unwrap(), new, "pieces of {size}");
        }
    }

    #[test]
    fn texts_of_other_lengths_and_those_that_overlap_are_refused() {
        assert!(Substitution::new("http://one:80", "http://one:8080").is_none());
        assert!(Substitution::new("1.1", "2.2").is_none());
        assert!(Substitution::new("", "").is_none());
    }
}
