//! Statements 44 to 50: reading table files over HTTP.

use std::time::Duration;

use holdfast_doltdb::testing::TinyDb;
use holdfast_proto::remotesapi::RefreshTableFileUrlRequest;
use holdfast_tests::forge::Forge;
use holdfast_tests::peer::Peer;
use holdfast_tests::table::TableFile;
use holdfast_tests::web;
use http::StatusCode;
use tonic::Code;

use crate::Setup;
use crate::presence::numbered;

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

pub(crate) async fn s45_a_range_past_the_end_and_a_malformed_one_are_refused(setup: Setup) {
    let forge = setup.start(|_| {});
    let (_, _, file, url) = one_file(&forge, 10_000).await;
    let len = file.bytes.len();
    for range in [
        format!("bytes={len}-{len}"),
        format!("bytes=0-{len}"),
        format!("bytes={}-{}", len - 1, len + 5),
    ] {
        let answer = web::get(&url, &[("range", &range)]).await;
        assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE, "{range}");
    }
    for range in [
        "bytes=",
        "bytes=a-b",
        "bytes=9-3",
        "bytes 0-1",
        "0-1",
        "bytes=0-1,5-6",
        "bytes=-",
        "lines=1-2",
        "bytes=1-99999999999999999999",
    ] {
        let answer = web::get(&url, &[("range", range)]).await;
        let refused = [StatusCode::BAD_REQUEST, StatusCode::RANGE_NOT_SATISFIABLE];
        assert!(
            refused.contains(&answer.status),
            "{range}: {}",
            answer.status
        );
    }
    forge.finish();
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

pub(crate) async fn s48_64_parallel_ranges_begin_within_15_seconds(setup: Setup) {
    const PIECE: u64 = 32 * 1024;
    let forge = setup.start(|_| {});
    let (_, _, file, url) = one_file(&forge, 9_000_000).await;
    let len = u64::try_from(file.bytes.len()).unwrap();

    let gets = (0..64).map(|index| {
        let first = (index * PIECE) % (len - PIECE);
        let url = url.clone();
        tokio::spawn(async move { (first, web::get_range(&url, first, first + PIECE - 1).await) })
    });
    let all = tokio::time::timeout(Duration::from_secs(15), futures::future::join_all(gets)).await;
    for got in all.expect("64 ranges take less than 15 s") {
        let (first, answer) = got.unwrap();
        let from = usize::try_from(first).unwrap();
        assert_eq!(
            answer.body,
            file.bytes[from..from + usize::try_from(PIECE).unwrap()]
        );
    }
    forge.finish();
}

pub(crate) async fn s49_expired_and_tampered_addresses_are_refused(setup: Setup) {
    let forge = setup.start(|plan| plan.manual_clock = true);
    let (_, _, _, url) = one_file(&forge, 10_000).await;
    let refused = [StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN];
    let (path, query) = url.split_once('?').expect("the signature is in the query");
    let start = path.rfind('/').unwrap() + 1;

    let mut tampered = vec![
        path.to_owned(),
        format!("{path}?"),
        format!("{}x?{query}", &path[..path.len() - 1]),
    ];
    for index in (0..query.len()).step_by(7) {
        let mut changed = query.to_owned().into_bytes();
        changed[index] = if changed[index] == b'0' { b'1' } else { b'0' };
        tampered.push(format!("{path}?{}", String::from_utf8(changed).unwrap()));
    }
    tampered.push(format!("{}{}?{query}", &path[..start], "v".repeat(32)));
    for tampered in tampered {
        let answer = web::get(&tampered, &[]).await;
        assert!(
            refused.contains(&answer.status),
            "{tampered}: {}",
            answer.status
        );
    }

    assert_eq!(web::get(&url, &[]).await.status, StatusCode::OK);
    forge.advance_clock(Duration::from_secs(60 * 24 * 3600));
    let answer = web::get(&url, &[]).await;
    assert!(
        refused.contains(&answer.status),
        "two months later: {}",
        answer.status
    );
    forge.finish();
}

pub(crate) async fn s50_an_address_is_refreshed_for_the_same_bytes(setup: Setup) {
    let forge = setup.start(|_| {});
    let (peer, database, file, url) = one_file(&forge, 10_000).await;
    let listed = peer.files().await.unwrap().table_file_info.remove(0);
    let (located, _) = peer.locate(database.head("main").unwrap()).await.unwrap();
    let by_id = |file_id: String| RefreshTableFileUrlRequest {
        repo_id: peer.repo_id(),
        repo_path: peer.path(),
        file_id,
        ..RefreshTableFileUrlRequest::default()
    };
    let prepared = listed
        .refresh_request
        .expect("the listing prepares the request");
    for request in [prepared, by_id(located.file_id), by_id(file.name())] {
        let shown = request.file_id.clone();
        let answer = peer
            .rpc()
            .refresh_table_file_url(request)
            .await
            .unwrap()
            .into_inner();
        assert!(
            answer.refresh_after.is_some(),
            "{shown}: without it clients refresh every 5 s"
        );
        assert_eq!(
            answer.url.split('?').next(),
            url.split('?').next(),
            "{shown}: the path stays"
        );
        assert_eq!(web::get(&answer.url, &[]).await.body, file.bytes);
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
