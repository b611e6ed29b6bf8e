//! The check of an upload: what it refuses by name, what is remembered of that, and who waits for his turn.

use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::repo::check::{ChildrenRefused, FindChildren};
use holdfast_chunkstore::repo::{Meaning, MovesError, ReadChunks, RefMove};
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_doltdb::testing::messages;
use tonic::Code;

use crate::clock::Standing;
use crate::pushing::{Client, Packed, add, pack, put, upload_request, upload_url};
use crate::rig::{Rig, http_builder};

/// A chunk of a kind that no dolt of today writes.
fn of_unknown_kind() -> Bytes {
    let mut chunk = messages::blob_leaf(b"what a later dolt means");
    chunk[8..12].copy_from_slice(b"NEWK");
    chunk.into()
}

/// Why no address is given for a file.
async fn offer_refused(client: &mut Client, packed: &Packed) -> String {
    let request = upload_request(vec![packed.details()]);
    let refused = client.get_upload_locations(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    refused.message().to_owned()
}

#[tokio::test]
async fn a_chunk_of_an_unknown_kind_is_refused_by_name_and_so_is_the_next_attempt_for_a_while() {
    let clock = Standing::new();
    let shared = Arc::clone(&clock);
    let rig = Rig::start_with(&[], |parts| parts.clock = shared).await;
    let mut client = rig.client().await;
    let packed = pack(&[of_unknown_kind()]);
    let url = upload_url(&mut client, &packed).await.unwrap();
    let refused = put(&rig, &url, &packed.bytes).await;
    assert_eq!(refused.status(), 422);
    let named = "messages of the kind NEWK are not known";
    let text = refused.text().await.unwrap();
    assert!(text.contains(named), "{text}");
    let text = offer_refused(&mut client, &packed).await;
    assert!(text.contains(named), "{text}");

    let other = pack(&[of_unknown_kind(), messages::blob_leaf(b"more").into()]);
    assert!(upload_url(&mut client, &other).await.is_some());
    clock.pass(Duration::from_mins(10));
    assert!(upload_url(&mut client, &packed).await.is_some());
}

#[tokio::test]
async fn bytes_that_are_not_those_declared_may_come_again() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    let packed = pack(&[messages::blob_leaf(b"some value").into()]);
    let url = upload_url(&mut client, &packed).await.unwrap();
    let mut flipped = packed.bytes.to_vec();
    flipped[9] ^= 1;
    assert_eq!(put(&rig, &url, &flipped.into()).await.status(), 400);
    let url = upload_url(&mut client, &packed).await.unwrap();
    assert_eq!(put(&rig, &url, &packed.bytes).await.status(), 200);
}

#[tokio::test]
async fn a_server_that_accepts_unknown_kinds_takes_and_adds_them() {
    let rig = Rig::start(&[("accept_unknown_chunks", "true")]).await;
    let mut client = rig.client().await;
    let packed = pack(&[of_unknown_kind()]);
    let url = upload_url(&mut client, &packed).await.unwrap();
    assert_eq!(put(&rig, &url, &packed.bytes).await.status(), 200);
    add(&mut client, &[&packed]).await.unwrap();
    assert_eq!(upload_url(&mut client, &packed).await, None);
}

#[tokio::test]
async fn one_repository_accepts_unknown_kinds_and_another_does_not() {
    for (accepting, status) in [("acme/prod", 200), ("acme/other", 422)] {
        let rig = Rig::start(&[("accept_unknown_chunks", accepting)]).await;
        let mut client = rig.client().await;
        let packed = pack(&[of_unknown_kind()]);
        let url = upload_url(&mut client, &packed).await.unwrap();
        let answer = put(&rig, &url, &packed.bytes).await;
        assert_eq!(answer.status(), status, "{accepting}");
        let text = answer.text().await.unwrap();
        assert_eq!(
            text.contains("accept_unknown_chunks"),
            status == 422,
            "{text}"
        );
    }
}

