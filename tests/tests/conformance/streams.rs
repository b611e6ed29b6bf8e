//! Statements 32 to 43: streams of chunk locations.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::testing::{TinyDb, address_of};
use holdfast_proto::remotesapi::download_loc::Location;
use holdfast_proto::remotesapi::{
    GetDownloadLocsRequest, GetDownloadLocsResponse, HttpGetRange, StreamChunkLocationsRequest,
    StreamChunkLocationsResponse,
};
use holdfast_tests::forge::Forge;
use holdfast_tests::peer::{self, Peer, Span, hashes};
use holdfast_tests::table::TableFile;
use tokio::sync::mpsc::Sender;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::Setup;
use crate::presence::{absent_address, numbered};
use crate::transport::{closed, split_url};

/// A repository with a classic file and an archive, and all of its chunks.
async fn filled(forge: &Forge) -> (Peer, TinyDb) {
    let peer = forge.peer("acme/prod");
    let mut database = TinyDb::new();
    let fresh = database.commit_with(
        "main",
        "classic",
        &[("table", &numbered(vec![b'a'; 40_000]))],
    );
    peer.push(&database, &fresh).await;
    let last = database.root();
    let fresh = database.commit_with(
        "main",
        "archive",
        &[("table", &numbered(vec![b'b'; 800_000]))],
    );
    let archive = TableFile::archive(&fresh);
    peer.store(&archive).await;
    assert!(
        peer.commit(database.root(), last, &[&archive])
            .await
            .unwrap()
    );
    (peer, database)
}

fn present(database: &TinyDb) -> Vec<ChunkAddress> {
    database.chunks().keys().copied().collect()
}

pub(crate) async fn s32_n_requests_get_n_responses_in_order(setup: Setup) {
    let forge = setup.start(|_| {});
    let (peer, database) = filled(&forge).await;
    let all = present(&database);
    let lists: Vec<Vec<ChunkAddress>> = (0..60)
        .map(|index| all.iter().skip(index).take(index % 4).copied().collect())
        .collect();

    let requests = lists
        .iter()
        .map(|list| peer.locations_request(list))
        .collect();
    let answers = peer.locations(requests).await.unwrap();
    assert_eq!(answers.len(), lists.len());
    for (list, answer) in lists.iter().zip(&answers) {
        assert_eq!(answer.locations.len(), list.len());
    }

    let requests = lists
        .iter()
        .map(|list| legacy_request(&peer, list))
        .collect();
    let answers = legacy(&peer, requests).await.unwrap();
    assert_eq!(answers.len(), lists.len());
    for (list, answer) in lists.iter().zip(&answers) {
        let named: BTreeSet<_> = ranges(answer)
            .into_iter()
            .flat_map(|range| range.ranges)
            .map(|range| range.hash)
            .collect();
        assert_eq!(named, hashes(list).into_iter().collect());
    }
    forge.finish();
}

pub(crate) async fn long_s33_an_idle_stream_stays_open(setup: Setup) {
    let forge = setup.start(|_| {});
    let (peer, database) = filled(&forge).await;
    let request = || peer.locations_request(&[database.head("main").unwrap()]);
    let (sender, mut answers) = open(&peer, request()).await;
    for _ in 0..2 {
        assert_eq!(answers.next().await.unwrap().unwrap().locations.len(), 1);
        tokio::time::sleep(Duration::from_secs(70)).await;
        sender.send(request()).await.unwrap();
    }
    drop(sender);
    assert_eq!(
        answers.next().await.unwrap().unwrap().locations.len(),
        1,
        "half-closed, what is left is answered"
    );
    assert!(answers.next().await.is_none(), "and the stream ends well");
    forge.finish();
}

pub(crate) async fn s33_half_close_gets_the_remaining_answers_and_then_ok(setup: Setup) {
    const REQUESTS: usize = 5;
    let forge = setup.start(|_| {});
    let (peer, database) = filled(&forge).await;
    let request = || peer.locations_request(&[database.head("main").unwrap()]);
    let (sender, mut answers) = open(&peer, request()).await;
    for _ in 1..REQUESTS {
        sender.send(request()).await.unwrap();
    }
    drop(sender);
    for _ in 0..REQUESTS {
        assert_eq!(answers.next().await.unwrap().unwrap().locations.len(), 1);
    }
    assert!(answers.next().await.is_none());
    forge.finish();
}

pub(crate) async fn s34_cancelled_streams_release_what_they_held(setup: Setup) {
    let forge = setup.start(|_| {});
    many_streams(&forge, 300).await;
    forge.finish();
}

