//! Servers that cannot be reached, or that are none: told at once, by their names, and retries are told.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use holdfast_tests::forge::{Forge, Plan};
use holdfast_tests::process::Finished;
use holdfast_tests::proxy::TlsDoor;
use holdfast_tests::remote::Remote;
use tokio::runtime::Runtime;

use crate::holdfast::{binary, run};

/// Runs the binary as a user without settings.
fn bare(arguments: &[&str]) -> Finished {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    command
        .env_clear()
        .env("HOME", home.path())
        .args(arguments)
        .current_dir(home.path());
    run(command)
}

/// What cannot be reached is told in one try.
#[track_caller]
fn assert_told_at_once(url: &str, words: &str, hint: &str) {
    let refused = bare(&["refs", url]);
    assert_eq!(refused.code, Some(5), "{refused:#?}");
    let told = &refused.stderr;
    assert!(told.starts_with("error: could not reach "), "{told}");
    assert!(told.contains(words), "{told}");
    assert!(told.contains(hint), "{told}");
    assert!(!told.contains("retrying"), "{told}");
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn a_port_where_nothing_listens_and_a_host_without_an_address_are_told_at_once() {
    let url = format!("http://127.0.0.1:{}/acme/prod", free_port());
    assert_told_at_once(&url, ": connection refused", "hint: check host and port");
    // No name service is asked for a name that is too long.
    let url = format!("http://{}/acme/prod", "a".repeat(64) + ".invalid");
    assert_told_at_once(
        &url,
        "name of the host is not known",
        "hint: check the spelling",
    );
}

#[test]
fn tls_and_clear_text_are_told_apart_at_once() {
    let runtime = Runtime::new().unwrap();
    let mut door = runtime.block_on(TlsDoor::bind("localhost")).unwrap();
    let port = door.address().port();
    let backend: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    runtime.block_on(async { door.lead_to(backend) });
    let url = format!("http://localhost:{port}/acme/prod");
    assert_told_at_once(
        &url,
        "the server speaks TLS",
        "hint: write https:// in the address",
    );
    let url = format!("https://localhost:{port}/acme/prod");
    assert_told_at_once(
        &url,
        "is not trusted (invalid peer certificate",
        "SSL_CERT_FILE",
    );

    let forge = Forge::start(Plan::on_local_disk());
    let url = format!("{}/acme/prod", Remote::base_url(&forge));
    let secure = url.replace("http://", "https://");
    assert_told_at_once(
        &secure,
        "the server does not speak TLS",
        "hint: write http://",
    );
    forge.finish();

    let pages = Pages::start(Vec::new());
    for scheme in ["http", "https"] {
        let url = format!("{scheme}://127.0.0.1:{}/acme/prod", pages.port);
        let (words, hint) = match scheme {
            "http" => ("the server speaks no HTTP/2", "hint: check the address"),
            _ => ("the server does not speak TLS", "hint: write http://"),
        };
        assert_told_at_once(&url, words, hint);
    }
}

#[test]
fn a_page_of_a_proxy_is_told_as_what_it_is_and_the_retry_is_told() {
    let pages = Pages::start(vec![502, 404]);
    let url = format!("http://127.0.0.1:{}/acme/prod", pages.port);
    let refused = bare(&["refs", &url]);
    assert_eq!(refused.code, Some(3), "{refused:#?}");
    let lines: Vec<_> = refused.stderr.lines().collect();
    let retry = "could not read the root of the remote: HTTP status 502";
    assert!(lines[0].starts_with("retrying in 0."), "{lines:?}");
    assert!(
        lines[0].ends_with(&format!(" s (1 of 5): {retry}")),
        "{lines:?}"
    );
    assert_eq!(
        lines[1],
        "error: could not read the root of the remote: HTTP status 404"
    );
    assert!(
        lines[2].contains("no server of Dolt's remotes API"),
        "{lines:?}"
    );

    let pages = Pages::start(vec![503, 404]);
    let url = format!("http://127.0.0.1:{}/acme/prod", pages.port);
    let refused = bare(&["refs", &url, "--format", "json"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(3), ""));
    let lines = refused.stderr.lines();
    let lines: Vec<serde_json::Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["retry"]["number"], 1, "{lines:?}");
    assert_eq!(lines[0]["retry"]["most"], 5, "{lines:?}");
    assert_eq!(
        lines[1]["error"],
        "could not read the root of the remote: HTTP status 404"
    );
    assert_eq!(lines[1]["exit_code"], 3);
    assert!(lines[1]["hint"].is_string(), "{lines:?}");
}

#[test]
fn a_command_line_that_is_wrong_is_told_as_json_where_that_was_asked_for() {
    let refused = bare(&["refs", "--format=json", "--nosuch"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""));
    let told: serde_json::Value = serde_json::from_str(&refused.stderr).unwrap();
    let error = told["error"].as_str().unwrap();
    assert!(
        error.starts_with("unexpected argument '--nosuch'"),
        "{error}"
    );
    assert_eq!(told["exit_code"], 2);
    let help = bare(&["--help", "--format", "json"]).expect_success();
    assert!(help.starts_with("Clone, fetch, push"), "{help}");
}

/// Answers each call over HTTP/2 with a page of the next status, and what is no HTTP/2 as a server of HTTP/1 does.
struct Pages {
    port: u16,
}

impl Pages {
    fn start(statuses: Vec<u16>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        // It ends with the process of the tests.
        std::thread::spawn(move || {
            let mut statuses = statuses.into_iter();
            for stream in listener.incoming() {
                // Who asks goes when it has seen enough.
                drop(answer(stream.unwrap(), &mut statuses));
            }
        });
        Self { port }
    }
}

/// The beginning of a connection of HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Kinds of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;

fn answer(mut stream: TcpStream, statuses: &mut impl Iterator<Item = u16>) -> std::io::Result<()> {
    let mut begin = [0; PREFACE.len()];
    stream.read_exact(&mut begin)?;
    let mut next = statuses.next();
    if begin != PREFACE || next.is_none() {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")?;
        // What came is read, so that the answer is not lost.
        stream.shutdown(std::net::Shutdown::Write)?;
        return stream.read_to_end(&mut Vec::new()).map(drop);
    }
    stream.write_all(&frame(SETTINGS, 0, [0; 4], b""))?;
    while let Some(status) = next {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        stream.read_exact(&mut vec![0; len])?;
        if head[3] != HEADERS {
            continue;
        }
        let id = [head[5], head[6], head[7], head[8]];
        // `:status` and `content-type` as literals that name the entries of the static table.
        let mut headers = vec![0x08, 3];
        headers.extend(status.to_string().bytes());
        headers.extend([0x0f, 0x10, 9]);
        headers.extend(b"text/html");
        stream.write_all(&frame(HEADERS, 4, id, &headers))?;
        stream.write_all(&frame(DATA, 1, id, b"<html>an error</html>"))?;
        next = statuses.next();
    }
    stream.read_to_end(&mut Vec::new()).map(drop)
}

fn frame(kind: u8, flags: u8, stream: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).unwrap();
    let mut frame = vec![0, 0, len, kind, flags];
    frame.extend(stream);
    frame.extend(payload);
    frame
}
