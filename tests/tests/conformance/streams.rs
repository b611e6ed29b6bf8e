//! Statements 32 to 39: streams of chunk locations.

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
use holdfast_tests::wait;
use tokio::sync::mpsc::Sender;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::Setup;
use crate::presence::{absent_address, numbered};
use crate::transport::closed;

/// A repository with a classic file and an archive, and all of its chunks.
pub(crate) async fn filled(forge: &Forge) -> (Peer, TinyDb) {
    let (peer, database, _) = filled_with(forge).await;
    (peer, database)
}

/// The same, with the two files.
pub(crate) async fn filled_with(forge: &Forge) -> (Peer, TinyDb, [TableFile; 2]) {
    let peer = forge.peer("acme/prod");
    let mut database = TinyDb::new();
    let fresh = database.commit_with(
        "main",
        "classic",
        &[("table", &numbered(vec![b'a'; 40_000]))],
    );
    let classic = peer.push(&database, &fresh).await;
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
    (peer, database, [classic, archive])
}

pub(crate) fn present(database: &TinyDb) -> Vec<ChunkAddress> {
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
    const IDLE: Duration = Duration::from_secs(70);
    let forge = setup.start(|_| {});
    let (peer, database) = filled(&forge).await;
    let head = [database.head("main").unwrap()];
    let newer = || peer.locations_request(&head);
    let older = || legacy_request(&peer, &head);
    let (sender, mut answers) = open(&peer, newer()).await;
    let (older_sender, mut older_answers) = open_legacy(&peer, older()).await;
    for _ in 0..2 {
        assert_eq!(answers.next().await.unwrap().unwrap().locations.len(), 1);
        assert_eq!(older_answers.next().await.unwrap().unwrap().locs.len(), 1);
        tokio::time::sleep(IDLE).await;
        sender.send(newer()).await.unwrap();
        older_sender.send(older()).await.unwrap();
    }
    drop((sender, older_sender));
    let answer = answers.next().await.unwrap().unwrap();
    assert_eq!(
        answer.locations.len(),
        1,
        "half-closed, what is left is answered"
    );
    assert!(answers.next().await.is_none(), "and the stream ends well");
    let answer = older_answers.next().await.unwrap().unwrap();
    assert_eq!(
        answer.locs.len(),
        1,
        "half-closed, what is left is answered"
    );
    assert!(older_answers.next().await.is_none());
    forge.finish();
}

pub(crate) async fn s33_half_close_gets_the_remaining_answers_and_then_ok(setup: Setup) {
    const REQUESTS: usize = 5;
    let forge = setup.start(|_| {});
    let (peer, database) = filled(&forge).await;
    let head = [database.head("main").unwrap()];
    let newer = || peer.locations_request(&head);
    let older = || legacy_request(&peer, &head);
    let (sender, mut answers) = open(&peer, newer()).await;
    let (older_sender, mut older_answers) = open_legacy(&peer, older()).await;
    for _ in 1..REQUESTS {
        sender.send(newer()).await.unwrap();
        older_sender.send(older()).await.unwrap();
    }
    drop((sender, older_sender));
    for _ in 0..REQUESTS {
        assert_eq!(answers.next().await.unwrap().unwrap().locations.len(), 1);
        assert_eq!(older_answers.next().await.unwrap().unwrap().locs.len(), 1);
    }
    // What is behind the last answer is the end, and no error.
    assert!(answers.next().await.is_none());
    assert!(older_answers.next().await.is_none());
    forge.finish();
}

pub(crate) async fn s34_cancelled_streams_release_what_they_held(setup: Setup) {
    const AT_ONCE: usize = 64;
    const ON_ONE_CONNECTION: usize = 300;
    let forge = setup.start(|_| {});
    let (peer, database) = filled(&forge).await;
    let head = [database.head("main").unwrap()];
    // Of every request the server tells the end, be it that its answer was dropped.
    let ended = || {
        let log = forge.logs().text();
        let is_end = |line: &&str| {
            line.contains("/StreamChunkLocations\"") && line.contains("telemetry::request: ")
        };
        log.lines().filter(is_end).count()
    };

    // One connection carries more of them than it may have open at a time.
    many_streams(&peer, &head, ON_ONE_CONNECTION).await;
    let opened = ON_ONE_CONNECTION + 1;
    wait::until("every stream of one connection to end", || {
        ended() == opened
    });

    let before = connections(&forge);

    // And many connections are let go of at the same time, with a question under way on each.
    let clients: Vec<Peer> = (0..AT_ONCE).map(|_| forge.peer("acme/prod")).collect();
    let streams = clients
        .iter()
        .map(|client| open(client, client.locations_request(&head)));
    let streams = futures::future::join_all(streams).await;
    assert!(
        connections(&forge) >= before + AT_ONCE,
        "each client has a connection of its own"
    );
    assert_eq!(ended(), opened, "all of them are open");
    for (sender, _) in &streams {
        sender.send(peer.locations_request(&head)).await.unwrap();
    }
    drop((streams, clients));
    wait::until("every cancelled stream to end", || {
        ended() == opened + AT_ONCE
    });
    wait::until("the connections of gone clients to end", || {
        connections(&forge) <= before
    });
    assert!(
        peer.locate(head[0]).await.is_some(),
        "the server still answers"
    );
    forge.finish();
}

/// How many connections the servers hold: each has its own end of them.
fn connections(forge: &Forge) -> usize {
    const ESTABLISHED: &str = "01";
    const CLOSE_WAIT: &str = "08";
    let ports: Vec<String> = forge
        .server_urls()
        .iter()
        .map(|url| url.rsplit(':').next().unwrap().parse::<u16>().unwrap())
        .map(|port| format!(":{port:04X}"))
        .collect();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let is_ours = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next().unwrap(), fields.nth(1).unwrap());
        ports.iter().any(|port| local.ends_with(port)) && [ESTABLISHED, CLOSE_WAIT].contains(&state)
    };
    table.lines().skip(1).filter(is_ours).count()
}

