//! Where chunks lie.

use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::{ChunkAddress, ErrorKind};
use tonic::Code;

use super::super::testing::{Break, Fake, chunks};
use crate::remote::{Reach, Remote as _, RemoteError};

/// Reads four messages' worth of chunks, some of which are not there.
async fn read_them(fake: &Fake) -> Result<(), RemoteError> {
    let held = chunks(1800);
    let mut addresses = fake.hold("file", &held, 0);
    for address in &mut addresses[1000..1010] {
        fake.state().chunks.remove(address);
    }
    let read = fake.client().read(&addresses, Reach::Near).await?;
    for (at, (chunk, address)) in read.into_iter().zip(addresses).enumerate() {
        let found = chunk.map(|chunk| hash_chunk(&chunk.chunk));
        let is_there = !(1000..1010).contains(&at);
        assert_eq!(found, is_there.then_some(address), "{at}");
    }
    Ok(())
}

#[tokio::test]
async fn both_forms_of_streams_are_spoken() {
    for (has_records, call) in [(true, "records"), (false, "ranges")] {
        let fake = Fake::start().await;
        fake.state().has_location_records = has_records;
        read_them(&fake).await.unwrap();
        let state = fake.state();
        let calls: Vec<_> = state.seen.tokens.iter().map(|(call, _)| *call).collect();
        assert_eq!(calls, ["metadata", call]);
        assert_eq!(state.seen.streams, [4]);
    }
}

#[tokio::test]
async fn what_a_broken_stream_left_open_is_asked_for_again() {
    for has_records in [true, false] {
        let fake = Fake::start().await;
        fake.state().has_location_records = has_records;
        fake.state().breaks.extend([
            (1, Break::Code(Code::Unavailable)),
            (0, Break::Code(Code::Internal)),
            (2, Break::End),
        ]);
        read_them(&fake).await.unwrap();
        assert_eq!(fake.state().seen.streams, [1, 0, 2, 1]);
    }
}

#[tokio::test]
async fn each_answer_renews_the_tries() {
    let fake = Fake::start().await;
    let often = [(0, Break::Code(Code::Unavailable)); 4];
    let once = [(1, Break::End)];
    let breaks = [&often[..], &once, &often, &once, &often, &once, &often].concat();
    fake.state().breaks.extend(breaks);
    read_them(&fake).await.unwrap();
}

#[tokio::test]
async fn tries_end_where_nothing_is_answered() {
    let fake = Fake::start().await;
    let breaks = [(0, Break::Code(Code::Unavailable)); 9];
    fake.state().breaks.extend(breaks);
    let error = read_them(&fake).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(fake.state().seen.streams.len(), 6);
}

#[tokio::test]
async fn a_final_refusal_of_a_stream_is_final() {
    let fake = Fake::start().await;
    let denied = (1, Break::Code(Code::PermissionDenied));
    fake.state().breaks.push_back(denied);
    let error = read_them(&fake).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn absent_chunks_come_in_the_order_of_the_question() {
    let fake = Fake::start().await;
    let addresses = fake.hold("file", &chunks(3), 0);
    let other = [1, 2].map(|byte| ChunkAddress::new([byte; 20]));
    let asked = [addresses[0], other[1], addresses[1], other[0], other[1]];
    let absent = fake.client().absent(&asked).await.unwrap();
    assert_eq!(absent, [other[1], other[0], other[1]]);
}

#[tokio::test]
async fn more_chunks_than_one_call_may_ask_for_are_asked_for_by_several() {
    let fake = Fake::start().await;
    let number = |at: u32| {
        let mut bytes = [7; 20];
        bytes[..4].copy_from_slice(&at.to_be_bytes());
        ChunkAddress::new(bytes)
    };
    let asked: Vec<_> = (0..16_384 * 2 + 1).map(number).collect();
    assert_eq!(fake.client().absent(&asked).await.unwrap(), asked);
    assert_eq!(fake.state().seen.tokens.len(), 3);
}

#[tokio::test]
async fn indexes_that_cannot_be_are_refused() {
    for absent in [vec![0, 0], vec![2], vec![-1]] {
        let fake = Fake::start().await;
        fake.state().absent = Some(absent.clone());
        let asked = [1, 2].map(|byte| ChunkAddress::new([byte; 20]));
        let error = fake.client().absent(&asked).await.unwrap_err();
        assert!(
            matches!(error, RemoteError::Answer { .. }),
            "{absent:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn calls_and_data_go_through_a_proxy() {
    let mut fake = Fake::start().await;
    let addresses = fake.hold("file", &chunks(3), 0);
    let client = fake.client_behind_a_proxy().await;
    let read = client.read(&addresses, Reach::Near).await.unwrap();
    assert!(read.iter().all(Option::is_some));
}
