//! Calls whose bodies are not made of messages, and calls with odd headers.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures::StreamExt as _;
use holdfast_proto::remotesapi as wire;
use holdfast_server::grpc::failed_tokens::MEMORY;
use http::{HeaderValue, Request};
use rand::RngExt as _;
use rand::rngs::StdRng;
use tonic::Code;
use tonic_prost::prost::Message as _;

use super::calls::{assert_fits, holds_too_much, path_of};
use super::inputs::{generator, input, one_of, path, text};
use super::samples;
use super::wire::Said;
use super::world::World;
use super::{AT_ONCE, INPUTS, framed};
use crate::clock::Standing;
use crate::rig::REPO;

/// The longest message that the server takes, in bytes.
const MAX_MESSAGE: usize = 8 << 20;

/// No lie about a length makes the process larger than this in bytes: the lies that are under way at once
/// would take more.
const LARGEST_PROCESS: u64 = 4 << 30;

/// What a body is made of, by an independent reading.
#[derive(Debug, PartialEq, Eq)]
struct Body<'a> {
    messages: Vec<&'a [u8]>,
    end: End,
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Clean,
    /// Neither compressed nor not, or compressed though nobody said how; or it ends amidst a message.
    Broken,
    TooLong,
}

fn read(mut bytes: &[u8]) -> Body<'_> {
    let mut messages = Vec::new();
    let end = loop {
        if bytes.is_empty() {
            break End::Clean;
        }
        if bytes.len() < 5 || bytes.get_u8() != 0 {
            break End::Broken;
        }
        let len = usize::try_from(bytes.get_u32()).unwrap();
        match bytes.split_off(..len) {
            _ if len > MAX_MESSAGE => break End::TooLong,
            Some(message) => messages.push(message),
            // tonic takes a head with nothing behind it for the end.
            None if bytes.is_empty() => break End::Clean,
            None => break End::Broken,
        }
    };
    Body { messages, end }
}

/// A body that is almost one of `bases`; often only the head of one of its messages lies.
fn body(bases: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    if random.random_range(0..3) > 0 {
        return input(bases, random);
    }
    let mut body = one_of(bases, random).clone();
    match random.random_range(0..4) {
        0 => body[0] = random.random_range(0..4),
        1 => body[1] = random.random_range(0..9),
        2 => body[3..5].copy_from_slice(&random.random::<u16>().to_be_bytes()),
        _ => {
            body[4] = body[4]
                .wrapping_add(random.random_range(0..3))
                .wrapping_sub(1)
        }
    }
    body
}

#[tokio::test]
async fn a_body_that_is_not_made_of_messages_is_refused() {
    let world = World::start(&[]).await;
    let sample = samples::stream(&world).remove(0);
    let has = wire::HasChunksRequest {
        repo_path: REPO.to_owned(),
        hashes: vec![sample.chunk_hashes.slice(..20)],
        ..Default::default()
    };
    let (sample, has) = (
        framed(&sample.encode_to_vec()),
        framed(&has.encode_to_vec()),
    );
    let unary = [has.clone(), has.repeat(2), framed(&[])];
    let streams = [sample.clone(), sample.repeat(3), framed(&[]).repeat(2)];
    let mut random = generator(20);
    let calls: Vec<_> = (0..2 * INPUTS)
        .map(|at| match at % 2 {
            0 => ("HasChunks", body(&unary, &mut random)),
            _ => ("StreamChunkLocations", body(&streams, &mut random)),
        })
        .collect();
    let mut said = futures::stream::iter(calls)
        .map(async |(method, body)| {
            let said = world.wire.call(&path_of(method), body.clone()).await;
            (method, said, body)
        })
        .buffer_unordered(AT_ONCE);
    while let Some((method, said, body)) = said.next().await {
        match method {
            "HasChunks" => assert_unary(&said, &read(&body)),
            _ => assert_stream(&said, &read(&body)),
        }
    }
    if let Some(peak) = largest_process() {
        assert!(peak < LARGEST_PROCESS, "{peak} bytes");
    }
    drop(said);
    world.assert_unchanged().await;
}

fn assert_unary(said: &Said, body: &Body<'_>) {
    let decodes = |message: &&[u8]| wire::HasChunksRequest::decode(*message).is_ok();
    let is_right = body.messages.iter().all(decodes);
    let is_decodable = is_right && body.end == End::Clean && !body.messages.is_empty();
    assert_fits(&said.status, is_decodable);
    if is_right && body.end == End::TooLong && body.messages.is_empty() {
        assert_eq!(said.status.code(), Code::OutOfRange);
    }
}

/// Messages before the one that ends a stream are answered.
fn assert_stream(said: &Said, body: &Body<'_>) {
    let decodes = |message: &&[u8]| wire::StreamChunkLocationsRequest::decode(*message).is_ok();
    let right = body.messages.iter().take_while(|one| decodes(one)).count();
    let all = body.messages.len();
    let is_refused = said.status.code() != Code::Ok && said.messages.len() < right;
    let is_decodable = is_refused || (right == all && body.end == End::Clean);
    assert_fits(&said.status, is_decodable);
    if !is_refused && !holds_too_much(&said.status) {
        assert_eq!(said.messages.len(), right, "{:?}", said.status);
    }
}