pub(crate) async fn long_s34_ten_thousand_short_streams_in_a_minute(setup: Setup) {
    let forge = setup.start(|_| {});
    let limit = Duration::from_secs(60);
    let streams = many_streams(&forge, 10_000);
    assert!(
        tokio::time::timeout(limit, streams).await.is_ok(),
        "10,000 streams took longer than {limit:?}"
    );
    forge.finish();
}

/// Opens streams, every second of which is cancelled with an answer still to come.
async fn many_streams(forge: &Forge, count: usize) {
    let (peer, database) = filled(forge).await;
    let head = database.head("main").unwrap();
    for index in 0..count {
        let (_sender, mut answers) = open(&peer, peer.locations_request(&[head])).await;
        if index % 2 == 0 {
            assert_eq!(answers.next().await.unwrap().unwrap().locations.len(), 1);
        }
    }
    assert!(
        peer.locate(head).await.is_some(),
        "the server still answers"
    );
}

pub(crate) async fn s35_each_hash_is_located_or_missing_and_not_both(setup: Setup) {
    let forge = setup.start(|_| {});
    let (peer, database) = filled(&forge).await;
    let there = present(&database);
    let asked = [
        there[0],
        absent_address(1),
        there[1],
        there[0],
        absent_address(1),
        there[2],
        absent_address(2),
    ];

    let answer = one_answer(&peer, &asked).await;

    // Of a hash that is asked for twice, Dolt's own server answers one index only.
    let hash_at = |index: &u32| asked[usize::try_from(*index).unwrap()];
    let indexes: Vec<u32> = answer
        .locations
        .iter()
        .map(|location| location.request_index)
        .chain(answer.missing_indexes.clone())
        .collect();
    assert_eq!(
        indexes.iter().collect::<BTreeSet<_>>().len(),
        indexes.len(),
        "no index twice: {indexes:?}"
    );
    let located: BTreeSet<_> = answer
        .locations
        .iter()
        .map(|location| hash_at(&location.request_index))
        .collect();
    let missing: BTreeSet<_> = answer.missing_indexes.iter().map(hash_at).collect();
    assert_eq!(located, BTreeSet::from([there[0], there[1], there[2]]));
    assert_eq!(
        missing,
        BTreeSet::from([absent_address(1), absent_address(2)])
    );
    let urls: BTreeMap<u32, &str> = answer
        .table_files
        .iter()
        .map(|file| (file.table_file_id, &file.url[..]))
        .collect();
    for location in &answer.locations {
        let chunk = peer::chunk_at(urls[&location.table_file_id], &Span::from(location)).await;
        assert_eq!(
            address_of(&chunk),
            asked[usize::try_from(location.request_index).unwrap()]
        );
    }
    forge.finish();
}

pub(crate) async fn s36_a_file_is_introduced_before_it_is_used_on_every_stream(setup: Setup) {
    let forge = setup.start(|_| {});
    let (peer, database) = filled(&forge).await;
    let all = present(&database);
    for _ in 0..2 {
        let requests = all
            .chunks(7)
            .map(|list| peer.locations_request(list))
            .collect();
        let mut introduced = BTreeSet::new();
        for answer in peer.locations(requests).await.unwrap() {
            introduced.extend(answer.table_files.iter().map(|file| file.table_file_id));
            for location in &answer.locations {
                assert!(
                    introduced.contains(&location.table_file_id),
                    "{location:?} names a file never introduced"
                );
            }
        }
        assert!(introduced.len() > 1, "the chunks lie in several files");
    }
    forge.finish();
}

pub(crate) async fn s37_hashes_that_are_not_a_multiple_of_20_bytes_are_invalid(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    for len in [1, 19, 21, 59] {
        let mut request = peer.locations_request(&[]);
        request.chunk_hashes = Bytes::from(vec![7; len]);
        let refused = peer.locations(vec![request]).await.unwrap_err();
        assert_eq!(
            refused.code(),
            Code::InvalidArgument,
            "{len} bytes: {refused}"
        );
        let mut request = legacy_request(&peer, &[]);
        request.chunk_hashes = vec![Bytes::from(vec![7; len])];
        let refused = legacy(&peer, vec![request]).await.unwrap_err();
        assert_eq!(
            refused.code(),
            Code::InvalidArgument,
            "legacy, {len} bytes: {refused}"
        );
    }
    forge.finish();
}

