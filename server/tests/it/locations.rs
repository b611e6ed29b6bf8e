//! The streams of chunk locations: statements 32, 35 to 39 and 43.

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::table::record;
use holdfast_proto::remotesapi as wire;
use tokio_stream::iter;
use tonic::Code;

use crate::pushing::{Client, database, push};
use crate::rig::{REPO, Rig};

fn request(path: &str, hashes: &[ChunkAddress]) -> wire::StreamChunkLocationsRequest {
    wire::StreamChunkLocationsRequest {
        repo_path: path.to_owned(),
        chunk_hashes: hashes
            .iter()
            .flat_map(|hash| *hash.as_bytes())
            .collect::<Vec<u8>>()
            .into(),
        ..Default::default()
    }
}

async fn locate(
    client: &mut Client,
    requests: Vec<wire::StreamChunkLocationsRequest>,
) -> Vec<Result<wire::StreamChunkLocationsResponse, tonic::Status>> {
    let mut stream = client
        .stream_chunk_locations(iter(requests))
        .await
        .unwrap()
        .into_inner();
    let mut answers = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(answer)) => answers.push(Ok(answer)),
            Ok(None) => return answers,
            Err(status) => {
                answers.push(Err(status));
                return answers;
            }
        }
    }
}

async fn pushed() -> (Rig, Client, Vec<(ChunkAddress, Bytes)>) {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    let database = database();
    push(&rig, &mut client, &database).await;
    let chunks = database
        .chunks()
        .iter()
        .map(|(address, chunk)| (*address, chunk.clone()));
    (rig, client, chunks.collect())
}

const NOWHERE: ChunkAddress = ChunkAddress::new([0xee; 20]);

#[tokio::test]
async fn each_request_has_one_answer_in_order_and_each_hash_one_place() {
    let (rig, mut client, chunks) = pushed().await;
    let [first, second] = [chunks[0].0, chunks[1].0];
    let requests = vec![
        request(REPO, &[]),
        request(REPO, &[first, NOWHERE, first]),
        request(REPO, &[second]),
        request("acme/empty", &[first]),
    ];
    let answers: Vec<_> = locate(&mut client, requests)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(answers.len(), 4);
    assert!(answers[0].locations.is_empty() && answers[0].missing_indexes.is_empty());
    assert_eq!(answers[1].missing_indexes, [1]);
    assert_eq!(answers[1].locations.len(), 1);
    assert_eq!(answers[1].locations[0].request_index, 2);
    assert_eq!(
        answers[1].table_files.len(),
        1,
        "introduced with its first use"
    );
    assert!(answers[2].table_files.is_empty(), "and only then");
    assert_eq!(
        answers[2].locations[0].table_file_id,
        answers[1].table_files[0].table_file_id
    );
    assert_eq!(answers[3].missing_indexes, [0]);
    let location = &answers[2].locations[0];
    let last = location.offset + u64::from(location.length) - 1;
    let range = format!("bytes={}-{last}", location.offset);
    let response = rig
        .http()
        .get(&answers[1].table_files[0].url)
        .header("range", range);
    let stored = response.send().await.unwrap().bytes().await.unwrap();
    let mut chunk = Vec::new();
    record::decode(&stored, 1 << 20, &mut chunk).unwrap();
    assert_eq!(chunk, chunks[1].1);
}

