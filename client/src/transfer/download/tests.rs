#![expect(
    clippy::disallowed_methods,
    reason = "tests leave files as an earlier attempt did"
)]

use std::collections::VecDeque;
use std::fs;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::testing::generate::{self, Compression, Made};
use tempfile::TempDir;

use super::*;
use crate::remote::{FileBody, Hasty, Metadata, OutgoingFile, Reach, RemoteChunk, Swap, Uploaded};
use crate::transfer::check::CheckError;
use crate::transfer::events::Silent;

/// Has one file, and breaks off where it is told.
#[derive(Debug)]
struct Host {
    bytes: Bytes,
    file: RemoteFile,
    /// After how many bytes each of the next answers breaks off.
    cuts: Mutex<VecDeque<usize>>,
    knows_ranges: bool,
    /// Whether the length comes with a whole file.
    tells_len: bool,
    /// Whether the last bytes of a whole file are others than those of a range.
    bends_end: bool,
    /// The bytes that were sent.
    sent: AtomicU64,
}

#[async_trait]
impl Remote for Host {
    fn address(&self) -> String {
        "http://host.test/acme/prod".to_owned()
    }

    async fn metadata(&self) -> Result<Metadata, RemoteError> {
        unreachable!("a download asks for files only")
    }

    async fn root(&self) -> Result<RootAddress, RemoteError> {
        unreachable!("a download asks for files only")
    }

    async fn absent(&self, _: &[ChunkAddress]) -> Result<Vec<ChunkAddress>, RemoteError> {
        unreachable!("a download asks for files only")
    }

    async fn read(
        &self,
        _: &[ChunkAddress],
        _: Reach,
    ) -> Result<Vec<Option<RemoteChunk>>, RemoteError> {
        unreachable!("a download asks for files only")
    }

    async fn stored_lens(&self, _: &[ChunkAddress]) -> Result<Vec<Option<u32>>, RemoteError> {
        unreachable!("a download asks for files only")
    }

    async fn list_files(&self) -> Result<ListedFiles, RemoteError> {
        unreachable!("a download of one file asks for no list")
    }

    async fn file_len(&self, _: &RemoteFile) -> Result<u64, RemoteError> {
        Ok(self.bytes.len() as u64)
    }

    async fn read_file(
        &self,
        _: &RemoteFile,
        from: u64,
        to: Option<u64>,
    ) -> Result<FileBody, RemoteError> {
        let len = self.bytes.len() as u64;
        let (from, to) = match self.knows_ranges {
            true => (from, to.unwrap_or(len)),
            false => (0, len),
        };
        assert!(from < to && to <= len, "range {from}..{to} of {len}");
        let at = |offset| usize::try_from(offset).unwrap();
        let mut body = self.bytes.slice(at(from)..at(to));
        let cut = self.cuts.lock().unwrap().pop_front();
        let is_cut = cut.is_some_and(|cut| cut < body.len());
        body.truncate(cut.unwrap_or(usize::MAX));
        self.sent.fetch_add(body.len() as u64, Ordering::Relaxed);
        if self.bends_end && from == 0 {
            let mut bent = body.to_vec();
            let end = bent.len();
            bent[end - 10..].fill(7);
            body = bent.into();
        }
        let pieces: Vec<_> = body.chunks(100_000).map(Bytes::copy_from_slice).collect();
        let pieces = pieces.into_iter().map(Ok);
        let end = is_cut.then(|| {
            let action = "read a table file";
            Err(RemoteError::Short { action, missing: 1 })
        });
        Ok(FileBody {
            begins_at: from,
            len: self.tells_len.then_some(len),
            bytes: Box::pin(stream::iter(pieces.chain(end)).then(async |piece| {
                tokio::task::yield_now().await;
                piece
            })),
        })
    }

    async fn upload(&self, _: &OutgoingFile) -> Result<Uploaded, RemoteError> {
        unreachable!("a download sends nothing")
    }

    async fn add_files(&self, _: &[ListedFile]) -> Result<(), RemoteError> {
        unreachable!("a download sends nothing")
    }

    async fn commit(
        &self,
        _: RootAddress,
        _: RootAddress,
        _: &[ListedFile],
    ) -> Result<Swap, RemoteError> {
        unreachable!("a download sends nothing")
    }
}

impl Host {
    fn new(kind: FileKind, made: &Made) -> Self {
        Self {
            bytes: Bytes::copy_from_slice(&made.file),
            file: RemoteFile {
                id: made.written.id,
                chunks: made.written.count,
                kind,
                place: String::new(),
            },
            cuts: Mutex::default(),
            knows_ranges: true,
            tells_len: true,
            bends_end: false,
            sent: AtomicU64::new(0),
        }
    }

    fn cut_after(&self, cuts: &[usize]) {
        self.cuts.lock().unwrap().extend(cuts);
    }
}

/// A database directory that begins.
struct Ground {
    directory: TempDir,
}

