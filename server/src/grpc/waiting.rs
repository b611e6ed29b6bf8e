//! Both bodies of a call as its connection sees them: whether the call waits for its client, and its end when its place is
//! wanted.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use crate::transport::{ClientWait, GivenUp};

/// What a call is told whose place is wanted, and which did nothing.
pub fn place_given_up() -> Status {
    Status::unavailable(
        "nothing came on this stream, and other connections wait for its place: ask again",
    )
}

/// The body of a request, which tells when it is waited for.
#[derive(Debug)]
pub struct Awaited<B> {
    body: B,
    wait: ClientWait,
}

impl<B> Awaited<B> {
    /// Wraps a body.
    pub fn new(body: B, wait: ClientWait) -> Self {
        Self { body, wait }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Awaited<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Pending => self.wait.waits(),
            Poll::Ready(Some(Ok(frame))) => self.wait.came(frame.data_ref().map_or(0, Bytes::len)),
            Poll::Ready(_) => self.wait.came(0),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, which ends when the place of its connection is wanted and there is nothing to do.
#[derive(Debug)]
pub struct Ending<B> {
    body: B,
    given_up: GivenUp,
    is_ended: bool,
}

impl<B> Ending<B> {
    /// Wraps a body.
    pub fn new(body: B, wait: &ClientWait) -> Self {
        Self {
            body,
            given_up: wait.given_up(),
            is_ended: false,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Ending<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        if this.is_ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        if Pin::new(&mut this.given_up).poll(context).is_pending() {
            return Poll::Pending;
        }
        this.is_ended = true;
        let mut trailers = HeaderMap::new();
        // A text of plain words is a header's value.
        drop(place_given_up().add_header(&mut trailers));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
