//! Statements 40 to 43: the addresses of data that a server gives, and what lies there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::testing::address_of;
use holdfast_tests::peer::{self, Peer, Span};

use crate::Setup;
use crate::streams::{filled, legacy, legacy_request, one_answer, present, ranges};
use crate::transport::split_url;

/// An address of data that a server gave.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    /// By which call.
    pub(crate) way: &'static str,
    /// The name under which a new address of the file is asked for.
    pub(crate) file: String,
    /// The address.
    pub(crate) url: String,
}

/// Asks for addresses of the files of these chunks by every call that gives one. Each stream is asked in many
/// messages.
pub(crate) async fn given_addresses(peer: &Peer, chunks: &[ChunkAddress]) -> Vec<Given> {
    let mut all = Vec::new();
    let mut give = |way, file, url| all.push(Given { way, file, url });
    let requests = chunks.chunks(5).map(|list| peer.locations_request(list));
    for answer in peer.locations(requests.collect()).await.unwrap() {
        for record in answer.table_files {
            give("StreamChunkLocations", record.file_id, record.url);
        }
    }
    let requests = chunks.chunks(5).map(|list| legacy_request(peer, list));
    for answer in legacy(peer, requests.collect()).await.unwrap() {
        for (loc, range) in answer.locs.iter().zip(ranges(&answer)) {
            let refresh = loc.refresh_request.clone();
            let refresh = refresh.expect("an address that expires can be refreshed");
            give("StreamDownloadLocations", refresh.file_id, range.url);
        }
    }
    for listed in peer.files().await.unwrap().table_file_info {
        let refresh = listed.refresh_request;
        let refresh = refresh.expect("an address that expires can be refreshed");
        give("ListTableFiles", refresh.file_id.clone(), listed.url);
        let file = refresh.file_id.clone();
        let request = peer.request(refresh);
        let refreshed = peer.rpc().refresh_table_file_url(request).await.unwrap();
        give("RefreshTableFileUrl", file, refreshed.into_inner().url);
    }
    all
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
            let span = Span::from(range);
            let chunk = peer::chunk_at(&file.url, &span).await;
            assert_eq!(address_of(&chunk).as_bytes()[..], range.hash[..]);
        }
    }
    forge.finish();
}

pub(crate) async fn s41_no_two_files_share_a_path_and_no_file_has_two(setup: Setup) {
    let forge = setup.start(|_| {});
    let (peer, database) = filled(&forge).await;
    let given = given_addresses(&peer, &present(&database)).await;

    // Of a file by one stream the whole text is the same, or clients could not put ranges of it together.
    for way in ["StreamChunkLocations", "StreamDownloadLocations"] {
        let mut urls: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for given in given.iter().filter(|given| given.way == way) {
            urls.entry(&given.file).or_default().insert(&given.url);
        }
        assert_eq!(urls.len(), 2, "the chunks lie in two files");
        for (file, urls) in urls {
            assert_eq!(urls.len(), 1, "{way}: {file} has one address: {urls:?}");
        }
    }

    // Scheme, host and path are one and the same, whoever was asked for the address and however.
    let mut places: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for given in &given {
        let place = given.url.split('?').next().unwrap();
        places.entry(&given.file).or_default().insert(place);
    }
    assert_eq!(places.len(), 2, "{places:?}");
    let all: BTreeSet<&str> = places.values().flatten().copied().collect();
    assert_eq!(
        all.len(),
        2,
        "each file has one place of its own: {places:?}"
    );
    for (file, places) in &places {
        assert_eq!(places.len(), 1, "{file} has one place: {places:?}");
    }
    let is_the_servers = all.iter().all(|place| place.starts_with(forge.base_url()));
    assert_eq!(is_the_servers, setup != Setup::PresignedData, "{all:?}");
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
    .map(|time| {
        time.expect("an address that expires says when to refresh")
            .seconds
    });
    assert!(listed.refresh_request.is_some() && legacy.refresh_request.is_some());
    let urls = [
        file.url.clone(),
        listed.url,
        ranges(&answers[0]).remove(0).url,
    ];
    for (url, refresh) in urls.iter().zip(&refreshes) {
        let in_seconds = refresh - forge.clock_seconds();
        assert!(
            in_seconds > 300,
            "{url} is to be refreshed in {in_seconds} s"
        );
    }
    if setup == Setup::PresignedData {
        // The bucket has a clock of its own; when it ends an address stands in the address.
        for (url, refresh) in urls.iter().zip(&refreshes) {
            let between = expiry(url) - refresh;
            assert!(
                between >= 300,
                "{url} ends {between} s after the refresh is due"
            );
        }
    } else {
        // Time stands still but for this: five minutes after the refresh was due the addresses are still good.
        let due = refreshes.iter().max().unwrap();
        let until_due = u64::try_from(due - forge.clock_seconds()).unwrap();
        forge.advance_clock(Duration::from_secs(until_due + 300));
    }
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

/// When a presigned address ends, in seconds since 1970.
fn expiry(url: &str) -> i64 {
    let field = |name: &str| {
        let query = url.split_once('?').unwrap().1;
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let found = pairs.into_iter().find(|(key, _)| *key == name);
        found.unwrap_or_else(|| panic!("{name} is not in {url}")).1
    };
    let signed_at = jiff::fmt::strtime::parse("%Y%m%dT%H%M%SZ", field("X-Amz-Date"))
        .and_then(|parsed| parsed.to_datetime())
        .and_then(|at| at.to_zoned(jiff::tz::TimeZone::UTC))
        .unwrap();
    signed_at.timestamp().as_second() + field("X-Amz-Expires").parse::<i64>().unwrap()
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
            let chunk = peer::chunk_at(&file.url, &Span::from(range)).await;
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