pub(crate) async fn s38_each_message_of_a_stream_is_for_its_own_repository(setup: Setup) {
    let forge = setup.start(closed);
    let administrator = forge
        .peer("acme/prod")
        .with_password("me", crate::auth::TOKEN);
    let other = administrator.at("acme/other");
    let (mut here, mut there) = (TinyDb::new(), TinyDb::new());
    let fresh = here.commit("main", "here");
    administrator.push(&here, &fresh).await;
    let fresh = there.commit("main", "there");
    other.push(&there, &fresh).await;
    let asked = [here.head("main").unwrap(), there.head("main").unwrap()];

    let requests =
        [&administrator, &other, &administrator].map(|peer| peer.locations_request(&asked));
    let missing: Vec<_> = administrator
        .locations(requests.into())
        .await
        .unwrap()
        .into_iter()
        .map(|answer| answer.missing_indexes)
        .collect();
    assert_eq!(missing, [vec![1], vec![0], vec![1]]);

    let stranger = forge.peer("acme/prod");
    let (sender, mut answers) = open(&stranger, stranger.locations_request(&asked)).await;
    assert!(answers.next().await.unwrap().is_ok());
    sender
        .send(stranger.at("acme/nothing").locations_request(&asked))
        .await
        .unwrap();
    let refused = answers.next().await.unwrap().unwrap_err();
    assert_eq!(
        refused.code(),
        Code::NotFound,
        "the second repository is checked too: {refused}"
    );
    forge.finish();
}

pub(crate) async fn s39_the_legacy_stream_gives_one_range_for_each_hash(setup: Setup) {
    let forge = setup.start(|_| {});
    let (peer, database) = filled(&forge).await;
    let all = present(&database);
    let mut asked = all.clone();
    asked.extend([all[0], absent_address(1), all[1]]);

    let answers = legacy(&peer, vec![legacy_request(&peer, &asked)])
        .await
        .unwrap();

    let ranges: Vec<_> = ranges(&answers[0])
        .into_iter()
        .flat_map(|range| range.ranges)
        .collect();
    let named: BTreeSet<Bytes> = ranges.iter().map(|range| range.hash.clone()).collect();
    assert_eq!(ranges.len(), named.len(), "no chunk has two ranges");
    assert_eq!(named, hashes(&all).into_iter().collect());
    forge.finish();
}

pub(crate) async fn s40_a_dictionary_lies_in_the_file_of_its_chunk(setup: Setup) {
    let forge = setup.start(|_| {});
    let (peer, database) = filled(&forge).await;
    let all = present(&database);

    let answer = one_answer(&peer, &all).await;
    let with_dictionary = answer
        .locations
        .iter()
        .filter(|location| location.dictionary_length > 0)
        .count();
    assert!(
        with_dictionary > 10,
        "{with_dictionary} chunks have a dictionary"
    );
    assert_eq!(answer.locations.len(), all.len());
    // `read` gets the dictionary from the address of the chunk and unpacks it with plain zstd.
    for location in answer.locations.iter().step_by(9) {
        assert!(
            peer.read(all[usize::try_from(location.request_index).unwrap()])
                .await
                .is_some()
        );
    }

    let answers = legacy(&peer, vec![legacy_request(&peer, &all)])
        .await
        .unwrap();
    for file in ranges(&answers[0]) {
        for range in file.ranges.iter().step_by(9) {
            let span = Span {
                offset: range.offset,
                len: range.length,
                dictionary_offset: range.dictionary_offset,
                dictionary_len: range.dictionary_length,
            };
            let chunk = peer::chunk_at(&file.url, &span).await;
            assert_eq!(address_of(&chunk).as_bytes()[..], range.hash[..]);
        }
    }
    forge.finish();
}

pub(crate) async fn s41_no_two_files_share_a_path_and_no_file_has_two(setup: Setup) {
    let forge = setup.start(|_| {});
    let (peer, database) = filled(&forge).await;
    let all = present(&database);

    let requests = all
        .chunks(5)
        .map(|list| peer.locations_request(list))
        .collect();
    let answers = peer.locations(requests).await.unwrap();
    let mut urls: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in answers.into_iter().flat_map(|answer| answer.table_files) {
        urls.entry(file.file_id).or_default().insert(file.url);
    }
    assert!(urls.len() > 1);
    for (file, urls) in &urls {
        assert_eq!(
            urls.len(),
            1,
            "{file} has one address in one stream: {urls:?}"
        );
    }
    let paths: BTreeSet<&str> = urls
        .values()
        .flatten()
        .map(|url| url.split('?').next().unwrap())
        .collect();
    assert_eq!(paths.len(), urls.len(), "each file has a path of its own");
    forge.finish();
}

