//! Sorted addresses in a nameless file, with what must be in memory to find one with one read.

use std::cmp::Ordering;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use super::filter::Filter;
use crate::address::ChunkAddress;
use crate::items::ItemReader;

/// How many addresses lie behind one entry of the index: what is read to find one.
const BLOCK_LEN: usize = 256;

/// How much is read and written at once where all is.
const BUFFER_BYTES: usize = 256 << 10;

/// Addresses that ascend, each once. They are never changed.
#[derive(Debug)]
pub(super) struct Run {
    file: Arc<File>,
    len: u64,
    /// The prefix of the first address of each block.
    heads: Vec<u64>,
    filter: Filter,
}

impl Run {
    /// Writes at most `max_len` addresses, which ascend. The directory shows no file.
    pub(super) fn write(
        directory: &Path,
        max_len: u64,
        addresses: impl Iterator<Item = io::Result<[u8; 20]>>,
        number_of: impl Fn(&[u8; 20]) -> u64,
    ) -> io::Result<Self> {
        let file = tempfile::tempfile_in(directory)?;
        let mut filter = Filter::with_room_for(max_len);
        let mut heads = Vec::new();
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        let (mut len, mut end) = (0_u64, 0);
        for address in addresses {
            let address = address?;
            filter.insert(number_of(&address));
            if len.is_multiple_of(BLOCK_LEN as u64) {
                heads.push(ChunkAddress::new(address).prefix());
            }
            len += 1;
            buffer.extend_from_slice(&address);
            if buffer.len() + ChunkAddress::LEN > BUFFER_BYTES {
                file.write_all_at(&buffer, end)?;
                end += buffer.len() as u64;
                buffer.clear();
            }
        }
        file.write_all_at(&buffer, end)?;
        Ok(Self {
            file: Arc::new(file),
            len,
            heads,
            filter,
        })
    }

    /// How many addresses there are.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Reads all addresses in their order.
    pub(super) fn reader(&self) -> ItemReader<20> {
        let len_bytes = self.len * ChunkAddress::LEN as u64;
        ItemReader::new(Arc::clone(&self.file), 0, len_bytes, BUFFER_BYTES)
    }

    /// Whether an address, whose number is given, is in: for nearly all that are not without a read.
    pub(super) fn contains(&self, number: u64, address: &ChunkAddress) -> io::Result<bool> {
        if !self.filter.may_contain(number) {
            return Ok(false);
        }
        // Addresses with one prefix may fill several blocks, if somebody made them so.
        let (mut low, mut high) = blocks_of(&self.heads, address.prefix());
        let mut bytes = [0; BLOCK_LEN * ChunkAddress::LEN];
        while low < high {
            let middle = low.midpoint(high);
            match look(self.read_block(middle, &mut bytes)?, address.as_bytes()) {
                Ok(is_in) => return Ok(is_in),
                Err(Ordering::Less) => high = middle,
                Err(_) => low = middle + 1,
            }
        }
        Ok(false)
    }

    fn read_block<'b>(&self, block: usize, bytes: &'b mut [u8]) -> io::Result<&'b [[u8; 20]]> {
        let first = (block * BLOCK_LEN) as u64;
        let len = usize::try_from(self.len - first).map_or(BLOCK_LEN, |left| left.min(BLOCK_LEN));
        let bytes = &mut bytes[..len * ChunkAddress::LEN];
        self.file
            .read_exact_at(bytes, first * ChunkAddress::LEN as u64)?;
        let (addresses, _) = bytes.as_chunks();
        Ok(addresses)
    }
}

/// The range of blocks that may hold addresses with a prefix; nearly always one or none.
fn blocks_of(heads: &[u64], prefix: u64) -> (usize, usize) {
    // The block before the first that begins with the prefix may end with it.
    let low = heads.partition_point(|head| *head < prefix);
    let high = heads.partition_point(|head| *head <= prefix);
    (low.saturating_sub(1), high)
}

/// Whether an address is in a block that is not empty, or on which side of it it would lie.
fn look(block: &[[u8; 20]], address: &[u8; 20]) -> Result<bool, Ordering> {
    match block.binary_search(address) {
        Ok(_) => Ok(true),
        Err(0) => Err(Ordering::Less),
        Err(index) if index == block.len() => Err(Ordering::Greater),
        Err(_) => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses of which every thousand have one prefix.
    fn address(number: u32) -> [u8; 20] {
        let mut address = [0; 20];
        address[4..8].copy_from_slice(&(number / 1000).to_be_bytes());
        address[12..16].copy_from_slice(&(number % 1000).to_be_bytes());
        address
    }

    #[test]
    fn each_address_is_found_even_where_blocks_begin_alike() {
        for len in [0, 1, 255, 256, 257, 5000] {
            let directory = tempfile::tempdir().unwrap();
            // Every other one is written, and the filter lets all pass.
            let addresses = (0..len).map(|number| Ok(address(2 * number)));
            let run = Run::write(directory.path(), 1, addresses, |_| 7).unwrap();
            assert_eq!(run.len(), u64::from(len));
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
            for number in 0..2 * len + 2 {
                let is_in = run.contains(7, &ChunkAddress::new(address(number)));
                assert_eq!(
                    is_in.unwrap(),
                    number < 2 * len && number % 2 == 0,
                    "{number}"
                );
            }
            let mut reader = run.reader();
            for number in 0..len {
                assert_eq!(reader.next_item().unwrap(), Some(address(2 * number)));
            }
            assert_eq!(reader.next_item().unwrap(), None);
        }
    }

    #[test]
    fn one_block_is_picked_where_prefixes_differ() {
        let heads = [10, 20, 30];
        assert_eq!(blocks_of(&heads, 5), (0, 0));
        assert_eq!(blocks_of(&heads, 15), (0, 1));
        assert_eq!(blocks_of(&heads, 35), (2, 3));
        assert_eq!(blocks_of(&heads, 20), (0, 2), "the first may end with 20");
        assert_eq!(blocks_of(&[], 20), (0, 0));
    }
}
