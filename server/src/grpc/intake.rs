//! The body of a call on its way to the decoder: one whole message after the other, each counted and with room in
//! memory.
//!
//! A message is held back until all of it is here and counted, so the decoder makes room for nothing else. A sender
//! that is slow, or stops, holds room for twice what it sent of one message, and for as long as a message may take.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http_body::{Body, Frame};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

use super::bounds::Bounds;
use super::budget::{Share, Taken};
use crate::transport::BodyError;

/// How long a message may take to arrive, and where a call has one, until it begins and from there to the end of the
/// call. While it is whole and waits for room its time stands still.
const ARRIVAL: Duration = Duration::from_mins(2);

/// The length of what comes before each message: a flag and the length.
const HEAD_LEN: usize = 5;

/// How many messages a call has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Messages {
    /// One.
    One,
    /// Any number, one answered before the next is read.
    Stream,
}

/// The body of a call.
pub struct Intake<B> {
    body: B,
    messages: Messages,
    bounds: Bounds,
    share: Share,
    stage: Stage,
    /// What of the message is here, its head too.
    message: BytesMut,
    /// What has arrived and was not looked at.
    arrived: Bytes,
    /// How many KiB were taken for the message to arrive.
    taken_kib: u32,
    /// What was taken for it: another message's answer does not give it back.
    taken: Taken,
    /// How many messages were handed on.
    handed_on: u64,
    limit: Option<Limit>,
    /// Whether what a message takes is given back as soon as more is asked for.
    gives_back: bool,
    /// What ends the body while it is waited for, where something does.
    ending: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

/// Where the present message is.
enum Stage {
    /// Its head comes.
    Head,
    /// It comes. With its length, its head included.
    Arriving(usize),
    /// There is no room yet for what came. With its length, its head included.
    Growing(BoxFuture<'static, Taken>, usize),
    /// It is here, and there is no room yet to work on it.
    Whole(BoxFuture<'static, Taken>),
}

struct Limit {
    /// How many messages came before the one that it is set for, and whether its head was here.
    of: (u64, bool),
    end: Pin<Box<Sleep>>,
}

impl<B> std::fmt::Debug for Intake<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake")
            .field("messages", &self.messages)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

impl<B> Intake<B> {
    /// Puts itself before a body. What its messages take of the share is held until the share gives it back.
    pub fn new(body: B, messages: Messages, bounds: Bounds, share: Share) -> Self {
        Self {
            body,
            messages,
            bounds,
            share,
            stage: Stage::Head,
            message: BytesMut::new(),
            arrived: Bytes::new(),
            taken_kib: 0,
            taken: Taken::default(),
            handed_on: 0,
            limit: None,
            gives_back: false,
            ending: None,
        }
    }

    /// Gives back what a message takes as soon as more is asked for: its handler does not tell when it is answered.
    #[must_use]
    pub fn giving_back(mut self) -> Self {
        self.gives_back = true;
        self
    }

    /// Ends the body when `ending` is set, instead of waiting for what comes next.
    #[must_use]
    pub fn until(mut self, ending: &CancellationToken) -> Self {
        self.ending = Some(Box::pin(ending.clone().cancelled_owned()));
        self
    }

    /// Goes on with what has arrived: a message that may be handed on, or nothing if more must come.
    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        loop {
            match &mut self.stage {
                Stage::Head => {
                    self.take_arrived(HEAD_LEN);
                    let Some([_, len @ ..]) = self.message.first_chunk::<HEAD_LEN>() else {
                        return Poll::Ready(Ok(None));
                    };
                    let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
                    self.check_head(len)?;
                    self.taken_kib = 0;
                    self.stage = Stage::Arriving(HEAD_LEN + len);
                }
                Stage::Growing(room, len) => {
                    let len = *len;
                    let Poll::Ready(taken) = room.poll_unpin(context) else {
                        // What holds nothing keeps no other waiting.
                        if self.message.len() > HEAD_LEN {
                            self.poll_limit(context)?;
                        }
                        return Poll::Pending;
                    };
                    self.taken.add(taken);
                    self.stage = Stage::Arriving(len);
                }
                Stage::Arriving(len) => {
                    let len = *len;
                    let here = (self.message.len() + self.arrived.len()).min(len);
                    if self.share.arriving_kib(here) > self.taken_kib {
                        // As much as the buffer may grow to.
                        let kib = self.share.arriving_kib(len.min(2 * here));
                        let more = kib - self.taken_kib;
                        self.taken_kib = kib;
                        let room = self.share.clone().take_to_arrive(more);
                        self.stage = Stage::Growing(room.boxed(), len);
                        continue;
                    }
                    self.take_arrived(len);
                    if self.message.len() < len {
                        return Poll::Ready(Ok(None));
                    }
                    let counted = self.bounds.check(&self.message[HEAD_LEN..]);
                    counted.map_err(|error| Status::invalid_argument(error.to_string()))?;
                    let room = self.share.clone().take_to_work(len - HEAD_LEN);
                    self.stage = Stage::Whole(room.boxed());
                }
                Stage::Whole(room) => {
                    let taken = ready!(room.poll_unpin(context));
                    self.taken.add(taken);
                    self.share.hold(std::mem::take(&mut self.taken));
                    self.stage = Stage::Head;
                    self.handed_on += 1;
                    return Poll::Ready(Ok(Some(self.message.split().freeze())));
                }
            }
        }
    }

    /// Adds of what has arrived as much as makes the message so long.
    fn take_arrived(&mut self, len: usize) {
        let wanted = len.saturating_sub(self.message.len());
        let piece = self.arrived.split_to(wanted.min(self.arrived.len()));
        self.message.extend_from_slice(&piece);
    }

    fn check_head(&self, len: usize) -> Result<(), Status> {
        if self.messages == Messages::One && self.handed_on > 0 {
            return Err(Status::invalid_argument("this call takes one message"));
        }
        let most = self.bounds.len;
        match len > most {
            // A code on which no client asks again.
            true => Err(Status::out_of_range(format!(
                "a message of {len} bytes: this call takes at most {most}, ask for less at once"
            ))),
            false => Ok(()),
        }
    }

    /// Fails if a message takes too long; to be called before waiting for more of it.
    fn poll_limit(&mut self, context: &mut Context<'_>) -> Result<(), Status> {
        let is_begun = matches!(self.stage, Stage::Arriving(_) | Stage::Growing(..));
        let of = (self.handed_on, is_begun);
        if self.limit.as_ref().is_none_or(|limit| limit.of != of) {
            let end = Box::pin(tokio::time::sleep(ARRIVAL));
            self.limit = Some(Limit { of, end });
        }
        let limit = self.limit.as_mut().map(|limit| limit.end.as_mut());
        match limit.is_some_and(|end| end.poll(context).is_ready()) {
            true => Err(Status::deadline_exceeded(format!(
                "a message took longer than {ARRIVAL:?} to arrive"
            ))),
            false => Ok(()),
        }
    }

    /// Whether the body owes us bytes or its end, and does not only keep the stream open.
    fn is_owed(&self) -> bool {
        self.messages == Messages::One || !self.message.is_empty()
    }

    /// Waits, unless what ends the body is set.
    fn poll_end(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let ending = self.ending.as_mut();
        if !ending.is_some_and(|ending| ending.as_mut().poll(context).is_ready()) {
            return Poll::Pending;
        }
        Poll::Ready(match self.is_owed() {
            true => Some(Err(Status::unavailable("this server is stopping").into())),
            false => None,
        })
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
        if this.gives_back && this.message.is_empty() {
            this.share.give_back();
        }
        loop {
            match this.poll_message(context)? {
                Poll::Ready(Some(message)) => return Poll::Ready(Some(Ok(Frame::data(message)))),
                Poll::Ready(None) => {}
                Poll::Pending => return this.poll_end(context),
            }
            let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) else {
                match this.is_owed() {
                    true => this.poll_limit(context)?,
                    false => this.limit = None,
                }
                return this.poll_end(context);
            };
            match frame.transpose().map_err(Into::into)?.map(Frame::into_data) {
                Some(Ok(bytes)) => this.arrived = bytes,
                // That a message is not whole is the decoder's to say.
                None if !this.message.is_empty() => {
                    let part = this.message.split().freeze();
                    return Poll::Ready(Some(Ok(Frame::data(part))));
                }
                None => return Poll::Ready(None),
                Some(Err(trailers)) => return Poll::Ready(Some(Ok(trailers))),
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
    use crate::grpc::budget::Budget;

    /// One field of bytes, a little more than 1 MiB.
    const LEN: usize = (1 << 20) + 7;
    const BOUNDS: Bounds = Bounds {
        len: LEN,
        listed: 0,
        packed: None,
    };

    fn message() -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(LEN).unwrap().to_be_bytes());
        bytes.extend([0x12, 0x83, 0x80, 0x40]);
        bytes.resize(5 + LEN, 1);
        bytes
    }

    /// A body of these bytes in pieces of 1,000, which then says nothing more.
    fn intake(
        bytes: &[u8],
        messages: Messages,
        budget: &Budget,
    ) -> Intake<impl Body<Data = Bytes, Error = BodyError> + Unpin + use<>> {
        let pieces: Vec<_> = bytes
            .chunks(1000)
            .map(|piece| Ok::<_, BodyError>(Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let body = StreamBody::new(stream::iter(pieces).chain(stream::pending()));
        Intake::new(body, messages, BOUNDS, budget.share(None))
    }

    /// Reads until nothing comes; returns how many bytes came.
    fn read<B: Body<Data = Bytes, Error = BodyError> + Unpin>(body: &mut B) -> usize {
        let mut len = 0;
        while let Some(frame) = body.frame().now_or_never() {
            len += frame.unwrap().unwrap().into_data().unwrap().len();
        }
        len
    }

    async fn refusal<B: Body<Data = Bytes, Error = BodyError> + Unpin>(body: &mut B) -> Status {
        loop {
            if let Err(error) = body.frame().await.unwrap() {
                return *error.downcast::<Status>().unwrap();
            }
        }
    }

    #[tokio::test]
    async fn a_message_waits_for_room_to_arrive_and_for_room_to_be_worked_on() {
        for budget in [Budget::new(1500, 100_000), Budget::new(100_000, 17_000)] {
            let mut first = intake(&message(), Messages::One, &budget);
            let mut second = intake(&message(), Messages::One, &budget);
            assert_eq!(read(&mut first), 5 + LEN);
            assert_eq!(read(&mut second), 0);
            let share = first.share.clone();
            drop(first);
            assert_eq!(read(&mut second), 0, "its handler still runs");
            drop(share);
            assert_eq!(read(&mut second), 5 + LEN);
        }
    }

    #[tokio::test]
    async fn a_message_takes_room_for_what_came_of_it_and_not_for_what_it_declares() {
        let budget = Budget::new(1500, 100_000);
        let mut stopped: Vec<_> = (0..20)
            .map(|_| intake(&message()[..3000], Messages::One, &budget))
            .collect();
        for one in &mut stopped {
            assert_eq!(read(one), 0);
            assert_eq!(one.taken_kib, 6);
        }
        let mut whole = intake(b"\0\0\0\0\x02\x12\0", Messages::One, &budget);
        assert_eq!(read(&mut whole), 7);
        // A head alone takes next to nothing.
        let mut heads: Vec<_> = (0..40)
            .map(|_| intake(&message()[..5], Messages::One, &budget))
            .collect();
        assert!(heads.iter_mut().all(|head| read(head) == 0));
        assert_eq!(
            read(&mut intake(b"\0\0\0\0\x02\x12\0", Messages::One, &budget)),
            7
        );
    }

    #[tokio::test]
    async fn messages_that_all_wait_for_room_to_go_on_have_so_long_as_a_message_may_take() {
        let budget = Budget::new(1500, 100_000);
        let mut both = [0, 1].map(|_| intake(&message()[..700_000], Messages::One, &budget));
        for one in &mut both {
            assert_eq!(read(one), 0);
            assert!(one.limit.is_some());
        }
        assert!(
            both.iter()
                .any(|one| matches!(one.stage, Stage::Growing(..)))
        );
    }

    #[tokio::test]
    async fn a_small_message_takes_room_too() {
        let budget = Budget::new(16, 16);
        let mut first = intake(b"\0\0\0\0\x02\x12\0", Messages::One, &budget);
        let mut second = intake(b"\0\0\0\0\x02\x12\0", Messages::One, &budget);
        assert_eq!((read(&mut first), read(&mut second)), (7, 0));
        drop(first);
        assert_eq!(read(&mut second), 7);
    }

    #[tokio::test]
    async fn a_sender_that_waits_for_room_loses_none_of_its_time() {
        let budget = Budget::new(16, 16);
        let mut first = intake(b"\0\0\0\0\x02\x12\0", Messages::One, &budget);
        let mut second = intake(b"\0\0\0\0\x02\x12\0", Messages::One, &budget);
        read(&mut first);
        read(&mut second);
        assert!(second.limit.is_none());
    }

    #[tokio::test]
    async fn a_stream_has_one_message_after_the_other() {
        let budget = Budget::new(1500, 20_000);
        let mut body = intake(&message().repeat(3), Messages::Stream, &budget);
        for _ in 0..3 {
            assert_eq!(read(&mut body), 5 + LEN);
            body.share.give_back();
        }
        let whole = intake(&message(), Messages::One, &budget);
        assert_eq!(read(&mut { whole }), 5 + LEN, "an idle stream has nothing");
    }

    #[tokio::test]
    async fn what_is_given_back_for_answered_messages_is_not_the_room_of_one_that_arrives() {
        let budget = Budget::new(3000, 20_000);
        let mut bytes = message();
        bytes.extend_from_slice(&message()[..500 << 10]);
        let mut body = intake(&bytes, Messages::Stream, &budget);
        assert_eq!(read(&mut body), 5 + LEN);
        body.share.give_back();
        let free = budget.free_to_arrive();
        assert!(
            free <= 3000 - 500,
            "{free} KiB are free beside 500 that arrived"
        );
        drop(body);
        assert_eq!(budget.free_to_arrive(), 3000);
    }

    #[tokio::test]
    async fn a_stream_whose_handler_tells_nothing_waits_for_no_room_of_its_own() {
        let budget = Budget::new(64, 64);
        let messages = b"\0\0\0\0\x02\x12\0".repeat(20);
        let body = intake(&messages, Messages::Stream, &budget);
        assert_eq!(read(&mut body.giving_back()), 140);
    }

    #[tokio::test]
    async fn a_message_that_is_too_long_is_refused_by_its_head() {
        let head = [&[0][..], &u32::MAX.to_be_bytes()].concat();
        let mut body = intake(&head, Messages::One, &Budget::default());
        let refused = refusal(&mut body).await;
        assert_eq!(refused.code(), Code::OutOfRange);
        assert!(refused.message().contains(&LEN.to_string()), "{refused}");
    }

    #[tokio::test]
    async fn a_message_that_lists_too_much_is_not_handed_on() {
        let fields = b"\x12\0".repeat(65);
        let head = [&[0][..], &130_u32.to_be_bytes()].concat();
        let message = [head, fields].concat();
        let mut body = intake(&message, Messages::One, &Budget::default());
        let refused = body.frame().await.unwrap().unwrap_err();
        let refused = refused.downcast::<Status>().unwrap();
        assert_eq!(refused.code(), Code::InvalidArgument);
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
            let mut body = intake(sent, messages, &Budget::default());
            let handed_on = if sent.len() < 5 { 0 } else { 5 };
            assert_eq!(read(&mut body), handed_on);
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
            let mut body = intake(sent, messages, &Budget::default()).until(&token);
            read(&mut body);
            token.cancel();
            let end = body.frame().await;
            assert_eq!(end.is_none(), is_whole, "{sent:?}");
        }
    }

    #[tokio::test]
    async fn a_part_of_a_message_at_the_end_is_left_to_the_decoder() {
        let pieces = [Ok::<_, BodyError>(Frame::data(Bytes::from_static(
            b"\0\0\0\0\x09abc",
        )))];
        let body = StreamBody::new(stream::iter(pieces));
        let share = Budget::default().share(None);
        let body = Intake::new(body, Messages::One, BOUNDS, share);
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 8);
    }

    #[tokio::test]
    async fn a_call_of_one_message_takes_no_second() {
        for second in [&message()[..], b"\0\0\0\0\0"] {
            let bytes = [b"\0\0\0\0\0", second].concat();
            let mut body = intake(&bytes, Messages::One, &Budget::default());
            assert_eq!(refusal(&mut body).await.code(), Code::InvalidArgument);
        }
    }
}
