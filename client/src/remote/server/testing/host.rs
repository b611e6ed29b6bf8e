//! Serves ranges of files from memory by HTTP/1.1, one request a connection.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{State, World, Wrong};

/// Starts it, and returns its address.
pub(super) async fn start(world: &Arc<World>, tasks: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let world = Arc::clone(world);
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let world = Arc::clone(&world);
            // A client may go away at any time.
            open.spawn(async move { drop(serve(&world, stream).await) });
        }
    });
    format!("http://{address}")
}

struct Request {
    method: String,
    path: String,
    signature: String,
    headers: HashMap<String, String>,
    body: Bytes,
}

struct Answer {
    status: u16,
    headers: String,
    body: Bytes,
    /// How much of the body is sent.
    sent: usize,
}

impl Answer {
    fn new(status: u16, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self {
            status,
            headers: String::new(),
            sent: body.len(),
            body,
        }
    }
}

async fn serve(world: &World, stream: TcpStream) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let request = read(&mut stream).await?;
    let answer = match request.method.as_str() {
        "GET" => get(world, &request),
        _ => match put(world, request) {
            Some(answer) => answer,
            None => world.be_silent().await,
        },
    };
    let head = format!(
        "HTTP/1.1 {} -\r\ncontent-length: {}\r\nconnection: close\r\n{}\r\n",
        answer.status,
        answer.body.len(),
        answer.headers
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&answer.body[..answer.sent]).await?;
    stream.shutdown().await
}

async fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut words = lines[0].split(' ');
    let method = words.next().unwrap().to_owned();
    let (path, signature) = words.next().unwrap().split_once('?').unwrap();
    let headers: HashMap<_, _> = lines[1..]
        .iter()
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let len = headers.get("content-length");
    let mut body = vec![0; len.map_or(0, |len| len.parse().unwrap())];
    stream.read_exact(&mut body).await?;
    Ok(Request {
        method,
        path: path.to_owned(),
        signature: signature.to_owned(),
        headers,
        body: body.into(),
    })
}

fn get(world: &World, request: &Request) -> Answer {
    let mut state = world.state();
    if let Some(left) = state.good_for.front_mut() {
        match left.checked_sub(1) {
            Some(fewer) => *left = fewer,
            None => {
                state.good_for.pop_front();
                state.signature += 1;
            }
        }
    }
    if request.signature != state.query() {
        return Answer::new(400, "the address has ended");
    }
    let name = request.path.trim_start_matches('/');
    let Some(file) = state.files.get(name).cloned() else {
        return Answer::new(404, "");
    };
    let len = file.len();
    let range = &request.headers["range"];
    let (first, last) = range["bytes=".len()..].split_once('-').unwrap();
    let (first, last): (u64, u64) = (first.parse().unwrap(), last.parse().unwrap());
    state.seen.ranges.push((name.to_owned(), first, last));
    if first >= file.len() as u64 {
        return Answer::new(416, "");
    }
    let end = (usize::try_from(last).unwrap() + 1).min(file.len());
    let mut answer = Answer::new(206, file.slice(usize::try_from(first).unwrap()..end));
    let mut begins_at = first;
    match state.wrongs.pop_front() {
        None => {}
        Some(Wrong::Cut(bytes)) => answer.sent = bytes,
        Some(Wrong::Short(bytes)) => {
            answer.sent -= bytes;
            answer.body.truncate(answer.sent);
        }
        Some(Wrong::Whole) => answer = Answer::new(200, file),
        Some(Wrong::Elsewhere) => begins_at += 1,
        Some(Wrong::Flipped) => {
            let flipped: Vec<u8> = answer.body.iter().map(|byte| !byte).collect();
            answer.body = flipped.into();
        }
        Some(Wrong::Status(status)) => return refusal(&state, request, status, "no"),
    }
    answer.headers = format!("content-range: bytes {begins_at}-{last}/{len}\r\n");
    answer
}

/// Nothing for what is taken and never answered.
fn put(world: &World, request: Request) -> Option<Answer> {
    let mut state = world.state();
    let answer = match state.upload_refusals.pop_front() {
        Some(status) => {
            let words = "no room ".repeat(1000);
            refusal(&state, &request, status, &words)
        }
        None => Answer::new(204, ""),
    };
    (state.seen.uploads).push((request.path, request.headers, request.body));
    if state.silent_uploads > 0 {
        state.silent_uploads -= 1;
        return None;
    }
    Some(answer)
}

/// A refusal as the state says.
fn refusal(state: &State, request: &Request, status: u16, words: &str) -> Answer {
    let mut answer = match state.is_talkative {
        true => {
            let url = format!("{}{}?{}", state.host, request.path, request.signature);
            Answer::new(status, format!("{url} is refused: {words}"))
        }
        false => Answer::new(status, words.to_owned()),
    };
    if let Some(wait) = state.retry_after {
        answer.headers = format!("retry-after: {wait}\r\n");
    }
    answer
}