/// How much memory this process ever had in use, where the system tells.
fn largest_process() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Headers of a call, with values that they often have.
const HEADERS: [(&str, &[&str]); 10] = [
    (
        "content-type",
        &["application/grpc", "application/grpc+proto", "text/html"],
    ),
    ("grpc-encoding", &["identity", "gzip", "zstd", "deflate"]),
    ("grpc-accept-encoding", &["identity,gzip,zstd", "br"]),
    ("grpc-timeout", &["1S", "99999999H", "1n", "100m"]),
    (
        "authorization",
        &["Basic bWU6cGFzcw==", "Bearer a.b.c", "Digest x"],
    ),
    (
        "user-agent",
        &["dolt_cli 2.3.1 linux", "dolt_cli 1.50.0 x", "grpc-go/1"],
    ),
    ("x-forwarded-proto", &["https", "http,https", "javascript"]),
    ("x-request-id", &["abc-1", "", "0123456789"]),
    ("te", &["trailers", "gzip"]),
    ("grpc-status", &["0", "13"]),
];

#[tokio::test]
async fn odd_headers_and_paths_are_taken() {
    let world = World::start(&[]).await;
    let message = wire::RootRequest {
        repo_path: REPO.to_owned(),
        ..Default::default()
    };
    let message: Bytes = framed(&message.encode_to_vec()).into();
    let mut random = generator(21);
    let requests: Vec<_> = (0..INPUTS)
        .map(|_| odd_call(&world, message.clone(), &mut random))
        .collect();
    let mut answers = futures::stream::iter(requests)
        .map(async |request| (request.headers().clone(), world.wire.send(request).await))
        .buffer_unordered(AT_ONCE);
    while let Some((headers, answer)) = answers.next().await {
        let content_type = headers.get("content-type").map(HeaderValue::as_bytes);
        if content_type.is_some_and(|value| value.starts_with(b"application/grpc")) {
            let shown = format!("{headers:?}: {answer:?}");
            let code = answer.said().status.code();
            assert!(
                [Code::Ok, Code::Unimplemented, Code::Unauthenticated].contains(&code),
                "{shown}"
            );
        } else {
            assert_eq!(answer.status, 404);
        }
    }
    drop(answers);
    world.assert_unchanged().await;
}

fn odd_call(world: &World, message: Bytes, random: &mut StdRng) -> Request<Bytes> {
    let target = match random.random_range(0..4) {
        0 => path(&[&path_of("Root")], random),
        _ => path_of("Root"),
    };
    let mut request = Request::post(world.wire.url(&target))
        .body(message)
        .unwrap();
    let headers = request.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    for _ in 0..random.random_range(0..4) {
        let (name, values) = one_of(&HEADERS, random);
        let value = text(values, random);
        // HTTP/2 itself forbids any other.
        let value = if *name == "te" {
            "trailers"
        } else {
            value.as_str()
        };
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            headers.insert(*name, value);
        }
    }
    request
}

/// The token of a server that nobody reads without it.
const TOKEN: &str = "t0ken:1";

#[tokio::test]
async fn only_the_token_itself_lets_in() {
    let closed = [
        ("open", "false"),
        ("reads", "token"),
        ("admin_token", TOKEN),
    ];
    let clock = Standing::new();
    let shared = Arc::clone(&clock);
    let rig = crate::rig::Rig::start_with(&closed, |parts| parts.clock = shared).await;
    // Wrong tokens are slowed; here so much time passes that they are forgotten at once.
    let passing = tokio::spawn(async move {
        let mut beats = tokio::time::interval(Duration::from_millis(1));
        loop {
            beats.tick().await;
            clock.pass(MEMORY);
        }
    });
    let wire = super::Wire::open(&rig).await;
    let basic = data_encoding::BASE64.encode(format!("me:{TOKEN}").as_bytes());
    let bases = [
        format!("Bearer {TOKEN}"),
        format!("Basic {basic}"),
        "Basic bWU6cGFzcw==".to_owned(),
        String::new(),
    ];
    let bases: Vec<&str> = bases.iter().map(String::as_str).collect();
    let mut random = generator(22);
    let mut values: Vec<String> = (0..INPUTS).map(|_| text(&bases, &mut random)).collect();
    values.extend(bases.iter().map(|base| (*base).to_owned()));
    let message = wire::RootRequest {
        repo_path: REPO.to_owned(),
        ..Default::default()
    };
    let message: Bytes = framed(&message.encode_to_vec()).into();
    let values = values
        .iter()
        .filter(|value| HeaderValue::from_str(value).is_ok());
    let mut said = futures::stream::iter(values)
        .map(async |value| {
            let request = Request::post(wire.url(&path_of("Root")))
                .header("content-type", "application/grpc")
                .header("authorization", value);
            let answer = wire.send(request.body(message.clone()).unwrap()).await;
            (value, answer.said().status)
        })
        .buffer_unordered(AT_ONCE);
    let mut let_in = 0;
    while let Some((value, status)) = said.next().await {
        let expected = if shows_token(value) {
            let_in += 1;
            Code::Ok
        } else {
            Code::Unauthenticated
        };
        assert_eq!(status.code(), expected, "{value:?}");
        assert!(!status.message().contains(TOKEN));
    }
    passing.abort();
    assert!(let_in >= 2, "{let_in}");
}

/// Whether a header shows the token, by an independent reading.
fn shows_token(value: &str) -> bool {
    let Some((scheme, rest)) = value.split_once(' ') else {
        return false;
    };
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => rest.trim() == TOKEN,
        "basic" => data_encoding::BASE64
            .decode(rest.trim().as_bytes())
            .is_ok_and(|decoded| {
                let mut parts = decoded.splitn(2, |byte| *byte == b':');
                let user = parts.next().unwrap_or_default();
                std::str::from_utf8(user).is_ok() && parts.next() == Some(TOKEN.as_bytes())
            }),
        _ => false,
    }
}
