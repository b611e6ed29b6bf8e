//! A real dolt beside a peer that takes all that it gets, and one that needs more at once than a peer has: both wait, if
//! at all, and get through.

use std::net::SocketAddr;

use holdfast_doltdb::testing::TinyDb;
use holdfast_tests::dolt::{Database, Dolt};
use holdfast_tests::forge::{Forge, Plan};
use holdfast_tests::peer::{details, url_of};
use holdfast_tests::remote::Remote as _;
use holdfast_tests::scenario::Scene;
use holdfast_tests::table::TableFile;
use holdfast_tests::wait;
use holdfast_tests::world::{BRANCHES, Contents, Side};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

fn plan(more: &[(&'static str, &str)]) -> Plan {
    let more = more.iter().map(|(key, value)| (*key, (*value).to_owned()));
    Plan {
        more: more.collect(),
        ..Plan::on_local_disk()
    }
}

/// A connection from another address of this machine than dolt's.
async fn connect(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Connections of a peer, more than it may have, each with an upload of which a part comes and no more.
async fn hog(forge: &Forge, count: u8) -> Vec<TcpStream> {
    let (_, port) = forge.base_url().rsplit_once(':').unwrap();
    let to = format!("127.0.0.1:{port}").parse().unwrap();
    let peer = forge.peer("hog/prod");
    let mut connections = Vec::new();
    for number in 0..count {
        let mut database = TinyDb::new();
        let content = vec![number; 100_000];
        let fresh = database.commit_with("main", "one", &[("table", &content)]);
        let file = TableFile::classic(&fresh);
        let mut details = details(&file);
        details.content_length = 4 << 20;
        details.content_hash.clear();
        let locations = peer.upload_locations(vec![details]).await.unwrap();
        let url = url_of(&locations[0]).unwrap();
        let path = url.splitn(4, '/').nth(3).unwrap();
        let head = format!("PUT /{path} HTTP/1.1\r\nhost: x\r\ncontent-length: 4194304\r\n\r\n");
        let mut connection = connect(to).await;
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.write_all(&vec![number; 300_000]).await.unwrap();
        connections.push(connection);
    }
    connections
}

fn assert_copied(scene: &Scene, owner: &Database) {
    let copy = scene.workshop().clone_from(&scene.url("prod"), "copy", &[]);
    assert_eq!(
        Contents::of(&copy, Side::Origin, &BRANCHES),
        Contents::of(owner, Side::Local, &BRANCHES)
    );
    owner.commit("more", "create table more (id int primary key)");
    owner.push(&["origin", "main"]);
    copy.fetch(&[]);
    copy.fsck();
}

#[test]
fn dolt_works_beside_a_peer_that_takes_all_that_it_gets() {
    let Some(dolt) = Dolt::find() else {
        return;
    };
    let forge = Forge::start(plan(&[
        ("network.max_connections", "96"),
        ("network.max_connections_per_peer", "64"),
        ("network.max_requests_per_peer", "32"),
        ("upload.spool_limit", "16MiB"),
    ]));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let hog = runtime.block_on(hog(&forge, 100));
    for text in ["a connection waits", "a request waits", "an upload waits"] {
        wait::until(text, || forge.logs().text().contains(text));
    }
    let scene = Scene::new(&dolt, &forge.dolt_settings(), forge.base_url());
    let owner = scene.published("owner", "prod");
    assert_copied(&scene, &owner);
    // The uploads whose clients are gone are read to their ends now, and those that wait for each other's room give up.
    forge.logs().expect("no room");
    drop(hog);
    forge.finish();
}

#[test]
fn dolt_waits_where_it_needs_more_than_a_peer_has() {
    let Some(dolt) = Dolt::find() else {
        return;
    };
    let forge = Forge::start(plan(&[
        ("network.max_connections_per_peer", "2"),
        ("network.max_requests_per_peer", "2"),
        ("upload.spool_limit", "8MiB"),
        ("upload.spool_share", "25"),
    ]));
    let scene = Scene::new(&dolt, &forge.dolt_settings(), forge.base_url());
    let owner = scene.published("owner", "prod");
    assert_copied(&scene, &owner);
    let waited = forge.logs().text().contains("a connection waits");
    assert!(waited, "dolt has had all that it wanted");
    forge.finish();
}
