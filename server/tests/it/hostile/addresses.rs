//! Requests to every HTTP address: wrong paths, queries, methods, ranges and headers.

use bytes::Bytes;
use data_encoding::BASE64;
use futures::StreamExt as _;
use http::{Method, Request, Uri};
use md5::Digest as _;
use rand::RngExt as _;

use super::inputs::{generator, noise, one_of, path, printable, text};
use super::wire::Answer;
use super::world::{World, other_database};
use super::{AT_ONCE, INPUTS};
use crate::pushing::pack;

fn is_same(request: &Request<Bytes>, path: &str) -> bool {
    request.uri().path_and_query().unwrap().as_str() == path
}

/// Sends requests, many at once, and looks at each with its answer.
async fn each(
    world: &World,
    requests: Vec<Request<Bytes>>,
    mut look: impl FnMut(&Request<Bytes>, &Answer),
) {
    let mut answers = futures::stream::iter(requests)
        .map(async |request| (request.clone(), world.wire.send(request).await))
        .buffer_unordered(AT_ONCE);
    while let Some((request, answer)) = answers.next().await {
        assert!(answer.status.as_u16() < 500, "{request:?}: {answer:?}");
        let is_head = request.method() == Method::HEAD;
        assert!(
            !is_head || answer.body.is_empty(),
            "{request:?}: {answer:?}"
        );
        look(&request, &answer);
    }
}

const RANGES: [&str; 8] = [
    "bytes=0-0",
    "bytes=10-99",
    "bytes=100-",
    "bytes=-7",
    "bytes=0-1,5-6",
    "bytes=5-18446744073709551614",
    "bytes=-0",
    "lines=1-2",
];

#[tokio::test]
async fn a_download_is_exact_or_refused_whatever_is_asked() {
    let mut world = World::start(&[]).await;
    let good = world.data_path().await;
    let mut random = generator(30);
    let requests: Vec<_> = (0..INPUTS)
        .map(|_| {
            let target = match random.random_range(0..2) {
                0 => path(&[&good], &mut random),
                _ => good.clone(),
            };
            let method = match random.random_range(0..4) {
                0 => Method::HEAD,
                _ => Method::GET,
            };
            let request = Request::builder()
                .method(method)
                .uri(world.wire.url(&target));
            let range = match random.random_range(0..4) {
                0 => None,
                1 => Some(one_of(&RANGES, &mut random).to_string()),
                _ => Some(text(&RANGES, &mut random)),
            };
            let range = range.filter(|range| http::HeaderValue::from_str(range).is_ok());
            let request = range
                .into_iter()
                .fold(request, |request, range| request.header("range", range));
            request.body(Bytes::new()).unwrap()
        })
        .collect();
    let mut sent = 0;
    each(&world, requests, |request, answer| {
        if is_same(request, &good) {
            sent += usize::from(assert_download(request, answer, &world.packed.bytes));
        } else {
            let status = answer.status.as_u16();
            assert!([403, 404, 405].contains(&status), "{request:?}: {answer:?}");
        }
    })
    .await;
    assert!(sent > 100, "{sent} ranges were right");
    world.assert_unchanged().await;
}

/// What a header asks of a file.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// The bytes from the first to the last, both included.
    Part(u64, u64),
    Unsatisfiable,
    Malformed,
}

/// Reads a `Range` by RFC 9110, as one range of bytes that lies wholly inside a file: byte by byte, without what the
/// server reads it with.
fn asked(header: &[u8], len: u64) -> Asked {
    // What is no visible text is no header for the server either.
    let is_text = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
    if !header.iter().all(is_text) {
        return Asked::Malformed;
    }
    let Some(equals) = header.iter().position(|byte| *byte == b'=') else {
        return Asked::Malformed;
    };
    let (unit, ranges) = (header[..equals].trim_ascii(), &header[equals + 1..]);
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return Asked::Malformed;
    }
    if ranges.contains(&b',') {
        return Asked::Unsatisfiable;
    }
    let Some(dash) = ranges.iter().position(|byte| *byte == b'-') else {
        return Asked::Malformed;
    };
    let [first, last] = [&ranges[..dash], &ranges[dash + 1..]].map(number);
    let (first, last) = match (first, last) {
        (Number::Missing, Number::Missing) | (Number::None, _) | (_, Number::None) => {
            return Asked::Malformed;
        }
        (Number::Of(first), Number::Of(last)) if last < first => return Asked::Malformed,
        (Number::Of(first), Number::Of(last)) => (first, last),
        (Number::Of(first), Number::Missing) => (first, u128::from(len).saturating_sub(1)),
        (Number::Missing, Number::Of(count)) => match u128::from(len).checked_sub(count) {
            Some(first) => (first, u128::from(len).saturating_sub(1)),
            None => return Asked::Unsatisfiable,
        },
    };
    match [first, last].map(u64::try_from) {
        [Ok(first), Ok(last)] if first <= last && last < len => Asked::Part(first, last),
        _ => Asked::Unsatisfiable,
    }
}

enum Number {
    Missing,
    None,
    Of(u128),
}

/// Digits, however many: one that is larger than any length is as good as another.
fn number(text: &[u8]) -> Number {
    let text = text.trim_ascii();
    if text.is_empty() {
        return Number::Missing;
    }
    let mut value = 0_u128;
    for byte in text {
        if !byte.is_ascii_digit() {
            return Number::None;
        }
        value = (value * 10 + u128::from(byte - b'0')).min(u128::from(u64::MAX));
    }
    Number::Of(value)
}