pub(crate) async fn s42_addresses_are_refreshed_well_before_they_expire(setup: Setup) {
    let forge = setup.start(|plan| plan.manual_clock = true);
    let (peer, database) = filled(&forge).await;
    let (file, location) = peer.locate(database.head("main").unwrap()).await.unwrap();
    let listed = peer.files().await.unwrap().table_file_info.remove(0);
    let answers = legacy(
        &peer,
        vec![legacy_request(&peer, &[database.head("main").unwrap()])],
    )
    .await
    .unwrap();
    let legacy = &answers[0].locs[0];

    let refreshes = [
        file.refresh_after,
        listed.refresh_after,
        legacy.refresh_after,
    ]
    .map(|time| time.expect("an address that expires says when to refresh"));
    assert!(listed.refresh_request.is_some() && legacy.refresh_request.is_some());
    let urls = [
        file.url.clone(),
        listed.url,
        ranges(&answers[0]).remove(0).url,
    ];
    for (url, refresh) in urls.iter().zip(&refreshes) {
        let in_seconds = refresh.seconds - forge.clock_seconds();
        assert!(
            in_seconds > 300,
            "{url} is to be refreshed in {in_seconds} s"
        );
    }
    // Time stands still but for this: five minutes after the refresh was due the addresses are still good.
    let due = refreshes.iter().map(|time| time.seconds).max().unwrap();
    forge.advance_clock(Duration::from_secs(
        u64::try_from(due - forge.clock_seconds()).unwrap() + 300,
    ));
    for url in &urls {
        let answer = holdfast_tests::web::get_range(url, location.offset, location.offset).await;
        assert_eq!(
            answer.status,
            http::StatusCode::PARTIAL_CONTENT,
            "{url}: {}",
            answer.text()
        );
    }
    forge.finish();
}

pub(crate) async fn s43_old_clients_never_get_a_dictionary(setup: Setup) {
    let forge = setup.start(|_| {});
    let (_, database) = filled(&forge).await;
    let all = present(&database);
    for agent in [
        "dolt_cli 1.49.1 linux amd64",
        "dolt_cli 1.20.0 darwin arm64",
        "dolt_cli  linux amd64",
    ] {
        let old = Peer::calling_itself(agent, forge.base_url(), "acme/prod");
        let answers = legacy(&old, vec![legacy_request(&old, &all)])
            .await
            .unwrap();
        let mut seen = 0;
        for file in ranges(&answers[0]) {
            assert!(
                !split_url(&file.url)
                    .1
                    .split('?')
                    .next()
                    .unwrap()
                    .ends_with(".darc"),
                "{agent}: {}",
                file.url
            );
            for range in &file.ranges {
                assert_eq!(range.dictionary_length, 0, "{agent}");
                seen += 1;
            }
            let range = &file.ranges[0];
            let span = Span {
                offset: range.offset,
                len: range.length,
                dictionary_offset: 0,
                dictionary_len: 0,
            };
            let chunk = peer::chunk_at(&file.url, &span).await;
            assert_eq!(address_of(&chunk).as_bytes()[..], range.hash[..], "{agent}");
        }
        assert_eq!(
            seen,
            all.len(),
            "{agent}: every chunk is found in a classic file"
        );
    }
    forge.finish();
}

async fn one_answer(peer: &Peer, asked: &[ChunkAddress]) -> StreamChunkLocationsResponse {
    let mut answers = peer
        .locations(vec![peer.locations_request(asked)])
        .await
        .unwrap();
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}

type Answers = tonic::Streaming<StreamChunkLocationsResponse>;

/// Opens a newer stream with its first request; it stays open until the sender is dropped.
///
/// A server need not answer before there is a request.
async fn open(
    peer: &Peer,
    first: StreamChunkLocationsRequest,
) -> (Sender<StreamChunkLocationsRequest>, Answers) {
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    sender.send(first).await.unwrap();
    let stream = peer.request(ReceiverStream::new(receiver));
    let answers = peer
        .rpc()
        .stream_chunk_locations(stream)
        .await
        .unwrap()
        .into_inner();
    (sender, answers)
}

fn legacy_request(peer: &Peer, asked: &[ChunkAddress]) -> GetDownloadLocsRequest {
    GetDownloadLocsRequest {
        repo_id: peer.repo_id(),
        repo_path: peer.path(),
        chunk_hashes: hashes(asked),
        ..GetDownloadLocsRequest::default()
    }
}

async fn legacy(
    peer: &Peer,
    requests: Vec<GetDownloadLocsRequest>,
) -> Result<Vec<GetDownloadLocsResponse>, Status> {
    let stream = peer.request(futures::stream::iter(requests));
    let mut answers = peer
        .rpc()
        .stream_download_locations(stream)
        .await?
        .into_inner();
    let mut all = Vec::new();
    while let Some(answer) = answers.next().await {
        all.push(answer?);
    }
    Ok(all)
}

/// The ranges of a legacy answer; the other form must never occur.
fn ranges(answer: &GetDownloadLocsResponse) -> Vec<HttpGetRange> {
    let of = |location: &Option<Location>| match location {
        Some(Location::HttpGetRange(range)) => range.clone(),
        other => panic!("clients crash on {other:?}"),
    };
    answer.locs.iter().map(|loc| of(&loc.location)).collect()
}
