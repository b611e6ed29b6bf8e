//! Several stretches of ascending items read as one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io;

use crate::items::ItemReader;

/// The items of several readers in ascending order; equal ones stand next to each other. Blocks.
#[derive(Debug)]
pub(crate) struct Merge<const N: usize> {
    readers: Vec<ItemReader<N>>,
    /// The next item of each reader that is not at its end, and the number of the reader.
    heads: BinaryHeap<Reverse<([u8; N], usize)>>,
    failed: bool,
}

impl<const N: usize> Merge<N> {
    /// Reads the first item of each reader, whose items must ascend.
    pub(crate) fn open(mut readers: Vec<ItemReader<N>>) -> io::Result<Self> {
        let mut heads = BinaryHeap::with_capacity(readers.len());
        for (number, reader) in readers.iter_mut().enumerate() {
            if let Some(item) = reader.next_item()? {
                heads.push(Reverse((item, number)));
            }
        }
        Ok(Self {
            readers,
            heads,
            failed: false,
        })
    }

    fn advance(&mut self) -> io::Result<Option<[u8; N]>> {
        let Some(mut head) = self.heads.peek_mut() else {
            return Ok(None);
        };
        let Reverse((item, number)) = *head;
        match self.readers[number].next_item()? {
            Some(next) => *head = Reverse((next, number)),
            None => {
                PeekMut::pop(head);
            }
        }
        Ok(Some(item))
    }
}

impl<const N: usize> Iterator for Merge<N> {
    type Item = io::Result<[u8; N]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.advance();
        self.failed = next.is_err();
        next.transpose()
    }
}
