//! Bad input to every call: the specific refusal, and the repository stays as it was. Statements 4, 5, 19,
//! 29, 37, 56, 57 and 65.

use bytes::Bytes;
use holdfast_proto::remotesapi as wire;
use tokio_stream::once;
use tonic::{Code, Status};

use crate::hostile::Wire;
use crate::pushing::{Client, commit_request, pack, upload_request};
use crate::rig::{REPO, Rig, metadata_request};

fn id(org: &str, repo_name: &str) -> Option<wire::RepoId> {
    Some(wire::RepoId {
        org: org.to_owned(),
        repo_name: repo_name.to_owned(),
    })
}

/// Makes every call with a repository that is named so, and returns what each says.
#[expect(clippy::too_many_lines, reason = "one call after the other")]
async fn every_call(
    client: &mut Client,
    path: &str,
    repo_id: Option<wire::RepoId>,
) -> Vec<(&'static str, Result<(), Status>)> {
    macro_rules! with_repo {
        ($message:ident { $($field:ident : $value:expr),* $(,)? }) => {
            wire::$message {
                repo_path: path.to_owned(),
                repo_id: repo_id.clone(),
                $($field: $value,)*
                ..Default::default()
            }
        };
    }
    let metadata = wire::GetRepoMetadataRequest {
        repo_id: repo_id.clone(),
        ..metadata_request(path)
    };
    let details = vec![pack(&[Bytes::from_static(b"some chunk")]).details()];
    let zero = Bytes::from(vec![0; 20]);
    let commit = with_repo!(CommitRequest {
        current: zero.clone(),
        last: zero
    });
    let streamed = once(with_repo!(StreamChunkLocationsRequest {}));
    let older = once(with_repo!(GetDownloadLocsRequest {}));
    let refresh = with_repo!(RefreshTableFileUrlRequest {
        file_id: "x".to_owned()
    });
    let mut said = vec![
        (
            "GetRepoMetadata",
            client.get_repo_metadata(metadata).await.map(drop),
        ),
        (
            "HasChunks",
            client
                .has_chunks(with_repo!(HasChunksRequest {}))
                .await
                .map(drop),
        ),
        (
            "Rebase",
            client.rebase(with_repo!(RebaseRequest {})).await.map(drop),
        ),
        (
            "Root",
            client.root(with_repo!(RootRequest {})).await.map(drop),
        ),
        ("Commit", client.commit(commit).await.map(drop)),
        (
            "AddTableFiles",
            client
                .add_table_files(with_repo!(AddTableFilesRequest {}))
                .await
                .map(drop),
        ),
        (
            "ListTableFiles",
            client
                .list_table_files(with_repo!(ListTableFilesRequest {}))
                .await
                .map(drop),
        ),
    ];
    let uploads = with_repo!(GetUploadLocsRequest {
        table_file_details: details
    });
    said.push((
        "GetUploadLocations",
        client.get_upload_locations(uploads).await.map(drop),
    ));
    let unary = with_repo!(GetDownloadLocsRequest {});
    said.push((
        "GetDownloadLocations",
        client.get_download_locations(unary).await.map(drop),
    ));
    let refreshed = client.refresh_table_file_url(refresh).await;
    said.push(("RefreshTableFileUrl", refreshed.map(drop)));
    let mut stream = client
        .stream_chunk_locations(streamed)
        .await
        .unwrap()
        .into_inner();
    said.push(("StreamChunkLocations", stream.message().await.map(drop)));
    let mut stream = client
        .stream_download_locations(older)
        .await
        .unwrap()
        .into_inner();
    said.push(("StreamDownloadLocations", stream.message().await.map(drop)));
    said
}

#[tokio::test]
async fn statement_5_a_call_without_a_repository_is_invalid() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    for (path, repo_id) in [
        ("", None),
        ("", id("acme", "")),
        ("", id("", "prod")),
        ("//", None),
    ] {
        for (call, said) in every_call(&mut client, path, repo_id.clone()).await {
            let code = said.expect_err(call).code();
            assert_eq!(
                code,
                Code::InvalidArgument,
                "{call} of {path:?} {repo_id:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_name_that_no_repository_can_have_is_not_found() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    let long = format!("acme/{}", "x".repeat(101));
    for path in [
        "acme",
        "acme/prod/x",
        "Acme/prod",
        "acme/../prod",
        "acme/.x",
        "a b/c",
        "acme/ü",
        &long,
    ] {
        for (call, said) in every_call(&mut client, path, None).await {
            assert_eq!(
                said.expect_err(call).code(),
                Code::NotFound,
                "{call} of {path:?}"
            );
        }
    }
}

#[tokio::test]
async fn statement_4_path_and_id_name_the_same_repository_and_the_path_wins() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    for (path, repo_id) in [
        (REPO, None),
        ("", id("acme", "prod")),
        (REPO, id("no", "Such")),
        ("/acme/prod/", None),
    ] {
        for (call, said) in every_call(&mut client, path, repo_id.clone()).await {
            match (call, said) {
                // There is no such file; the refusal names the repository that was looked into.
                ("RefreshTableFileUrl", said) => {
                    let refused = said.unwrap_err();
                    assert_eq!(refused.code(), Code::NotFound, "{path:?} {repo_id:?}");
                    let told = "acme/prod has no table file \"x\" (request ";
                    assert!(refused.message().starts_with(told), "{refused}");
                }
                (call, said) => assert!(said.is_ok(), "{call} of {path:?} {repo_id:?}: {said:?}"),
            }
        }
    }
}

#[tokio::test]
async fn statement_19_only_known_formats_are_answered() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    let format = |nbf: &str, nbs: &str| {
        Some(wire::ClientRepoFormat {
            nbf_version: nbf.to_owned(),
            nbs_version: nbs.to_owned(),
        })
    };
    for nbs in ["4", "5"] {
        let mut request = metadata_request(REPO);
        request.client_repo_format = format("__DOLT__", nbs);
        let answer = client
            .get_repo_metadata(request)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (answer.nbs_version.as_str(), answer.nbf_version.as_str()),
            (nbs, "__DOLT__")
        );
    }
    for bad in [
        None,
        format("__LD_1__", "5"),
        format("", ""),
        format("__DOLT__", "6"),
        format("__DOLT__", ""),
    ] {
        let mut request = metadata_request(REPO);
        request.client_repo_format = bad.clone();
        let refused = client.get_repo_metadata(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{bad:?}");
    }
}

