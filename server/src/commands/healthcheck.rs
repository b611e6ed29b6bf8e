//! Whether the server that listens here is ready: what an image without other programs asks.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// How long each step may take. The server itself gives its store five seconds.
const LIMIT: Duration = Duration::from_secs(8);
/// How much of an answer is read.
const MAX_ANSWER: u64 = 4096;

/// What a server answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether it is ready.
    pub is_ready: bool,
    /// What it said, in one line.
    pub said: String,
}

/// Asks `/ready` of the server that listens on `HOST:PORT`.
pub fn ask(listen: &str) -> io::Result<Health> {
    let address = reachable(listen)?;
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(understood(&String::from_utf8_lossy(&answer)))
}

fn understood(answer: &str) -> Health {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    Health {
        is_ready: status == "200",
        said: body.lines().next().unwrap_or_default().to_owned(),
    }
}

/// The address by which this machine reaches a server that listens so.
fn reachable(listen: &str) -> io::Result<SocketAddr> {
    let found = listen.to_socket_addrs()?.next();
    let mut address = found.ok_or(io::ErrorKind::AddrNotAvailable)?;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_all_addresses_is_reached_by_the_loopback() {
        let to = |listen| reachable(listen).unwrap().to_string();
        assert_eq!(to("0.0.0.0:7350"), "127.0.0.1:7350");
        assert_eq!(to("[::]:7350"), "[::1]:7350");
        assert_eq!(to("127.0.0.2:1"), "127.0.0.2:1");
    }

    #[test]
    fn only_200_is_ready() {
        let ready = understood("HTTP/1.1 200 OK\r\nx: y\r\n\r\nready\n");
        assert_eq!((ready.is_ready, &*ready.said), (true, "ready"));
        let stopping = understood("HTTP/1.1 503 Service Unavailable\r\n\r\nstopping\n");
        assert_eq!((stopping.is_ready, &*stopping.said), (false, "stopping"));
        assert!(!understood("").is_ready);
    }
}