#[tokio::test]
async fn statement_37_a_crooked_length_ends_the_stream_after_the_answers_before_it() {
    let (_rig, mut client, chunks) = pushed().await;
    let mut crooked = request(REPO, &[chunks[0].0]);
    crooked.chunk_hashes = crooked.chunk_hashes.slice(..19);
    let answers = locate(&mut client, vec![request(REPO, &[chunks[0].0]), crooked]).await;
    assert_eq!(answers.len(), 2);
    assert!(answers[0].is_ok());
    assert_eq!(
        answers[1].as_ref().unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn statement_39_the_older_stream_answers_with_one_range_for_each_chunk() {
    let (_rig, mut client, chunks) = pushed().await;
    let hash = |address: &ChunkAddress| Bytes::copy_from_slice(address.as_bytes());
    let hashes = vec![
        hash(&chunks[0].0),
        hash(&NOWHERE),
        hash(&chunks[1].0),
        hash(&chunks[0].0),
    ];
    let request = wire::GetDownloadLocsRequest {
        repo_path: REPO.to_owned(),
        chunk_hashes: hashes,
        ..Default::default()
    };
    let empty = wire::GetDownloadLocsRequest {
        chunk_hashes: vec![],
        ..request.clone()
    };
    let requests = iter(vec![request.clone(), empty]);
    let mut stream = client
        .stream_download_locations(requests)
        .await
        .unwrap()
        .into_inner();
    let answer = stream.message().await.unwrap().unwrap();
    assert_eq!(answer.locs.len(), 1);
    let Some(wire::download_loc::Location::HttpGetRange(range)) = &answer.locs[0].location else {
        panic!("not a range");
    };
    assert_eq!(range.ranges.len(), 2);
    assert!(answer.locs[0].refresh_after.is_some() && answer.locs[0].refresh_request.is_some());
    assert!(stream.message().await.unwrap().unwrap().locs.is_empty());
    assert!(stream.message().await.unwrap().is_none());
    let unary = client
        .get_download_locations(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(unary.locs.len(), 1);
}

#[tokio::test]
async fn a_feature_that_is_switched_off_is_not_offered() {
    let rig = Rig::start(&[("features_off", "stream-chunk-locations")]).await;
    let request = crate::rig::metadata_request(REPO);
    let metadata = rig
        .client()
        .await
        .get_repo_metadata(request)
        .await
        .unwrap()
        .into_inner();
    assert!(metadata.features.is_empty());
}

#[tokio::test]
async fn a_question_of_many_batches_is_answered_as_one() {
    let (rig, mut client, chunks) = pushed().await;
    let more = database().commit("main", "of another file");
    let elsewhere = holdfast_doltdb::testing::address_of(&more[0]);
    let more = crate::pushing::pack(&more);
    let url = crate::pushing::upload_url(&mut client, &more)
        .await
        .unwrap();
    let stored = crate::pushing::put(&rig, &url, &more.bytes).await;
    assert_eq!(stored.status(), 200);
    crate::pushing::add(&mut client, &[&more]).await.unwrap();
    let [first, second] = [chunks[0].0, chunks[1].0];
    let mut hashes: Vec<ChunkAddress> = (0..40_000_u32)
        .map(|i| {
            let mut address = [0xee; 20];
            address[..4].copy_from_slice(&i.to_be_bytes());
            ChunkAddress::new(address)
        })
        .collect();
    let found = [(0, first), (17_000, elsewhere), (39_999, second)];
    for (i, address) in found {
        hashes[i] = address;
    }
    let answer = locate(&mut client, vec![request(REPO, &hashes)]).await;
    let answer = answer[0].as_ref().unwrap();
    assert_eq!(answer.table_files.len(), 2);
    assert_eq!(answer.missing_indexes.len(), 39_997);
    let places: Vec<(usize, u32)> = answer
        .locations
        .iter()
        .map(|place| (place.request_index as usize, place.table_file_id))
        .collect();
    let [a, b] = [0, 1].map(|file| answer.table_files[file].table_file_id);
    assert_eq!(places, [(0, a), (17_000, b), (39_999, a)]);
}

#[tokio::test]
async fn a_question_without_end_is_refused() {
    let (_rig, mut client, _) = pushed().await;
    let most = vec![NOWHERE; 65_536];
    let more = vec![NOWHERE; 65_537];
    let answers = locate(
        &mut client,
        vec![request(REPO, &most), request(REPO, &more)],
    )
    .await;
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0].as_ref().unwrap().missing_indexes, [65_535]);
    let refused = answers[1].as_ref().unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let older = |hashes: &[ChunkAddress]| wire::GetDownloadLocsRequest {
        repo_path: REPO.to_owned(),
        chunk_hashes: hashes
            .iter()
            .map(|hash| Bytes::copy_from_slice(hash.as_bytes()))
            .collect(),
        ..Default::default()
    };
    client.get_download_locations(older(&most)).await.unwrap();
    let refused = client.get_download_locations(older(&more)).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_refused_stream_names_its_repository_in_the_log() {
    let (rig, mut client, chunks) = pushed().await;
    let mut crooked = request(REPO, &[chunks[0].0]);
    crooked.chunk_hashes = crooked.chunk_hashes.slice(..19);
    assert!(locate(&mut client, vec![crooked]).await[0].is_err());
    let is_named = |line: &str| {
        line.contains("/StreamChunkLocations")
            && line.contains("request refused")
            && line.contains("repo=acme/prod")
    };
    let text = rig.logs.text();
    assert!(text.lines().any(is_named), "{text}");
}
