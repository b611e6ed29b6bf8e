//! Table files over HTTP: read by signed addresses, whole or one range, and sent to signed addresses.

use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use futures::TryStreamExt as _;
use holdfast_chunkstore::objects::ObjectBody;
use holdfast_chunkstore::repo::Md5;
use holdfast_chunkstore::repo::spool::Sender;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;

use super::pace::Pace;
use super::range::{self, RangeError, Wanted};
use super::{Plane, answer, status};
use crate::forge::error::{self, ForgeError};
use crate::origin;
use crate::peer::Peer;
use crate::telemetry::request::{Known, RequestId};
use crate::transport::{BodyError, ClientWait, ResponseBody};

/// How much of a refused upload is read and dropped, so that the client gets to read the refusal.
const DISCARD_BYTES: u64 = 256 << 20;
/// How long that may take.
const DISCARD_TIME: Duration = Duration::from_secs(60);

impl Plane {
    /// Answers GET and HEAD of a stored file.
    pub(super) async fn download(
        &self,
        peer: Peer,
        request: Request<Incoming>,
    ) -> Response<ResponseBody> {
        match self.try_download(peer, &request).await {
            Ok(response) => response,
            Err(error) => refuse(&error, request.extensions()),
        }
    }

    async fn try_download(
        &self,
        peer: Peer,
        request: &Request<Incoming>,
    ) -> Result<Response<ResponseBody>, ForgeError> {
        let uri = request.uri();
        let key = self.forge.check_download(uri.path(), uri.query())?;
        Known::note(request.extensions());
        let is_head = request.method() == Method::HEAD;
        let wanted = match request.headers().get(RANGE) {
            Some(header) if !is_head => match range::parse(header.to_str().unwrap_or_default()) {
                Ok(wanted) => wanted,
                Err(RangeError::Malformed) => {
                    return Ok(answer::line(StatusCode::BAD_REQUEST, "malformed range"));
                }
                Err(error @ (RangeError::Several | RangeError::Outside)) => {
                    return Ok(unsatisfiable(self.forge.download_len(&key).await?, error));
                }
            },
            Some(_) | None => Wanted::Whole,
        };
        if is_head {
            let len = self.forge.download_len(&key).await?;
            return Ok(file(
                StatusCode::OK,
                len,
                None,
                answer::empty(StatusCode::OK).into_body(),
            ));
        }
        // The usual forms need no length first.
        let range = match wanted {
            Wanted::Whole => None,
            Wanted::Part { from, until } => Some(from..until),
            Wanted::From(_) | Wanted::Last(_) => {
                let len = self.forge.download_len(&key).await?;
                match wanted.within(len) {
                    Ok(range) => range,
                    Err(error) => return Ok(unsatisfiable(len, error)),
                }
            }
        };
        let is_part = range.is_some();
        let wanted = range
            .as_ref()
            .map_or(u64::MAX, |range| range.end.saturating_sub(range.start));
        if let Some(wait) = request.extensions().get::<ClientWait>() {
            wait.holds_memory(self.outgoing.waiting());
        }
        let first = self.outgoing.room(peer, wanted).await;
        let ObjectBody {
            object_len,
            range,
            stream,
        } = match self.forge.read_download(&key, range).await {
            Err(ForgeError::Range { len }) => {
                return Ok(unsatisfiable(len, RangeError::Outside));
            }
            body => body?,
        };
        let len = range.end - range.start;
        let stream = self.outgoing.held(peer, first, len, stream);
        let stream = stream.map_ok(Frame::data).map_err(|source| {
            tracing::warn!(cause = error::one_line(&source), "a download broke off");
            BodyError::from(source)
        });
        let body = StreamBody::new(stream).boxed_unsync();
        Ok(if is_part {
            let content_range = format!("bytes {}-{}/{object_len}", range.start, range.end - 1);
            file(StatusCode::PARTIAL_CONTENT, len, Some(&content_range), body)
        } else {
            file(StatusCode::OK, len, None, body)
        })
    }

    /// Answers PUT and POST of a file.
    pub(super) async fn upload(
        &self,
        peer: Peer,
        request: Request<Incoming>,
    ) -> Response<ResponseBody> {
        let (head, mut body) = request.into_parts();
        match self.try_upload(peer, &head, &mut body).await {
            Ok(()) => answer::line(StatusCode::OK, "stored"),
            Err(error) => {
                // The client reads the refusal while, or after, it sends the rest.
                self.tasks.spawn(discard(body));
                refuse(&error, &head.extensions)
            }
        }
    }

