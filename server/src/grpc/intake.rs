//! The body of a call on its way to the decoder: counted, and given room in memory when it is large.
//!
//! A decoder makes room for a message as soon as it has seen its length. So the head of a large message is
//! held back until all large messages together leave room for it; what a call holds goes back when the next
//! message begins, or when the call is over.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, PollSemaphore, WaitForCancellationFutureOwned};
use tonic::Status;

use super::MAX_MESSAGE;
use super::walk::{Bounds, Walked, Walker};
use crate::transport::BodyError;

/// How much room large messages have together, in KiB: as much as the longest one takes.
const ROOM_KIB: usize = MAX_MESSAGE >> 10;
/// How long a large message waits for room.
const ROOM_WAIT: Duration = Duration::from_secs(30);
/// How long a message may take to arrive, and where a call has one, until it begins and from there to the end of the
/// call.
const ARRIVAL: Duration = Duration::from_mins(2);

/// Room for the large messages of all calls.
#[derive(Debug, Clone)]
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM_KIB)))
    }
}

/// The room that the message of one call takes; given back with the last clone.
#[derive(Debug, Clone, Default)]
pub struct Taken(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

/// How many messages a call has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Messages {
    /// One.
    One,
    /// Any number, one answered before the next is read.
    Stream,
}

/// The body of a call.
#[derive(Debug)]
pub struct Intake<B> {
    body: B,
    messages: Messages,
    walker: Walker,
    /// What has arrived and was not handed on.
    held_back: Bytes,
    room: PollSemaphore,
    taken: Taken,
    /// How long the large message is whose head is held back, in KiB.
    wanted_kib: Option<u32>,
    limit: Option<Limit>,
    /// What ends the body while it is waited for, where something does.
    ending: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

#[derive(Debug)]
struct Limit {
    phase: Phase,
    /// How many messages came before the one that it is set for.
    message: u64,
    end: Pin<Box<Sleep>>,
}

/// What a time limit is set for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There is no room.
    Waiting,
    /// A message is arriving.
    Arriving,
}

impl Limit {
    fn new(phase: Phase, message: u64) -> Self {
        let length = match phase {
            Phase::Waiting => ROOM_WAIT,
            Phase::Arriving => ARRIVAL,
        };
        Self {
            phase,
            message,
            end: Box::pin(tokio::time::sleep(length)),
        }
    }
}

impl<B> Intake<B> {
    /// Puts itself before a body.
    pub fn new(body: B, messages: Messages, bounds: Bounds, room: &Room) -> Self {
        Self {
            body,
            messages,
            walker: Walker::new(bounds),
            held_back: Bytes::new(),
            room: PollSemaphore::new(Arc::clone(&room.0)),
            taken: Taken::default(),
            wanted_kib: None,
            limit: None,
            ending: None,
        }
    }

    /// Ends the body when `ending` is set, instead of waiting for what comes next.
    #[must_use]
    pub fn until(mut self, ending: Option<&CancellationToken>) -> Self {
        let cancelled = |token: &CancellationToken| Box::pin(token.clone().cancelled_owned());
        self.ending = ending.map(cancelled);
        self
    }

    /// The room that the call takes.
    pub fn taken(&self) -> Taken {
        self.taken.clone()
    }

    /// Fails if a phase has lasted too long; to be called before waiting.
    fn poll_limit(&mut self, phase: Phase, context: &mut Context<'_>) -> Result<(), Status> {
        let message = self.walker.messages();
        let is_new = |limit: &Limit| (limit.phase, limit.message) != (phase, message);
        if self.limit.as_ref().is_none_or(is_new) {
            self.limit = Some(Limit::new(phase, message));
        }
        let Some(limit) = &mut self.limit else {
            return Ok(());
        };
        match (limit.end.as_mut().poll(context), phase) {
            (Poll::Pending, _) => Ok(()),
            (Poll::Ready(()), Phase::Waiting) => Err(Status::resource_exhausted(
                "too many large messages at once",
            )),
            (Poll::Ready(()), Phase::Arriving) => Err(Status::deadline_exceeded(format!(
                "a message took longer than {ARRIVAL:?} to arrive"
            ))),
        }
    }

    /// Takes room for the large message whose head is held back. What the one before it took is free again:
    /// who asks for more has used what he was given.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        let Some(wanted_kib) = self.wanted_kib else {
            return Poll::Ready(Ok(()));
        };
        drop(self.taken.0.lock().take());
        let Poll::Ready(permit) = self.room.poll_acquire_many(context, wanted_kib) else {
            self.poll_limit(Phase::Waiting, context)?;
            return Poll::Pending;
        };
        *self.taken.0.lock() = permit;
        self.wanted_kib = None;
        self.walker.let_in();
        Poll::Ready(Ok(()))
    }

    /// Walks over what is held back, and cuts off what may be handed on; nothing if there is no such.
    fn cut(&mut self) -> Result<Option<Bytes>, Status> {
        let walked = self.walker.walk(&self.held_back);
        let walked = walked.map_err(|error| Status::invalid_argument(error.to_string()))?;
        if self.messages == Messages::One && self.walker.messages() > 1 {
            return Err(Status::invalid_argument("this call takes one message"));
        }
        match walked {
            Walked::All => Ok(Some(std::mem::take(&mut self.held_back))),
            Walked::Large { at, len } => {
                if self.messages == Messages::One && self.walker.messages() > 0 {
                    return Err(Status::invalid_argument("this call takes one message"));
                }
                // No message is longer than all the room.
                self.wanted_kib = Some(u32::try_from(len.div_ceil(1 << 10)).unwrap_or(u32::MAX));
                Ok(Some(self.held_back.split_to(at)).filter(|bytes| !bytes.is_empty()))
            }
        }
    }

    /// Whether the body owes us bytes or its end, and does not only keep the stream open.
    fn is_owed(&self) -> bool {
        self.messages == Messages::One || !self.walker.is_between()
    }

    /// Whether it is waited for no longer; to be called before waiting.
    fn poll_ending(&mut self, context: &mut Context<'_>) -> bool {
        let ending = self.ending.as_mut();
        ending.is_some_and(|ending| ending.as_mut().poll(context).is_ready())
    }
}

