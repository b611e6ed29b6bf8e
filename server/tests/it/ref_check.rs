//! Refs that Dolt could not use: a Commit that brings one is refused, and what is there already is in nobody's way.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::repo::check::{ChildrenRefused, FindChildren};
use holdfast_chunkstore::repo::{Meaning, MovesError, ReadChunks, RefMove, Repositories};
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_doltdb::model::StoreRoot;
use holdfast_doltdb::testing::{TinyDb, messages};
use holdfast_server::commands::Form;
use holdfast_server::commands::verify::verify;
use holdfast_server::meaning::DoltMeaning;
use holdfast_server::settings::AcceptUnknown;
use tonic::Code;

use crate::pushing::{Client, add, commit_request, pack, push, put, root, upload_url};
use crate::rig::Rig;

/// A database with one branch and a tag, both of which it returns.
fn database() -> (TinyDb, ChunkAddress, ChunkAddress) {
    let mut database = TinyDb::new();
    database.commit("main", "first");
    database.tag("v1", "main");
    let (commit, tag) = (
        database.refs()["refs/heads/main"],
        database.refs()["refs/tags/v1"],
    );
    (database, commit, tag)
}

/// Sends what is new, and moves the root; the refusal's code and text, if it is refused.
async fn send(
    rig: &Rig,
    client: &mut Client,
    database: &TinyDb,
    fresh: &[Bytes],
) -> Result<(), (Code, String)> {
    let packed = pack(fresh);
    if let Some(url) = upload_url(client, &packed).await {
        assert_eq!(put(rig, &url, &packed.bytes).await.status(), 200);
    }
    add(client, &[&packed]).await.unwrap();
    let last = root(client).await;
    let request = commit_request(database.root().as_bytes(), &last);
    match client.commit(request).await {
        Ok(answer) => {
            assert!(answer.into_inner().success);
            Ok(())
        }
        Err(status) => {
            assert_eq!(root(client).await, last, "nothing moved");
            Err((status.code(), status.message().to_owned()))
        }
    }
}

#[tokio::test]
async fn a_commit_that_brings_a_ref_that_dolt_could_not_use_is_refused_by_name() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    let (mut good, commit, tag) = database();
    push(&rig, &mut client, &good).await;
    for (name, value, words) in [
        ("refs/heads//x/y", commit, "dolt branch -D '/x/y'"),
        ("refs/heads/a//b", commit, "dolt branch -D 'a//b'"),
        ("refs/heads/a\u{1b}[2Jb", commit, r"a\u{1b}[2Jb"),
        ("refs/heads/z", tag, "stands for a tag"),
        ("refs/tags/x", commit, "dolt tag -d 'x'"),
        ("refs/remotes/origin", commit, "\"refs/remotes/origin\""),
        ("workingSets/heads/main", commit, "a working set"),
        // Each of these stops every dolt that clones.
        ("refs/tacs/v1", tag, "in no place that Dolt knows"),
        ("refs/lheads/side", commit, "accept_unknown_chunks"),
        ("r fs/heads/main", commit, "a space or a character"),
    ] {
        let mut bad = good.clone();
        let fresh = bad.set(&[(name, Some(value))]);
        let (code, text) = send(&rig, &mut client, &bad, &fresh).await.unwrap_err();
        assert_eq!(code, Code::FailedPrecondition, "dolt asks once: {text}");
        assert!(text.contains(words), "{text}");
        assert!(!text.contains(char::is_control), "{text:?}");
    }
    // A tag that stands for a tag, and what Dolt passes over: a name that is not below refs/.
    let fresh = good.set(&[("refs/tags/v2", Some(tag)), ("new/a", Some(tag))]);
    send(&rig, &mut client, &good, &fresh).await.unwrap();
}

#[tokio::test]
async fn a_repository_that_takes_what_a_newer_dolt_writes_takes_its_places() {
    let rig = Rig::start(&[("accept_unknown_chunks", "true")]).await;
    let mut client = rig.client().await;
    let (mut good, _, tag) = database();
    push(&rig, &mut client, &good).await;
    let fresh = good.set(&[("refs/new/a", Some(tag))]);
    send(&rig, &mut client, &good, &fresh).await.unwrap();
    let fresh = good.set(&[("refs/new/a b", Some(tag))]);
    send(&rig, &mut client, &good, &fresh).await.unwrap_err();
}