pub(crate) async fn long_s34_ten_thousand_short_streams_in_a_minute(setup: Setup) {
    let forge = setup.start(|_| {});
    let (peer, database) = filled(&forge).await;
    let head = [database.head("main").unwrap()];
    let limit = Duration::from_secs(60);
    let streams = many_streams(&peer, &head, 10_000);
    assert!(
        tokio::time::timeout(limit, streams).await.is_ok(),
        "10,000 streams took longer than {limit:?}"
    );
    forge.finish();
}

/// Opens streams on one connection, every second of which is cancelled with an answer still to come; and one more.
async fn many_streams(peer: &Peer, head: &[ChunkAddress; 1], count: usize) {
    for index in 0..count {
        let (_sender, mut answers) = open(peer, peer.locations_request(head)).await;
        if index % 2 == 0 {
            assert_eq!(answers.next().await.unwrap().unwrap().locations.len(), 1);
        }
    }
    assert!(
        peer.locate(head[0]).await.is_some(),
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
    let nothing = administrator.at("acme/nothing");
    let (mut here, mut there) = (TinyDb::new(), TinyDb::new());
    let fresh = here.commit("main", "here");
    administrator.push(&here, &fresh).await;
    let fresh = there.commit("main", "there");
    other.push(&there, &fresh).await;
    let asked = [here.head("main").unwrap(), there.head("main").unwrap()];

    // Who may create what is not there sees it empty, in the middle of a stream too.
    let turns = [&administrator, &other, &nothing, &administrator];
    let requests = turns.map(|peer| peer.locations_request(&asked)).into();
    let answers = administrator.locations(requests).await.unwrap();
    let missing: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.missing_indexes)
        .collect();
    assert_eq!(missing, [vec![1], vec![0], vec![0, 1], vec![1]]);
    let requests = turns.map(|peer| legacy_request(peer, &asked)).into();
    let answers = legacy(&administrator, requests).await.unwrap();
    let found: Vec<Vec<Bytes>> = answers
        .iter()
        .map(|answer| ranges(answer).into_iter().flat_map(|range| range.ranges))
        .map(|found| found.map(|range| range.hash).collect())
        .collect();
    let [here, there] = asked.map(|address| hashes(&[address]));
    assert_eq!(found, [here.clone(), there, Vec::new(), here]);

    // For a stranger it does not exist, wherever in a stream he asks.
    let stranger = forge.peer("acme/prod");
    for (turns, well) in [
        (vec!["acme/prod", "acme/nothing", "acme/prod"], 1),
        (vec!["acme/prod", "acme/other", "acme/nothing"], 2),
        (vec!["acme/nothing", "acme/prod"], 0),
    ] {
        let (sender, mut answers) =
            open(&stranger, stranger.at(turns[0]).locations_request(&asked)).await;
        let (older_sender, mut older_answers) =
            open_legacy(&stranger, legacy_request(&stranger.at(turns[0]), &asked)).await;
        for path in &turns[1..] {
            let peer = stranger.at(path);
            // The stream may have ended already.
            drop(sender.send(peer.locations_request(&asked)).await);
            drop(older_sender.send(legacy_request(&peer, &asked)).await);
        }
        for _ in 0..well {
            assert!(answers.next().await.unwrap().is_ok(), "{turns:?}");
            assert!(older_answers.next().await.unwrap().is_ok(), "{turns:?}");
        }
        let refused = answers.next().await.unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{turns:?}: {refused}");
        let refused = older_answers.next().await.unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{turns:?}: {refused}");
    }
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

    let mut named = Vec::new();
    for file in ranges(&answers[0]) {
        for range in &file.ranges {
            let chunk = peer::chunk_at(&file.url, &Span::from(range)).await;
            let address = address_of(&chunk);
            assert_eq!(address.as_bytes()[..], range.hash[..], "another chunk");
            named.push(address);
        }
    }
    named.sort_unstable();
    assert_eq!(named, all, "each chunk once");
    forge.finish();
}

pub(crate) async fn one_answer(
    peer: &Peer,
    asked: &[ChunkAddress],
) -> StreamChunkLocationsResponse {
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

/// Opens an older stream with its first request.
async fn open_legacy(
    peer: &Peer,
    first: GetDownloadLocsRequest,
) -> (
    Sender<GetDownloadLocsRequest>,
    tonic::Streaming<GetDownloadLocsResponse>,
) {
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    sender.send(first).await.unwrap();
    let stream = peer.request(ReceiverStream::new(receiver));
    let answers = peer.rpc().stream_download_locations(stream).await;
    (sender, answers.unwrap().into_inner())
}

pub(crate) fn legacy_request(peer: &Peer, asked: &[ChunkAddress]) -> GetDownloadLocsRequest {
    GetDownloadLocsRequest {
        repo_id: peer.repo_id(),
        repo_path: peer.path(),
        chunk_hashes: hashes(asked),
        ..GetDownloadLocsRequest::default()
    }
}

pub(crate) async fn legacy(
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
pub(crate) fn ranges(answer: &GetDownloadLocsResponse) -> Vec<HttpGetRange> {
    let of = |location: &Option<Location>| match location {
        Some(Location::HttpGetRange(range)) => range.clone(),
        other => panic!("clients crash on {other:?}"),
    };
    answer.locs.iter().map(|loc| of(&loc.location)).collect()
}
