//! A proxy as companies have it: it makes tunnels for whoever asks with CONNECT, and does nothing else.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex as StdMutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::connect;

/// Leads every tunnel to one server, whatever it is asked for.
#[derive(Debug)]
pub struct Tunnels {
    address: SocketAddr,
    accepting: JoinHandle<()>,
    asked: Arc<StdMutex<Vec<String>>>,
}

impl Tunnels {
    /// Listens on a free port of the loopback. Must be called within a runtime.
    pub async fn start(backend: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let asked = Arc::new(StdMutex::new(Vec::new()));
        let heads = Arc::clone(&asked);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let heads = Arc::clone(&heads);
                tokio::spawn(async move { lead(client, backend, &heads).await });
            }
        });
        Ok(Self {
            address,
            accepting,
            asked,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The head of each request that it had.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Tunnels {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn lead(
    mut client: TcpStream,
    backend: SocketAddr,
    heads: &StdMutex<Vec<String>>,
) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let is_tunnel = head.starts_with("CONNECT ");
    heads.lock().unwrap().push(head);
    if !is_tunnel {
        let answer = b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n";
        return client.write_all(answer).await;
    }
    let mut server = connect(backend).await?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