    async fn try_upload(
        &self,
        peer: Peer,
        head: &http::request::Parts,
        body: &mut Incoming,
    ) -> Result<(), ForgeError> {
        let client = origin::program(&head.headers);
        let (path, query) = (head.uri.path(), head.uri.query());
        let sent_md5 = content_md5(&head.headers)?;
        let sent_len = content_length(&head.headers)?;
        let sender = Sender(peer.number());
        let arriving = self.forge.begin_upload(path, query, client, sender);
        let mut arriving = arriving.await?;
        Known::note(&head.extensions);
        let declared = arriving.file.clone();
        if let (Some(sent), Some(declared)) = (sent_md5, declared.md5)
            && sent != declared
        {
            return Err(ForgeError::invalid("Content-MD5 is not what was declared"));
        }
        if sent_len.is_some_and(|len| len != declared.len) {
            return Err(wrong_length(declared.len));
        }
        // What is received is checked against what was declared; what is known already is only read.
        let unchecked = arriving.is_known().then_some(declared.md5).flatten();
        let mut digest = Md5Check::new(unchecked.or(sent_md5.filter(|_| declared.md5.is_none())));
        let (mut pace, mut received) = (Pace::default(), 0);
        while let Some(piece) = self.next_piece(&mut pace, body).await? {
            received += piece.len() as u64;
            if received > declared.len {
                return Err(wrong_length(declared.len));
            }
            digest.update(&piece);
            arriving.write(piece).await?;
        }
        if received != declared.len {
            return Err(wrong_length(declared.len));
        }
        digest.check()?;
        arriving.finish().await
    }

    /// The next bytes of a body, unless they come too slowly; nothing at its end.
    async fn next_piece(
        &self,
        pace: &mut Pace,
        body: &mut Incoming,
    ) -> Result<Option<Bytes>, ForgeError> {
        let body_error = |source: BodyError| ForgeError::Body { source };
        loop {
            let frame = pace.next(&**self.forge.clock(), body.frame()).await;
            let frame = match frame.map_err(|error| body_error(error.into()))? {
                None => return Ok(None),
                Some(frame) => frame.map_err(|error| body_error(error.into()))?,
            };
            if let Ok(piece) = frame.into_data() {
                let came = pace.came(piece.len());
                came.map_err(|error| body_error(error.into()))?;
                return Ok(Some(piece));
            }
        }
    }
}

/// A digest of the body where nobody else takes one.
struct Md5Check {
    wanted: Option<(Md5, md5::Md5)>,
}

impl Md5Check {
    fn new(wanted: Option<Md5>) -> Self {
        use md5::Digest as _;
        Self {
            wanted: wanted.map(|wanted| (wanted, md5::Md5::new())),
        }
    }

    fn update(&mut self, piece: &[u8]) {
        use md5::Digest as _;
        if let Some((_, hasher)) = &mut self.wanted {
            hasher.update(piece);
        }
    }

    fn check(self) -> Result<(), ForgeError> {
        use md5::Digest as _;
        let Some((wanted, hasher)) = self.wanted else {
            return Ok(());
        };
        if wanted.0[..] == hasher.finalize()[..] {
            Ok(())
        } else {
            Err(ForgeError::invalid(
                "the body does not have the MD5 that was declared",
            ))
        }
    }
}

/// Reads and drops the rest of a body, within bounds.
async fn discard(mut body: Incoming) {
    let mut left = DISCARD_BYTES;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let len = frame.data_ref().map_or(0, |data| data.len() as u64);
            match left.checked_sub(len) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    if tokio::time::timeout(DISCARD_TIME, reading).await.is_err() {
        tracing::debug!("a refused upload was cut");
    }
}

fn wrong_length(declared: u64) -> ForgeError {
    ForgeError::invalid(format!(
        "the body does not have the {declared} bytes that were declared"
    ))
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, ForgeError> {
    let Some(value) = headers.get(CONTENT_LENGTH) else {
        return Ok(None);
    };
    let parsed = value.to_str().ok().and_then(|text| text.parse().ok());
    parsed
        .map(Some)
        .ok_or_else(|| ForgeError::invalid("malformed Content-Length"))
}

fn content_md5(headers: &HeaderMap) -> Result<Option<Md5>, ForgeError> {
    let Some(value) = headers.get("content-md5") else {
        return Ok(None);
    };
    let bytes = BASE64.decode(value.as_bytes()).ok();
    let md5 = bytes.and_then(|bytes| bytes.try_into().ok());
    md5.map(|md5| Some(Md5(md5)))
        .ok_or_else(|| ForgeError::invalid("malformed Content-MD5"))
}

fn refuse(error: &ForgeError, extensions: &Extensions) -> Response<ResponseBody> {
    error::log(error);
    let text = match extensions.get::<RequestId>() {
        Some(RequestId(id)) => format!("{} (request {id})", error.for_client()),
        None => error.for_client(),
    };
    let mut response = answer::line(status::status(error.kind()), &text);
    if error.is_of_damage() {
        let mark = HeaderValue::from_static(error::DAMAGED);
        response.headers_mut().insert(error::MARK, mark);
    }
    response
}

fn unsatisfiable(len: u64, error: RangeError) -> Response<ResponseBody> {
    let mut response = answer::line(StatusCode::RANGE_NOT_SATISFIABLE, &error.to_string());
    set(
        response.headers_mut(),
        CONTENT_RANGE,
        &format!("bytes */{len}"),
    );
    response
}

fn file(
    status: StatusCode,
    len: u64,
    content_range: Option<&str>,
    body: ResponseBody,
) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(content_range) = content_range {
        set(headers, CONTENT_RANGE, content_range);
    }
    response
}

fn set(headers: &mut HeaderMap, name: http::HeaderName, text: &str) {
    let value = HeaderValue::from_str(text).expect("numbers and plain words are a header's value");
    headers.insert(name, value);
}
