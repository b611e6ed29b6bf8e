//! What one peer may have at once: connections, requests, room for uploads; and that neither others nor probes notice.
//!
//! Peers are addresses of this machine, 127.0.0.2 and so on.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::channel::mpsc;
use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use holdfast_chunkstore::clock::Clock as _;
use holdfast_chunkstore::objects::ObjectStore;
use holdfast_chunkstore::testing::faults::{FaultPlan, FaultyStore};
use holdfast_proto::remotesapi as wire;
use holdfast_server::grpc::failed_tokens::{FREE, LONGEST};
use holdfast_server::http::pace::{Pace, WINDOW};
use holdfast_server::peer::TrustedProxies;
use holdfast_server::transport::{
    Answer, Arrival, ConnectionLimits, Drain, Listener, Patience, ResponseBody,
};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tonic::Code;

use crate::clock::{Standing, WATCH};
use crate::pushing::{add, database, pack, upload_request, upload_url};
use crate::rig::{REPO, Rig, http_builder, metadata_request};
use crate::transport::{get, health};

fn address(last: u8) -> IpAddr {
    [127, 0, 0, last].into()
}

/// A client of one peer.
fn client(last: u8) -> reqwest::Client {
    http_builder().local_address(address(last)).build().unwrap()
}

/// A connection of one peer.
async fn connect(rig: &Rig, last: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address(last), 0).into()).unwrap();
    socket.connect(rig.handle.local_addr()).await.unwrap()
}

/// Sends the head of a request that is refused, and reads the status of what is answered.
async fn ask(stream: &mut TcpStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    status_line(stream).await
}

async fn status_line(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\n") || !answer.windows(4).any(|four| four == b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "closed");
    }
    String::from_utf8_lossy(&answer[9..12]).into_owned()
}

const REFUSED: &str = "/data/x?e=1&s=x";

/// An upload that goes on as long as the sender is kept.
struct Upload {
    pieces: mpsc::Sender<std::io::Result<Bytes>>,
    answer: JoinHandle<reqwest::Result<(u16, String)>>,
}

impl Upload {
    fn begin(http: &reqwest::Client, url: &str) -> Self {
        let (pieces, body) = mpsc::channel(1);
        let request = http.put(url).body(reqwest::Body::wrap_stream(body)).send();
        let answer = tokio::spawn(async move {
            let answer = request.await?;
            Ok((answer.status().as_u16(), answer.text().await?))
        });
        Self { pieces, answer }
    }

    async fn send(&mut self, bytes: impl Into<Bytes>) {
        self.pieces.send(Ok(bytes.into())).await.unwrap();
    }

    async fn end(self) -> (u16, String) {
        drop(self.pieces);
        self.answer.await.unwrap().unwrap()
    }
}

/// An address for a file of which only the length is told.
async fn address_of_len(rig: &Rig, number: u8, len: u64) -> Result<String, tonic::Status> {
    let details = wire::TableFileDetails {
        id: Bytes::from(vec![number; 20]),
        content_length: len,
        content_hash: Bytes::new(),
        ..pack(&[Bytes::from_static(b"some chunk")]).details()
    };
    let request = upload_request(vec![details]);
    let locs = rig.client().await.get_upload_locations(request).await?;
    match locs.into_inner().locs.remove(0).location {
        Some(wire::upload_loc::Location::HttpPost(post)) => Ok(post.url),
        None => panic!("no address"),
    }
}

/// Waits until so many files are in the spool.
async fn has_spooled(rig: &Rig, count: usize) {
    let spooled = async {
        while rig.spooled().len() != count {
            tokio::task::yield_now().await;
        }
    };
    let spooled = tokio::time::timeout(Duration::from_secs(30), spooled);
    spooled.await.expect("so many uploads are under way");
}

