//! Uploads of few bytes that stand for many.

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::testing::{TinyDb, address_of, messages};
use tempfile::TempDir;
use tonic::Code;

use crate::daemon::Daemon;
use crate::limits::peak;
use crate::pushing::{add, commit_request, pack, put, root, upload_url};
use crate::rig::{Rig, http_builder};

/// The longest message, nearly.
const LONG: usize = (1 << 24) - 4096;

/// A message with bytes behind it that nothing points at.
fn padded(message: &[u8], len: usize) -> Bytes {
    let mut message = message.to_vec();
    message.resize(len, 0);
    let body = u32::try_from(len - 4).unwrap().to_be_bytes();
    message[1..4].copy_from_slice(&body[1..]);
    message.into()
}

/// A long value of which hardly anything is stored.
fn bomb(salt: u64) -> Bytes {
    let mut payload = vec![0; LONG];
    payload[..8].copy_from_slice(&salt.to_be_bytes());
    messages::blob_leaf(&payload).into()
}

#[tokio::test]
async fn a_node_that_is_mostly_padding_is_refused_by_name() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    let map = messages::address_map(&[(b"refs/heads/a", address_of(b"x"))], 0, None);
    let node = padded(&map, LONG);
    let packed = pack(&[messages::blob_leaf(b"some value").into(), node.clone()]);
    let url = upload_url(&mut client, &packed).await.unwrap();
    let refused = put(&rig, &url, &packed.bytes).await;
    assert_eq!(refused.status(), 400);
    let text = refused.text().await.unwrap();
    assert!(text.contains(&address_of(&node).to_string()), "{text}");
    assert!(text.contains("no Dolt writes such a node"), "{text}");
}

#[tokio::test]
async fn a_file_that_decodes_to_more_than_the_setting_says_is_refused() {
    let limit = (LONG as u64 * 3).to_string();
    let rig = Rig::start(&[("upload.decoded_limit", &*limit)]).await;
    let mut client = rig.client().await;
    for (count, status) in [(2, 200), (4, 422)] {
        let chunks: Vec<_> = (0..count).map(bomb).collect();
        let packed = pack(&chunks);
        let url = upload_url(&mut client, &packed).await.unwrap();
        let answer = put(&rig, &url, &packed.bytes).await;
        assert_eq!(answer.status(), status);
        if status == 200 {
            add(&mut client, &[&packed]).await.unwrap();
            continue;
        }
        let text = answer.text().await.unwrap();
        assert!(text.contains("chunk number"), "{text}");
        assert!(text.contains(&limit), "{text}");
    }
}

/// A root whose map names these chunks as its nodes, and the chunks that make it.
fn root_over(nodes: &[ChunkAddress]) -> Vec<Bytes> {
    let names: Vec<_> = (0..nodes.len())
        .map(|at| format!("refs/heads/{at:03}"))
        .collect();
    let entries = names.iter().zip(nodes);
    let entries: Vec<_> = entries
        .map(|(name, node)| (name.as_bytes(), *node))
        .collect();
    let counts = vec![1; nodes.len()];
    let map = messages::address_map(&entries, 1, Some(&counts));
    vec![messages::store_root(&map).into()]
}

#[tokio::test]
#[ignore = "long: packs and checks 1 GB"]
async fn a_server_takes_bombs_within_its_memory() {
    let data = TempDir::new().unwrap();
    let server = Daemon::start(data.path());
    let mut client = server.client().await;
    let http = http_builder().build().unwrap();
    let mut tiny = TinyDb::new();
    let first = pack(&tiny.commit("main", "first"));
    let bombs: Vec<_> = (0..32).map(bomb).collect();
    let nodes: Vec<_> = bombs.iter().map(|bomb| address_of(bomb)).collect();
    let bad_root = root_over(&nodes);
    let before = peak(server.process.id());
    for packed in [&first, &pack(&bombs), &pack(&bad_root)] {
        let url = upload_url(&mut client, packed).await.unwrap();
        let answer = http
            .put(url)
            .body(packed.bytes.clone())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        add(&mut client, &[packed]).await.unwrap();
    }
    let last = root(&mut client).await;
    let good = commit_request(tiny.root().as_bytes(), &last);
    assert!(client.commit(good).await.unwrap().into_inner().success);
    let bad = commit_request(address_of(&bad_root[0]).as_bytes(), tiny.root().as_bytes());
    let refused = client.commit(bad).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let grown = peak(server.process.id()) - before;
    assert!(grown < 256 << 20, "{grown} bytes");
    server.stop();
}
