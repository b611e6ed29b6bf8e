//! A range of a file as a stream of pieces, read ahead by one piece on a pool of threads that may block.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use rustix::buffer::spare_capacity;

use super::MAX_PIECE_BYTES;
use crate::pool::{BlockingPool, about_to_block};

/// One piece is being read while the one before it is being sent.
const PIECES_IN_HAND: usize = 2;

/// Splits off the first piece of a range.
pub(super) fn first_piece(range: &Range<u64>) -> Range<u64> {
    range.start
        ..range
            .end
            .min(range.start.saturating_add(MAX_PIECE_BYTES as u64))
}

/// Reads one piece. Blocks. A file that ends before the range does is an error.
pub(super) fn read_piece(file: &File, range: Range<u64>) -> io::Result<Bytes> {
    let len = usize::try_from(range.end.saturating_sub(range.start))
        .ok()
        .filter(|len| *len <= MAX_PIECE_BYTES)
        .ok_or(io::ErrorKind::InvalidInput)?;
    about_to_block();
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let offset = range.start + bytes.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut bytes), offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocator may have given more room than asked for.
    bytes.truncate(len);
    Ok(bytes.into())
}

/// Reads one piece if all of it is in the system's memory: never waits for a disk. Nothing where it is not, or where
/// the system cannot tell.
#[cfg(target_os = "linux")]
pub(super) fn read_cached_piece(file: &File, range: Range<u64>) -> Option<Bytes> {
    use rustix::io::{ReadWriteFlags, preadv2};
    let len = usize::try_from(range.end.checked_sub(range.start)?).ok()?;
    let mut bytes = vec![0; len];
    let mut done = 0;
    while done < len {
        let rest = &mut [io::IoSliceMut::new(&mut bytes[done..])];
        let offset = range.start + done as u64;
        done += preadv2(file, rest, offset, ReadWriteFlags::NOWAIT)
            .ok()
            .filter(|read| *read > 0)?;
    }
    Some(bytes.into())
}

/// The system cannot tell.
#[cfg(not(target_os = "linux"))]
pub(super) fn read_cached_piece(_file: &File, _range: Range<u64>) -> Option<Bytes> {
    None
}

/// Reads a range piece by piece.
pub(super) fn pieces(
    file: Arc<File>,
    range: Range<u64>,
    pool: BlockingPool,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let ranges = stream::iter(
        (range.start..range.end)
            .step_by(MAX_PIECE_BYTES)
            .map(move |start| first_piece(&(start..range.end))),
    );
    ranges
        .map(move |piece| {
            let (file, pool) = (Arc::clone(&file), pool.clone());
            async move { pool.run(move || read_piece(&file, piece)).await }
        })
        .buffered(PIECES_IN_HAND)
}