/// Connections of peers, each with an upload of which one byte came: none of them is idle.
async fn busy(rig: &Rig, peers: &[u8]) -> Vec<TcpStream> {
    let mut urls = Vec::new();
    for number in (0..).take(peers.len()) {
        urls.push(address_of_len(rig, number, 100).await.unwrap());
    }
    let mut streams = Vec::new();
    for (url, last) in urls.into_iter().zip(peers) {
        let path = url.splitn(4, '/').nth(3).unwrap();
        let head = format!("PUT /{path} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nx");
        let mut stream = connect(rig, *last).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        streams.push(stream);
        has_spooled(rig, streams.len()).await;
    }
    streams
}

#[tokio::test]
async fn connections_of_one_peer_wait_and_another_peer_works_on() {
    let rig = Rig::start(&[("network.max_connections_per_peer", "2")]).await;
    let mut taken = busy(&rig, &[2, 2]).await;
    let mut third = connect(&rig, 2).await;
    rig.has_logged(&["a connection waits", "127.0.0.2"]).await;
    // A probe is answered on it, and what is asked behind it waits.
    assert_eq!(ask(&mut third, "/live").await, "200");
    let request = format!("GET {REFUSED} HTTP/1.1\r\nhost: x\r\n\r\n");
    third.write_all(request.as_bytes()).await.unwrap();
    let other = client(3).get(format!("{}{REFUSED}", rig.url())).send();
    assert_eq!(other.await.unwrap().status(), 403);
    assert!(status_line(&mut third).now_or_never().is_none());
    taken.pop();
    assert_eq!(status_line(&mut third).await, "403");
}

#[tokio::test]
async fn on_a_connection_that_waits_a_few_requests_wait_and_the_rest_are_refused() {
    let rig = Rig::start(&[("network.max_connections_per_peer", "1")]).await;
    let mut taken = busy(&rig, &[2]).await;
    let waiting = hyper_util::rt::TokioIo::new(connect(&rig, 2).await);
    rig.has_logged(&["a connection waits", "127.0.0.2"]).await;
    let executor = hyper_util::rt::TokioExecutor::new();
    let (sender, connection) = hyper::client::conn::http2::handshake(executor, waiting)
        .await
        .unwrap();
    let running = tokio::spawn(connection);
    let mut asked: futures::stream::FuturesUnordered<_> = (0..40)
        .map(|_| {
            let request = http::Request::get(format!("http://x{REFUSED}"));
            let body = http_body_util::Empty::<Bytes>::new();
            sender.clone().send_request(request.body(body).unwrap())
        })
        .collect();
    for _ in 0..8 {
        let refused = asked.next().await.unwrap().unwrap();
        assert_eq!(refused.status(), 503);
    }
    assert!(asked.next().now_or_never().is_none());
    taken.pop();
    while let Some(answer) = asked.next().await {
        assert_eq!(answer.unwrap().status(), 403);
    }
    running.abort();
}

#[tokio::test]
async fn a_head_of_very_many_fields_is_refused() {
    let rig = Rig::start(&[]).await;
    let mut request = client(2).get(format!("{}{REFUSED}", rig.url()));
    for number in 0..65 {
        request = request.header(format!("x-{number}"), "");
    }
    assert_eq!(request.send().await.unwrap().status(), 431);
}

#[tokio::test]
async fn probes_are_answered_when_all_connections_are_taken() {
    let rig = Rig::start(&[("network.max_connections", "3")]).await;
    let mut taken = busy(&rig, &[2, 2, 3]).await;
    let mut waiting = connect(&rig, 4).await;
    rig.has_logged(&["a connection waits", "127.0.0.4"]).await;
    let request = format!("GET {REFUSED} HTTP/1.1\r\nhost: x\r\n\r\n");
    waiting.write_all(request.as_bytes()).await.unwrap();
    for _ in 0..20 {
        assert_eq!(get(&rig, "/live").await.0, 200);
        assert_eq!(get(&rig, "/ready").await.0, 200);
        assert_eq!(health(&rig.url()).await, 1);
    }
    assert!(status_line(&mut waiting).now_or_never().is_none());
    taken.pop();
    assert_eq!(status_line(&mut waiting).await, "403");
}

