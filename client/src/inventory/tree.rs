//! The hash over a sorted list: the Merkle tree hash of RFC 6962 with SHA-256.
//!
//! A leaf is `SHA-256(0x00 ‖ address)`, an inner node `SHA-256(0x01 ‖ left ‖ right)`, and the left subtree holds the
//! largest power of two of leaves that leaves something to the right. As the list is sorted, that a chunk is *not* on it
//! can be shown with its two neighbors alone.

use holdfast_chunkstore::ChunkAddress;
use sha2::{Digest as _, Sha256};

/// A hash of a node.
pub(super) type NodeHash = [u8; 32];

/// Takes leaves one by one; keeps one hash for each level.
#[derive(Debug, Default)]
pub(super) struct TreeHasher {
    /// Whole subtrees, from the largest on: how many leaves, and the hash.
    subtrees: Vec<(u64, NodeHash)>,
}

impl TreeHasher {
    pub(super) fn push(&mut self, address: &ChunkAddress) {
        let leaf = Sha256::new()
            .chain_update([0])
            .chain_update(address.as_bytes());
        self.subtrees.push((1, leaf.finalize().into()));
        while let [.., (left_count, left), (right_count, right)] = self.subtrees.as_slice()
            && left_count == right_count
        {
            let both = (left_count + right_count, node(left, right));
            self.subtrees.truncate(self.subtrees.len() - 2);
            self.subtrees.push(both);
        }
    }

    /// The hash of the whole list; that of an empty one is the SHA-256 of nothing.
    pub(super) fn finish(mut self) -> NodeHash {
        let Some((_, mut hash)) = self.subtrees.pop() else {
            return Sha256::digest([]).into();
        };
        while let Some((_, left)) = self.subtrees.pop() {
            hash = node(&left, &hash);
        }
        hash
    }
}

fn node(left: &NodeHash, right: &NodeHash) -> NodeHash {
    let hash = Sha256::new().chain_update([1]).chain_update(left);
    hash.chain_update(right).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition in RFC 6962, section 2.1, as it stands there.
    fn defined(leaves: &[ChunkAddress]) -> NodeHash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [leaf] => Sha256::digest([&[0], leaf.as_bytes().as_slice()].concat()).into(),
            leaves => {
                let split = leaves.len().next_power_of_two() / 2;
                let (left, right) = leaves.split_at(split);
                node(&defined(left), &defined(right))
            }
        }
    }

    #[test]
    fn the_tree_is_that_of_the_rfc() {
        for count in 0..70_u8 {
            let leaves: Vec<_> = (0..count)
                .map(|salt| ChunkAddress::new([salt; 20]))
                .collect();
            let mut hasher = TreeHasher::default();
            leaves.iter().for_each(|leaf| hasher.push(leaf));
            assert_eq!(hasher.finish(), defined(&leaves), "{count}");
        }
    }
}
