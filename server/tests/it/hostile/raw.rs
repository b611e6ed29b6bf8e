//! Requests as bytes on a socket, HTTP/1.1: what no client library would send.

use std::time::Duration;

use futures::StreamExt as _;
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::inputs::{generator, input};
use super::world::{World, other_database};
use super::{AT_ONCE, INPUTS};
use crate::pushing::{Packed, pack};
use crate::rig::Rig;

/// How long any answer, or the end of the connection, may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Sends bytes on a connection of their own; returns everything up to the end of the first answer, or of the
/// connection. Where the bytes are not a whole request the test says that nothing more will come. Where they are it
/// does not: a server may forget a client that has said so.
pub(super) async fn exchange(rig: &Rig, bytes: &[u8]) -> Vec<u8> {
    let exchange = async {
        let mut stream = TcpStream::connect(rig.handle.local_addr()).await.unwrap();
        // A server that has answered may close before it has read everything.
        let is_written = stream.write_all(bytes).await.is_ok();
        if is_written && !is_whole_request(bytes) {
            drop(stream.shutdown().await);
        }
        let mut answer = Vec::new();
        while !is_whole(&answer) {
            match stream.read_buf(&mut answer).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        answer
    };
    tokio::time::timeout(LIMIT, exchange)
        .await
        .unwrap_or_else(|_| panic!("no answer to {:?}", String::from_utf8_lossy(bytes)))
}

/// Whether no server waits for more of a request, as an independent reading finds: its head has an end, and its body
/// the length that the head tells, or the last of its chunks.
fn is_whole_request(bytes: &[u8]) -> bool {
    // Empty lines before a request are passed over.
    let bytes = bytes.trim_ascii_start();
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let (head, body) = (&bytes[..end], &bytes[end + 4..]);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let value = |name: &str| {
        let mut fields = head
            .split(['\r', '\n'])
            .filter_map(|line| line.split_once(':'));
        let field = fields.find(|(field, _)| *field == name);
        field.map(|(_, value)| value.trim().to_owned())
    };
    if value("transfer-encoding").is_some() {
        return body.windows(5).any(|five| five == b"0\r\n\r\n");
    }
    // What is no number is refused by the head alone.
    let len = value("content-length").and_then(|text| text.parse().ok());
    body.len() as u64 >= len.unwrap_or(0_u64)
}

/// Whether an answer has come to its end; a preliminary one does not count.
fn is_whole(answer: &[u8]) -> bool {
    let Some((head, body)) = final_answer(answer) else {
        return false;
    };
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let len = head.split("content-length: ").nth(1).and_then(|rest| {
        let digits = rest.split("\r\n").next()?;
        digits.parse::<usize>().ok()
    });
    // The answer to HEAD has a length and no body; what is behind it does not matter.
    len.is_none_or(|len| body.len() >= len || body.is_empty())
}

fn final_answer(answer: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let (head, body) = answer.split_at(end);
    match head.starts_with(b"HTTP/1.1 1") {
        true => final_answer(body),
        false => Some((head, body)),
    }
}

/// The status of an answer; nothing where the connection was closed without one.
pub(super) fn status(answer: &[u8]) -> Option<u16> {
    let (head, _) = final_answer(answer)?;
    let code = head
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| head.strip_prefix(b"HTTP/1.0 "));
    let code = code.unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(answer)));
    Some(std::str::from_utf8(&code[..3]).unwrap().parse().unwrap())
}

/// What may be answered to a request that is wrong, or right, by chance.
const STATUSES: [u16; 14] = [
    200, 206, 400, 403, 404, 405, 409, 411, 413, 414, 416, 417, 422, 431,
];

/// Sends 10,000 requests whose heads are almost one of `heads`, each with its body.
async fn send_all(world: &World, requests: &[(String, Vec<u8>)], salt: u64) {
    let mut random = generator(salt);
    let inputs: Vec<_> = (0..INPUTS)
        .map(|_| request(requests, &mut random))
        .collect();
    let mut answers = futures::stream::iter(&inputs)
        .map(async |input| (input, exchange(&world.rig, input).await))
        .buffer_unordered(AT_ONCE);
    let (mut answered, mut stored) = (0, 0);
    while let Some((input, answer)) = answers.next().await {
        let Some(status) = status(&answer) else {
            continue;
        };
        answered += 1;
        let shown = || format!("{} to {}", lossy(&answer), lossy(input));
        stored += usize::from(answer.ends_with(b"stored\n"));
        // A body that breaks off is told like a fault that passes: whoever sent it is gone.
        let is_broken_off =
            status == 503 && lossy(&answer).contains("could not read the body of the upload");
        assert!(STATUSES.contains(&status) || is_broken_off, "{}", shown());
    }
    assert_eq!(stored, 0, "the bodies are not those of a file");
    assert!(answered > INPUTS * 8 / 10, "only {answered} were answered");
}

fn lossy(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn request(requests: &[(String, Vec<u8>)], random: &mut StdRng) -> Vec<u8> {
    let (head, body) = &requests[random.random_range(0..requests.len())];
    let mut bytes = input(&[head.clone().into_bytes()], random);
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(body);
    bytes
}

fn head(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost{headers}")
}

#[tokio::test]
async fn download_requests_take_anything_as_bytes() {
    let mut world = World::start(&[]).await;
    let path = world.data_path().await;
    let requests = [
        (head("GET", &path, ""), Vec::new()),
        (head("GET", &path, "\r\nRange: bytes=5-90"), Vec::new()),
        (head("HEAD", &path, "\r\nConnection: close"), Vec::new()),
        (
            head("GET", &path, "\r\nAccept-Encoding: gzip\r\nRange: bytes=-9"),
            Vec::new(),
        ),
    ];
    send_all(&world, &requests, 50).await;
    world.assert_unchanged().await;
}

#[tokio::test]
async fn upload_requests_take_anything_as_bytes() {
    let mut world = World::start(&[]).await;
    let file = other_file();
    let path = world.upload_path(file.details()).await;
    let mut body = file.bytes.to_vec();
    body[100] ^= 1;
    let len = format!("\r\nContent-Length: {}", body.len());
    let md5 = "\r\nContent-MD5: AAAAAAAAAAAAAAAAAAAAAA==";
    let chunked = "\r\nTransfer-Encoding: chunked";
    let chunks = [b"5\r\n".as_slice(), &body[..5], b"\r\n0\r\n\r\n"].concat();
    let requests = [
        (head("PUT", &path, &len), body.clone()),
        (head("POST", &path, &format!("{len}{md5}")), body.clone()),
        (head("PUT", &path, chunked), chunks),
        (
            head("PUT", &path, &format!("{len}\r\nExpect: 100-continue")),
            body,
        ),
    ];
    send_all(&world, &requests, 51).await;
    world.assert_unchanged().await;
}

#[tokio::test]
async fn other_requests_take_anything_as_bytes() {
    let world = World::start(&[]).await;
    let requests = [
        (head("GET", "/live", ""), Vec::new()),
        (
            head("GET", "/ready", "\r\nConnection: keep-alive"),
            Vec::new(),
        ),
        (head("GET", "/favicon.ico", "\r\nCookie: a=b"), Vec::new()),
        (
            head("DELETE", "/acme/prod", "\r\nX-Forwarded-Proto: https"),
            Vec::new(),
        ),
    ];
    send_all(&world, &requests, 52).await;
    world.assert_unchanged().await;
}

/// A file that the server does not have.
pub(super) fn other_file() -> Packed {
    let chunks = other_database();
    pack(&chunks.chunks().values().cloned().collect::<Vec<_>>())
}
