//! Statements 44 to 50: reading table files over HTTP.

use std::time::Duration;

use holdfast_doltdb::testing::TinyDb;
use holdfast_proto::remotesapi::{ChunkTableInfo, RefreshTableFileUrlRequest, TableFileDetails};
use holdfast_tests::forge::Forge;
use holdfast_tests::peer::{Peer, url_of};
use holdfast_tests::table::{BigFile, TableFile};
use holdfast_tests::web::{self, Answer};
use http::StatusCode;
use tonic::Code;

use crate::presence::numbered;
use crate::{Setup, streams};

/// A repository with one classic file and its address.
async fn one_file(forge: &Forge, len: usize) -> (Peer, TinyDb, TableFile, String) {
    let peer = forge.peer("acme/prod");
    let mut database = TinyDb::new();
    let fresh = database.commit_with("main", "one", &[("table", &numbered(vec![b'x'; len]))]);
    let file = peer.push(&database, &fresh).await;
    let listed = peer.files().await.unwrap().table_file_info.remove(0);
    assert_eq!(listed.file_id, file.name());
    (peer, database, file, listed.url)
}

pub(crate) async fn s44_a_range_is_answered_with_exactly_its_bytes(setup: Setup) {
    let forge = setup.start(|_| {});
    let (_, _, file, url) = one_file(&forge, 50_000).await;
    let len = u64::try_from(file.bytes.len()).unwrap();
    for (first, last) in [
        (0, 0),
        (0, len - 1),
        (10, 99),
        (len - 1, len - 1),
        (len / 2, len / 2 + 1),
    ] {
        let answer = web::get_range(&url, first, last).await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT, "{first}-{last}");
        assert_eq!(
            answer.header("content-range"),
            format!("bytes {first}-{last}/{len}")
        );
        assert_eq!(
            answer.header("content-length"),
            (last - first + 1).to_string()
        );
        let [from, until] = [first, last + 1].map(|at| usize::try_from(at).unwrap());
        assert_eq!(answer.body, file.bytes[from..until], "{first}-{last}");
    }
    forge.finish();
}

const MALFORMED_RANGES: [&str; 8] = [
    "bytes=",
    "bytes=a-b",
    "bytes=9-3",
    "bytes 0-1",
    "0-1",
    "bytes=0-1,5-6",
    "bytes=-",
    "lines=1-2",
];

/// A server refuses every range that is not wholly in the file. A bucket refuses those that begin behind its end; of
/// the others it makes what S3 makes of them, but it says which bytes it sends, and sends those.
pub(crate) async fn s45_a_range_past_the_end_and_a_malformed_one_are_refused(setup: Setup) {
    let forge = setup.start(|_| {});
    let (_, _, file, url) = one_file(&forge, 10_000).await;
    let len = file.bytes.len();
    let outside = [
        format!("bytes={len}-{len}"),
        format!("bytes={len}-"),
        format!("bytes={}-{}", len + 1000, len + 2000),
    ];
    for range in &outside {
        let answer = web::get(&url, &[("range", range)]).await;
        assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE, "{range}");
    }
    let partly_outside = [
        format!("bytes=0-{len}"),
        format!("bytes={}-{}", len - 1, len + 5),
        format!("bytes=-{}", len + 1),
        "bytes=0-99999999999999999999".to_owned(),
    ];
    if setup == Setup::PresignedData {
        // The bucket of this process says so in the same log.
        forge.logs().expect("op returns error");
        let partly_outside = partly_outside.iter().map(String::as_str);
        for range in partly_outside.chain(MALFORMED_RANGES) {
            let answer = web::get(&url, &[("range", range)]).await;
            assert_sends_what_it_says(&answer, &file.bytes, range);
        }
        forge.finish();
        return;
    }
    for range in &partly_outside {
        let answer = web::get(&url, &[("range", range)]).await;
        assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE, "{range}");
    }
    for range in MALFORMED_RANGES {
        let answer = web::get(&url, &[("range", range)]).await;
        assert!(
            REFUSED_RANGE.contains(&answer.status),
            "{range}: {}",
            answer.status
        );
    }
    forge.finish();
}

const REFUSED_RANGE: [StatusCode; 2] = [StatusCode::BAD_REQUEST, StatusCode::RANGE_NOT_SATISFIABLE];

/// A refusal, the whole file, or a part that its header tells.
fn assert_sends_what_it_says(answer: &Answer, whole: &[u8], range: &str) {
    let sent = match answer.status {
        StatusCode::OK => whole,
        StatusCode::PARTIAL_CONTENT => {
            let told = answer.header("content-range");
            let span = told.strip_prefix("bytes ").and_then(|told| {
                let (first, rest) = told.split_once('-')?;
                let (last, len) = rest.split_once('/')?;
                assert_eq!(len, whole.len().to_string(), "{range}");
                whole.get(first.parse().ok()?..=last.parse().ok()?)
            });
            span.unwrap_or_else(|| panic!("{range}: content-range is {told:?}"))
        }
        status => {
            assert!(REFUSED_RANGE.contains(&status), "{range}: {status}");
            return;
        }
    };
    assert_eq!(answer.body, sent, "{range}");
}

