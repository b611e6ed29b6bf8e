//! A range of a file, which comes piece by piece.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::Url;
use reqwest::header::RANGE;

use super::data::{Data, FileRange, check_beginning, http, total_len};
use super::flow::Leave;
use crate::remote::{Budget, RemoteError};

/// What came of a range and was not taken off yet.
#[derive(Debug)]
pub(super) struct Arrived {
    /// Where in the file it begins.
    pub(super) start: u64,
    pub(super) bytes: BytesMut,
}

impl Arrived {
    /// Where in the file it ends.
    pub(super) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Takes off its first bytes.
    pub(super) fn take(&mut self, len: usize) -> BytesMut {
        self.start += len as u64;
        self.bytes.split_to(len)
    }
}

/// A range that comes piece by piece. What was cut off is continued, and every byte that comes renews the tries.
pub(super) struct RangeReader<'a> {
    data: &'a Data,
    url: &'a Url,
    end: u64,
    pub(super) arrived: Arrived,
    budget: Budget,
    open: Option<OpenRange<'a>>,
    file_len: Option<u64>,
}

/// A request that is being answered.
struct OpenRange<'a> {
    leave: Leave<'a>,
    /// Nothing before it was answered.
    pieces: Option<Pieces>,
    /// Where it began.
    from: u64,
}

type Pieces = BoxStream<'static, Result<Bytes, RemoteError>>;

/// How much room is made at once for what comes.
const ROOM_BYTES: u64 = 256 << 10;

impl<'a> RangeReader<'a> {
    /// Prepares to read; nothing is asked for yet.
    pub(super) fn new(data: &'a Data, url: &'a Url, range: Range<u64>) -> Self {
        Self {
            data,
            url,
            end: range.end,
            arrived: Arrived {
                start: range.start,
                bytes: BytesMut::new(),
            },
            budget: Budget::new(),
            open: None,
            file_len: None,
        }
    }

    /// Waits for more; false when all is there.
    pub(super) async fn more(&mut self) -> Result<bool, RemoteError> {
        loop {
            let missing = self.end - self.arrived.end();
            if missing == 0 {
                if let Some(open) = self.open.take() {
                    open.leave.succeeded();
                }
                return Ok(false);
            }
            let mut open = match self.open.take() {
                Some(open) => open,
                None => OpenRange {
                    leave: self.data.flow.enter().await,
                    pieces: None,
                    from: self.arrived.end(),
                },
            };
            let error = match self.next_piece(&mut open, missing).await {
                Ok(()) => {
                    self.open = Some(open);
                    return Ok(true);
                }
                Err(error) => error,
            };
            match error.may_pass() {
                true => open.leave.failed(),
                false => return Err(error),
            }
            if self.arrived.end() > open.from {
                self.budget.renew();
            }
            if !self.data.wait_after(&error, &mut self.budget).await {
                return Err(error);
            }
        }
    }

    /// What was not taken off.
    pub(super) fn into_rest(self) -> FileRange {
        FileRange {
            bytes: self.arrived.bytes.freeze(),
            file_len: self.file_len,
        }
    }

    async fn next_piece(
        &mut self,
        open: &mut OpenRange<'_>,
        missing: u64,
    ) -> Result<(), RemoteError> {
        let action = "read chunks of the remote";
        let pieces = match &mut open.pieces {
            Some(pieces) => pieces,
            None => {
                let pieces = self.begin(action).await?;
                open.pieces.insert(pieces)
            }
        };
        let Some(piece) = pieces.next().await else {
            return Err(RemoteError::Short { action, missing });
        };
        let piece = piece?;
        if piece.len() as u64 > missing {
            return Err(RemoteError::Answer {
                action,
                what: "more bytes than were asked for".to_owned(),
            });
        }
        let bytes = &mut self.arrived.bytes;
        if bytes.capacity() - bytes.len() < piece.len() {
            let room = usize::try_from(missing.min(ROOM_BYTES)).unwrap_or(0);
            bytes.reserve(room.max(piece.len()));
        }
        bytes.extend_from_slice(&piece);
        Ok(())
    }

    /// Asks for what is missing behind what is there.
    async fn begin(&mut self, action: &'static str) -> Result<Pieces, RemoteError> {
        let (begins_at, last) = (self.arrived.end(), self.end - 1);
        let request = self.data.reads.get(self.url.clone());
        let request = request.header(RANGE, format!("bytes={begins_at}-{last}"));
        let response = self.data.answered(action, request).await?;
        match response.status().as_u16() {
            206 => check_beginning(action, &response, begins_at)?,
            200 => {
                let what = "a whole file (status 200) where a range was asked for";
                let what = what.to_owned();
                return Err(RemoteError::Answer { action, what });
            }
            _ => return Err(self.data.refusal(action, response).await),
        }
        self.file_len = total_len(&response).or(self.file_len);
        Ok(response.bytes_stream().map_err(http(action)).boxed())
    }
}
