//! Sends a file: a place is asked for, and the file is put there as it is.
//!
//! What was cut off begins anew, at a new place: an address is good for a time, and nobody continues a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use futures::{Stream, StreamExt as _, stream};
use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_proto::remotesapi::TableFileDetails;
use md5::{Digest as _, Md5};
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Body, Url};
use tokio::sync::Notify;

use super::connection::Connection;
use super::data::Data;
use crate::remote::{Budget, OutgoingFile, RemoteError, Uploaded};

/// What is attempted.
const ACTION: &str = "send a table file to the remote";

/// How much of a file is read in one go.
const PIECE_BYTES: usize = 256 * 1024;

/// One piece is read while the one before it is on its way.
const PIECES_IN_HAND: usize = 2;

/// How long nothing may move: no piece is taken, and no answer comes. What the system has taken of a piece and not yet
/// sent must get through a slow link, and the server checks what came before it answers.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Sends a file, unless the server has it.
pub(super) async fn upload(
    connection: &Connection,
    data: &Data,
    pool: &BlockingPool,
    file: &OutgoingFile,
) -> Result<Uploaded, RemoteError> {
    let source = Source::open(file, pool).await?;
    let mut budget = Budget::new();
    let mut has_new_place = false;
    loop {
        let Some(url) = connection.upload_url(ACTION, source.details(file)).await? else {
            return Ok(Uploaded::Known);
        };
        let error = match source.send(data, &url).await {
            Ok(()) => return Ok(Uploaded::Sent),
            Err(error) => error,
        };
        if error.is_of_an_ended_address() && !has_new_place {
            has_new_place = true;
            continue;
        }
        if !error.may_pass() || !data.wait_after(&error, &mut budget).await {
            return Err(error);
        }
    }
}

/// A file that is open, and what all of it hashes to.
struct Source {
    file: Arc<File>,
    len: u64,
    md5: [u8; 16],
    pool: BlockingPool,
}

impl Source {
    /// Opens a file and reads it once.
    async fn open(file: &OutgoingFile, pool: &BlockingPool) -> Result<Self, RemoteError> {
        let (path, len) = (file.path.clone(), file.len);
        let hashed = pool.run(move || {
            let file = File::open(path)?;
            let md5 = md5_of(&file, len)?;
            Ok((Arc::new(file), md5))
        });
        let (source, md5) = hashed.await.map_err(|source| RemoteError::File {
            path: file.path.clone(),
            source,
        })?;
        Ok(Self {
            file: source,
            len,
            md5,
            pool: pool.clone(),
        })
    }

    fn details(&self, file: &OutgoingFile) -> TableFileDetails {
        TableFileDetails {
            id: Bytes::copy_from_slice(file.id.as_bytes()),
            content_length: self.len,
            content_hash: Bytes::copy_from_slice(&self.md5),
            num_chunks: u64::from(file.chunks),
            suffix: file.kind.suffix().to_owned(),
            split_offset: file.data_len,
        }
    }

    async fn send(&self, data: &Data, url: &str) -> Result<(), RemoteError> {
        let url = Url::parse(url).map_err(|_| RemoteError::Answer {
            action: ACTION,
            what: "a place that is no http address".to_owned(),
        })?;
        let taken = Arc::new(Notify::new());
        let request = data.uploads.put(url);
        let request = request
            .header(CONTENT_LENGTH, self.len)
            .header("content-md5", BASE64.encode(&self.md5))
            .body(Body::wrap_stream(self.pieces(&taken)));
        let answered = async {
            let response = data.answered(ACTION, request).await?;
            match response.status().is_success() {
                true => Ok(()),
                false => Err(data.refusal(ACTION, response).await),
            }
        };
        let answered = while_it_moves(&*data.clock, &taken, answered).await;
        answered.unwrap_or(Err(RemoteError::Silent {
            action: ACTION,
            patience: PATIENCE,
        }))
    }

    /// The file piece by piece. Each that is taken is told.
    fn pieces(&self, taken: &Arc<Notify>) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        let taken = Arc::clone(taken);
        let (file, len, pool) = (Arc::clone(&self.file), self.len, self.pool.clone());
        let offsets = stream::iter((0..len).step_by(PIECE_BYTES));
        let pieces = offsets.map(move |offset| {
            let (file, pool) = (Arc::clone(&file), pool.clone());
            async move {
                let read = pool.run(move || read_piece(&file, offset, len));
                read.await.map(Bytes::from)
            }
        });
        let pieces = pieces.buffered(PIECES_IN_HAND);
        pieces.inspect(move |_| taken.notify_one())
    }
}

/// Waits for an answer for as long as something is taken meanwhile; nothing when that ended.
async fn while_it_moves<T>(
    clock: &dyn Clock,
    taken: &Notify,
    answer: impl Future<Output = T>,
) -> Option<T> {
    let mut answer = pin!(answer);
    loop {
        tokio::select! {
            answer = &mut answer => return Some(answer),
            () = taken.notified() => {}
            () = clock.sleep(PATIENCE) => return None,
        }
    }
}

/// Hashes a file of that length. Blocks.
fn md5_of(file: &File, len: u64) -> io::Result<[u8; 16]> {
    let mut md5 = Md5::new();
    for offset in (0..len).step_by(PIECE_BYTES) {
        md5.update(read_piece(file, offset, len)?);
    }
    Ok(md5.finalize().into())
}

/// Reads the piece at `offset` of a file of that length. Blocks.
fn read_piece(file: &File, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let rest = usize::try_from(len - offset).unwrap_or(usize::MAX);
    let mut piece = vec![0; rest.min(PIECE_BYTES)];
    file.read_exact_at(&mut piece, offset)?;
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use holdfast_chunkstore::clock::Timestamp;

    use super::*;

    /// Nobody has patience longer than others have turns.
    #[derive(Debug)]
    struct Impatient;

    #[async_trait]
    impl Clock for Impatient {
        fn now(&self) -> Timestamp {
            Timestamp(0)
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }

        async fn sleep(&self, _: Duration) {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn a_slow_link_is_waited_for_and_one_that_stands_still_is_not() {
        let taken = Notify::new();
        let slow = async {
            for _ in 0..1000 {
                tokio::task::yield_now().await;
                taken.notify_one();
            }
        };
        assert!(while_it_moves(&Impatient, &taken, slow).await.is_some());
        let still = std::future::pending::<()>();
        assert!(while_it_moves(&Impatient, &taken, still).await.is_none());
    }
}
