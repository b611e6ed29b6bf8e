//! Short answers in plain text.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};

use crate::transport::ResponseBody;

/// An answer of one line.
pub fn line(status: StatusCode, text: &str) -> Response<ResponseBody> {
    lines(status, &text.replace(['\n', '\r'], " "))
}

/// An answer of several lines.
pub fn lines(status: StatusCode, text: &str) -> Response<ResponseBody> {
    let bytes = Bytes::from(format!("{text}\n"));
    let length = HeaderValue::from(bytes.len());
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, length);
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Response<ResponseBody> {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// What HEAD is answered where GET is answered so. HTTP/2 takes a body there for a broken stream.
pub fn head_of(response: Response<ResponseBody>) -> Response<ResponseBody> {
    response.map(|_| full(Bytes::new()))
}

/// The answer to an address that means nothing here.
pub fn not_found() -> Response<ResponseBody> {
    line(StatusCode::NOT_FOUND, "there is nothing at this address")
}

/// The answer to a method that an address does not know.
pub fn method_not_allowed(allowed: &'static str) -> Response<ResponseBody> {
    let mut response = line(
        StatusCode::METHOD_NOT_ALLOWED,
        &format!("this address takes {allowed}"),
    );
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// A body that is there already.
pub fn full(bytes: Bytes) -> ResponseBody {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}