pub(crate) async fn s46_a_whole_file_has_its_length_and_is_not_compressed(setup: Setup) {
    let forge = setup.start(|_| {});
    let (_, _, file, url) = one_file(&forge, 50_000).await;
    for headers in [
        &[][..],
        &[("accept-encoding", "gzip")],
        &[("accept-encoding", "gzip, zstd, br, deflate")],
    ] {
        let answer = web::get(&url, headers).await;
        assert_eq!(answer.status, StatusCode::OK, "{headers:?}");
        assert_eq!(
            answer.header("content-length"),
            file.bytes.len().to_string(),
            "{headers:?}"
        );
        assert_eq!(answer.header("content-encoding"), "", "{headers:?}");
        assert_eq!(answer.body, file.bytes);
    }
    forge.finish();
}

pub(crate) async fn s47_the_path_of_an_archive_ends_in_darc_and_of_no_other(setup: Setup) {
    let forge = setup.start(|_| {});
    let (peer, mut database, classic, _) = one_file(&forge, 10_000).await;
    let last = database.root();
    let fresh = database.commit_with("main", "two", &[("table", &numbered(vec![b'y'; 600_000]))]);
    let archive = TableFile::archive(&fresh);
    peer.store(&archive).await;
    assert!(
        peer.commit(database.root(), last, &[&archive])
            .await
            .unwrap()
    );

    let mut seen = Vec::new();
    for listed in peer.files().await.unwrap().table_file_info {
        let path = listed.url.split('?').next().unwrap();
        assert_eq!(
            path.ends_with(".darc"),
            listed.file_id == archive.name(),
            "{}",
            listed.url
        );
        seen.push(listed.file_id);
    }
    assert!(
        seen.contains(&archive.name()) && seen.contains(&classic.name()),
        "{seen:?}"
    );
    let (located, _) = peer.locate(database.head("main").unwrap()).await.unwrap();
    assert!(
        located.url.split('?').next().unwrap().ends_with(".darc"),
        "{}",
        located.url
    );
    forge.finish();
}

/// All 64 ranges come whole, none begins later than 15 seconds after it was asked for, and all end within the limit of
/// a statement. The least rate is not asserted: the server does not pace what it sends, so it would be that of the
/// machine.
pub(crate) async fn s48_64_parallel_ranges_begin_within_15_seconds(setup: Setup) {
    const RANGES: u64 = 64;
    const RANGE_LEN: u64 = 1 << 20;
    const LIMIT: Duration = Duration::from_secs(15);
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let file = BigFile::plan(48, 65, 1 << 20);
    assert!(file.len > RANGES * RANGE_LEN);
    let details = TableFileDetails {
        id: file.id.clone(),
        content_length: file.len,
        num_chunks: u64::from(file.chunks),
        ..TableFileDetails::default()
    };
    let locations = peer.upload_locations(vec![details]).await.unwrap();
    let answer = web::put_pieces(&url_of(&locations[0]).unwrap(), file.len, file.pieces()).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    let info = ChunkTableInfo {
        hash: file.id.clone(),
        chunk_count: file.chunks,
    };
    assert!(peer.add_infos(vec![info]).await.unwrap().success);
    let url = peer.files().await.unwrap().table_file_info[0].url.clone();

    let gets = (0..RANGES).map(|index| {
        let (url, first) = (url.clone(), index * RANGE_LEN);
        tokio::spawn(async move { web::get_range_timed(&url, first, first + RANGE_LEN - 1).await })
    });
    let got = futures::future::join_all(gets).await;

    let mut rest = file.pieces();
    let mut expected = Vec::new();
    for (index, got) in got.into_iter().enumerate() {
        let (answer, until_first) = got.unwrap();
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT, "range {index}");
        assert!(
            until_first < LIMIT,
            "range {index} began after {until_first:?}"
        );
        let len = usize::try_from(RANGE_LEN).unwrap();
        while expected.len() < len {
            expected.extend_from_slice(&rest.next().expect("the file is longer"));
        }
        assert!(
            answer.body == expected[..len],
            "range {index} has other bytes"
        );
        expected.drain(..len);
    }
    forge.finish();
}

