//! Clients that go away in the middle of an answer: the server lets go of everything that it held for them.

use std::process::Command;

use holdfast_doltdb::testing::TinyDb;
use holdfast_tests::{say, wait};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_stream::wrappers::ReceiverStream;

use crate::child::{self, Child};

const NAME: &str = "acme/prod";
const CLIENTS: usize = 64;

#[test]
fn streams_and_reads_that_are_cut_off_leave_no_open_file() {
    let folder = TempDir::with_prefix("holdfast-released-").unwrap();
    let data = folder.path().join("data");
    let child = Child::start(move || {
        let command = child::serving(Command::new(child::binary()), &data, "1MiB");
        logging_requests(command)
    });
    crate::run(async {
        let peer = child.peer(NAME);
        let mut database = TinyDb::new();
        let content: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_be_bytes).collect();
        let fresh = database.commit_with("main", "one", &[("table", &content)]);
        peer.push(&database, &fresh).await;
        let head = [database.head("main").unwrap()];
        let url = peer.files().await.unwrap().table_file_info[0].url.clone();
        assert!(peer.locate(head[0]).await.is_some());
        // Connections that carried the upload have ended by the time that what is open stays the same.
        let mut before = child.open_files();
        wait::until("the connections of the upload to end", || {
            let now = child.open_files();
            std::mem::replace(&mut before, now) == now
        });

        let mut streams = Vec::new();
        let mut reads = Vec::new();
        for _ in 0..CLIENTS {
            let client = child.peer(NAME);
            let (sender, receiver) = tokio::sync::mpsc::channel(2);
            let first = client.locations_request(&head);
            sender.send(first).await.unwrap();
            let request = client.request(ReceiverStream::new(receiver));
            let answers = client.rpc().stream_chunk_locations(request).await;
            streams.push((client, sender, answers.unwrap().into_inner()));
            reads.push(begin_to_read(&url).await);
        }
        let open = child.open_files();
        assert!(
            open >= before + 2 * CLIENTS,
            "{before}, then {open} open files"
        );
        drop((streams, reads));

        let ended = || {
            let log = child.log();
            let is_end = |line: &&str| line.contains("telemetry::request: ");
            let of = |path: &str| {
                log.lines()
                    .filter(is_end)
                    .filter(|line| line.contains(path))
                    .count()
            };
            [of("/StreamChunkLocations"), of("path=\"/data/")]
        };
        wait::until("every stream and every read to end", || {
            ended() == [CLIENTS + 1, CLIENTS]
        });
        wait::until("every connection to be let go of", || {
            child.open_files() <= before
        });
        assert!(peer.locate(head[0]).await.is_some(), "and it still answers");
        say::line(format_args!(
            "{before} open files, then {open}, and {before} again"
        ));
    });
}

fn logging_requests(mut command: Command) -> Command {
    command.env(
        "HOLDFAST_LOG_FILTER",
        "info,holdfast_server::telemetry::request=debug",
    );
    command
}

/// Asks for a file and reads no more than the beginning of the answer.
async fn begin_to_read(url: &str) -> TcpStream {
    let rest = url.strip_prefix("http://").unwrap();
    let (authority, path) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(authority).await.unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nhost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut beginning = [0; 15];
    stream.read_exact(&mut beginning).await.unwrap();
    assert_eq!(&beginning, b"HTTP/1.1 200 OK");
    stream
}
