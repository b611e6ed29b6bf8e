//! A real dolt whose push is refused for what is in it: it hears so, and does not send it again and again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use holdfast_chunkstore::error::ErrorKind;
use holdfast_chunkstore::repo::check::{ChildrenRefused, FindChildren};
use holdfast_chunkstore::repo::{Meaning, MovesError, ReadChunks, RefMove};
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_server::settings::check::{Purpose, check};
use holdfast_server::settings::{Gathered, Origin};
use holdfast_server::{Service, Settings, start};
use holdfast_tests::dolt::Dolt;
use holdfast_tests::scenario::Scene;
use tempfile::TempDir;

/// Takes no chunk, and counts how often each is looked at.
#[derive(Debug, Default)]
struct Suspicious {
    seen: Mutex<HashMap<Vec<u8>, usize>>,
}

impl FindChildren for Suspicious {
    fn children(
        &self,
        chunk: &[u8],
        _visit: &mut dyn FnMut(ChunkAddress),
    ) -> Result<(), ChildrenRefused> {
        *self.seen.lock().unwrap().entry(chunk.to_vec()).or_default() += 1;
        Err(ChildrenRefused {
            kind: ErrorKind::Refused,
            message: "messages of this kind are not known".to_owned(),
        })
    }
}

#[async_trait]
impl Meaning for Suspicious {
    async fn moves(
        &self,
        _chunks: &dyn ReadChunks,
        _old: RootAddress,
        _new: RootAddress,
    ) -> Result<Vec<RefMove>, MovesError> {
        Ok(Vec::new())
    }
}

fn settings(folder: &TempDir) -> Settings {
    let mut gathered = Gathered::new();
    let data = folder.path().display().to_string();
    for (key, value) in [
        ("data", data.as_str()),
        ("listen", "127.0.0.1:0"),
        ("open", "true"),
        ("upload.free_floor", "1MiB"),
        ("stop.quiet", "0s"),
        ("stop.grace", "0s"),
    ] {
        gathered.set(key, value, Origin::Flag);
    }
    check(gathered, Purpose::Serve).unwrap()
}

#[test]
fn a_push_that_is_refused_for_its_chunks_is_sent_once_and_says_why() {
    let Some(dolt) = Dolt::find() else {
        return;
    };
    crate::run(async {
        let folder = TempDir::with_prefix("holdfast-refused-").unwrap();
        let settings = settings(&folder);
        let meaning = Arc::new(Suspicious::default());
        let mut parts = start::server_parts(&settings).await.unwrap();
        parts.repositories.meaning = Arc::<Suspicious>::clone(&meaning);
        let server = Service::start(&settings, parts).await.unwrap();
        let url = format!("http://localhost:{}", server.local_addr().port());
        let database = Scene::new(&dolt, &[], &url).unpublished("refused", "prod");
        let said = database.refused(&["push", "origin", "main"]);
        assert!(
            said.contains("messages of this kind are not known"),
            "{said}"
        );
        let most = meaning.seen.lock().unwrap().values().copied().max();
        assert_eq!(most, Some(1), "a file came again: {said}");
        server.shutdown().await;
    });
}
