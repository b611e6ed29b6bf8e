//! A proxy that leads every tunnel to the calls and every request to the data of one server.

use tokio::io::{self, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Where a proxy leads to: addresses with ports, without schemes.
#[derive(Debug, Clone)]
pub(super) struct Ways {
    pub(super) calls: String,
    pub(super) data: String,
    /// What requests for data begin with.
    pub(super) data_host: &'static str,
}

/// Starts it, and returns its address.
pub(super) async fn start(ways: Ways, tasks: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let ways = ways.clone();
            open.spawn(async move { drop(lead(&ways, stream).await) });
        }
    });
    format!("http://{address}")
}

async fn lead(ways: &Ways, mut client: TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut server;
    if head.starts_with("CONNECT ") {
        server = TcpStream::connect(&ways.calls).await?;
        client.write_all(b"HTTP/1.1 200 -\r\n\r\n").await?;
    } else {
        server = TcpStream::connect(&ways.data).await?;
        let head = head.replacen(ways.data_host, "", 1);
        server.write_all(head.as_bytes()).await?;
    }
    io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
