//! Chunks by ranges.

use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::index::ByteSpan;
use holdfast_chunkstore::{ChunkAddress, ErrorKind};

use super::super::testing::{Fake, Placed, Wrong, chunks};
use crate::remote::{Reach, Remote as _, RemoteError};

async fn read_all(fake: &Fake, addresses: &[ChunkAddress]) -> Result<Vec<Vec<u8>>, RemoteError> {
    let read = fake.client().read(addresses, Reach::Near).await?;
    let chunk = |chunk: Option<crate::remote::RemoteChunk>| chunk.unwrap().chunk.to_vec();
    Ok(read.into_iter().map(chunk).collect())
}

/// Reads with one thing wrong, which must be the end of it.
async fn error_after(wrong: Wrong) -> RemoteError {
    let fake = Fake::start().await;
    let addresses = fake.hold("file", &chunks(20), 3);
    fake.state().wrongs.push_back(wrong);
    read_all(&fake, &addresses).await.unwrap_err()
}

#[tokio::test]
async fn a_near_read_takes_one_range_and_an_exact_one_as_many_as_chunks() {
    let fake = Fake::start().await;
    let held = chunks(20);
    let addresses = fake.hold("file", &held, 100);
    for (reach, requests) in [(Reach::Near, 1), (Reach::Exact, 20)] {
        fake.state().seen.ranges.clear();
        let read = fake.client().read(&addresses, reach).await.unwrap();
        assert_eq!(fake.state().seen.ranges.len(), requests, "{reach:?}");
        for (chunk, held) in read.into_iter().zip(&held) {
            let chunk = chunk.unwrap();
            assert_eq!(chunk.chunk, held);
            assert!(chunk.record.is_some());
        }
    }
    let asked: u64 = (fake.state().seen.ranges.iter())
        .map(|(_, first, last)| last - first + 1)
        .sum();
    let stored: u64 = (fake.state().chunks.values())
        .map(|placed| u64::from(placed.span.len))
        .sum();
    assert_eq!(asked, stored);
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_question() {
    let fake = Fake::start().await;
    let mut addresses = fake.hold("file", &chunks(5), 0);
    addresses.reverse();
    addresses.insert(2, ChunkAddress::ZERO);
    addresses.push(addresses[0]);
    let read = fake.client().read(&addresses, Reach::Near).await.unwrap();
    let hash = |chunk: crate::remote::RemoteChunk| hash_chunk(&chunk.chunk);
    let read = read.into_iter().map(|chunk| chunk.map(hash));
    let mut wanted: Vec<_> = addresses.into_iter().map(Some).collect();
    wanted[2] = None;
    assert_eq!(read.collect::<Vec<_>>(), wanted);
}

#[tokio::test]
async fn lengths_are_told_without_a_byte_of_the_chunks() {
    let fake = Fake::start().await;
    let mut addresses = fake.hold("file", &chunks(5), 0);
    let stored = |address: &ChunkAddress| {
        let state = fake.state();
        state.chunks.get(address).map(|placed| placed.span.len)
    };
    addresses.push(addresses[0]);
    addresses.insert(2, ChunkAddress::ZERO);
    let wanted: Vec<_> = addresses.iter().map(stored).collect();
    assert_eq!(wanted[2], None);
    let lens = fake.client().stored_lens(&addresses).await.unwrap();
    assert_eq!(lens, wanted);
    assert!(fake.state().seen.ranges.is_empty());
}

#[tokio::test]
async fn what_was_cut_off_is_continued_where_it_ended() {
    let fake = Fake::start().await;
    let held = chunks(50);
    let addresses = fake.hold("file", &held, 3);
    // More failures than tries: each brings a byte, which renews them.
    let cuts = (1..20).map(|_| Wrong::Cut(1));
    fake.state().wrongs.extend(cuts.chain([Wrong::Short(7)]));
    assert_eq!(read_all(&fake, &addresses).await.unwrap(), held);
    let state = fake.state();
    let begins: Vec<_> = state
        .seen
        .ranges
        .iter()
        .map(|(_, first, _)| *first)
        .collect();
    let expected: Vec<u64> = (3..23).collect();
    assert_eq!(begins[..20], expected);
    assert_eq!(begins.len(), 21);
}

#[tokio::test]
async fn tries_end_where_nothing_comes() {
    let fake = Fake::start().await;
    let addresses = fake.hold("file", &chunks(1), 0);
    fake.state().wrongs.extend([Wrong::Status(503); 9]);
    let error = read_all(&fake, &addresses).await.unwrap_err();
    assert!(
        matches!(error, RemoteError::Status { status: 503, .. }),
        "{error:?}"
    );
    assert_eq!(fake.state().seen.ranges.len(), 6);
}

#[tokio::test]
async fn a_whole_file_for_a_range_is_refused() {
    let error = error_after(Wrong::Whole).await;
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(
        error.to_string(),
        "read chunks: the remote answered with a whole file (status 200) where a range was asked for"
    );
}

#[tokio::test]
async fn another_range_is_refused() {
    let error = error_after(Wrong::Elsewhere).await;
    assert!(matches!(error, RemoteError::Answer { .. }), "{error:?}");
}

#[tokio::test]
async fn wrong_bytes_are_told_with_the_chunk() {
    let error = error_after(Wrong::Flipped).await;
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(matches!(error, RemoteError::Chunk { .. }), "{error:?}");
    assert!(error.to_string().ends_with("the remote sent wrong bytes"));
}

#[tokio::test]
async fn another_chunk_in_its_place_is_told_with_both() {
    let fake = Fake::start().await;
    let addresses = fake.hold("file", &chunks(2), 0);
    {
        let mut state = fake.state();
        let other = state.chunks[&addresses[1]].clone();
        state.chunks.insert(addresses[0], other);
    }
    let error = read_all(&fake, &addresses[..1]).await.unwrap_err();
    let RemoteError::OtherChunk { source } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(
        (source.claimed, source.actual),
        (addresses[0], addresses[1])
    );
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn addresses_that_end_are_asked_for_again() {
    let fake = Fake::start().await;
    let held = chunks(40);
    let addresses = fake.hold("file", &held, 10_000);
    fake.state().good_for.extend([5, 5, 5, 5]);
    assert_eq!(read_all(&fake, &addresses).await.unwrap(), held);
    let streams = fake.state().seen.streams.len();
    assert!((2..=5).contains(&streams), "{streams}");
}

#[tokio::test]
async fn addresses_that_are_never_good_are_given_up() {
    let fake = Fake::start().await;
    let addresses = fake.hold("file", &chunks(3), 0);
    fake.state().files.clear();
    let error = read_all(&fake, &addresses).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(fake.state().seen.streams.len(), 3);
}

#[tokio::test]
async fn a_chunk_with_a_dictionary_is_decoded_and_the_dictionary_read_once() {
    let fake = Fake::start().await;
    let held: Vec<Vec<u8>> = (0..3)
        .map(|number| format!("a row of the customers' table, number {number}").repeat(20))
        .map(String::into_bytes)
        .collect();
    let dictionary = b"a row of the customers' table, number ".repeat(20);
    let stored = zstd::encode_all(&dictionary[..], 1).unwrap();
    let span = |bytes: &[u8], len: usize| ByteSpan {
        offset: bytes.len() as u64,
        len: u32::try_from(len).unwrap(),
    };
    let mut bytes = vec![0; 9];
    let dictionary_span = span(&bytes, stored.len());
    bytes.extend(&stored);
    // Far enough that no range reaches from one to the other.
    bytes.resize(bytes.len() + 20_000, 0);
    let mut compressor = zstd::bulk::Compressor::with_dictionary(1, &dictionary).unwrap();
    let mut addresses = Vec::new();
    for chunk in &held {
        let frame = compressor.compress(chunk).unwrap();
        let placed = Placed {
            file: "file.darc".to_owned(),
            span: span(&bytes, frame.len()),
            dictionary: Some(dictionary_span),
        };
        bytes.extend(frame);
        addresses.push(hash_chunk(chunk));
        fake.state().chunks.insert(hash_chunk(chunk), placed);
    }
    fake.state()
        .files
        .insert("file.darc".to_owned(), bytes.into());
    let client = fake.client();
    for _ in 0..2 {
        let read = client.read(&addresses, Reach::Exact).await.unwrap();
        for (chunk, held) in read.into_iter().zip(&held) {
            let chunk = chunk.unwrap();
            assert_eq!(chunk.chunk, held);
            assert!(chunk.record.is_none());
        }
    }
    let state = fake.state();
    let ranges = state.seen.ranges.iter();
    let of_dictionary = ranges.filter(|(_, first, _)| *first == 9).count();
    assert_eq!(of_dictionary, 1);
}
