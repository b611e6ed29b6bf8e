//! Which chunk points at which, to be looked up by the chunk that is pointed at.
//!
//! # Memory
//! 8 MiB while links are gathered, and afterwards a third of a byte for each. On disk a link takes 49 bytes. Everything
//! here blocks.

use std::io;
use std::path::Path;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::lookup::Lookup;
use holdfast_chunkstore::sort::{SortOptions, Sorter};

/// What the newest links may take in memory.
const MEMORY_BYTES: usize = 8 << 20;

/// The chunk that is pointed at, what the link is, the time of a commit (the latest first), the chunk that points.
const LEN: usize = 20 + 1 + 8 + 20;

/// What one chunk is to another that points at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A part of it.
    Part,
    /// The root value of a commit.
    RootValue,
    /// The list of all ancestors of a commit.
    Ancestors,
    /// A parent of a commit.
    Parent,
}

impl Role {
    const ALL: [Self; 4] = [Self::Part, Self::RootValue, Self::Ancestors, Self::Parent];

    fn code(self) -> u8 {
        match self {
            Self::Part => 0,
            Self::RootValue => 1,
            Self::Ancestors => 2,
            Self::Parent => 3,
        }
    }

    fn of_code(code: u8) -> io::Result<Self> {
        let found = Self::ALL.into_iter().find(|role| role.code() == code);
        found.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// A link from a chunk to one that it points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) child: ChunkAddress,
    pub(super) role: Role,
    /// When the commit was made, in milliseconds since 1970, where the parent is one.
    pub(super) at_millis: i64,
    pub(super) parent: ChunkAddress,
}

impl Link {
    fn encode(self) -> [u8; LEN] {
        let mut record = [0; LEN];
        record[..20].copy_from_slice(self.child.as_bytes());
        record[20] = self.role.code();
        record[21..29].copy_from_slice(&rank(self.at_millis).to_be_bytes());
        record[29..].copy_from_slice(self.parent.as_bytes());
        record
    }

    fn decode(record: &[u8; LEN]) -> io::Result<Self> {
        let [child, parent] = [&record[..20], &record[29..]]
            .map(|bytes| ChunkAddress::new(*bytes.first_chunk().expect("twenty bytes")));
        let rank = u64::from_be_bytes(*record[21..].first_chunk().expect("eight bytes"));
        Ok(Self {
            child,
            role: Role::of_code(record[20])?,
            at_millis: at_millis(rank),
            parent,
        })
    }
}

/// A number that is the smaller the later the time is.
fn rank(at_millis: i64) -> u64 {
    !(at_millis.cast_unsigned() ^ (1 << 63))
}

fn at_millis(rank: u64) -> i64 {
    (!rank ^ (1 << 63)).cast_signed()
}

/// Takes links in any order.
#[derive(Debug)]
pub(super) struct LinkSorter {
    sorter: Sorter<LEN>,
}

impl LinkSorter {
    /// Begins with none. What does not fit into memory goes into `folder`.
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            sorter: Sorter::merging_equal(SortOptions {
                directory: folder.to_owned(),
                memory_bytes: MEMORY_BYTES,
                room: None,
            }),
        }
    }

    pub(super) fn push(&mut self, link: Link) -> io::Result<()> {
        self.sorter.push(link.encode())
    }

    /// Ends with all of them in order.
    pub(super) fn finish(self) -> io::Result<Links> {
        Ok(Links(Lookup::of(self.sorter)?))
    }
}

/// All links in the order of the chunks that are pointed at, and of those of one chunk from commits the latest first.
#[derive(Debug)]
pub(super) struct Links(Lookup<LEN>);

impl Links {
    /// Visits the links to a chunk.
    pub(super) fn each_to(
        &self,
        child: ChunkAddress,
        mut visit: impl FnMut(Link),
    ) -> io::Result<()> {
        self.0.each_of(child.as_bytes(), |record| {
            visit(Link::decode(record)?);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> ChunkAddress {
        let mut bytes = [7; 20];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        ChunkAddress::new(bytes)
    }

    #[test]
    fn links_are_found_by_the_chunk_that_is_pointed_at_commits_the_latest_first() {
        let mut sorter = LinkSorter::new(&std::env::temp_dir());
        // Child n has n links, and there are more than one block of some.
        for child in (0..200_u32).rev() {
            for number in 0..child {
                let link = Link {
                    child: address(child),
                    role: Role::RootValue,
                    at_millis: i64::from(number) - 50,
                    parent: address(1000 + number),
                };
                sorter.push(link).unwrap();
                sorter.push(link).unwrap();
            }
        }
        let links = sorter.finish().unwrap();
        for child in 0..201 {
            let mut times = Vec::new();
            links
                .each_to(address(child), |link| {
                    assert_eq!((link.child, link.role), (address(child), Role::RootValue));
                    assert_eq!(i64::from(number_of(link.parent)) - 1050, link.at_millis);
                    times.push(link.at_millis);
                })
                .unwrap();
            let wanted: Vec<_> = match child {
                200 => Vec::new(),
                child => (0..i64::from(child)).rev().map(|n| n - 50).collect(),
            };
            assert_eq!(times, wanted, "{child}");
        }
    }

    fn number_of(address: ChunkAddress) -> u32 {
        u32::from_be_bytes(*address.as_bytes().first_chunk().unwrap())
    }
}