impl Ground {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for folder in ["parts", "store"] {
            fs::create_dir(directory.path().join(folder)).unwrap();
        }
        Self { directory }
    }

    fn part(&self, host: &Host) -> PathBuf {
        let name = file_name(host.file.id, host.file.kind);
        self.directory.path().join(format!("parts/{name}.part"))
    }

    fn downloader(&self, host: &Arc<Host>) -> Downloader {
        let remote: Arc<dyn Remote> = Arc::clone(host) as _;
        let folders = Folders {
            parts: self.directory.path().join("parts"),
            store: self.directory.path().join("store"),
        };
        let clock: Arc<dyn Clock> = Arc::new(Hasty::new());
        let observer: Arc<dyn Observer> = Arc::new(Silent);
        let pool = BlockingPool::new(4);
        Downloader::new(&remote, folders, &pool, &clock, &observer)
    }

    /// Takes the file of a host, and returns what landed.
    async fn take(&self, host: &Arc<Host>) -> Result<(u32, Vec<u8>), TransferError> {
        let listed = self.downloader(host).take(&host.file).await?.unwrap();
        assert!(!self.part(host).exists());
        let name = file_name(host.file.id, host.file.kind);
        let landed = fs::read(self.directory.path().join("store").join(name)).unwrap();
        Ok((listed.chunks, landed))
    }
}

/// A table file and an archive, both large enough to be checked while they come.
fn large() -> [(FileKind, Made); 2] {
    let chunks = generate::chunks(7, 14_000);
    let made = [
        (FileKind::Table, generate::table_file_of(chunks.clone())),
        (
            FileKind::Archive,
            generate::archive_of(chunks, Compression::Mixed),
        ),
    ];
    for (_, made) in &made {
        assert!(
            made.file.len() as u64 > LARGE_BYTES + (1 << 20),
            "{}",
            made.file.len()
        );
    }
    made
}

#[tokio::test]
async fn a_large_file_lands_as_it_is_wherever_it_is_cut() {
    for (kind, made) in large() {
        for (knows_ranges, tells_len, cuts) in [
            (true, true, vec![]),
            (true, false, vec![]),
            (false, true, vec![]),
            // The data and the end are read by turns.
            (true, false, vec![1 << 20, 1000, 0, 1 << 20, 2 << 20]),
            (false, true, vec![1 << 20, usize::MAX, 2 << 20]),
        ] {
            let mut host = Host::new(kind, &made);
            (host.knows_ranges, host.tells_len) = (knows_ranges, tells_len);
            host.cut_after(&cuts);
            let host = Arc::new(host);
            let (chunks, landed) = Ground::new().take(&host).await.unwrap();
            assert_eq!(chunks, made.written.count);
            assert!(landed == made.file, "{kind:?} with cuts {cuts:?}");
            let (sent, len) = (host.sent.load(Ordering::Relaxed), landed.len() as u64);
            assert!(!knows_ranges || sent < len + len / 8, "{sent} of {len}");
        }
    }
}

#[tokio::test]
async fn what_is_there_is_not_read_again() {
    for (kind, made) in large() {
        let len = made.file.len();
        for have in [1, 1 << 20, len - 1000, len - 1, len] {
            let ground = Ground::new();
            let host = Arc::new(Host::new(kind, &made));
            fs::write(ground.part(&host), &made.file[..have]).unwrap();
            let (chunks, landed) = ground.take(&host).await.unwrap();
            assert_eq!(chunks, made.written.count);
            assert!(landed == made.file, "{kind:?} with {have} bytes");
            let sent = usize::try_from(host.sent.load(Ordering::Relaxed)).unwrap();
            assert!(sent <= len - have + len / 8, "{sent} of {}", len - have);
        }
    }
}

#[tokio::test]
async fn what_is_there_of_another_file_is_read_again() {
    for (kind, made) in large() {
        for have in [1 << 20, made.file.len(), made.file.len() + 1] {
            let ground = Ground::new();
            let host = Arc::new(Host::new(kind, &made));
            fs::write(ground.part(&host), vec![7; have]).unwrap();
            let (_, landed) = ground.take(&host).await.unwrap();
            assert!(landed == made.file, "{kind:?} with {have} bytes");
        }
    }
}

#[tokio::test]
async fn a_chunk_that_is_another_is_named_and_nothing_lands() {
    for (kind, made) in large() {
        let mut host = Host::new(kind, &made);
        let mut bytes = made.file.clone();
        bytes[3 << 20] ^= 1;
        host.bytes = bytes.into();
        let ground = Ground::new();
        let error = ground.take(&Arc::new(host)).await.unwrap_err();
        let is_named = matches!(
            &error,
            TransferError::Check {
                source: CheckError::Chunk { .. } | CheckError::Address { .. }
            }
        );
        assert!(is_named, "{error:?}");
        let store = ground.directory.path().join("store");
        assert_eq!(fs::read_dir(store).unwrap().count(), 0);
    }
}

/// What was checked is what lands: not an index that came another way.
#[tokio::test]
async fn the_index_that_lands_is_the_one_by_which_chunks_were_checked() {
    for (kind, made) in large() {
        let mut host = Host::new(kind, &made);
        host.bends_end = true;
        let (_, landed) = Ground::new().take(&Arc::new(host)).await.unwrap();
        assert!(landed == made.file, "{kind:?}");
    }
}

#[tokio::test]
async fn a_file_that_is_listed_twice_comes_once() {
    for (kind, made) in large() {
        let host = Arc::new(Host::new(kind, &made));
        let listed = ListedFiles {
            root: RootAddress::new([7; 20]),
            files: vec![host.file.clone(), host.file.clone()],
        };
        let taken = Ground::new().downloader(&host).take_all(listed).await;
        assert_eq!(taken.unwrap().1.len(), 1);
        let (sent, len) = (host.sent.load(Ordering::Relaxed), made.file.len() as u64);
        assert!(sent < len + len / 8, "{sent} of {len}");
    }
}
