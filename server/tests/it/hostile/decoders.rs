//! The pure decoders of the server: 10,000 inputs each, and what comes out stands up to its own rules.

use std::time::Duration;

use data_encoding::BASE64;
use holdfast_chunkstore::TableFileId;
use holdfast_chunkstore::clock::Timestamp;
use holdfast_chunkstore::objects::ObjectKey;
use holdfast_chunkstore::repo::{DeclaredFile, FileKind, Md5, View};
use holdfast_server::forge::access::Credentials;
use holdfast_server::forge::addresses::{Addresses, UploadTicket};
use holdfast_server::forge::client_version;
use holdfast_server::grpc::identity::credentials;
use holdfast_server::http::range::{self, Wanted};
use holdfast_server::origin::BaseUrl;
use holdfast_server::settings::check::{Purpose, check};
use holdfast_server::settings::{Gathered, Origin, reference};
use holdfast_server::transport::Arrival;
use http::{HeaderMap, HeaderValue, Request, Uri};
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::INPUTS;
use super::inputs::{generator, input, one_of, text};

/// Header values that are almost one of `bases`.
fn header(bases: &[&str], random: &mut StdRng) -> HeaderValue {
    let bases: Vec<_> = bases.iter().map(|base| base.as_bytes().to_vec()).collect();
    loop {
        if let Ok(value) = HeaderValue::from_bytes(&input(&bases, random)) {
            return value;
        }
    }
}

#[test]
fn a_range_takes_anything() {
    let bases = [
        "bytes=0-99",
        "bytes=5-",
        "bytes=-10",
        "bytes=0-18446744073709551615",
        "bytes=1-2,4-5",
        "bytes = 7 - 8 ",
        "rows=1-2",
    ];
    let mut random = generator(70);
    let mut read = 0;
    for _ in 0..INPUTS {
        let Ok(wanted) = range::parse(&text(&bases, &mut random)) else {
            continue;
        };
        read += 1;
        let again = match wanted {
            Wanted::Whole => panic!("a header asks for a part"),
            Wanted::Part { from, until } => {
                assert!(from < until);
                format!("bytes={from}-{}", until - 1)
            }
            Wanted::From(from) => format!("bytes={from}-"),
            Wanted::Last(count) => format!("bytes=-{count}"),
        };
        assert_eq!(range::parse(&again), Ok(wanted));
        for len in [0, 1, 100, random.random_range(0..1000), u64::MAX] {
            if let Ok(range) = wanted.within(len) {
                let range = range.expect("a header asks for a part");
                assert!(range.start < range.end && range.end <= len);
            }
        }
    }
    assert!(read > INPUTS / 50, "{read}");
}

#[test]
fn signed_addresses_take_anything_and_honor_only_their_own() {
    const NOON: Timestamp = Timestamp(1_700_000_000_000);
    let addresses = Addresses::new([1; 32]);
    let ticket = UploadTicket {
        repo: "acme/prod".parse().unwrap(),
        actor: "anyone".to_owned(),
        file: DeclaredFile {
            id: TableFileId::new([7; 20]),
            kind: FileKind::Archive,
            len: 12,
            chunks: 3,
            md5: Some(Md5([9; 16])),
        },
    };
    let key = ObjectKey::parse("pools/p/files/ab/abc.up_1.darc").unwrap();
    let upload = addresses.upload(&ticket, NOON);
    let download = addresses.download(&key, NOON);
    let foreign = Addresses::new([2; 32]).upload(&ticket, NOON);
    let bases = [upload.as_str(), &download, &foreign];
    let mut random = generator(71);
    let later = NOON.plus(Duration::from_mins(1));
    for _ in 0..INPUTS {
        let address = text(&bases, &mut random);
        let (path, query) = match address.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (address.as_str(), None),
        };
        let sent = addresses.check_upload(path, query, later);
        assert_eq!(sent.is_ok(), address == upload, "{address}");
        let read = addresses.check_download(path, query, later);
        assert_eq!(read.is_ok(), address == download, "{address}");
    }
}

#[test]
fn a_user_agent_takes_anything() {
    let bases = [
        "dolt_cli 2.3.1 linux amd64 grpc-go/1.82.0",
        "dolt_cli 1.55.4 linux amd64",
        "dolt_cli 1.55.3-rc1+x darwin arm64",
        "dolt_cli v1.86.5",
        "holdfast/0.1.0",
        "grpc-go/1.82.0",
    ];
    let mut random = generator(72);
    let mut old = 0;
    for _ in 0..INPUTS {
        let agent = text(&bases, &mut random);
        let is_current = client_version::view(&agent) == View::Current;
        let may_be = agent.starts_with("holdfast") || agent.starts_with("dolt_cli ");
        assert!(may_be || !is_current, "{agent:?}");
        old += usize::from(!is_current);
    }
    assert!(old > INPUTS / 10 && old < INPUTS, "{old}");
}

#[test]
fn an_authorization_takes_anything() {
    let basic = format!("Basic {}", BASE64.encode(b"me:pass:word"));
    let long = format!("Basic {}", BASE64.encode(&[b'a'; 3000]));
    let bases = [
        basic.as_str(),
        &long,
        "Bearer a.b.c",
        "bearer  x ",
        "Digest y",
    ];
    let mut random = generator(73);
    let mut read = [0; 4];
    for _ in 0..INPUTS {
        let mut headers = HeaderMap::new();
        let value = header(&bases, &mut random);
        headers.insert("authorization", value.clone());
        let found = credentials(&headers);
        let kind = match &found {
            Err(_) => 0,
            Ok(Credentials::Nothing) => 1,
            Ok(Credentials::Bearer { token }) => {
                assert!(value.to_str().unwrap().contains(token.as_str()));
                2
            }
            Ok(Credentials::Basic { user, password }) => {
                assert!(!user.contains(':'));
                let again = BASE64.encode(format!("{user}:{password}").as_bytes());
                assert!(value.to_str().unwrap().contains(&again));
                3
            }
        };
        read[kind] += 1;
        assert!(!format!("{found:?}").contains("pass:word"));
    }
    assert!(read.iter().all(|count| *count > INPUTS / 100), "{read:?}");
}

