//! Vectors inside a FlatBuffer.

/// A vector of 16-bit numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct U16s<'a>(&'a [[u8; 2]]);

impl<'a> U16s<'a> {
    /// Takes the elements; an odd byte at the end is left out.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.as_chunks().0)
    }

    pub(crate) fn as_bytes(&self) -> &'a [u8] {
        self.0.as_flattened()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, index: usize) -> Option<u16> {
        self.0.get(index).copied().map(u16::from_le_bytes)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = u16> + use<'a> {
        self.0.iter().copied().map(u16::from_le_bytes)
    }
}
