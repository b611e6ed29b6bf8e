//! Uploads that lie about their length, and connections that are cut amidst a body.

use data_encoding::BASE64;
use md5::Digest as _;
use rand::RngExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tonic::Code;

use super::inputs::generator;
use super::raw::{exchange, other_file, status};
use super::world::World;
use crate::pushing::{Packed, add};

fn put(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

/// What a client says of the length, what it sends, and what it is told; nothing where the connection may be
/// closed without a word.
async fn refused(
    world: &World,
    path: &str,
    file: &Packed,
    headers: &str,
    sent: usize,
) -> Option<u16> {
    let body = [&file.bytes[..], b"and more"].concat();
    let answer = exchange(&world.rig, &put(path, headers, &body[..sent])).await;
    status(&answer)
}

#[tokio::test]
async fn a_length_that_lies_keeps_nothing() {
    let mut world = World::start(&[]).await;
    let file = other_file();
    let path = world.upload_path(file.details()).await;
    let len = file.bytes.len();
    let lies = [
        (format!("Content-Length: {}\r\n", len - 1), len - 1),
        (format!("Content-Length: {}\r\n", len + 1), len + 1),
        (format!("Content-Length: {}\r\n", u64::MAX - 1), len),
        (format!("Content-Length: {}0\r\n", u64::MAX), len),
        (format!("Content-Length: -{len}\r\n"), len),
        (format!("Content-Length: +{len}\r\n"), len),
        (format!("Content-Length: 0x{len:x}\r\n"), len),
        (format!("Content-Length: {len}, {}\r\n", len + 1), len),
        (
            format!("Content-Length: {len}\r\nContent-Length: 5\r\n"),
            len,
        ),
        ("Content-Length: \r\n".to_owned(), len),
        ("Content-Length: 0\r\n".to_owned(), 0),
        (String::new(), len),
        ("Transfer-Encoding: chunked\r\n".to_owned(), len),
        ("Transfer-Encoding: gzip\r\n".to_owned(), len),
        // The body is shorter than it says, and no more comes.
        (format!("Content-Length: {len}\r\n"), len - 1),
        (format!("Content-Length: {len}\r\n"), 0),
    ];
    for (headers, sent) in lies {
        let status = refused(&world, &path, &file, &headers, sent).await;
        let fits = status.is_none_or(|status| (400..500).contains(&status) || status == 503);
        assert!(fits, "{status:?} to {headers:?} with {sent} of {len} bytes");
        let refused = add(&mut world.client, &[&file]).await.unwrap_err();
        assert_eq!(
            refused.code(),
            Code::FailedPrecondition,
            "after {headers:?}"
        );
    }
    world.assert_unchanged().await;
}

#[tokio::test]
async fn what_stands_behind_a_body_is_not_a_part_of_it() {
    let mut world = World::start(&[]).await;
    let file = other_file();
    let path = world.upload_path(file.details()).await;
    let md5 = BASE64.encode(&md5::Md5::digest(&file.bytes));
    let headers = format!(
        "Content-Length: {}\r\nContent-MD5: {md5}\r\n",
        file.bytes.len()
    );
    let body = [&file.bytes[..], b"and more"].concat();
    let answer = exchange(&world.rig, &put(&path, &headers, &body)).await;
    assert_eq!(status(&answer), Some(200));
    world.assert_unchanged_but(1).await;
}

#[tokio::test]
async fn a_connection_cut_amidst_an_upload_keeps_nothing() {
    let mut world = World::start(&[]).await;
    let file = other_file();
    let path = world.upload_path(file.details()).await;
    let headers = format!("Content-Length: {}\r\n", file.bytes.len());
    let whole = put(&path, &headers, &file.bytes);
    let head = whole.len() - file.bytes.len();
    let mut random = generator(60);
    for _ in 0..500 {
        let cut = random.random_range(head..whole.len());
        let mut stream = TcpStream::connect(world.rig.handle.local_addr())
            .await
            .unwrap();
        stream.write_all(&whole[..cut]).await.unwrap();
        drop(stream);
    }
    let refused = add(&mut world.client, &[&file]).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let answer = exchange(&world.rig, &whole).await;
    assert_eq!(status(&answer), Some(200), "the address is still good");
    world.assert_unchanged_but(1).await;
}
