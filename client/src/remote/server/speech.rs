//! What speaks at a host with which TLS, or HTTP/2 in clear text, was tried in vain.

use std::sync::Arc;
use std::time::Duration;

use holdfast_chunkstore::clock::Clock;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::trust::Trust;
use crate::remote::{Hindrance, ServerUrl};

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// How records of TLS begin: a handshake, or an alert; the version follows.
const TLS_RECORDS: [[u8; 2]; 2] = [[22, 3], [21, 3]];

/// How HTTP/2 begins in clear text: the preface, and settings that change nothing.
const CLEAR_GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Greets a server that broke a first connection off, as it was not greeted before: by TLS where clear text was tried, and
/// in clear text where TLS was. What it answers shows what it speaks, if it answers anything. No secret is sent.
pub(super) async fn hindrance(server: &ServerUrl, clock: &dyn Clock) -> Option<Hindrance> {
    let greeted = async {
        let greeting = match server.is_secure {
            true => CLEAR_GREETING.to_vec(),
            false => hello(&server.host)?,
        };
        let host = server.host.trim_matches(['[', ']']);
        let mut stream = TcpStream::connect((host, server.port)).await.ok()?;
        stream.write_all(&greeting).await.ok()?;
        let mut begin = [0; 5];
        stream.read_exact(&mut begin).await.ok()?;
        told_by(&begin, server.is_secure)
    };
    tokio::select! {
        told = greeted => told,
        () = clock.sleep(PATIENCE) => None,
    }
}

/// What the first bytes of an answer show.
fn told_by(begin: &[u8; 5], is_secure: bool) -> Option<Hindrance> {
    let is_tls = TLS_RECORDS.iter().any(|record| begin.starts_with(record));
    // An older HTTP, its page without a status line, or the greeting of another protocol.
    let is_text = begin.iter().all(|byte| matches!(byte, b' '..=b'~'));
    // Settings come first in HTTP/2.
    let is_http2 = begin[0] == 0 && begin[3] == 4;
    match is_secure {
        true => (is_text || is_http2).then_some(Hindrance::NoTls),
        false if is_tls => Some(Hindrance::Tls),
        false => is_text.then_some(Hindrance::NoHttp2),
    }
}

/// The first message of a TLS connection.
fn hello(host: &str) -> Option<Vec<u8>> {
    let config = Trust::of_system().config().ok()?;
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).ok()?;
    let mut connection = ClientConnection::new(Arc::new(config), name).ok()?;
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).ok()?;
    Some(hello)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell() {
        let (tls, http, http2) = ([22, 3, 3, 0, 122], *b"HTTP/", [0, 0, 18, 4, 0]);
        for (begin, is_secure, wanted) in [
            (tls, false, Some(Hindrance::Tls)),
            ([21, 3, 3, 0, 2], false, Some(Hindrance::Tls)),
            (http, false, Some(Hindrance::NoHttp2)),
            (*b"<!DOC", false, Some(Hindrance::NoHttp2)),
            (*b"SSH-2", false, Some(Hindrance::NoHttp2)),
            (http2, false, None),
            (tls, true, None),
            (http, true, Some(Hindrance::NoTls)),
            (http2, true, Some(Hindrance::NoTls)),
            (*b"220 m", true, Some(Hindrance::NoTls)),
            ([74, 0, 0, 0, 10], false, None),
            ([74, 0, 0, 0, 10], true, None),
        ] {
            let told = told_by(&begin, is_secure);
            assert_eq!(told, wanted, "{begin:?} {is_secure}");
        }
        for host in ["localhost", "127.0.0.1", "[::1]"] {
            let hello = hello(host).unwrap();
            assert_eq!(hello[..2], TLS_RECORDS[0], "{host}");
        }
    }
}
