//! What a call may cost: who is refused before his message is read, and how much a message may hold.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use holdfast_proto::remotesapi as wire;
use tonic::{Code, Status};

use crate::pushing::{pack, upload_request};
use crate::rig::{REPO, Rig, http_builder};

const CHUNK_STORE: &str = "dolt.services.remotesapi.v1alpha1.ChunkStoreService";

/// Begins a call, announces a message of 100 MiB, and never sends it; returns the code of the answer.
async fn announce(rig: &Rig, method: &str) -> Code {
    let head = [&[0], &(100_u32 << 20).to_be_bytes()[..]].concat();
    let head = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from(head))]);
    let request = http_builder()
        .http2_prior_knowledge()
        .build()
        .unwrap()
        .post(format!("{}/{CHUNK_STORE}/{method}", rig.url()))
        .header("content-type", "application/grpc")
        .body(reqwest::Body::wrap_stream(
            head.chain(futures::stream::pending()),
        ));
    let answer = tokio::time::timeout(Duration::from_secs(60), request.send()).await;
    let answer = answer.expect("an answer before the message").unwrap();
    Status::from_header_map(answer.headers()).unwrap().code()
}

#[tokio::test]
async fn who_may_not_call_is_refused_before_his_message_is_read() {
    let closed = [
        ("open", "false"),
        ("admin_token", "t0ken"),
        ("reads", "token"),
    ];
    let rig = Rig::start(&closed).await;
    for method in ["HasChunks", "Root", "StreamChunkLocations", "Commit"] {
        assert_eq!(
            announce(&rig, method).await,
            Code::Unauthenticated,
            "{method}"
        );
    }
    let public = [closed[0], closed[1], ("reads", "public")];
    let rig = Rig::start(&public).await;
    for method in ["GetUploadLocations", "AddTableFiles", "Commit"] {
        assert_eq!(
            announce(&rig, method).await,
            Code::Unauthenticated,
            "{method}"
        );
    }
    let rig = Rig::start(&[("read_only", "true")]).await;
    assert_eq!(announce(&rig, "Commit").await, Code::PermissionDenied);
}

fn assert_too_much<T>(answer: Result<T, Status>, most: usize) {
    let Err(refused) = answer else {
        panic!("a message with more than {most} values was taken");
    };
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    let says_most = refused.message().contains(&most.to_string());
    assert!(says_most, "{refused:?}");
}

#[tokio::test]
async fn a_message_of_countless_values_is_refused() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    let repo_path = REPO.to_owned();
    let hash = Bytes::from(vec![7; 20]);
    let asked = |count| wire::HasChunksRequest {
        repo_path: repo_path.clone(),
        hashes: vec![hash.clone(); count],
        ..Default::default()
    };
    client.has_chunks(asked(1 << 18)).await.unwrap();
    assert_too_much(client.has_chunks(asked((1 << 18) + 64)).await, 1 << 18);
    let details = pack(&[Bytes::from_static(b"some chunk")]).details();
    let uploads = upload_request(vec![details.clone(); 20_000]);
    assert_too_much(client.get_upload_locations(uploads).await, 10_000);
    let uploads = upload_request(vec![details; 10_001]);
    assert_too_much(client.get_upload_locations(uploads).await, 10_000);
    let info = wire::ChunkTableInfo {
        hash: hash.clone(),
        chunk_count: 1,
    };
    let add = wire::AddTableFilesRequest {
        repo_path: repo_path.clone(),
        chunk_table_info: vec![info.clone(); 20_000],
        ..Default::default()
    };
    assert_too_much(client.add_table_files(add).await, 10_000);
    let commit = wire::CommitRequest {
        chunk_table_info: vec![info; 20_000],
        ..crate::pushing::commit_request(&hash, &hash)
    };
    assert_too_much(client.commit(commit).await, 10_000);
    let capable = wire::ListTableFilesRequest {
        repo_path,
        client_capabilities: vec![1; 5000],
        ..Default::default()
    };
    assert_too_much(client.list_table_files(capable).await, 4096);
}

#[tokio::test]
async fn an_authority_that_is_no_name_is_not_repeated() {
    let rig = Rig::start(&[]).await;
    let call = async |host: &str| {
        let address = rig.handle.local_addr();
        let http = http_builder()
            .http2_prior_knowledge()
            .resolve(host, address);
        let url = format!("http://{host}:{}/{CHUNK_STORE}/Root", address.port());
        let request = http.build().unwrap().post(url);
        let request = request
            .header("content-type", "application/grpc")
            .body(&b"\0\0\0\0\0"[..]);
        let answer = request.send().await.unwrap();
        let status = Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(status.code(), Code::InvalidArgument);
        status.message().to_owned()
    };
    let name = "x".repeat(250);
    assert!(call(&name).await.contains("repo_path"), "it was understood");
    let name = "x".repeat(300);
    assert!(call(&name).await.contains("authority"));
}

/// The greatest memory that a process has had so far, in bytes.
pub(crate) fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let kib: u64 = line
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    kib << 10
}

/// Sends the most of a message of nearly 1 MiB, tells so, and never sends the rest.
fn stall(url: &str, http: &reqwest::Client, sent: &tokio::sync::mpsc::Sender<()>) {
    const PIECE: usize = 50 << 10;
    let head = [&[0], &((1_u32 << 20) - 1).to_be_bytes()[..]].concat();
    let pieces = std::iter::once(head).chain((0..18).map(|_| vec![0; PIECE]));
    let pieces = futures::stream::iter(pieces.map(Ok::<_, std::io::Error>));
    let sent = sent.clone();
    let stalled = futures::stream::once(async move {
        drop(sent);
        std::future::pending().await
    });
    let request = http
        .post(format!("{url}/{CHUNK_STORE}/Root"))
        .header("content-type", "application/grpc")
        .body(reqwest::Body::wrap_stream(pieces.chain(stalled)));
    tokio::spawn(request.send());
}

#[tokio::test]
#[ignore = "long: sends 460 MB"]
async fn messages_that_never_end_fill_one_part_of_the_memory_and_keep_no_other_peer_waiting() {
    let data = tempfile::TempDir::new().unwrap();
    let server = crate::daemon::Daemon::start(data.path());
    let mut client = server.client().await;
    let metadata = crate::rig::metadata_request(REPO);
    client.get_repo_metadata(metadata.clone()).await.unwrap();
    let before = peak(server.process.id());
    let (sender, mut sent) = tokio::sync::mpsc::channel(1);
    for _ in 0..16 {
        let http = http_builder().http2_prior_knowledge();
        let http = http.local_address(std::net::IpAddr::from([127, 0, 0, 2]));
        let http = http.build().unwrap();
        for _ in 0..32 {
            stall(&server.url, &http, &sender);
        }
    }
    drop(sender);
    // It is over when all is sent, or when the server takes no more.
    let all_sent = tokio::time::timeout(Duration::from_secs(5), sent.recv()).await;
    let answered = client.get_repo_metadata(metadata);
    let answered = tokio::time::timeout(Duration::from_secs(30), answered).await;
    answered.expect("another peer is answered").unwrap();
    let grown = peak(server.process.id()) - before;
    assert!(
        grown < 256 << 20,
        "{grown} bytes, all sent: {}",
        all_sent.is_ok()
    );
}
