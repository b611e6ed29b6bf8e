//! A bounds-checked big-endian cursor over bytes, and blocks of fixed-size items.

use super::{DecodeError, to_usize};

/// Reads numbers and runs of bytes from the front of a slice.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes`; `what` names them in errors.
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    fn truncated(&self, need: u64) -> DecodeError {
        DecodeError::Truncated {
            what: self.what,
            need,
            have: self.rest.len() as u64,
        }
    }

    pub(crate) fn array<const LEN: usize>(&mut self) -> Result<&'a [u8; LEN], DecodeError> {
        let (head, rest) = self
            .rest
            .split_first_chunk()
            .ok_or_else(|| self.truncated(LEN as u64))?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().copied().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().copied().map(u64::from_be_bytes)
    }

    /// Takes `count` items of `LEN` bytes each.
    pub(crate) fn items<const LEN: usize>(
        &mut self,
        count: u32,
    ) -> Result<&'a [[u8; LEN]], DecodeError> {
        let (items, _) = self.rest.as_chunks();
        let items = items
            .get(..to_usize(count))
            .ok_or_else(|| self.truncated(u64::from(count).saturating_mul(LEN as u64)))?;
        self.rest = &self.rest[items.len() * LEN..];
        Ok(items)
    }

    /// Checks that nothing is left.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing {
                what: self.what,
                extra: self.rest.len() as u64,
            })
        }
    }
}

/// Cuts a block of a section into items. A block that does not hold whole items is refused.
pub(crate) fn whole_items<'a, const LEN: usize>(
    what: &'static str,
    block: &'a [u8],
) -> Result<&'a [[u8; LEN]], DecodeError> {
    let (items, rest) = block.as_chunks();
    if rest.is_empty() {
        Ok(items)
    } else {
        Err(DecodeError::Trailing {
            what,
            extra: rest.len() as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_big_endian_and_bounds_are_kept() {
        let bytes = [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 9];
        let mut reader = Reader::new("test", &bytes);
        assert_eq!(reader.array().unwrap(), &[1]);
        assert_eq!(reader.u32().unwrap(), 2);
        assert_eq!(reader.u64().unwrap(), 3);
        assert!(matches!(
            reader.u32(),
            Err(DecodeError::Truncated {
                need: 4,
                have: 1,
                ..
            })
        ));
        assert!(matches!(
            reader.clone().finish(),
            Err(DecodeError::Trailing { extra: 1, .. })
        ));
        assert!(reader.items::<12>(u32::MAX).is_err());
        assert_eq!(reader.items::<1>(1).unwrap(), &[[9]]);
        reader.finish().unwrap();
    }
}
