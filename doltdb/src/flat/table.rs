//! One table of a FlatBuffer and its fields.

use std::borrow::Cow;

use holdfast_chunkstore::ChunkAddress;

use super::{FlatError, U16s, fixed, follow, vector};

/// A table whose vtable lies inside the bytes and has no field that we do not know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table<'a> {
    bytes: &'a [u8],
    position: usize,
    /// Two bytes per slot.
    slots: &'a [u8],
}

impl<'a> Table<'a> {
    /// Opens the root table, which may have up to `known` fields.
    pub(crate) fn root(bytes: &'a [u8], known: usize) -> Result<Self, FlatError> {
        let position = follow(bytes, 0, "root table")?;
        Self::at(bytes, position, known)
    }

    /// Opens the table at `position`, which may have up to `known` fields.
    pub(crate) fn at(bytes: &'a [u8], position: usize, known: usize) -> Result<Self, FlatError> {
        let outside = |what, at| FlatError::Outside {
            what,
            at,
            len_bytes: bytes.len(),
        };
        let back = i32::from_le_bytes(fixed(bytes, position, "table")?);
        let vtable = i64::try_from(position)
            .ok()
            .and_then(|position| usize::try_from(position - i64::from(back)).ok())
            .ok_or_else(|| outside("vtable", position))?;
        let len_bytes = usize::from(u16::from_le_bytes(fixed(bytes, vtable, "vtable")?));
        if len_bytes < 4 || len_bytes % 2 != 0 {
            return Err(FlatError::Vtable { len_bytes });
        }
        let slots = bytes
            .get(vtable..)
            .and_then(|rest| rest.get(4..len_bytes))
            .ok_or_else(|| outside("vtable", vtable))?;
        // An entry of zero stands for a field that is not there.
        let (entries, _) = slots.as_chunks::<2>();
        let unknown = entries
            .iter()
            .skip(known)
            .position(|entry| *entry != [0; 2]);
        if let Some(behind) = unknown {
            let field = known + behind + 1;
            return Err(FlatError::UnknownField { field, known });
        }
        Ok(Self {
            bytes,
            position,
            slots,
        })
    }

    /// Returns where the field of a slot lies, if it is there.
    fn field(&self, slot: usize) -> Option<usize> {
        let entry = self.slots.get(slot * 2..)?.first_chunk::<2>()?;
        let offset = usize::from(u16::from_le_bytes(*entry));
        (offset != 0).then(|| self.position + offset)
    }

    pub(crate) fn u8(&self, slot: usize, what: &'static str) -> Result<u8, FlatError> {
        match self.field(slot) {
            None => Ok(0),
            Some(at) => Ok(u8::from_le_bytes(fixed(self.bytes, at, what)?)),
        }
    }

    pub(crate) fn u64(&self, slot: usize, what: &'static str) -> Result<u64, FlatError> {
        match self.field(slot) {
            None => Ok(0),
            Some(at) => Ok(u64::from_le_bytes(fixed(self.bytes, at, what)?)),
        }
    }

    pub(crate) fn i64(&self, slot: usize, what: &'static str) -> Result<i64, FlatError> {
        match self.field(slot) {
            None => Ok(0),
            Some(at) => Ok(i64::from_le_bytes(fixed(self.bytes, at, what)?)),
        }
    }

    /// How many bytes there are, of this table and all else.
    pub(crate) fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Returns a vector's elements as bytes; absent and empty are told apart.
    pub(crate) fn elements(
        &self,
        slot: usize,
        width: usize,
        what: &'static str,
    ) -> Result<Option<&'a [u8]>, FlatError> {
        let Some(at) = self.field(slot) else {
            return Ok(None);
        };
        let target = follow(self.bytes, at, what)?;
        vector(self.bytes, target, width, what).map(Some)
    }

    /// Returns a vector of bytes, or a string.
    pub(crate) fn bytes(
        &self,
        slot: usize,
        what: &'static str,
    ) -> Result<Option<&'a [u8]>, FlatError> {
        self.elements(slot, 1, what)
    }

    /// Returns a vector of bytes that may not be absent.
    pub(crate) fn required_bytes(
        &self,
        slot: usize,
        what: &'static str,
    ) -> Result<&'a [u8], FlatError> {
        self.bytes(slot, what)?
            .ok_or(FlatError::Missing { field: what })
    }

    /// Returns text, with what is not UTF-8 replaced: a person's odd name must not hide a history.
    pub(crate) fn text(
        &self,
        slot: usize,
        what: &'static str,
    ) -> Result<Option<Cow<'a, str>>, FlatError> {
        Ok(self.bytes(slot, what)?.map(String::from_utf8_lossy))
    }

    /// Returns a vector of 16-bit numbers; an absent one is empty.
    pub(crate) fn u16s(&self, slot: usize, what: &'static str) -> Result<U16s<'a>, FlatError> {
        Ok(U16s::new(self.elements(slot, 2, what)?.unwrap_or(&[])))
    }

    /// Returns a table inside this one, which may have up to `known` slots.
    pub(crate) fn table(
        &self,
        slot: usize,
        known: usize,
        what: &'static str,
    ) -> Result<Option<Self>, FlatError> {
        let Some(at) = self.field(slot) else {
            return Ok(None);
        };
        let position = follow(self.bytes, at, what)?;
        Self::at(self.bytes, position, known).map(Some)
    }

    /// Returns an address; an absent or empty field is none.
    pub(crate) fn address(
        &self,
        slot: usize,
        what: &'static str,
    ) -> Result<Option<ChunkAddress>, FlatError> {
        match self.bytes(slot, what)? {
            None | Some([]) => Ok(None),
            Some(bytes) => match ChunkAddress::try_from(bytes) {
                Ok(address) => Ok(Some(address)),
                Err(_) => Err(FlatError::Length {
                    field: what,
                    len_bytes: bytes.len(),
                }),
            },
        }
    }

    /// Returns an address that may not be absent; it may be zero.
    pub(crate) fn required_address(
        &self,
        slot: usize,
        what: &'static str,
    ) -> Result<ChunkAddress, FlatError> {
        self.address(slot, what)?
            .ok_or(FlatError::Missing { field: what })
    }

    /// Returns the addresses that stand back to back in a vector of bytes; an absent one is empty.
    pub(crate) fn addresses(
        &self,
        slot: usize,
        what: &'static str,
    ) -> Result<&'a [[u8; 20]], FlatError> {
        let bytes = self.bytes(slot, what)?.unwrap_or(&[]);
        match bytes.as_chunks::<20>() {
            (addresses, []) => Ok(addresses),
            _ => Err(FlatError::Length {
                field: what,
                len_bytes: bytes.len(),
            }),
        }
    }
}