/// Chunks that nothing is known of until the test opens the gate.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<State>,
    opened: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_open: bool,
    /// How many chunks have come so far.
    came: usize,
}

impl Gate {
    fn open(&self) {
        self.state.lock().unwrap().is_open = true;
        self.opened.notify_all();
    }

    fn came(&self) -> usize {
        self.state.lock().unwrap().came
    }
}

impl FindChildren for Gate {
    fn children(
        &self,
        _chunk: &[u8],
        _visit: &mut dyn FnMut(ChunkAddress),
    ) -> Result<(), ChildrenRefused> {
        let mut state = self.state.lock().unwrap();
        state.came += 1;
        drop(self.opened.wait_while(state, |state| !state.is_open));
        Ok(())
    }
}

#[async_trait]
impl Meaning for Gate {
    async fn moves(
        &self,
        _chunks: &dyn ReadChunks,
        _old: RootAddress,
        _new: RootAddress,
    ) -> Result<Vec<RefMove>, MovesError> {
        Ok(Vec::new())
    }
}

/// Opens a gate when it is dropped: threads that wait before it keep a failed test from its end.
struct Opened(Arc<Gate>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.open();
    }
}

#[tokio::test]
async fn a_file_that_was_received_waits_until_there_is_a_turn_to_check_it() {
    let gate = Arc::new(Gate::default());
    let shared = Arc::clone(&gate);
    let changes = [("upload.checks", "1")];
    let rig = Rig::start_with(&changes, |parts| parts.meaning = shared).await;
    let _opened = Opened(Arc::clone(&gate));
    let mut client = rig.client().await;
    let mut put = async |value: &[u8]| {
        let packed = pack(&[messages::blob_leaf(value).into()]);
        let url = upload_url(&mut client, &packed).await.unwrap();
        rig.http().put(url).body(packed.bytes)
    };
    let first = tokio::spawn(put(b"first").await.send());
    let checked = async {
        while gate.came() == 0 {
            tokio::task::yield_now().await;
        }
    };
    let checked = tokio::time::timeout(Duration::from_secs(30), checked);
    checked.await.expect("the first file is checked");
    let second = tokio::spawn(put(b"second").await.send());
    rig.has_logged(&["waits for its turn to be checked"]).await;
    assert_eq!(gate.came(), 1, "the second file is not checked yet");
    gate.open();
    for sent in [first, second] {
        assert_eq!(sent.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(gate.came(), 2);
}

#[tokio::test]
async fn files_of_one_peer_that_wait_for_their_turns_hold_up_no_other() {
    let gate = Arc::new(Gate::default());
    let shared = Arc::clone(&gate);
    let changes = [("upload.checks", "2")];
    let rig = Rig::start_with(&changes, |parts| parts.meaning = shared).await;
    let _opened = Opened(Arc::clone(&gate));
    let mut client = rig.client().await;
    let mut put = async |peer: u8, value: &[u8]| {
        let packed = pack(&[messages::blob_leaf(value).into()]);
        let url = upload_url(&mut client, &packed).await.unwrap();
        let http = http_builder().local_address(IpAddr::from([127, 0, 0, peer]));
        http.build().unwrap().put(url).body(packed.bytes)
    };
    let mut sent = Vec::new();
    for value in [b"1", b"2", b"3"] {
        sent.push(tokio::spawn(put(2, value).await.send()));
    }
    rig.has_logged(&["waits for its turn to be checked"]).await;
    sent.push(tokio::spawn(put(3, b"other").await.send()));
    let checked = async {
        while gate.came() < 2 {
            tokio::task::yield_now().await;
        }
    };
    let checked = tokio::time::timeout(Duration::from_secs(30), checked);
    checked
        .await
        .expect("that of the other peer is checked too");
    gate.open();
    for sent in sent {
        assert_eq!(sent.await.unwrap().unwrap().status(), 200);
    }
}