#[tokio::test]
async fn statement_29_a_hash_of_another_length_is_invalid() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    for len in [0, 1, 19, 21] {
        let hash = Bytes::from(vec![1; len]);
        let has = wire::HasChunksRequest {
            repo_path: REPO.to_owned(),
            hashes: vec![hash.clone()],
            ..Default::default()
        };
        assert_eq!(
            client.has_chunks(has).await.unwrap_err().code(),
            Code::InvalidArgument
        );
        let locs = wire::GetDownloadLocsRequest {
            repo_path: REPO.to_owned(),
            chunk_hashes: vec![hash.clone()],
            ..Default::default()
        };
        assert_eq!(
            client
                .get_download_locations(locs)
                .await
                .unwrap_err()
                .code(),
            Code::InvalidArgument
        );
        for (current, last) in [(&hash[..], &[0; 20][..]), (&[0; 20], &hash)] {
            let refused = client
                .commit(commit_request(current, last))
                .await
                .unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
        }
    }
}

#[tokio::test]
async fn statements_56_and_57_upload_details_are_checked_before_anything_is_made() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    let good = pack(&[Bytes::from_static(b"some chunk")]).details();
    let missing = client
        .get_upload_locations(upload_request(vec![]))
        .await
        .unwrap_err();
    assert_eq!(missing.code(), Code::FailedPrecondition);
    let change = |change: fn(&mut wire::TableFileDetails)| {
        let mut details = good.clone();
        change(&mut details);
        details
    };
    for bad in [
        change(|details| details.suffix = ".zip".to_owned()),
        change(|details| details.id = Bytes::from_static(&[1; 19])),
        change(|details| details.content_hash = Bytes::from_static(&[1; 15])),
        change(|details| details.content_length = 0),
        change(|details| details.num_chunks = 0),
        change(|details| details.num_chunks = 1 << 32),
    ] {
        let request = upload_request(vec![good.clone(), bad.clone()]);
        let refused = client.get_upload_locations(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{bad:?}");
    }
    let three = upload_request(vec![good.clone(), good.clone(), good]);
    let answer = client
        .get_upload_locations(three)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.locs.len(), 3);
}

#[tokio::test]
async fn a_file_larger_than_there_is_room_is_refused_before_it_is_sent() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    let mut details = pack(&[Bytes::from_static(b"some chunk")]).details();
    for len in [u64::MAX, 2 << 30] {
        details.content_length = len;
        let request = upload_request(vec![details.clone()]);
        let refused = client.get_upload_locations(request).await.unwrap_err();
        assert_eq!(
            refused.code(),
            Code::FailedPrecondition,
            "{}",
            refused.message()
        );
    }
}

#[tokio::test]
async fn statement_65_files_that_are_not_there_are_not_added() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    let add = |hash: &[u8], chunk_count| wire::AddTableFilesRequest {
        repo_path: REPO.to_owned(),
        chunk_table_info: vec![wire::ChunkTableInfo {
            hash: Bytes::copy_from_slice(hash),
            chunk_count,
        }],
        ..Default::default()
    };
    for (request, code) in [
        (add(&[1; 20], 1), Code::FailedPrecondition),
        (add(&[1; 20], 0), Code::InvalidArgument),
        (add(&[1; 19], 1), Code::InvalidArgument),
    ] {
        assert_eq!(
            client.add_table_files(request).await.unwrap_err().code(),
            code
        );
    }
}

#[tokio::test]
async fn a_body_that_is_no_message_ends_the_call() {
    let rig = Rig::start(&[]).await;
    let path = "/dolt.services.remotesapi.v1alpha1.ChunkStoreService/Root";
    let wire = Wire::open(&rig).await;
    for (body, code, reason) in [
        (&b""[..], Code::Internal, "Missing request message"),
        (b"\0\0\0\0\x05hello", Code::Internal, "failed to decode"),
        (b"\0\xff\xff\xff\xff", Code::OutOfRange, "ask for less"),
        (b"\x01\0\0\0\x01x", Code::Internal, "compressed-flag"),
        (
            b"\x07\0\0\0\x01x",
            Code::Internal,
            "invalid compression flag",
        ),
        (b"\0\0", Code::Internal, "Unexpected EOF"),
        (b"\0\0\0\0\x05hel", Code::Internal, "Unexpected EOF"),
        (b"\0\0\0\0\0", Code::InvalidArgument, "neither"),
    ] {
        let status = wire.call(path, body).await.status;
        assert_eq!(status.code(), code, "{body:?}: {status:?}");
        assert!(status.message().contains(reason), "{body:?}: {status:?}");
    }
    let one = crate::rig::http_builder().http1_only().build().unwrap();
    let old = one
        .post(wire.url(path))
        .header("content-type", "application/grpc")
        .send()
        .await
        .unwrap();
    assert_eq!(old.status(), 505);
}