#[tokio::test]
async fn requests_of_one_peer_wait_and_another_peer_works_on() {
    let rig = Rig::start(&[("network.max_requests_per_peer", "2")]).await;
    let http = client(2);
    let mut uploads = Vec::new();
    for number in 0..2 {
        let url = address_of_len(&rig, number, 100).await.unwrap();
        let mut upload = Upload::begin(&http, &url);
        upload.send("x").await;
        uploads.push(upload);
    }
    has_spooled(&rig, 2).await;
    let url = format!("{}{REFUSED}", rig.url());
    let third = tokio::spawn(http.get(&url).send());
    rig.has_logged(&["a request waits", "127.0.0.2"]).await;
    assert_eq!(client(3).get(&url).send().await.unwrap().status(), 403);
    let live = http.get(format!("{}/live", rig.url())).send().await;
    assert_eq!(live.unwrap().status(), 200);
    let ready = http.get(format!("{}/ready", rig.url())).send().await;
    assert_eq!(ready.unwrap().status(), 200);
    assert!(!third.is_finished());
    assert_eq!(uploads.pop().unwrap().end().await.0, 400);
    assert_eq!(third.await.unwrap().unwrap().status(), 403);
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_peer_is_the_forwarded_one() {
    let changes = [
        ("network.max_requests_per_peer", "1"),
        ("network.max_connections_per_peer", "1"),
        ("network.trusted_proxies", "127.0.0.2"),
    ];
    let rig = Rig::start(&changes).await;
    let forwarded = |caller: &str| {
        let proxied = [("x-forwarded-for", caller)];
        let headers = proxied.map(|(name, value)| {
            let name: http::HeaderName = name.parse().unwrap();
            (name, value.parse::<http::HeaderValue>().unwrap())
        });
        let http = http_builder().local_address(address(2));
        let http = http.default_headers(headers.into_iter().collect());
        http.build().unwrap()
    };
    let url = address_of_len(&rig, 1, 100).await.unwrap();
    let mut upload = Upload::begin(&forwarded("192.0.2.7"), &url);
    upload.send("x").await;
    has_spooled(&rig, 1).await;
    let url = format!("{}{REFUSED}", rig.url());
    let another = forwarded("192.0.2.8").get(&url).send().await;
    assert_eq!(another.unwrap().status(), 403);
    // What a caller writes before the proxy does is not believed.
    let same = tokio::spawn(forwarded("192.0.2.8, 192.0.2.7").get(&url).send());
    rig.has_logged(&["a request waits", "192.0.2.7"]).await;
    assert!(!same.is_finished());
    assert_eq!(upload.end().await.0, 400);
    assert_eq!(same.await.unwrap().unwrap().status(), 403);
    let untrusted = client(3).get(&url).header("x-forwarded-for", "192.0.2.7");
    assert_eq!(untrusted.send().await.unwrap().status(), 403);
    rig.has_logged(&["network.trusted_proxies", "127.0.0.3"])
        .await;
}

#[tokio::test]
async fn an_upload_takes_the_room_of_what_it_sends_and_waits_for_no_more_than_its_peers_share() {
    let changes = [
        ("upload.spool_limit", "32MiB"),
        ("upload.spool_share", "25"),
    ];
    let rig = Rig::start(&changes).await;
    let refused = address_of_len(&rig, 9, (8 << 20) + 1).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("8388608"), "{refused}");
    // Far more than the spool holds is declared, and next to nothing comes.
    let idle = client(2);
    let mut uploads = Vec::new();
    for number in 0..100 {
        let url = address_of_len(&rig, number, 8 << 20).await.unwrap();
        let mut upload = Upload::begin(&idle, &url);
        upload.send("x").await;
        uploads.push(upload);
    }
    rig.has_logged(&["an upload waits"]).await;
    // The share of its sender is taken, and that of another is not.
    let file = pack(&database().chunks().values().cloned().collect::<Vec<_>>());
    let url = upload_url(&mut rig.client().await, &file).await.unwrap();
    let put = |last| client(last).put(&url).body(file.bytes.clone()).send();
    let waiting = tokio::spawn(put(2));
    assert_eq!(put(3).await.unwrap().status(), 200);
    assert!(!waiting.is_finished());
    for upload in uploads {
        upload.answer.abort();
    }
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
    add(&mut rig.client().await, &[&file]).await.unwrap();
    has_spooled(&rig, 0).await;
}

