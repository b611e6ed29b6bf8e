//! Statements 56 to 62 and 64: table files coming in.

use bytes::Bytes;
use holdfast_chunkstore::RootAddress;
use holdfast_doltdb::testing::{TinyDb, address_of};
use holdfast_proto::remotesapi::{ChunkTableInfo, GetUploadLocsRequest, TableFileDetails};
use holdfast_tests::forge::{BucketAccess, Forge, Store};
use holdfast_tests::peer::{Peer, details, url_of};
use holdfast_tests::table::{BigFile, TableFile};
use holdfast_tests::web;
use http::{Method, StatusCode};
use tonic::Code;

use crate::Setup;
use crate::presence::numbered;

fn one_commit() -> (TinyDb, TableFile) {
    let mut database = TinyDb::new();
    let fresh = database.commit_with("main", "one", &[("table", &numbered(vec![b'x'; 20_000]))]);
    let file = TableFile::classic(&fresh);
    (database, file)
}

async fn nothing_is_kept(peer: &Peer, file: &TableFile) {
    let refused = peer.add(&[file]).await.unwrap_err();
    assert_eq!(
        refused.code(),
        Code::FailedPrecondition,
        "a refused file cannot be added: {refused}"
    );
    assert_eq!(peer.root().await.unwrap(), RootAddress::ZERO);
}

pub(crate) async fn s56_each_file_gets_one_location_in_the_order_asked(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let files: Vec<TableFile> = (0..5)
        .map(|index| TableFile::classic(&TinyDb::new().commit("main", &format!("file {index}"))))
        .collect();

    let one = peer
        .upload_locations(vec![details(&files[0])])
        .await
        .unwrap();
    assert_eq!(one.len(), 1);
    assert_eq!(one[0].table_file_hash, files[0].id);

    let all = peer
        .upload_locations(files.iter().map(details).collect())
        .await
        .unwrap();
    let ids: Vec<&Bytes> = all
        .iter()
        .map(|location| &location.table_file_hash)
        .collect();
    assert_eq!(ids, files.iter().map(|file| &file.id).collect::<Vec<_>>());
    for (file, location) in files.iter().zip(&all) {
        let answer = web::put(&url_of(location).unwrap(), file.bytes.clone()).await;
        assert!(answer.status.is_success(), "{}", answer.text());
    }
    assert!(
        peer.add(&files.iter().collect::<Vec<_>>())
            .await
            .unwrap()
            .success
    );
    forge.finish();
}

pub(crate) async fn s57_missing_details_and_unknown_suffixes_are_refused(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let (_, file) = one_commit();

    let refused = peer.upload_locations(Vec::new()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    #[expect(deprecated, reason = "what clients before 1.0 sent")]
    let ancient = GetUploadLocsRequest {
        repo_path: peer.path(),
        table_file_hashes: vec![file.id.clone()],
        ..GetUploadLocsRequest::default()
    };
    let refused = peer.rpc().get_upload_locations(ancient).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");

    for suffix in [".dar", "darc", ".darc ", ".gz", "/../x"] {
        let mut details = details(&file);
        details.suffix = suffix.to_owned();
        let refused = peer.upload_locations(vec![details]).await.unwrap_err();
        assert_eq!(
            refused.code(),
            Code::InvalidArgument,
            "{suffix:?}: {refused}"
        );
    }
    let mut details = details(&file);
    details.id = Bytes::from_static(&[7; 19]);
    let refused = peer.upload_locations(vec![details]).await.unwrap_err();
    assert_eq!(
        refused.code(),
        Code::InvalidArgument,
        "an id of 19 bytes: {refused}"
    );
    forge.finish();
}

pub(crate) async fn s58_put_and_post_are_taken_and_last(setup: Setup) {
    let forge = setup.start(|_| {});
    let (database, by_put) = one_commit();
    let by_post = TableFile::classic(&TinyDb::new().commit("main", "by POST"));
    let peer = forge.peer("acme/prod");
    for (method, file) in [(Method::PUT, &by_put), (Method::POST, &by_post)] {
        let url = peer.upload_url(file).await.unwrap().unwrap();
        let answer = web::send(method, &url, &[], file.bytes.clone()).await;
        assert!(answer.status.is_success(), "{}", answer.text());
    }
    let forge = forge.crash();
    let peer = forge.peer("acme/prod");
    assert!(
        peer.add(&[&by_put, &by_post]).await.unwrap().success,
        "what was taken is there after a crash"
    );
    assert!(
        peer.commit(database.root(), RootAddress::ZERO, &[])
            .await
            .unwrap()
    );
    forge.finish();
}

/// What is wrong with an upload, its headers, and its body.
type Attempt<'a> = (&'a str, Vec<(&'a str, &'a str)>, Bytes);

