//! A long line: a proxy that brings the delay and the rate of a wide area network to the loopback.
//!
//! ```text
//! client ─▶ take in ─▶ Direction: queue, then rate, then delay ─▶ deliver ─▶ server
//! client ◀─ deliver ◀─ Direction: queue, then rate, then delay ◀─ take in ◀─ server
//! ```
//!
//! What is modelled:
//!
//! * **Delay.** No byte leaves the line earlier than half a round trip after it came in.
//! * **Rate.** All connections share each direction: bytes stand in one row and pass one after the other. Nothing is
//!   saved up, so that there are no bursts.
//! * **Queue.** Who finds bytes of more than 20 ms before the line has to wait: no more are taken in from there.
//! * **Window.** A connection has at most the bytes of a round trip and 1 MiB under way in a direction; if the other end
//!   does not read, no more are taken in.
//! * **Opening.** A connection is opened after a round trip: what a client says at once is held back so long.
//! * **Cuts.** Where that is asked for, all connections break off time and again; new ones are whole.
//!
//! What is not: loss, reordering, jitter, TCP's slow start, the headers of packets (the rate is that of the bytes
//! themselves), and acknowledgements, which cost the other direction nothing. The loopback tells a client at once that
//! it is connected, and takes some megabytes off its hands, before the line sees them: only the answer shows the delay.

mod direction;
mod substitution;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use direction::Direction;
use substitution::Substitution;

pub use direction::Terms;

/// The most bytes that are taken in at once: each connection that waits may be so far ahead of the line.
const PIECE_BYTES: usize = 16 * 1024;

/// Pieces of a connection that are under way at once, however small they are.
const PIECES: usize = 4096;

/// A proxy with the terms of a line. Dropping it ends it, with all of its connections.
#[derive(Debug)]
pub struct Line {
    address: SocketAddr,
    accepting: JoinHandle<()>,
    ends: Arc<Ends>,
    /// Cuts all connections time and again.
    cutting: JoinSet<()>,
}

impl Line {
    /// Listens on a free port of the loopback, with `backend` at the far end. Must be called within a runtime.
    pub async fn start(backend: SocketAddr, terms: Terms) -> io::Result<Self> {
        Self::start_as(Naming::Kept, backend, terms).await
    }

    /// The same as [`Line::start_in_place_of`], and `name` is the address that stands there instead: that of another
    /// proxy before this one.
    pub async fn start_behind(
        name: SocketAddr,
        backend: SocketAddr,
        terms: Terms,
    ) -> io::Result<Self> {
        Self::start_as(Naming::Other(name), backend, terms).await
    }

    /// The same for a server that says at which address its data is: whatever address it was asked at, `remotesrv` says
    /// its own port. `http://`, its address and its port are replaced by those of the line in all that it says.
    ///
    /// An address that is cut in two by a frame of HTTP/2 is missed, so that some bytes may come around the line.
    pub async fn start_in_place_of(backend: SocketAddr, terms: Terms) -> io::Result<Self> {
        Self::start_as(Naming::Replaced, backend, terms).await
    }

    async fn start_as(naming: Naming, backend: SocketAddr, terms: Terms) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let name = match naming {
            Naming::Kept => None,
            Naming::Replaced => Some(address),
            Naming::Other(name) => Some(name),
        };
        let substitute = |name| {
            let (old, new) = (format!("http://{backend}"), format!("http://{name}"));
            let unequal = || io::Error::other(format!("{old} and {new} differ in length"));
            Substitution::new(&old, &new).ok_or_else(unequal)
        };
        let substitution = name.map(substitute).transpose()?;
        let ends = Arc::new(Ends {
            backend,
            substitution,
            terms,
            up: Direction::new(terms),
            down: Direction::new(terms),
            cuts: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&ends)));
        Ok(Self {
            address,
            accepting,
            ends,
            cutting: JoinSet::new(),
        })
    }

    /// Cuts all connections, and again each time so long after the last time. Must be called within a runtime.
    pub fn cut_every(&mut self, period: Duration) {
        let ends = Arc::clone(&self.ends);
        self.cutting.spawn(async move {
            loop {
                sleep(period).await;
                ends.cut();
            }
        });
    }

    /// Cuts no more.
    pub fn cut_no_more(&mut self) {
        self.cutting.abort_all();
    }

    /// How often all connections were cut.
    pub fn cuts(&self) -> u64 {
        *self.ends.cuts.borrow()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The bytes that it has taken in so far, of both directions.
    pub fn bytes(&self) -> u64 {
        self.ends.up.bytes() + self.ends.down.bytes()
    }
}

/// What becomes of the server's address in what it says.
#[derive(Debug, Clone, Copy)]
enum Naming {
    /// It stays.
    Kept,
    /// The line's is there instead.
    Replaced,
    /// Another is there instead.
    Other(SocketAddr),
}