#[tokio::test]
async fn a_root_without_a_map_of_refs_is_refused() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    let (good, _, _) = database();
    push(&rig, &mut client, &good).await;
    // Bytes at which Dolt panics, and which read as no refs elsewhere.
    let root = messages::store_root(&[]);
    assert!(StoreRoot::decode(&root).unwrap().dataset_map.is_none());
    let packed = pack(&[root.into()]);
    let url = upload_url(&mut client, &packed).await.unwrap();
    let answer = put(&rig, &url, &packed.bytes).await;
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_client_error(), "{status} {text}");
    assert!(text.contains("too few for a message"), "{text}");
}

/// A server as it was before it looked at refs.
#[derive(Debug)]
struct Careless(DoltMeaning);

impl FindChildren for Careless {
    fn children(
        &self,
        chunk: &[u8],
        visit: &mut dyn FnMut(ChunkAddress),
    ) -> Result<(), ChildrenRefused> {
        self.0.children(chunk, visit)
    }
}

#[async_trait]
impl Meaning for Careless {
    async fn moves(
        &self,
        _chunks: &dyn ReadChunks,
        _old: RootAddress,
        _new: RootAddress,
    ) -> Result<Vec<RefMove>, MovesError> {
        Ok(Vec::new())
    }
}

/// Whether `holdfastd verify` finds nothing wrong, and what it says.
async fn verified(parts: holdfast_chunkstore::repo::Parts) -> (bool, String) {
    let repositories = Repositories::open(parts).await.unwrap();
    let mut told = Vec::new();
    let is_whole = verify(&repositories, None, Form::Text, &mut told)
        .await
        .unwrap();
    (is_whole, String::from_utf8(told).unwrap())
}

#[tokio::test]
async fn what_is_there_already_may_go_and_stops_no_other_push() {
    let (mut database, commit, tag) = database();
    let poison = [
        ("refs/heads//x/y", commit),
        ("refs/heads/z", tag),
        ("refs/tags/x", commit),
    ];
    let mut parts_used = None;
    let objects = {
        let rig = Rig::start_with(&[], |parts| {
            parts.meaning = Arc::new(Careless(DoltMeaning::new(AcceptUnknown::Nowhere)));
            parts_used = Some(parts.clone());
        })
        .await;
        let mut client = rig.client().await;
        let poison = poison.map(|(name, value)| (name, Some(value)));
        database.set(&poison);
        push(&rig, &mut client, &database).await;
        let (is_whole, told) = verified(parts_used.unwrap()).await;
        assert!(!is_whole);
        for words in [
            "acme/prod: 3 refs that dolt cannot use  ",
            "    unusable-ref  the name \"refs/heads//x/y\" has an empty part\n",
            "    unusable-ref  the ref \"refs/heads/z\" stands for a tag, ",
            "    unusable-ref  the ref \"refs/tags/x\" stands for a commit, ",
        ] {
            assert!(told.contains(words), "{told}");
        }
        Arc::<MemoryStore>::clone(&rig.objects)
    };
    let rig = Rig::start_with(&[], |parts| parts.objects = objects).await;
    let mut client = rig.client().await;
    let fresh = database.commit("main", "second");
    send(&rig, &mut client, &database, &fresh).await.unwrap();
    // Only what comes to be is judged by its name, and everything by its kind.
    let head = database.head("main");
    let fresh = database.set(&[("refs/heads//x/y", head)]);
    send(&rig, &mut client, &database, &fresh).await.unwrap();
    let mut moved = database.clone();
    let fresh = moved.set(&[("refs/heads//x/y", Some(tag))]);
    let (_, text) = send(&rig, &mut client, &moved, &fresh).await.unwrap_err();
    assert!(text.contains("stands for a tag"), "{text}");
    let mut moved = database.clone();
    let fresh = moved.set(&[("refs/heads//x/z", head)]);
    let (_, text) = send(&rig, &mut client, &moved, &fresh).await.unwrap_err();
    assert!(text.contains("/x/z"), "{text}");
    for (name, _) in poison {
        let fresh = database.set(&[(name, None)]);
        send(&rig, &mut client, &database, &fresh).await.unwrap();
    }
}