pub(crate) async fn s59_a_wrong_length_or_md5_is_refused_in_one_line(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let (_, file) = one_commit();
    let url = peer.upload_url(&file).await.unwrap().unwrap();
    let other_md5 = data_encoding::BASE64.encode(&[7; 16]);
    let mut changed = file.bytes.to_vec();
    changed[100] ^= 1;
    let longer = [&file.bytes[..], &[0]].concat();

    let attempts: [Attempt; 5] = [
        ("shorter", vec![], file.bytes.slice(..file.bytes.len() - 1)),
        ("longer", vec![], longer.into()),
        ("empty", vec![], Bytes::new()),
        ("other bytes than declared", vec![], changed.into()),
        (
            "another Content-MD5",
            vec![("content-md5", &other_md5)],
            file.bytes.clone(),
        ),
    ];
    for (what, headers, body) in attempts {
        let answer = web::send(Method::PUT, &url, &headers, body).await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{what}: {}",
            answer.text()
        );
        let text = answer.text();
        assert!(
            !text.trim().is_empty() && text.trim().lines().count() == 1 && text.len() <= 1024,
            "{what}: {text:?}"
        );
        nothing_is_kept(&peer, &file).await;
    }
    forge.finish();
}

pub(crate) async fn s60_a_file_without_a_content_hash_is_taken(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let (database, file) = one_commit();
    let mut details = details(&file);
    details.content_hash = Bytes::new();
    let locations = peer.upload_locations(vec![details]).await.unwrap();
    let answer = web::put(&url_of(&locations[0]).unwrap(), file.bytes.clone()).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    assert!(
        peer.commit(database.root(), RootAddress::ZERO, &[&file])
            .await
            .unwrap()
    );
    forge.finish();
}

/// More than S3 takes by one PUT. Takes 10 GiB of disk, and 15 GiB where the bucket is on it too: the file is in the
/// spool, in parts, and put together, all at once. The bucket of this process keeps its objects in memory, so this is
/// shown on one that the environment names.
pub(crate) async fn long_s60_a_file_of_more_than_5_gib_is_taken(setup: Setup) {
    let store = match setup {
        Setup::LocalDisk => Store::LocalDisk,
        Setup::TwoServersOnOneBucket | Setup::PresignedData => {
            let Some(access) = BucketAccess::from_environment() else {
                return;
            };
            Store::BucketElsewhere(access)
        }
    };
    let forge = setup.start(|plan| plan.store = store);
    let peer = forge.peer("acme/prod");
    let file = BigFile::plan(5, 5_130, 1 << 20);
    assert!(file.len > 5 << 30);
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
    for index in [0, file.chunks / 2, file.chunks - 1] {
        assert!(
            peer.read(file.address(index)).await.is_some(),
            "chunk {index}"
        );
    }
    forge.finish();
}