#[tokio::test]
async fn an_upload_that_sends_next_to_nothing_is_ended() {
    let clock = Standing::new();
    let shared = Arc::clone(&clock);
    let rig = Rig::start_with(&[], |parts| parts.clock = shared).await;
    let url = address_of_len(&rig, 1, 100 << 20).await.unwrap();
    let mut upload = Upload::begin(&client(2), &url);
    upload.send(vec![7; 2 << 20]).await;
    let has_come = || {
        let files = rig.spooled();
        let len = files
            .first()
            .and_then(|path| path.metadata().ok()?.len().into());
        len.is_some_and(|len: u64| len >= 1 << 20)
    };
    let ended = async {
        while !has_come() {
            tokio::task::yield_now().await;
        }
        assert!(!upload.answer.is_finished());
        while !upload.answer.is_finished() {
            clock.pass(WINDOW);
            tokio::task::yield_now().await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(30), ended).await;
    ended.expect("the upload is ended");
    let (status, text) = upload.end().await;
    assert_eq!(status, 503, "{text}");
    assert!(
        text.contains("less than 120 KiB came in 2 minutes"),
        "{text}"
    );
    has_spooled(&rig, 0).await;
}

/// Waits for a piece that comes when so much time has passed.
async fn after(pace: &mut Pace, clock: &Standing, time: Duration, len: usize) -> bool {
    let piece = clock.sleep(time);
    let mut next = Box::pin(pace.next(clock, piece));
    let mut came = (&mut next).now_or_never();
    let mut left = time;
    while came.is_none() {
        // The budget of a task is used up by what it polls without a pause.
        tokio::task::yield_now().await;
        let step = left.min(Duration::from_secs(1));
        clock.pass(step);
        left -= step;
        came = (&mut next).now_or_never();
    }
    drop(next);
    came.is_some_and(|came| came.is_ok()) && pace.came(len).is_ok()
}

#[tokio::test]
async fn a_pace_is_averaged_over_two_minutes() {
    let clock = Standing::new();
    let mut steady = Pace::default();
    for _ in 0..1000 {
        assert!(after(&mut steady, &clock, Duration::from_secs(1), 1 << 10).await);
    }
    let mut in_bursts = Pace::default();
    for _ in 0..20 {
        assert!(after(&mut in_bursts, &clock, Duration::from_secs(119), 240 << 10).await);
    }
    let mut slow = Pace::default();
    for _ in 0..119 {
        assert!(after(&mut slow, &clock, Duration::from_secs(1), 1000).await);
    }
    assert!(!after(&mut slow, &clock, Duration::from_secs(1), 1000).await);
    let mut silent = Pace::default();
    assert!(after(&mut silent, &clock, Duration::from_secs(1), 1 << 30).await);
    assert!(!after(&mut silent, &clock, Duration::from_secs(240), 1 << 30).await);
}

#[tokio::test]
async fn what_the_server_itself_takes_does_not_count() {
    let clock = Standing::new();
    let mut pace = Pace::default();
    for _ in 0..1000 {
        assert!(after(&mut pace, &clock, Duration::ZERO, 1).await);
        clock.pass(WINDOW);
    }
}

#[tokio::test]
async fn readiness_asks_the_store_at_most_once_a_second() {
    let clock = Standing::new();
    let shared = Arc::clone(&clock);
    let plan = FaultPlan::count_only();
    let counting = Arc::clone(&plan);
    let rig = Rig::start_with(&[], |parts| {
        parts.clock = shared;
        let inner = Arc::clone(&parts.objects);
        let objects: Arc<dyn ObjectStore> = Arc::new(FaultyStore::new(inner, counting));
        parts.objects = objects;
    })
    .await;
    let url = format!("{}/ready", rig.url());
    let http = client(2);
    let count = || {
        let calls = plan.calls();
        let of_forge = calls.iter().filter(|call| call.key == "forge.json");
        of_forge.count()
    };
    let before = count();
    let hammer = async || {
        let asked = (0..100).map(|_| http.get(&url).send());
        for answer in futures::future::join_all(asked).await {
            assert_eq!(answer.unwrap().status(), 200);
        }
        count() - before
    };
    assert_eq!(hammer().await, 1);
    clock.pass(Duration::from_millis(999));
    assert_eq!(hammer().await, 1);
    clock.pass(Duration::from_millis(1));
    assert_eq!(hammer().await, 2);
}

#[tokio::test]
async fn one_peer_has_1024_connections() {
    holdfast_chunkstore::open_files::raise_limit().unwrap();
    let rig = Rig::start(&[]).await;
    let mut streams = Vec::new();
    for _ in 0..1024 {
        streams.push(connect(&rig, 2).await);
    }
    for stream in &mut streams {
        assert_eq!(ask(stream, REFUSED).await, "403");
    }
    let other = client(3).get(format!("{}{REFUSED}", rig.url())).send();
    assert_eq!(other.await.unwrap().status(), 403);
}

/// Answers everything at once.
struct Short;

impl Answer for Short {
    async fn answer(
        self: Arc<Self>,
        _arrival: Arrival,
        _request: http::Request<hyper::body::Incoming>,
    ) -> http::Response<ResponseBody> {
        let body = http_body_util::Empty::new();
        http::Response::new(ResponseBody::new(body.map_err(|never| match never {})))
    }

    fn is_probe(&self, _request: &http::Request<hyper::body::Incoming>) -> bool {
        false
    }
}

#[tokio::test]
async fn an_idle_connection_makes_room_for_one_that_waits() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, drain) = (listener.local_addr().unwrap(), Drain::default());
    let listener = Listener {
        listener,
        tls: None,
        app: Arc::new(Short),
        limits: ConnectionLimits {
            in_all: 10,
            per_peer: 1,
        },
        proxies: TrustedProxies::default(),
        patience: Patience {
            beat: Duration::from_millis(10),
            first_request: 1000,
            unread: 1000,
            unread_wanted: 1000,
            idle: 1_000_000,
            idle_streams: 3,
        },
        drain: drain.clone(),
    };
    let serving = tokio::spawn(listener.run());
    let mut idle = TcpStream::connect(at).await.unwrap();
    assert_eq!(ask(&mut idle, "/x").await, "200");
    let mut next = TcpStream::connect(at).await.unwrap();
    let asked = tokio::time::timeout(Duration::from_secs(60), ask(&mut next, "/x"));
    assert_eq!(
        asked.await.expect("it has the place of the idle one"),
        "200"
    );
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0, "it was closed");
    assert_eq!(
        ask(&mut next, "/x").await,
        "200",
        "nobody waits for its place"
    );
    drain.closing.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn wrong_tokens_are_counted_with_the_forwarded_peer() {
    let clock = Standing::new();
    let shared = Arc::clone(&clock);
    let changes = [
        ("open", "false"),
        ("admin_token", "t0ken"),
        ("network.trusted_proxies", "127.0.0.1"),
    ];
    let rig = Rig::start_with(&changes, |parts| parts.clock = shared).await;
    let ask = async |caller: &str| {
        let mut request = tonic::Request::new(metadata_request(REPO));
        let metadata = request.metadata_mut();
        metadata.insert("authorization", "Bearer wrong".parse().unwrap());
        metadata.insert("x-forwarded-for", caller.parse().unwrap());
        let answer = rig.client().await.get_repo_metadata(request).await;
        answer.unwrap_err().code()
    };
    for _ in 0..FREE {
        assert_eq!(ask("192.0.2.7").await, Code::Unauthenticated);
    }
    let mut slowed = std::pin::pin!(ask("192.0.2.7"));
    tokio::select! {
        biased;
        code = &mut slowed => panic!("at once: {code:?}"),
        () = clock.is_waited_for_by(WATCH + 1) => {}
    }
    assert_eq!(ask("192.0.2.8").await, Code::Unauthenticated, "at once");
    clock.pass(LONGEST);
    assert_eq!(slowed.await, Code::Unauthenticated);
}