impl Drop for Line {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, ends: Arc<Ends>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let ends = Arc::clone(&ends);
        // A connection that breaks off is broken off at its other end, which is all there is to say about it.
        connections.spawn(async move {
            let mut cuts = ends.cuts.subscribe();
            tokio::select! {
                ended = ends.connect(client) => drop(ended),
                cut = cuts.changed() => drop(cut),
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

#[derive(Debug)]
struct Ends {
    backend: SocketAddr,
    /// Of what the server says.
    substitution: Option<Substitution>,
    terms: Terms,
    up: Direction,
    down: Direction,
    /// How often all connections were cut.
    cuts: watch::Sender<u64>,
}

impl Ends {
    fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    async fn connect(&self, client: TcpStream) -> io::Result<()> {
        sleep(self.terms.round_trip).await;
        let server = TcpStream::connect(self.backend).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::try_join!(
            pass_on(&self.up, from_client, to_server, None),
            pass_on(
                &self.down,
                from_server,
                to_client,
                self.substitution.clone()
            ),
        )?;
        Ok(())
    }
}

/// Bytes under way; none say that no more will come.
#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    arrives_at: Instant,
    _window: OwnedSemaphorePermit,
}

/// Carries what one end says to the other, until it has nothing more to say.
async fn pass_on(
    direction: &Direction,
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    substitution: Option<Substitution>,
) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel(PIECES);
    tokio::try_join!(
        take_in(direction, from, sender, substitution),
        deliver(receiver, to)
    )?;
    Ok(())
}

async fn take_in(
    direction: &Direction,
    mut from: OwnedReadHalf,
    pieces: mpsc::Sender<Piece>,
    mut substitution: Option<Substitution>,
) -> io::Result<()> {
    let window = Arc::new(Semaphore::new(direction.window_bytes()));
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        sleep_until(direction.ready_at()).await;
        let count = from.read(&mut buffer).await?;
        if let Some(substitution) = &mut substitution {
            substitution.apply(&mut buffer[..count]);
        }
        let permits = u32::try_from(count).expect("a piece is small");
        let room = Arc::clone(&window).acquire_many_owned(permits).await;
        let piece = Piece {
            bytes: Bytes::copy_from_slice(&buffer[..count]),
            arrives_at: direction.carry(Instant::now(), count),
            _window: room.expect("a window is never closed"),
        };
        let sent = pieces.send(piece).await;
        sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        if count == 0 {
            return Ok(());
        }
    }
}

async fn deliver(mut pieces: mpsc::Receiver<Piece>, mut to: OwnedWriteHalf) -> io::Result<()> {
    while let Some(piece) = pieces.recv().await {
        sleep_until(piece.arrives_at).await;
        if piece.bytes.is_empty() {
            return to.shutdown().await;
        }
        to.write_all(&piece.bytes).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms::CONTINENTAL;

    /// A server that says what it hears.
    async fn start_echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    drop(tokio::io::copy(&mut from, &mut to).await);
                });
            }
        });
        address
    }

    async fn connect_to_echo() -> (Line, TcpStream) {
        let line = Line::start(start_echo().await, TERMS).await.unwrap();
        let stream = TcpStream::connect(line.address()).await.unwrap();
        (line, stream)
    }

    async fn ping(stream: &mut TcpStream) {
        stream.write_all(b"?").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'?');
    }

    #[tokio::test]
    async fn a_ping_takes_a_round_trip_and_the_first_one_two() {
        let start = Instant::now();
        let (_line, mut stream) = connect_to_echo().await;
        ping(&mut stream).await;
        assert!(start.elapsed() >= 2 * TERMS.round_trip);
        for _ in 0..3 {
            let start = Instant::now();
            ping(&mut stream).await;
            assert!(start.elapsed() >= TERMS.round_trip);
        }
    }

    #[tokio::test]
    async fn bytes_arrive_whole_in_order_and_at_no_more_than_the_rate() {
        let start = Instant::now();
        let (_line, stream) = connect_to_echo().await;
        let said: Vec<u8> = (0..10_000_000_u32)
            .map(|place| (place / 7).to_le_bytes()[0])
            .collect();
        let (mut from, mut to) = stream.into_split();
        let heard = tokio::spawn(async move {
            let mut heard = Vec::new();
            from.read_to_end(&mut heard).await.map(|_| heard)
        });
        to.write_all(&said).await.unwrap();
        to.shutdown().await.unwrap();
        let heard = heard.await.unwrap().unwrap();
        let took = start.elapsed();
        assert!(heard == said, "{} bytes came back", heard.len());
        assert!(took >= TERMS.time_to_pass(10_000_000) + 2 * TERMS.round_trip);
    }

    #[tokio::test]
    async fn a_server_is_known_by_the_address_of_the_line_alone() {
        let echo = start_echo().await;
        for (naming, replaced) in [(Naming::Kept, false), (Naming::Replaced, true)] {
            let line = Line::start_as(naming, echo, TERMS).await.unwrap();
            let mut stream = TcpStream::connect(line.address()).await.unwrap();
            let said = format!("my data is at http://{echo}/data");
            stream.write_all(said.as_bytes()).await.unwrap();
            let mut heard = vec![0; said.len()];
            stream.read_exact(&mut heard).await.unwrap();
            let known = if replaced { line.address() } else { echo };
            let heard = String::from_utf8(heard).unwrap();
            assert_eq!(heard, format!("my data is at http://{known}/data"));
            assert_eq!(line.bytes(), 2 * said.len() as u64);
        }
    }

    #[tokio::test]
    async fn connections_share_the_rate() {
        const LEN: usize = 2_500_000;
        let line = Line::start(start_echo().await, TERMS).await.unwrap();
        let start = Instant::now();
        let mut connections = JoinSet::new();
        for _ in 0..4 {
            let stream = TcpStream::connect(line.address()).await.unwrap();
            connections.spawn(async move {
                let (mut from, mut to) = stream.into_split();
                let (mut heard, said) = (vec![0; LEN], vec![1; LEN]);
                tokio::try_join!(from.read_exact(&mut heard), to.write_all(&said)).unwrap();
            });
        }
        connections.join_all().await;
        assert!(start.elapsed() >= TERMS.time_to_pass(4 * LEN as u64) + 2 * TERMS.round_trip);
    }

    #[tokio::test]
    async fn a_client_that_goes_away_is_gone_at_the_server_too() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let line = Line::start(listener.local_addr().unwrap(), TERMS);
        let line = line.await.unwrap();
        drop(TcpStream::connect(line.address()).await.unwrap());
        let (mut server, _) = listener.accept().await.unwrap();
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
    }
}