pub(crate) async fn s61_the_same_file_twice_is_no_failure(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let (database, file) = one_commit();
    let url = peer.upload_url(&file).await.unwrap().unwrap();
    for _ in 0..2 {
        let answer = web::put(&url, file.bytes.clone()).await;
        assert!(answer.status.is_success(), "{}", answer.text());
    }
    assert_eq!(
        peer.upload_url(&file).await.unwrap(),
        None,
        "what is uploaded is not asked for again"
    );
    assert!(
        peer.commit(database.root(), RootAddress::ZERO, &[&file])
            .await
            .unwrap()
    );
    assert_eq!(
        peer.upload_url(&file).await.unwrap(),
        None,
        "nor what is added"
    );
    assert!(peer.add(&[&file]).await.unwrap().success);
    let listed = peer.files().await.unwrap().table_file_info;
    assert_eq!(
        listed
            .iter()
            .filter(|listed| listed.file_id == file.name())
            .count(),
        1,
        "it is listed once"
    );
    forge.finish();
}

pub(crate) async fn s61_dolt_goes_on_where_its_files_are_known(setup: Setup) {
    let forge = setup.start(|_| {});
    let mut paths = None;
    crate::with_dolt(&forge, |scene| {
        let owner = scene.published("owner", "prod");
        owner.ok(&["backup", "sync-url", &scene.url("first")]);
        paths = Some((scene.clone(), owner));
    });
    let Some((scene, owner)) = paths else {
        forge.finish();
        return;
    };
    // Another repository gets the same files, as if a backup had been cut off before its last call.
    let second = forge.peer(&scene.path("second"));
    let listing = forge.peer(&scene.path("first")).files().await.unwrap();
    let mut files = Vec::new();
    for listed in &listing.table_file_info {
        let bytes = web::get(&listed.url, &[]).await.body;
        let file = TableFile::known(&listed.file_id, bytes);
        second.store(&file).await;
        assert_eq!(
            second.upload_url(&file).await.unwrap(),
            None,
            "{} is there",
            listed.file_id
        );
        files.push(file);
    }

    owner.ok(&["backup", "sync-url", &scene.url("second")]);

    let listed = second.files().await.unwrap();
    assert_eq!(listed.root_hash, listing.root_hash);
    assert_eq!(
        listed.table_file_info.len(),
        files.len(),
        "dolt uploaded nothing of its own"
    );
    forge.finish();
}

pub(crate) async fn s62_corrupt_files_are_refused(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let mut database = TinyDb::new();
    let fresh = database.commit_with("main", "one", &[("table", &numbered(vec![b'x'; 600_000]))]);
    for file in [TableFile::classic(&fresh), TableFile::archive(&fresh)] {
        for (what, corrupt) in corruptions(&file) {
            refused(&forge, &peer, &corrupt, &format!("{} {what}", file.suffix)).await;
        }
    }
    // Every checksum and every name is right, but two chunks lie under each other's address.
    let addresses: Vec<_> = fresh.iter().map(|chunk| address_of(chunk)).collect();
    let mut exchanged = addresses.clone();
    exchanged.swap(0, 1);
    let lying = || exchanged.iter().copied().zip(&fresh);
    for file in [
        TableFile::classic_under(lying()),
        TableFile::archive_under(lying()),
    ] {
        let what = format!("{} exchanges two chunks", file.suffix);
        refused(&forge, &peer, &file, &what).await;
    }
    // It is not the way of making them that is refused.
    let honest = || addresses.iter().copied().zip(&fresh);
    for file in [
        TableFile::classic_under(honest()),
        TableFile::archive_under(honest()),
    ] {
        peer.store(&file).await;
        assert!(peer.add(&[&file]).await.unwrap().success);
    }
    forge.finish();
}

