//! Downloads: statements 41, 42, 44 to 47, 49 to 53.

use bytes::Bytes;
use holdfast_proto::remotesapi as wire;
use reqwest::Response;
use tonic::Code;

use crate::pushing::{Client, Packed, database, push};
use crate::rig::{REPO, Rig};

async fn listing(client: &mut Client) -> wire::ListTableFilesResponse {
    let request = wire::ListTableFilesRequest {
        repo_path: REPO.to_owned(),
        ..Default::default()
    };
    client.list_table_files(request).await.unwrap().into_inner()
}

async fn pushed() -> (Rig, Client, Packed, String) {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    let packed = push(&rig, &mut client, &database()).await;
    let url = listing(&mut client).await.table_file_info.remove(0).url;
    (rig, client, packed, url)
}

async fn ranged(rig: &Rig, url: &str, range: &str) -> Response {
    rig.http()
        .get(url)
        .header("range", range)
        .send()
        .await
        .unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn statements_51_to_53_a_listing_names_every_file_with_its_count() {
    let (_rig, mut client, packed, _) = pushed().await;
    let listing = listing(&mut client).await;
    assert_eq!(listing.root_hash, database().root().as_bytes()[..]);
    assert_eq!(listing.table_file_info.len(), 1);
    let info = &listing.table_file_info[0];
    assert_eq!(info.num_chunks, packed.chunks);
    assert_eq!(info.file_id.len(), 32);
    assert!(listing.appendix_table_file_info.is_empty());
    assert!(info.refresh_after.is_some() && info.refresh_request.is_some());
}

#[tokio::test]
async fn what_a_client_says_at_length_is_not_repeated_for_every_file() {
    let (_rig, mut client, _, _) = pushed().await;
    let request = wire::ListTableFilesRequest {
        repo_path: REPO.to_owned(),
        repo_id: Some(wire::RepoId {
            org: "x".repeat(1 << 20),
            repo_name: String::new(),
        }),
        ..Default::default()
    };
    let listing = client.list_table_files(request).await.unwrap().into_inner();
    assert_eq!(listing.table_file_info.len(), 1);
    assert!(format!("{listing:?}").len() < 8192);
    let prepared = listing.table_file_info[0].refresh_request.clone();
    assert_eq!(prepared.unwrap().repo_path, REPO);
}

#[tokio::test]
async fn statement_44_a_range_is_exact() {
    let (rig, _client, packed, url) = pushed().await;
    let total = packed.bytes.len();
    for (range, expected) in [
        ("bytes=0-0".to_owned(), 0..1),
        ("bytes=10-99".to_owned(), 10..100),
        ("bytes=100-".to_owned(), 100..total),
        ("bytes=-7".to_owned(), total - 7..total),
        (format!("bytes=0-{}", total - 1), 0..total),
    ] {
        let response = ranged(&rig, &url, &range).await;
        assert_eq!(response.status(), 206, "{range}");
        let content_range = format!("bytes {}-{}/{total}", expected.start, expected.end - 1);
        assert_eq!(header(&response, "content-range"), content_range);
        assert_eq!(
            header(&response, "content-length"),
            expected.len().to_string()
        );
        assert_eq!(
            response.bytes().await.unwrap(),
            packed.bytes.slice(expected)
        );
    }
}

#[tokio::test]
async fn statement_45_no_range_is_cut_short() {
    let (rig, _client, packed, url) = pushed().await;
    let total = packed.bytes.len();
    for range in [
        format!("bytes=0-{total}"),
        format!("bytes={total}-"),
        format!("bytes=-{}", total + 1),
        "bytes=-0".to_owned(),
        "bytes=0-1,5-6".to_owned(),
        "bytes=5-99999999999999999999".to_owned(),
        "bytes=5-18446744073709551614".to_owned(),
    ] {
        let response = ranged(&rig, &url, &range).await;
        assert_eq!(response.status(), 416, "{range}");
        assert_eq!(
            header(&response, "content-range"),
            format!("bytes */{total}")
        );
    }
    for range in ["bytes", "bytes=x-y", "lines=1-2", "bytes=9-3"] {
        assert_eq!(ranged(&rig, &url, range).await.status(), 400, "{range}");
    }
}

#[tokio::test]
async fn statement_46_a_whole_file_has_a_length_and_no_encoding() {
    let (rig, _client, packed, url) = pushed().await;
    let request = rig.http().get(&url).header("accept-encoding", "gzip");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(
        header(&response, "content-length"),
        packed.bytes.len().to_string()
    );
    assert_eq!(header(&response, "content-encoding"), "");
    assert_eq!(response.bytes().await.unwrap(), packed.bytes);
    let head = rig.http().head(&url).send().await.unwrap();
    assert_eq!(
        header(&head, "content-length"),
        packed.bytes.len().to_string()
    );
    assert_eq!(head.bytes().await.unwrap(), Bytes::new());
}

#[tokio::test]
async fn statements_41_and_47_an_address_is_stable_and_ends_as_the_file_does() {
    let (_rig, mut client, _, url) = pushed().await;
    assert_eq!(listing(&mut client).await.table_file_info[0].url, url);
    let path = url.split('?').next().unwrap();
    assert!(!path.ends_with(".darc"));
}

#[tokio::test]
async fn statement_49_a_tampered_address_is_not_served() {
    let (rig, _client, _, url) = pushed().await;
    let (path, query) = url.split_once('?').unwrap();
    let longer = url.replacen("?e=1", "?e=2", 1);
    assert_ne!(longer, url);
    for tampered in [
        path.to_owned(),
        format!("{path}?"),
        format!("{path}0?{query}"),
        longer,
        format!("{url}A"),
    ] {
        let status = rig
            .http()
            .get(&tampered)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16();
        assert!(status == 403 || status == 404, "{status}");
    }
    let put = rig.http().put(&url).body("x").send().await.unwrap();
    assert_eq!(put.status(), 405);
}

#[tokio::test]
async fn statement_50_an_address_can_be_refreshed() {
    let (_rig, mut client, _, url) = pushed().await;
    let info = listing(&mut client).await.table_file_info.remove(0);
    let prepared = info.refresh_request.unwrap();
    let by_id = wire::RefreshTableFileUrlRequest {
        file_id: info.file_id,
        ..prepared.clone()
    };
    for request in [prepared.clone(), by_id] {
        let answer = client
            .refresh_table_file_url(request)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answer.url, url);
        assert!(answer.refresh_after.is_some());
    }
    for (file_id, code) in [
        ("", Code::InvalidArgument),
        ("nope", Code::NotFound),
        (&"0".repeat(32), Code::NotFound),
    ] {
        let request = wire::RefreshTableFileUrlRequest {
            file_id: file_id.to_owned(),
            ..prepared.clone()
        };
        assert_eq!(
            client
                .refresh_table_file_url(request)
                .await
                .unwrap_err()
                .code(),
            code
        );
    }
    let empty = client
        .refresh_table_file_url(wire::RefreshTableFileUrlRequest::default())
        .await;
    assert_eq!(empty.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn statement_7_addresses_begin_with_what_the_client_sees() {
    let public = Rig::start(&[("public_url", "https://forge.example.org/x/")]).await;
    let mut client = public.client().await;
    let details = crate::pushing::pack(&[Bytes::from_static(b"x")]);
    let url = crate::pushing::upload_url(&mut client, &details)
        .await
        .unwrap();
    assert!(
        url.starts_with("https://forge.example.org/x/upload/acme/prod/"),
        "{url}"
    );
    let plain = Rig::start(&[]).await;
    let mut request = tonic::Request::new(crate::pushing::upload_request(vec![details.details()]));
    request
        .metadata_mut()
        .insert("x-forwarded-proto", "https".parse().unwrap());
    let locs = plain
        .client()
        .await
        .get_upload_locations(request)
        .await
        .unwrap()
        .into_inner()
        .locs;
    let Some(wire::upload_loc::Location::HttpPost(post)) = &locs[0].location else {
        panic!("no address");
    };
    let prefix = format!("https://{}/upload/", plain.handle.local_addr());
    assert!(post.url.starts_with(&prefix), "{}", post.url);
}
