//! Blocks of a file, checked side by side on the pool.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::work::{Found, Work};
use super::worker::{Checked, Worker};
use super::{Checker, Tell, UploadError};

/// How many blocks are checked before the thread goes back to the pool …
const BLOCKS_A_LEASE: usize = 32;

/// … unless they decode to more than this: a few stored bytes may stand for very many.
const DECODED_A_LEASE: u64 = 32 << 20;

/// Checks all pieces on the pool.
pub(super) async fn run(
    work: Work,
    checker: &Checker,
    tell: Tell<'_>,
) -> Result<Found, UploadError> {
    let work = Arc::new(work);
    // Whoever stops waiting stops the work.
    let _stop = StopOnDrop(Arc::clone(&work));
    let workers = (0..work.worker_count()).map(|_| work_in_leases(&work, checker, tell));
    futures::future::join_all(workers).await;
    work.conclude()
}

async fn work_in_leases(work: &Arc<Work>, checker: &Checker, tell: Tell<'_>) {
    let mut worker = Box::new(Worker::default());
    loop {
        let turn = match &checker.leases {
            Some((leases, sender)) => Some(leases.take(*sender).await),
            None => None,
        };
        let leased = Arc::clone(work);
        // The turn lasts as long as the work, also when the result is waited for no more.
        let (kept, more) = checker
            .pool
            .run(move || {
                let more = lease(&leased, &mut worker);
                drop(turn);
                (worker, more)
            })
            .await;
        worker = kept;
        tell(work.checked.load(Ordering::Relaxed));
        if !more {
            return;
        }
    }
}

struct StopOnDrop(Arc<Work>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}

/// Checks some blocks, the last of them perhaps in part, and tells whether there may be more.
fn lease(work: &Work, worker: &mut Worker) -> bool {
    worker.left_of_lease = DECODED_A_LEASE;
    for _ in 0..BLOCKS_A_LEASE {
        let block = match worker.block.take() {
            Some(begun) => begun,
            None => match work.next_block(&mut worker.pieces) {
                None => return false,
                Some((number, taken)) => match taken.and_then(|()| worker.begin(work, number)) {
                    Ok(block) => block,
                    Err(error) => {
                        work.fail(number, error);
                        return false;
                    }
                },
            },
        };
        let number = block.number;
        match worker.check(work, block) {
            Ok(Checked::Whole) if worker.left_of_lease == 0 => return true,
            Ok(Checked::Whole) => {}
            Ok(Checked::InPart(block)) => {
                worker.block = Some(block);
                return true;
            }
            Err(error) => {
                work.fail(number, error);
                return false;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use super::*;
    use crate::address::ChunkAddress;
    use crate::format::table::record::Encoder;
    use crate::index::ByteSpan;
    use crate::pool::BlockingPool;
    use crate::repo::check::work::{Piece, Pieces};
    use crate::repo::check::{ChildrenRefused, Context, FindChildren};
    use crate::repo::turns::{Portion, Sender, SharedTurns};
    use crate::sort::SortOptions;

    const LONG: usize = 16 << 20;

    struct NoChildren;

    impl FindChildren for NoChildren {
        fn children(
            &self,
            _chunk: &[u8],
            _visit: &mut dyn FnMut(ChunkAddress),
        ) -> Result<(), ChildrenRefused> {
            Ok(())
        }
    }

    struct Listed(std::vec::IntoIter<Piece>);

    impl Pieces for Listed {
        fn next(&mut self) -> Result<Option<Piece>, UploadError> {
            Ok(self.0.next())
        }
    }

    /// A file of records of so many long chunks of zeros, which all fit into a few blocks.
    fn work(count: u32, decoded_limit: u64) -> Work {
        let mut record = Vec::new();
        Encoder::new().encode(&vec![0; LONG], &mut record).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        let len = u32::try_from(record.len()).unwrap();
        let mut pieces = Vec::new();
        for number in 0..count {
            let offset = file.stream_position().unwrap();
            file.write_all(&record).unwrap();
            pieces.push(Piece {
                number,
                span: ByteSpan { offset, len },
                dictionary: None,
                suffix: None,
            });
        }
        let context = Context {
            len: u64::from(len) * u64::from(count),
            file: Arc::new(file),
            sort: SortOptions {
                directory: std::env::temp_dir(),
                memory_bytes: 1 << 20,
                room: None,
            },
        };
        let pieces = Box::new(Listed(pieces.into_iter()));
        Work::new(&context, pieces, Arc::new(NoChildren), decoded_limit)
    }

    #[test]
    fn a_lease_ends_by_what_was_decoded() {
        let work = work(12, u64::MAX);
        let mut worker = Worker::default();
        let mut leases = 0;
        let mut before = 0;
        while lease(&work, &mut worker) {
            leases += 1;
            let decoded = work.decoded.load(Ordering::Relaxed);
            let most = DECODED_A_LEASE + 2 * LONG as u64;
            assert!(decoded - before <= most, "{}", decoded - before);
            before = decoded;
        }
        assert!(leases >= 1);
        let found = work.conclude().unwrap();
        assert_eq!(found.uncompressed_len, 12 * LONG as u64);
        assert_eq!(found.entries.finish().unwrap().len(), 12);
    }

    #[test]
    fn what_is_stopped_decodes_no_further_chunk() {
        let work = work(12, u64::MAX);
        let mut worker = Worker::default();
        assert!(lease(&work, &mut worker));
        let decoded = work.decoded.load(Ordering::Relaxed);
        work.stopped.store(true, Ordering::Relaxed);
        assert!(!lease(&work, &mut worker));
        assert_eq!(work.decoded.load(Ordering::Relaxed), decoded);
        assert!(matches!(work.conclude(), Err(UploadError::GivenUp)));
    }

    #[test]
    fn a_file_that_decodes_to_too_much_is_refused_at_the_chunk_that_is_too_much() {
        let work = work(5, 3 * LONG as u64);
        while lease(&work, &mut Worker::default()) {}
        let error = work.conclude().map(drop).unwrap_err();
        assert!(
            matches!(error, UploadError::Expansion { number: 3, .. }),
            "{error}"
        );
    }

    #[tokio::test]
    async fn many_files_of_one_sender_hold_up_no_file_of_another() {
        let pool = BlockingPool::new(1);
        let leases = SharedTurns::new(1, Portion::All);
        let checker = |sender| Checker {
            children: Arc::new(NoChildren),
            pool: pool.clone(),
            sort: SortOptions {
                directory: std::env::temp_dir(),
                memory_bytes: 1 << 20,
                room: None,
            },
            decoded_limit: u64::MAX,
            leases: Some((leases.clone(), Sender(sender))),
        };
        let (many, other) = (checker(1), checker(2));
        let works: Vec<_> = (0..6).map(|_| Arc::new(work(4, u64::MAX))).collect();
        let of_many = works
            .iter()
            .map(|work| work_in_leases(work, &many, &|_| {}));
        let of_many = futures::future::join_all(of_many);
        let small = Arc::new(work(1, u64::MAX));
        let of_other = async {
            work_in_leases(&small, &other, &|_| {}).await;
            let decoded = works
                .iter()
                .map(|work| work.decoded.load(Ordering::Relaxed));
            decoded.sum::<u64>()
        };
        let (_, decoded_before) = futures::join!(of_many, of_other);
        // One lease that ran, and one that may have begun since.
        let most = 2 * (DECODED_A_LEASE + LONG as u64);
        assert!(decoded_before <= most, "{decoded_before}");
    }
}
