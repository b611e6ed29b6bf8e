//! FlatBuffers, read without trust: every offset, length and slot count is checked, nothing is allocated, and
//! no byte of input can make it panic.
//!
//! ```text
//! table   i32 (how far back the vtable lies) | fields
//! vtable  u16 length of the vtable | u16 length of the table | u16 per slot: where the field lies, or 0
//! vector  u32 count | elements            text: a vector of bytes (and a NUL that is not counted)
//! ```
//!
//! Everything is little-endian, and every offset counts from where it stands. A table is opened with the number
//! of slots that we know: one that has a field behind them was written by a newer Dolt, and what that means cannot be
//! guessed, so that is an error of its own.

pub(crate) mod builder;
mod table;
mod vector;

pub(crate) use table::Table;
pub(crate) use vector::U16s;

/// What is wrong with a FlatBuffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlatError {
    /// Something reaches past the end of the bytes, or lies before their start.
    #[error("{what} at byte {at} lies outside of the {len_bytes} bytes")]
    Outside {
        /// What was looked for.
        what: &'static str,
        /// Where, counted from the start of the FlatBuffer.
        at: usize,
        /// How many bytes there are.
        len_bytes: usize,
    },
    /// A vtable whose stated length is impossible.
    #[error("a vtable cannot be {len_bytes} bytes long")]
    Vtable {
        /// The stated length.
        len_bytes: usize,
    },
    /// A table with a field that we do not know: a newer Dolt wrote it.
    #[error("field {field} of the table is not known: only the first {known} are")]
    UnknownField {
        /// Its place among the fields of the table, counted from 1.
        field: usize,
        /// How many we know.
        known: usize,
    },
    /// A field that every message of this kind has is absent.
    #[error("the field {field} is missing")]
    Missing {
        /// The field's name in Dolt's schema.
        field: &'static str,
    },
    /// A field whose length does not fit what it holds.
    #[error("the field {field} cannot be {len_bytes} bytes long")]
    Length {
        /// The field's name in Dolt's schema.
        field: &'static str,
        /// Its length.
        len_bytes: usize,
    },
    /// A tree node that is much longer than what is in it needs.
    #[error(
        "a tree node of {len_bytes} bytes with contents of {contents} bytes: no Dolt writes such a node"
    )]
    Padded {
        /// How long it is.
        len_bytes: usize,
        /// How long its contents are.
        contents: usize,
    },
    /// A field that contradicts another one.
    #[error("the field {field} does not fit the rest of the message")]
    Contradiction {
        /// The field's name in Dolt's schema.
        field: &'static str,
    },
}

/// Reads `N` bytes at `at`.
pub(crate) fn fixed<const N: usize>(
    bytes: &[u8],
    at: usize,
    what: &'static str,
) -> Result<[u8; N], FlatError> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk::<N>())
        .copied()
        .ok_or(FlatError::Outside {
            what,
            at,
            len_bytes: bytes.len(),
        })
}

/// Reads the offset that stands at `at` and returns what it points at.
pub(crate) fn follow(bytes: &[u8], at: usize, what: &'static str) -> Result<usize, FlatError> {
    let offset = u32::from_le_bytes(fixed(bytes, at, what)?);
    usize::try_from(offset)
        .ok()
        .and_then(|offset| at.checked_add(offset))
        .filter(|target| *target < bytes.len())
        .ok_or(FlatError::Outside {
            what,
            at,
            len_bytes: bytes.len(),
        })
}

/// Returns the elements of the vector at `at`, each `width` bytes wide.
pub(crate) fn vector<'a>(
    bytes: &'a [u8],
    at: usize,
    width: usize,
    what: &'static str,
) -> Result<&'a [u8], FlatError> {
    let count = u32::from_le_bytes(fixed(bytes, at, what)?);
    usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(width))
        .and_then(|len_bytes| bytes.get(at + 4..)?.get(..len_bytes))
        .ok_or(FlatError::Outside {
            what,
            at,
            len_bytes: bytes.len(),
        })
}

#[cfg(test)]
mod tests;
