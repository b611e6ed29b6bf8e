//! A FlatBuffer builder that gives the very bytes of Go's.
//!
//! The buffer grows from its end to its front, so the order of calls decides the bytes. Here it is kept
//! turned around: what comes later in the buffer stands first in `reversed`, and a place is named by how many
//! bytes stand behind it.

use crate::message::FileId;

/// A place in the buffer: how many bytes stand from there to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(usize);

/// A FlatBuffer being built.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    reversed: Vec<u8>,
    alignment: usize,
    /// Vtables written so far, by their entries.
    vtables: Vec<(Vec<u16>, Place)>,
}

/// A table being built: nothing else may be created until it ends.
#[derive(Debug)]
pub(crate) struct TableBuilder<'b> {
    builder: &'b mut Builder,
    start: usize,
    slots: Vec<usize>,
}

impl Builder {
    /// Pads until `size` divides what is used once `extra` more bytes are there.
    fn prepare(&mut self, size: usize, extra: usize) {
        self.alignment = self.alignment.max(size);
        while !(self.reversed.len() + extra).is_multiple_of(size) {
            self.reversed.push(0);
        }
    }

    fn prepend(&mut self, bytes: &[u8]) {
        self.reversed.extend(bytes.iter().rev());
    }

    fn place(&self) -> Place {
        Place(self.reversed.len())
    }

    fn count(&mut self, count: usize) -> Place {
        let count = u32::try_from(count).expect("a message is below 16 MiB");
        self.prepend(&count.to_le_bytes());
        self.place()
    }

    /// Writes a vector of bytes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Place {
        self.prepare(4, bytes.len());
        self.prepend(bytes);
        self.count(bytes.len())
    }

    /// Writes a string.
    pub(crate) fn text(&mut self, text: &str) -> Place {
        self.prepare(4, text.len() + 1);
        self.prepend(&[0]);
        self.prepend(text.as_bytes());
        self.count(text.len())
    }

    /// Writes a vector of 16-bit numbers.
    pub(crate) fn u16s(&mut self, numbers: &[u16]) -> Place {
        self.prepare(4, numbers.len() * 2);
        for number in numbers.iter().rev() {
            self.prepend(&number.to_le_bytes());
        }
        self.count(numbers.len())
    }

    /// Begins a table.
    pub(crate) fn table(&mut self) -> TableBuilder<'_> {
        TableBuilder {
            start: self.reversed.len(),
            builder: self,
            slots: Vec::new(),
        }
    }

    /// Ends the buffer and puts Dolt's envelope around it.
    pub(crate) fn finish(mut self, root: Place, id: FileId) -> Vec<u8> {
        self.prepare(self.alignment.max(4), 8);
        self.prepend(&id.0);
        self.offset_to(root);
        let len = u32::try_from(self.reversed.len()).expect("a message is below 16 MiB");
        let [high @ .., a, b, c] = len.to_be_bytes();
        assert_eq!(high, [0], "a message is below 16 MiB");
        self.prepend(&[0x1b, a, b, c]);
        self.reversed.reverse();
        self.reversed
    }

    fn offset_to(&mut self, target: Place) {
        self.prepare(4, 0);
        let offset =
            u32::try_from(self.reversed.len() + 4 - target.0).expect("a message is below 16 MiB");
        self.prepend(&offset.to_le_bytes());
    }
}

impl TableBuilder<'_> {
    fn set(&mut self, slot: usize) {
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, 0);
        }
        self.slots[slot] = self.builder.reversed.len();
    }

    /// Writes a number unless it is zero, in as many bytes as it has.
    pub(crate) fn number<const N: usize>(mut self, slot: usize, bytes: [u8; N]) -> Self {
        if bytes != [0; N] {
            self.builder.prepare(N, 0);
            self.builder.prepend(&bytes);
            self.set(slot);
        }
        self
    }

    /// Points at something created before, or leaves it out.
    pub(crate) fn offset(mut self, slot: usize, target: impl Into<Option<Place>>) -> Self {
        if let Some(target) = target.into() {
            self.builder.offset_to(target);
            self.set(slot);
        }
        self
    }

    /// Ends the table; equal vtables are shared.
    pub(crate) fn end(self) -> Place {
        let builder = self.builder;
        builder.prepare(4, 0);
        builder.prepend(&[0; 4]);
        let object = builder.place();
        let entry = |slot: &usize| match slot {
            0 => 0,
            slot => u16::try_from(object.0 - slot).expect("a table is below 64 KiB"),
        };
        let entries: Vec<u16> = self.slots.iter().map(entry).collect();
        let known = builder.vtables.iter().rev();
        let known = known.clone().find(|(other, _)| *other == entries);
        let vtable = known.map(|(_, place)| *place).unwrap_or_else(|| {
            for entry in entries.iter().rev() {
                builder.prepend(&entry.to_le_bytes());
            }
            let lengths = [4 + 2 * entries.len(), object.0 - self.start];
            let [vtable, object] =
                lengths.map(|len| u16::try_from(len).expect("a table is below 64 KiB"));
            builder.prepend(&object.to_le_bytes());
            builder.prepend(&vtable.to_le_bytes());
            let place = builder.place();
            builder.vtables.push((entries, place));
            place
        });
        let back = i64::try_from(vtable.0).expect("a message is below 16 MiB")
            - i64::try_from(object.0).expect("a message is below 16 MiB");
        let back = i32::try_from(back).expect("a message is below 16 MiB");
        for (index, byte) in back.to_le_bytes().into_iter().enumerate() {
            builder.reversed[object.0 - 1 - index] = byte;
        }
        object
    }
}