/// Panics if this is not the answer to a request with a good address; returns whether it carries a range.
fn assert_download(request: &Request<Bytes>, answer: &Answer, file: &Bytes) -> bool {
    let len = file.len() as u64;
    let header = request.headers().get("range");
    let (status, body) = match header {
        _ if request.method() == Method::HEAD => (200, Bytes::new()),
        None => (200, file.clone()),
        Some(header) => match asked(header.as_bytes(), len) {
            Asked::Part(first, last) => {
                let [first, last] = [first, last].map(|at| usize::try_from(at).unwrap());
                (206, file.slice(first..=last))
            }
            Asked::Malformed => (400, answer.body.clone()),
            Asked::Unsatisfiable => (416, answer.body.clone()),
        },
    };
    assert_eq!(answer.status, status, "{request:?}: {answer:?}");
    assert!(answer.body == body, "{request:?}");
    if answer.status == 416 {
        assert_eq!(answer.headers["content-range"], format!("bytes */{len}"));
    }
    answer.status == 206
}

#[tokio::test]
async fn an_upload_to_a_wrong_address_or_with_a_wrong_digest_is_refused() {
    let mut world = World::start(&[]).await;
    let chunks: Vec<_> = other_database().chunks().values().cloned().collect();
    let file = pack(&chunks);
    let with_digest = world.upload_path(file.details()).await;
    let details = holdfast_proto::remotesapi::TableFileDetails {
        content_hash: Bytes::new(),
        ..file.details()
    };
    let goods = [with_digest, world.upload_path(details).await];
    let digest = BASE64.encode(&md5::Md5::digest(&file.bytes));
    let mut random = generator(31);
    let requests: Vec<_> = (0..INPUTS)
        .map(|_| {
            let method = one_of(&[Method::PUT, Method::POST], &mut random).clone();
            let good = one_of(&goods, &mut random);
            let (target, md5, body) = match random.random_range(0..4) {
                0 | 1 => (
                    path(&[good], &mut random),
                    Some(digest.clone()),
                    file.bytes.clone(),
                ),
                2 => {
                    let md5 = text(&[&digest], &mut random);
                    (good.clone(), Some(md5), file.bytes.clone())
                }
                _ => (good.clone(), None, noise(5000, &mut random).into()),
            };
            let is_value = |md5: &String| *md5 != digest || target != *good;
            let md5 = md5.filter(|md5| is_value(md5) && http::HeaderValue::from_str(md5).is_ok());
            let body = if md5.is_none() {
                body.slice(..body.len() / 2)
            } else {
                body
            };
            let request = Request::builder()
                .method(method)
                .uri(world.wire.url(&target));
            let request = md5
                .into_iter()
                .fold(request, |request, md5| request.header("content-md5", md5));
            request.body(body).unwrap()
        })
        .collect();
    each(&world, requests, |request, answer| {
        let status = answer.status.as_u16();
        let is_good = goods.iter().any(|good| is_same(request, good));
        let expected: &[u16] = if is_good { &[400] } else { &[403, 404, 405] };
        assert!(expected.contains(&status), "{request:?}: {answer:?}");
        let text = answer.text();
        assert!(text.ends_with('\n') && text.lines().count() == 1, "{text}");
    })
    .await;
    world.assert_unchanged().await;
}

/// Methods, ordinary and odd. What CONNECT means is the connection's own business.
const METHODS: [&str; 12] = [
    "GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get", "X",
    "A-_.!~*'",
];

/// What any path is answered with, read off the table at the head of `http/mod.rs`.
fn expected(method: &Method, path: &str) -> &'static [u16] {
    let reads = [Method::GET, Method::HEAD].contains(method);
    let writes = [Method::PUT, Method::POST].contains(method);
    match path {
        "/live" | "/ready" if reads => &[200],
        "/live" | "/ready" => &[405],
        path if path.starts_with("/data/") => {
            if reads {
                &[403]
            } else {
                &[405]
            }
        }
        path if path.starts_with("/upload/") => {
            if writes {
                &[403]
            } else {
                &[405]
            }
        }
        _ => &[404],
    }
}

#[tokio::test]
async fn odd_methods_and_unknown_paths_are_answered_by_the_table() {
    let world = World::start(&[]).await;
    let bases = [
        &["live"][..],
        &["ready"],
        &["data/pools/x/files/ab/abc", "upload/acme/prod/0123"],
        &[
            "",
            "favicon.ico",
            "acme/prod",
            "index.html?x=1",
            "../../etc/passwd",
        ],
    ];
    let mut random = generator(32);
    let mut requests = Vec::new();
    for bases in bases {
        requests.extend((0..INPUTS).map(|_| {
            let target = match random.random_range(0..2) {
                0 => path(bases, &mut random),
                _ => format!("/{}", one_of(bases, &mut random)),
            };
            let method = match random.random_range(0..4) {
                0 => printable(&METHODS, &mut random),
                1 => "GET".to_owned(),
                _ => one_of(&METHODS, &mut random).to_string(),
            };
            let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::OPTIONS);
            let uri: Uri = world.wire.url(&target).parse().unwrap();
            let body = match random.random_range(0..40) {
                0 => noise(40, &mut random).into(),
                _ => Bytes::new(),
            };
            Request::builder()
                .method(method)
                .uri(uri)
                .body(body)
                .unwrap()
        }));
    }
    each(&world, requests, |request, answer| {
        let expected = expected(request.method(), request.uri().path());
        let status = answer.status.as_u16();
        assert!(expected.contains(&status), "{request:?}: {answer:?}");
    })
    .await;
    world.assert_unchanged().await;
}
