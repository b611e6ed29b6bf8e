//! What a running server holds in memory while it merges many large files.

use std::collections::BTreeSet;

use bytes::Bytes;
use holdfast_chunkstore::format::table::Writer;
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_doltdb::testing::messages::blob_leaf;
use holdfast_proto::remotesapi as wire;
use rand::{RngExt as _, SeedableRng as _};
use tempfile::TempDir;

use crate::daemon::{Daemon, holdfastd};
use crate::pushing::{Client, Packed};
use crate::rig::{http_builder, metadata_request};

/// Files are pushed to so many repositories.
const REPOSITORIES: u64 = 4;
/// So many to each.
const FILES: u64 = 25;
const MB: u64 = 1_000_000;
/// So long is each.
const FILE_BYTES: u64 = 50 * MB;
/// The most that a server may hold while it merges, whatever it merges.
const MOST_BYTES: u64 = 200 * MB;

/// A file of chunks that do not compress and name no others.
fn random_file(seed: u64) -> Packed {
    let mut random = rand::rngs::SmallRng::seed_from_u64(seed);
    let mut writer = Writer::new(Vec::new());
    let mut payload = [0; 3_900];
    while writer.len() < FILE_BYTES {
        random.fill(&mut payload);
        let chunk = blob_leaf(&payload);
        writer.append_chunk(hash_chunk(&chunk), &chunk).unwrap();
    }
    let (bytes, written) = writer.finish().unwrap();
    Packed {
        id: Bytes::copy_from_slice(written.id.as_bytes()),
        bytes: bytes.into(),
        chunks: written.count,
    }
}

async fn send(client: &mut Client, http: &reqwest::Client, path: &str, file: &Packed) {
    let request = wire::GetUploadLocsRequest {
        repo_path: path.to_owned(),
        table_file_details: vec![file.details()],
        ..Default::default()
    };
    let mut answer = client
        .get_upload_locations(request)
        .await
        .unwrap()
        .into_inner();
    let Some(wire::upload_loc::Location::HttpPost(post)) = answer.locs.remove(0).location else {
        panic!("the file is new");
    };
    let sent = http
        .put(post.url)
        .body(file.bytes.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status(), 200);
    let request = wire::AddTableFilesRequest {
        repo_path: path.to_owned(),
        chunk_table_info: vec![file.info()],
        ..Default::default()
    };
    assert!(
        client
            .add_table_files(request)
            .await
            .unwrap()
            .into_inner()
            .success
    );
}

/// Bytes of a field of what the system says of a process.
fn status(process: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .unwrap();
    let kib: u64 = line
        .trim_matches([':', ' ', '\t', 'k', 'B'])
        .parse()
        .unwrap();
    kib * 1024
}

/// From here on the most that a process holds is measured anew.
fn reset_most(process: u32) {
    std::fs::write(format!("/proc/{process}/clear_refs"), "5").unwrap();
}

#[tokio::test]
#[ignore = "long: 5 GB in 100 files"]
async fn merging_takes_no_more_memory_than_it_may_whatever_it_merges() {
    let data = TempDir::new().unwrap();
    let mut command = holdfastd(data.path());
    // As deploy/ and ./dev serve start it.
    let command = command.env("MALLOC_MMAP_THRESHOLD_", "131072");
    let server = Daemon::start_by(command.args(["serve", "--log-filter", "info"]));
    let (process, http) = (server.process.id(), http_builder().build().unwrap());
    let mut client = server.client().await;
    let paths: Vec<String> = (0..REPOSITORIES)
        .map(|number| format!("acme/big-{number}"))
        .collect();
    for path in &paths {
        client
            .get_repo_metadata(metadata_request(path))
            .await
            .unwrap();
    }
    eprintln!("at start: {} MB", status(process, "VmRSS") / MB);
    for number in 0..FILES {
        for (path, repository) in paths.iter().zip(0..) {
            send(
                &mut client,
                &http,
                path,
                &random_file(repository << 32 | number),
            )
            .await;
        }
    }
    let pushed = status(process, "VmHWM");
    reset_most(process);
    let mut merged = BTreeSet::new();
    while merged.len() < paths.len() {
        let line = server.process.said("small files merged");
        merged.extend(paths.iter().filter(|path| line.contains(*path)));
    }
    let (most, stay) = (status(process, "VmHWM"), status(process, "VmRSS"));
    eprintln!(
        "at most {} MB until all was pushed, {} MB until all was merged; {} MB stay",
        pushed / MB,
        most / MB,
        stay / MB
    );
    assert!(pushed.max(most) <= MOST_BYTES);
    drop(client);
    server.stop();
}
