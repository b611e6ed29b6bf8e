//! Bodies of uploads: damaged ones to addresses that are right, connections that break off, and one file that
//! comes twice at once.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt as _, StreamExt as _};
use holdfast_chunkstore::format::MAX_CHUNK_LEN;
use holdfast_chunkstore::format::archive::{Decoder, Dictionary, Index};
use holdfast_chunkstore::index::ByteSpan;
use holdfast_chunkstore::testing::generate::{Compression, Made, table_file_of};
use holdfast_doltdb::testing::address_of;
use holdfast_proto::remotesapi as wire;
use http::Request;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use rand::RngExt as _;
use rand::rngs::StdRng;
use tonic::Code;

use super::inputs::{generator, input, noise, one_of, overwritten};
use super::wire::BodyError;
use super::world::{World, other_archive, other_database, upload_path};
use super::{AT_ONCE, INPUTS, Wire};
use crate::pushing::{Client, Packed, add, pack};
use crate::rig::Rig;

/// A file that a client declares, without its MD5: so damaged bytes come through to the check of the chunks.
#[derive(Clone)]
struct Declared {
    made: Made,
    suffix: &'static str,
}

impl Declared {
    fn details(&self) -> wire::TableFileDetails {
        wire::TableFileDetails {
            id: Bytes::copy_from_slice(self.made.written.id.as_bytes()),
            content_length: self.made.file.len() as u64,
            content_hash: Bytes::new(),
            num_chunks: self.made.chunks.len() as u64,
            suffix: self.suffix.to_owned(),
            split_offset: 0,
        }
    }

    /// Other bytes than the file's, most of them as many.
    fn damaged(&self, others: &[Declared], random: &mut StdRng) -> Vec<u8> {
        let file = &self.made.file;
        let mut bytes = match random.random_range(0..12) {
            0 => input(std::slice::from_ref(file), random),
            1 => noise(file.len() * 2, random),
            2 => {
                let mut bytes = one_of(others, random).made.file.clone();
                bytes.resize(file.len(), 0);
                bytes
            }
            3 => end_of_another(file, others, random),
            _ => overwritten(file, random),
        };
        if bytes == *file {
            bytes[0] ^= 1;
        }
        bytes
    }

    /// Whether bytes are an archive of the same chunks, as an independent reading finds: metadata, and what a
    /// compressor may put differently, are not covered by any hash.
    fn is_equivalent(&self, bytes: &[u8]) -> bool {
        let Ok((_, index)) = Index::decode_file(bytes) else {
            return false;
        };
        let slice = |span: ByteSpan| {
            let start = usize::try_from(span.offset).unwrap();
            &bytes[start..][..usize::try_from(span.len).unwrap()]
        };
        let mut found = BTreeMap::new();
        for entry in index.in_file_order() {
            let dictionary = entry
                .span
                .dictionary
                .map(|span| Dictionary::decode(slice(span)).unwrap());
            let (data, mut chunk) = (slice(entry.span.data), Vec::new());
            let decoded =
                Decoder::new().decode(data, dictionary.as_ref(), MAX_CHUNK_LEN, &mut chunk);
            decoded.unwrap();
            assert_eq!(address_of(&chunk), entry.address);
            found.insert(entry.address, chunk);
        }
        found == self.made.chunks.iter().cloned().collect::<BTreeMap<_, _>>()
    }
}

/// The end of another file at the end of this one.
fn end_of_another(file: &[u8], others: &[Declared], random: &mut StdRng) -> Vec<u8> {
    let other = &one_of(others, random).made.file;
    let len = random.random_range(1..300).min(other.len()).min(file.len());
    [&file[..file.len() - len], &other[other.len() - len..]].concat()
}

fn declared_files() -> Vec<Declared> {
    let chunks = other_database();
    let chunks: Vec<_> = chunks
        .chunks()
        .values()
        .map(|chunk| chunk.to_vec())
        .collect();
    let table = |count: usize| Declared {
        made: table_file_of(chunks[..count].to_vec()),
        suffix: "",
    };
    let archive = |compression| Declared {
        made: other_archive(compression),
        suffix: ".darc",
    };
    vec![
        table(chunks.len()),
        table(2),
        archive(Compression::Snappy),
        archive(Compression::Zstd),
        archive(Compression::Mixed),
    ]
}