impl<B> Body for Intake<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.messages == Messages::Stream && this.walker.is_between() {
            drop(this.taken.0.lock().take());
        }
        loop {
            ready!(this.poll_room(context))?;
            if !this.held_back.is_empty() {
                match this.cut()? {
                    Some(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                    None => continue,
                }
            }
            let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) else {
                if this.poll_ending(context) {
                    return Poll::Ready(match this.is_owed() {
                        true => Some(Err(Status::unavailable("this server is stopping").into())),
                        false => None,
                    });
                }
                match this.is_owed() {
                    true => this.poll_limit(Phase::Arriving, context)?,
                    false => this.limit = None,
                }
                return Poll::Pending;
            };
            let Some(frame) = frame.transpose().map_err(Into::<BodyError>::into)? else {
                return Poll::Ready(None);
            };
            match frame.into_data() {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => this.held_back = bytes,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _, stream};
    use http_body_util::{BodyExt as _, StreamBody};
    use tonic::Code;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        listed: 0,
        packed: None,
    };
    /// One field of bytes, a little more than 1 MiB.
    const LEN: usize = (1 << 20) + 7;

    fn message() -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(LEN).unwrap().to_be_bytes());
        bytes.extend([0x12, 0x83, 0x80, 0x40]);
        bytes.resize(5 + LEN, 1);
        bytes
    }

    fn room() -> Room {
        Room(Arc::new(Semaphore::new(1500)))
    }

    /// A body of these bytes in pieces of 1,000, which then says nothing more.
    fn intake(
        bytes: &[u8],
        messages: Messages,
        room: &Room,
    ) -> Intake<impl Body<Data = Bytes, Error = BodyError> + Unpin + use<>> {
        let pieces: Vec<_> = bytes
            .chunks(1000)
            .map(|piece| Ok::<_, BodyError>(Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let body = StreamBody::new(stream::iter(pieces).chain(stream::pending()));
        Intake::new(body, messages, BOUNDS, room)
    }

    /// Reads until nothing comes; returns how many bytes came.
    fn read<B: Body<Data = Bytes, Error = BodyError> + Unpin>(body: &mut B) -> usize {
        let mut len = 0;
        while let Some(frame) = body.frame().now_or_never() {
            len += frame.unwrap().unwrap().into_data().unwrap().len();
        }
        len
    }

    #[tokio::test]
    async fn a_large_message_waits_until_the_one_before_it_is_done_with() {
        let room = room();
        let mut first = intake(&message(), Messages::One, &room);
        let mut second = intake(&message(), Messages::One, &room);
        assert_eq!(read(&mut first), 5 + LEN);
        assert_eq!(read(&mut second), 4, "the head is held back");
        let taken = first.taken();
        drop(first);
        assert_eq!(read(&mut second), 0, "its handler still runs");
        drop(taken);
        assert_eq!(read(&mut second), 1 + LEN);
    }

    #[tokio::test]
    async fn a_stream_has_one_large_message_after_the_other() {
        let room = room();
        let mut body = intake(&message().repeat(3), Messages::Stream, &room);
        assert_eq!(read(&mut body), 3 * (5 + LEN));
        assert_eq!(room.0.available_permits(), 1500, "an idle stream has none");
    }

    #[tokio::test]
    async fn a_call_of_one_message_is_not_waited_for_without_a_limit() {
        for (messages, sent, is_limited) in [
            (Messages::One, &b""[..], true),
            (Messages::One, b"\0\0", true),
            (Messages::One, b"\0\0\0\0\0", true),
            (Messages::Stream, b"\0\0", true),
            (Messages::Stream, b"\0\0\0\0\0", false),
        ] {
            let mut body = intake(sent, messages, &room());
            assert_eq!(read(&mut body), sent.len());
            assert_eq!(body.limit.is_some(), is_limited, "{messages:?} {sent:?}");
        }
    }

    #[tokio::test]
    async fn what_ends_a_body_ends_it_wherever_it_is() {
        for (messages, sent, is_whole) in [
            (Messages::One, &b""[..], false),
            (Messages::Stream, b"\0\0", false),
            (Messages::Stream, b"\0\0\0\0\0", true),
        ] {
            let token = CancellationToken::new();
            let mut body = intake(sent, messages, &room()).until(Some(&token));
            assert_eq!(read(&mut body), sent.len());
            token.cancel();
            let end = body.frame().await;
            assert_eq!(end.is_none(), is_whole, "{sent:?}");
        }
    }

    #[tokio::test]
    async fn a_call_of_one_message_takes_no_second() {
        for second in [&message()[..], b"\0\0\0\0\0"] {
            let bytes = [b"\0\0\0\0\0", second].concat();
            let mut body = intake(&bytes, Messages::One, &room());
            let refused = loop {
                if let Err(error) = body.frame().await.unwrap() {
                    break error.downcast::<Status>().unwrap();
                }
            };
            assert_eq!(refused.code(), Code::InvalidArgument);
        }
    }
}