/// Files that are wrong in one thing each; what is declared of them agrees with their bytes.
fn corruptions(file: &TableFile) -> Vec<(&'static str, TableFile)> {
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = file.bytes.to_vec();
        change(&mut bytes);
        TableFile {
            bytes: bytes.into(),
            ..file.clone()
        }
    };
    let data_len = usize::try_from(file.split_offset).unwrap();
    let mut id = file.id.to_vec();
    id[0] ^= 1;
    let mut corrupt = vec![
        (
            "has another magic at its end",
            with(&|bytes| *bytes.last_mut().unwrap() ^= 1),
        ),
        ("is cut off", with(&|bytes| bytes.truncate(bytes.len() - 5))),
        (
            "has a byte of a chunk changed",
            with(&|bytes| bytes[data_len / 2] ^= 1),
        ),
        (
            "has a byte of the index changed",
            with(&|bytes| bytes[data_len + 3] ^= 1),
        ),
        (
            "has the last address changed",
            with(&|bytes| {
                let footer = if file.suffix.is_empty() { 20 } else { 220 + 24 };
                let last = bytes.len() - footer - 1;
                bytes[last] ^= 1;
            }),
        ),
        (
            "is said to have one chunk more",
            TableFile {
                chunks: file.chunks + 1,
                ..file.clone()
            },
        ),
        (
            "is said to have no chunks",
            TableFile {
                chunks: 0,
                ..file.clone()
            },
        ),
        (
            "is of the other kind",
            TableFile {
                suffix: if file.suffix.is_empty() { ".darc" } else { "" },
                ..file.clone()
            },
        ),
        (
            "is random",
            with(&|bytes| {
                bytes
                    .iter_mut()
                    .enumerate()
                    .for_each(|(at, byte)| *byte = u8::try_from(at * 7 % 251).unwrap())
            }),
        ),
    ];
    if file.suffix.is_empty() {
        // The name of a classic file is the hash of its index.
        corrupt.push((
            "has another name",
            TableFile {
                id: id.into(),
                ..file.clone()
            },
        ));
    }
    corrupt
}

/// A corrupt file is refused at the latest when its bytes are there; nothing of it is kept.
async fn refused(forge: &Forge, peer: &Peer, file: &TableFile, what: &str) {
    match peer.upload_url(file).await {
        Ok(url) => {
            let url = url.unwrap_or_else(|| panic!("{what}: it is said to be there"));
            let answer = web::put(&url, file.bytes.clone()).await;
            assert_eq!(
                answer.status,
                StatusCode::BAD_REQUEST,
                "{what}: {}",
                answer.text()
            );
        }
        Err(status) => assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status}"),
    }
    if file.chunks > 0 {
        nothing_is_kept(peer, file).await;
    }
    for url in forge.server_urls() {
        assert_eq!(
            Peer::new(&url, "acme/prod")
                .metadata()
                .await
                .unwrap()
                .storage_size,
            0,
            "{what}"
        );
    }
}

pub(crate) async fn s64_a_missing_split_offset_is_recomputed(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let mut database = TinyDb::new();
    let mut last = RootAddress::ZERO;
    for (step, declared) in [0, 1, u64::MAX].into_iter().enumerate() {
        let fresh = database.commit_with(
            "main",
            &format!("step {step}"),
            &[(
                "table",
                &numbered(vec![b'x' + u8::try_from(step).unwrap(); 600_000]),
            )],
        );
        let file = if step == 1 {
            TableFile::classic(&fresh)
        } else {
            TableFile::archive(&fresh)
        };
        let mut details = details(&file);
        details.split_offset = declared.min(u64::try_from(file.bytes.len()).unwrap());
        let locations = peer.upload_locations(vec![details]).await.unwrap();
        let answer = web::put(&url_of(&locations[0]).unwrap(), file.bytes.clone()).await;
        assert!(
            answer.status.is_success(),
            "split offset {declared}: {}",
            answer.text()
        );
        assert!(peer.commit(database.root(), last, &[&file]).await.unwrap());
        last = database.root();
        let listing = peer.files().await.unwrap();
        let listed = listing
            .table_file_info
            .iter()
            .find(|listed| listed.file_id == file.name())
            .unwrap();
        assert_eq!(
            listed.split_offset, file.split_offset,
            "declared {declared}"
        );
        assert!(peer.read(database.head("main").unwrap()).await.is_some());
    }
    forge.finish();
}
