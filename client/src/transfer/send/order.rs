//! The order in which chunks go into files: each behind everything below it.
//!
//! So each file, with those before it, holds everything below its chunks that the remote lacks, and becomes part of the
//! remote when it arrives: whatever is pushed next, what has arrived is there. The walk comes across a chunk before those
//! below it; it is held until the last of them is settled, which is: in a file, or at the remote.
//!
//! # Memory
//! Some 60 bytes for each chunk that is not settled, and 80 for each that is held: the siblings on the way down, and the
//! commits on the way from a head to the first one.

use std::collections::HashMap;

use holdfast_chunkstore::ChunkAddress;

/// Which chunks wait for which.
#[derive(Debug)]
pub(super) struct Order<T> {
    unsettled: HashMap<ChunkAddress, Parents>,
    held: Vec<Option<Held<T>>>,
    /// Places in `held` that are free.
    free: Vec<u32>,
}

#[derive(Debug)]
struct Held<T> {
    chunk: T,
    /// How many below it are not settled.
    left: u32,
}

/// Those that are held for a chunk.
#[derive(Debug)]
enum Parents {
    None,
    One(u32),
    Many(Vec<u32>),
}

impl<T> Order<T> {
    pub(super) fn new() -> Self {
        Self {
            unsettled: HashMap::new(),
            held: Vec::new(),
            free: Vec::new(),
        }
    }

    /// The walk came across a chunk for the first time.
    pub(super) fn expect(&mut self, address: ChunkAddress) {
        self.unsettled.entry(address).or_insert(Parents::None);
    }

    /// Whether the walk came across a chunk, and it is not settled.
    pub(super) fn is_unsettled(&self, address: ChunkAddress) -> bool {
        self.unsettled.contains_key(&address)
    }

    /// Holds a chunk until those below it are settled, none of which is, and at least one. Each is named once.
    pub(super) fn hold(&mut self, chunk: T, below: &[ChunkAddress]) {
        let left = u32::try_from(below.len()).expect("a chunk has 16 MiB");
        let held = Some(Held { chunk, left });
        let number = match self.free.pop() {
            Some(number) => {
                self.held[number as usize] = held;
                number
            }
            None => {
                self.held.push(held);
                u32::try_from(self.held.len() - 1).expect("memory holds no more")
            }
        };
        for address in below {
            let parents = self.unsettled.get_mut(address);
            parents.expect("none is settled").add(number);
        }
    }

    /// Notes that a chunk is settled, and returns those that were held for it last.
    pub(super) fn settle(&mut self, address: ChunkAddress) -> Vec<T> {
        let Some(parents) = self.unsettled.remove(&address) else {
            return Vec::new();
        };
        let mut ready = Vec::new();
        for number in parents.numbers() {
            let place = &mut self.held[*number as usize];
            let held = place.as_mut().expect("what is held stays so long");
            held.left -= 1;
            if held.left == 0 {
                ready.extend(place.take().map(|held| held.chunk));
                self.free.push(*number);
            }
        }
        ready
    }

    /// Whether everything is settled.
    pub(super) fn is_settled(&self) -> bool {
        self.unsettled.is_empty()
    }
}

impl Parents {
    fn add(&mut self, number: u32) {
        match self {
            Self::None => *self = Self::One(number),
            Self::One(first) => *self = Self::Many(vec![*first, number]),
            Self::Many(numbers) => numbers.push(number),
        }
    }

    fn numbers(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(number) => std::slice::from_ref(number),
            Self::Many(numbers) => numbers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u8) -> ChunkAddress {
        ChunkAddress::new([number; 20])
    }

    #[test]
    fn a_chunk_is_ready_when_the_last_below_it_is_settled() {
        let mut order = Order::new();
        for number in 1..=5 {
            order.expect(address(number));
        }
        order.hold(1, &[address(3), address(4)]);
        order.hold(2, &[address(4), address(5)]);
        assert!(order.settle(address(4)).is_empty());
        assert_eq!(order.settle(address(3)), [1]);
        assert!(order.settle(address(3)).is_empty(), "once");
        order.hold(6, &[address(5)]);
        assert_eq!(order.settle(address(5)), [2, 6]);
        assert!(!order.is_settled());
        assert!(order.is_unsettled(address(1)));
        order.settle(address(1));
        order.settle(address(2));
        assert!(order.is_settled());
    }
}