/// The bucket takes the time from the system, so there an address is let expire by a server that gives it with its own
/// clock two days back.
pub(crate) async fn s49_expired_and_tampered_addresses_are_refused(setup: Setup) {
    let forge = setup.start(|plan| plan.manual_clock = true);
    let (peer, _, file, url) = one_file(&forge, 10_000).await;
    let refused = [StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN];
    let (path, query) = url.split_once('?').expect("the signature is in the query");
    let start = path.rfind('/').unwrap() + 1;

    let mut tampered = vec![
        format!("{}x?{query}", &path[..path.len() - 1]),
        format!("{}{}?{query}", &path[..start], "v".repeat(32)),
    ];
    if setup == Setup::PresignedData {
        // The bucket of this process says so in the same log.
        for message in [
            "failed to prepare",
            "error=S3Error { code: SignatureDoesNotMatch, .. }",
            r#"error=S3Error { code: AccessDenied, message: "Request has expired", .. }"#,
            r#"error=S3Error { code: SignatureDoesNotMatch, message: "credential scope date does not match x-amz-date", .. }"#,
        ] {
            forge.logs().expect(message);
        }
        tampered.push(query.replace("X-Amz-Expires=", "X-Amz-Expires=1"));
        tampered.push(query.replace("X-Amz-Date=2", "X-Amz-Date=3"));
        let (rest, signature) = query.split_once("X-Amz-Signature=").unwrap();
        let other: String = signature.chars().rev().collect();
        tampered.push(format!("{rest}X-Amz-Signature={other}"));
        for changed in &mut tampered[2..] {
            assert_ne!(changed, query);
            *changed = format!("{path}?{changed}");
        }
    } else {
        tampered.extend([path.to_owned(), format!("{path}?")]);
        for index in (0..query.len()).step_by(7) {
            let mut changed = query.to_owned().into_bytes();
            changed[index] = if changed[index] == b'0' { b'1' } else { b'0' };
            tampered.push(format!("{path}?{}", String::from_utf8(changed).unwrap()));
        }
    }
    for tampered in tampered {
        let answer = web::get(&tampered, &[]).await;
        assert!(
            refused.contains(&answer.status),
            "{tampered}: {}",
            answer.status
        );
    }

    assert_eq!(web::get(&url, &[]).await.status, StatusCode::OK);
    let two_days = Duration::from_secs(48 * 3600);
    if setup == Setup::PresignedData {
        forge.put_back_clock(two_days);
    }
    let listed = peer.files().await.unwrap().table_file_info.remove(0);
    forge.advance_clock(two_days);
    let answer = web::get(&listed.url, &[]).await;
    assert!(
        refused.contains(&answer.status),
        "two days later: {}",
        answer.status
    );
    let request = listed.refresh_request.expect("the listing prepares it");
    let refreshed = peer.rpc().refresh_table_file_url(request).await;
    let again = web::get(&refreshed.unwrap().into_inner().url, &[]).await;
    assert_eq!(again.status, StatusCode::OK, "a new address is good");
    assert_eq!(again.body, file.bytes);
    forge.finish();
}

pub(crate) async fn s50_an_address_is_refreshed_for_the_same_bytes(setup: Setup) {
    let forge = setup.start(|_| {});
    let (peer, database, files) = streams::filled_with(&forge).await;
    let by_id = |file_id: String| RefreshTableFileUrlRequest {
        repo_id: peer.repo_id(),
        repo_path: peer.path(),
        file_id,
        ..RefreshTableFileUrlRequest::default()
    };

    // By what either stream and the listing say, and by the bare name: a request and the address it is for.
    let mut asked = Vec::new();
    let listing = peer.files().await.unwrap().table_file_info;
    for listed in listing {
        let prepared = listed.refresh_request.expect("the listing prepares it");
        asked.push((prepared, listed.url.clone()));
        asked.push((by_id(listed.file_id), listed.url));
    }
    let chunks = streams::present(&database);
    for record in streams::one_answer(&peer, &chunks).await.table_files {
        asked.push((by_id(record.file_id), record.url));
    }
    let request = streams::legacy_request(&peer, &chunks);
    for answer in streams::legacy(&peer, vec![request]).await.unwrap() {
        for (loc, range) in answer.locs.iter().zip(streams::ranges(&answer)) {
            let prepared = loc.refresh_request.clone();
            asked.push((prepared.expect("the stream prepares it"), range.url));
        }
    }
    assert_eq!(asked.len(), 8, "two files, each by four requests");
    for (request, url) in asked {
        let shown = request.file_id.clone();
        let answer = peer.rpc().refresh_table_file_url(request).await;
        let answer = answer.unwrap().into_inner();
        assert!(
            answer.refresh_after.is_some(),
            "{shown}: without it clients refresh every 5 s"
        );
        assert_eq!(
            answer.url.split('?').next(),
            url.split('?').next(),
            "{shown}: the path stays"
        );
        let file = files.iter().find(|file| shown.starts_with(&file.name()));
        let file = file.expect("one of the two");
        assert_eq!(web::get(&answer.url, &[]).await.body, file.bytes, "{shown}");
    }
    for (file_id, code) in [
        ("v".repeat(32), Code::NotFound),
        (String::new(), Code::InvalidArgument),
    ] {
        let refused = peer
            .rpc()
            .refresh_table_file_url(by_id(file_id.clone()))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), code, "{file_id:?}: {refused}");
    }
    let empty = peer
        .rpc()
        .refresh_table_file_url(RefreshTableFileUrlRequest::default())
        .await
        .unwrap_err();
    assert_eq!(
        empty.code(),
        Code::InvalidArgument,
        "clients below 1.55.4 send an empty message: {empty}"
    );
    forge.finish();
}
