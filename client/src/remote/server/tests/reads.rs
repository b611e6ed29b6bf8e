//! Chunks by ranges.

use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::index::ByteSpan;
use holdfast_chunkstore::{ChunkAddress, ErrorKind};

use super::super::fetch::{DECODED_BYTES, STORED_BYTES};
use super::super::testing::{Fake, Placed, Wrong, chunks, long_chunks};
use crate::remote::{Parcel, Reach, Remote as _, RemoteError, Server};

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
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(
        error.to_string(),
        "could not read chunks of the remote: the remote answered with a whole file (status 200) where a range was asked for"
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
    // It says where they lie, and they do not lie there.
    assert!(error.is_of_damage(), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
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

/// Reads chunks one after the other, and returns how many ranges each took.
async fn ranges_of_each(
    fake: &Fake,
    client: &Server,
    addresses: &[ChunkAddress],
    reach: Reach,
) -> Vec<usize> {
    let mut counts = Vec::new();
    for address in addresses {
        let before = fake.state().seen.ranges.len();
        let read = client.read(&[*address], reach).await.unwrap();
        assert_eq!(hash_chunk(&read[0].as_ref().unwrap().chunk), *address);
        counts.push(fake.state().seen.ranges.len() - before);
    }
    counts
}

#[tokio::test]
async fn who_comes_back_to_a_small_file_reads_all_of_it_and_asks_no_more() {
    let fake = Fake::start().await;
    let addresses = fake.hold_table("small", &chunks(20));
    let client = fake.client();
    let counts = ranges_of_each(&fake, &client, &addresses[..6], Reach::Near).await;
    assert_eq!(counts, [1, 1, 0, 0, 0, 0]);
    assert_eq!(fake.state().seen.streams.len(), 2);
    let len = fake.state().files["small"].len() as u64;
    assert_eq!(
        fake.state().seen.ranges[1],
        ("small".to_owned(), 0, len - 1)
    );

    // What lies elsewhere is asked for all the same, together with what is here.
    let other = fake.hold("other", &chunks(21)[20..], 0);
    let both = [addresses[7], other[0], ChunkAddress::ZERO];
    let read = client.read(&both, Reach::Near).await.unwrap();
    let is_there: Vec<_> = read.iter().map(Option::is_some).collect();
    assert_eq!(is_there, [true, true, false]);
    assert_eq!(fake.state().seen.ranges.len(), 3);
}

#[tokio::test]
async fn an_exact_read_takes_no_file_whole_and_nothing_that_came_along() {
    let fake = Fake::start().await;
    let addresses = fake.hold_table("small", &chunks(20));
    let client = fake.client();
    let counts = ranges_of_each(&fake, &client, &addresses[..4], Reach::Exact).await;
    assert_eq!(counts, [1; 4]);
    ranges_of_each(&fake, &client, &addresses[..4], Reach::Near).await;
    let counts = ranges_of_each(&fake, &client, &addresses[4..6], Reach::Exact).await;
    assert_eq!(counts, [1; 2]);
}

#[tokio::test]
async fn a_file_without_an_index_and_a_long_one_are_read_by_ranges() {
    let fake = Fake::start().await;
    let client = fake.client();
    let addresses = fake.hold("journal", &chunks(20), 3);
    let counts = ranges_of_each(&fake, &client, &addresses[..4], Reach::Near).await;
    assert_eq!(counts, [1; 4]);
    let addresses = fake.hold_table("long", &long_chunks(5, 1 << 20));
    ranges_of_each(&fake, &client, &addresses, Reach::Near).await;
    let state = fake.state();
    let (_, first, last) = state.seen.ranges.last().unwrap();
    assert!(last - first < 2 << 20);
}

#[tokio::test]
async fn wrong_bytes_of_a_file_that_was_read_whole_are_told_with_the_chunk() {
    let fake = Fake::start().await;
    let held = chunks(20);
    let addresses = fake.hold_table("small", &held);
    let client = fake.client();
    ranges_of_each(&fake, &client, &addresses[..1], Reach::Near).await;
    {
        let mut state = fake.state();
        let mut bytes = state.files["small"].to_vec();
        let last = state.chunks[&addresses[19]].span;
        bytes[usize::try_from(last.offset).unwrap() + 3] ^= 1;
        state.files.insert("small".to_owned(), bytes.into());
    }
    ranges_of_each(&fake, &client, &addresses[1..19], Reach::Near).await;
    let read = client.read(&addresses[19..], Reach::Near).await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(fake.state().seen.ranges.len(), 2);
}

#[tokio::test]
async fn what_came_and_is_not_taken_off_is_bounded_by_its_bytes() {
    const LEN: usize = 3 << 20;
    let fake = Fake::start().await;
    let addresses = fake.hold("file", &long_chunks(40, LEN), 10_000);
    let (to, mut from) = tokio::sync::mpsc::channel::<Parcel>(1000);
    let client = fake.client();
    let asked = addresses.clone();
    let read = tokio::spawn(async move { client.read_each(asked, Reach::Near, to).await });
    let (mut held, mut taken, mut parcels) = (0, Vec::new(), Vec::new());
    loop {
        // Whatever can come without anything being taken off has time to.
        for _ in 0..2000 {
            tokio::task::yield_now().await;
        }
        let asked_bytes: u64 = (fake.state().seen.ranges.iter())
            .map(|(_, first, last)| last - first + 1)
            .sum();
        let taken_bytes = (taken.len() * LEN) as u64;
        let most = u64::from(STORED_BYTES) + u64::from(DECODED_BYTES);
        assert!(asked_bytes <= taken_bytes + most, "{asked_bytes}");
        let Some(parcel) = from.recv().await else {
            break;
        };
        taken.extend(parcel.chunks.iter().map(|(address, _)| *address));
        parcels.push(parcel);
        held += 1;
        if held == 2 {
            parcels.clear();
            held = 0;
        }
    }
    assert_eq!(read.await.unwrap().unwrap(), []);
    taken.sort_unstable();
    let mut wanted = addresses;
    wanted.sort_unstable();
    assert_eq!(taken, wanted);
}

#[tokio::test]
async fn chunks_that_become_much_longer_are_bounded_too() {
    const LEN: usize = 12 << 20;
    let fake = Fake::start().await;
    let held: Vec<_> = (0..12_u8).map(|salt| vec![salt; LEN]).collect();
    let addresses = fake.hold("file", &held, 0);
    let (to, mut from) = tokio::sync::mpsc::channel::<Parcel>(1000);
    let client = fake.client();
    let read = tokio::spawn(async move { client.read_each(addresses, Reach::Near, to).await });
    let mut came = 0;
    while let Some(parcel) = from.recv().await {
        for _ in 0..2000 {
            tokio::task::yield_now().await;
        }
        let decoded_bytes = (from.len() + parcel.chunks.len()) * LEN;
        assert!(decoded_bytes <= DECODED_BYTES as usize, "{decoded_bytes}");
        came += parcel.chunks.len();
    }
    assert_eq!(read.await.unwrap().unwrap(), []);
    assert_eq!(came, 12);
}

#[tokio::test]
async fn what_is_not_there_is_told_once() {
    let fake = Fake::start().await;
    let mut addresses = fake.hold("file", &chunks(9), 0);
    let absent = ChunkAddress::new([9; 20]);
    addresses.extend([absent, addresses[0], absent]);
    let (to, mut from) = tokio::sync::mpsc::channel::<Parcel>(1000);
    let missing = fake.client().read_each(addresses, Reach::Near, to).await;
    assert_eq!(missing.unwrap(), [absent]);
    let mut came = 0;
    while let Ok(parcel) = from.try_recv() {
        came += parcel.chunks.len();
    }
    assert_eq!(came, 9);
}

#[tokio::test]
async fn no_more_is_read_at_once_than_may_be_in_memory() {
    let fake = Fake::start().await;
    let held: Vec<Vec<u8>> = (0..9_u8).map(|salt| vec![salt; 4 << 20]).collect();
    let addresses = fake.hold_table("file", &held);
    let client = fake.client();
    let mut rest = &addresses[..];
    while !rest.is_empty() {
        let read = client.read(rest, Reach::Near).await.unwrap();
        assert!((1..5).contains(&read.len()), "{}", read.len());
        for (address, chunk) in rest.iter().zip(&read) {
            assert_eq!(hash_chunk(&chunk.as_ref().unwrap().chunk), *address);
        }
        rest = &rest[read.len()..];
    }
}