#[test]
fn where_a_request_came_to_takes_anything() {
    let hosts = [
        "localhost:7350",
        "[::1]:80",
        "forge.example.org",
        "me:pass@forge:1",
        "a:b:c",
    ];
    let protocols = ["https", "http", "https, http", "javascript"];
    let (long_host, mut random) = ("a".repeat(255), generator(74));
    let hosts = [&hosts[..], &[&long_host]].concat();
    let (mut odd, mut long) = (0, 0);
    for _ in 0..INPUTS {
        let arrival = Arrival {
            peer: "127.0.0.1:1".parse().unwrap(),
            secure: random.random_range(0..2) == 0,
        };
        let mut request = Request::builder().uri("/x").body(()).unwrap();
        let headers = request.headers_mut();
        headers.insert("host", header(&hosts, &mut random));
        headers.insert("x-forwarded-proto", header(&protocols, &mut random));
        let Ok(base_url) = BaseUrl::of(None, arrival, &request) else {
            long += 1;
            continue;
        };
        let base_url = base_url.as_str();
        let uri: Uri = base_url.parse().unwrap_or_else(|error| {
            panic!("{error}: {base_url:?} of {:?}", request.headers());
        });
        assert!(base_url.len() < 300);
        assert!(["http", "https"].contains(&uri.scheme_str().unwrap()));
        assert!(uri.path() == "/" && uri.query().is_none(), "{base_url:?}");
        assert!(!base_url.contains(['@', ' ', '\r', '\n']), "{base_url:?}");
        odd += usize::from(!base_url.ends_with("//localhost"));
    }
    assert!(odd > INPUTS / 10 && long > 0, "{odd} {long}");
}

const FILE: &str = r#"
data = "/d"
admin_token = "very-secret"
store = "s3://bucket/some/prefix/"
features_off = ["stream-chunk-locations"]
reads = "token"
public_url = "https://forge.example.org/x"

[s3]
endpoint = "http://127.0.0.1:9000/"
path_style = true

[upload]
free_floor = "64MiB"
threads = 3

[network]
drain_timeout = "3s"
"#;

#[test]
fn a_settings_file_takes_anything() {
    let whole = reference::as_toml().replace("\n# ", "\n");
    let nested = [
        format!("a = {}1", "[".repeat(5_000)),
        format!("{}x = 1", "a.".repeat(5_000)),
        format!("[{}x]", "s3.".repeat(500)),
    ];
    let bases = [FILE, &whole, &nested[0], &nested[1], &nested[2]];
    let mut random = generator(75);
    let (mut right, mut wrong) = (0, 0);
    let secret = "\nadmin_token = \"very-secret\"\n";
    for at in 0..INPUTS {
        let base = bases[usize::from(at % 8 == 0) * random.random_range(1..bases.len())];
        let file = text(&[base], &mut random);
        let mut gathered = Gathered::new();
        gathered.add_file("holdfast.toml", &file);
        assert!(!format!("{gathered:?}").contains("very-secret"), "{file}");
        match check(gathered, Purpose::Serve) {
            Ok(settings) => {
                assert!(!format!("{settings:?}").contains("very-secret"), "{file}");
                right += 1;
            }
            Err(complaints) => {
                assert!(!complaints.is_empty());
                wrong += 1;
                // Where the secret stands in its place, no complaint repeats it.
                if file.contains(secret) && file.matches("very-secret").count() == 1 {
                    let said = complaints.iter().map(ToString::to_string);
                    assert!(!said.collect::<String>().contains("very-secret"), "{file}");
                }
            }
        }
    }
    assert!(
        right > INPUTS / 50 && wrong > INPUTS / 50,
        "{right} {wrong}"
    );
}

#[test]
fn the_text_of_a_setting_takes_anything() {
    let values = [
        "64MiB",
        "5 GB",
        "18446744073709551615",
        "99999999999TiB",
        "10m",
        "250ms",
        "true",
        "off",
        "127.0.0.1:7350",
        "[::1]:80",
        "s3://bucket/prefix",
        "https://forge.example.org",
        "json",
        "token",
        "stream-chunk-locations,x",
        "8192",
    ];
    let keys: Vec<&str> = reference::SETTINGS
        .iter()
        .map(|setting| setting.key)
        // What it names is read.
        .filter(|key| *key != "admin_token_file")
        .collect();
    let mut random = generator(76);
    let mut right = 0;
    for _ in 0..INPUTS {
        let mut gathered = Gathered::new();
        for (key, value) in [("data", "/d"), ("open", "true")] {
            gathered.set(key, value, Origin::Flag);
        }
        let key = *one_of(&keys, &mut random);
        gathered.set(key, text(&values, &mut random), Origin::Environment);
        match check(gathered, Purpose::Serve) {
            Ok(_) => right += 1,
            Err(complaints) => assert!(!complaints.is_empty()),
        }
    }
    assert!(right > INPUTS / 50, "{right}");
}