/// Every input goes to a repository of its own: in one that has taken the file the bytes would not be looked at.
#[tokio::test]
async fn damaged_bytes_to_a_right_address_are_refused() {
    let world = World::start(&[]).await;
    let files = declared_files();
    let mut random = generator(40);
    let inputs: Vec<_> = (0..INPUTS)
        .map(|at| {
            let file = one_of(&files, &mut random).clone();
            let bytes = file.damaged(&files, &mut random);
            (format!("hostile/n{at}"), file, bytes)
        })
        .collect();
    let mut answers = futures::stream::iter(inputs)
        .map(async |(repo, file, bytes)| {
            let mut client = world.client.clone();
            let path = upload_path(&mut client, &world.rig, &repo, file.details()).await;
            let request = Request::put(world.wire.url(&path));
            let body = Bytes::from(bytes.clone());
            (
                file,
                bytes,
                world.wire.send(request.body(body).unwrap()).await,
            )
        })
        .buffer_unordered(AT_ONCE);
    let mut tally = BTreeMap::<_, usize>::new();
    while let Some((file, bytes, answer)) = answers.next().await {
        let text = answer.text();
        assert!(text.ends_with('\n') && text.lines().count() == 1, "{text}");
        let status = answer.status.as_u16();
        if status == 200 {
            assert!(file.is_equivalent(&bytes), "taken: {bytes:?}");
        } else if bytes.len() != file.made.file.len() {
            assert_eq!(status, 400, "{text}");
        } else {
            assert!([400, 422].contains(&status), "{status} {text}");
        }
        *tally.entry((file.suffix, status)).or_default() += 1;
    }
    drop(answers);
    eprintln!("{tally:?}");
    assert_eq!(
        tally.get(&("", 200)),
        None,
        "no byte of a table file is free"
    );
    let taken = tally.get(&(".darc", 200)).copied().unwrap_or(0);
    world.assert_unchanged_but(taken).await;
}

/// The pieces of a body.
type Pieces = mpsc::Sender<Result<Frame<Bytes>, BodyError>>;

/// A body whose pieces the test hands over one by one.
fn in_pieces() -> (Pieces, UnsyncBoxBody<Bytes, BodyError>) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, StreamBody::new(receiver).boxed_unsync())
}

#[tokio::test]
async fn an_upload_that_breaks_off_keeps_nothing() {
    let mut world = World::start(&[]).await;
    let chunks: Vec<_> = other_database().chunks().values().cloned().collect();
    let file = pack(&chunks);
    let path = world.upload_path(file.details()).await;
    let mut random = generator(41);
    for _ in 0..200 {
        let cut = random.random_range(0..file.bytes.len());
        let (mut sender, body) = in_pieces();
        let request = Request::put(world.wire.url(&path)).body(body).unwrap();
        let wire = world.wire.clone();
        let sending = tokio::spawn(async move { wire.stream(request).await });
        for piece in file.bytes.slice(..cut).chunks(4096) {
            sender
                .send(Ok(Frame::data(Bytes::copy_from_slice(piece))))
                .await
                .unwrap();
        }
        sender
            .send(Err("the test breaks this upload off".into()))
            .await
            .unwrap();
        assert!(sending.await.unwrap().is_err());
    }
    let refused = add(&mut world.client, &[&file]).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    world.assert_unchanged().await;
}

#[tokio::test]
async fn one_file_that_comes_twice_at_once_is_taken_and_counts_once() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    let wire = Wire::open(&rig).await;
    for number in 0..100_u32 {
        let file = pack(&[blob(number)]);
        let path = upload_path(&mut client, &rig, crate::rig::REPO, file.details()).await;
        put_twice(&wire, &path, &file).await;
        add(&mut client, &[&file]).await.unwrap();
        assert_listed(&mut client, number + 1).await;
    }
}

/// A chunk of a kind that the server knows and that refers to nothing.
fn blob(number: u32) -> Bytes {
    holdfast_doltdb::testing::messages::blob_leaf(&number.to_be_bytes().repeat(100)).into()
}

/// Sends the halves of a file in turns to the same address.
async fn put_twice(wire: &Wire, path: &str, file: &Packed) {
    let (mut senders, mut sending) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let (sender, body) = in_pieces();
        let request = Request::put(wire.url(path)).body(body).unwrap();
        let wire = wire.clone();
        sending.push(tokio::spawn(
            async move { wire.stream(request).await.unwrap() },
        ));
        senders.push(sender);
    }
    let half = file.bytes.len() / 2;
    for piece in [file.bytes.slice(..half), file.bytes.slice(half..)] {
        for sender in &mut senders {
            sender.send(Ok(Frame::data(piece.clone()))).await.unwrap();
        }
    }
    drop(senders);
    for answer in futures::future::join_all(sending).await {
        let answer = answer.unwrap();
        assert_eq!((answer.status.as_u16(), &*answer.text()), (200, "stored\n"));
    }
}

async fn assert_listed(client: &mut Client, count: u32) {
    let request = wire::ListTableFilesRequest {
        repo_path: crate::rig::REPO.to_owned(),
        ..Default::default()
    };
    let listing = client.list_table_files(request).await.unwrap().into_inner();
    let chunks: u32 = listing
        .table_file_info
        .iter()
        .map(|info| info.num_chunks)
        .sum();
    assert_eq!(chunks, count);
}
