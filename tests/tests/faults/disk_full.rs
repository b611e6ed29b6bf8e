//! A disk that is full, or has less free space than the floor.

use std::collections::BTreeSet;

use bytes::Bytes;
use holdfast_chunkstore::RootAddress;
use holdfast_doltdb::testing::{TinyDb, address_of};
use holdfast_proto::remotesapi::{ChunkTableInfo, TableFileDetails};
use holdfast_tests::disk::{Disk, PAGE};
use holdfast_tests::forge::{Forge, Plan};
use holdfast_tests::peer::{Peer, hashes, url_of};
use holdfast_tests::table::{BigFile, TableFile};
use holdfast_tests::web::{self, Answer};
use holdfast_tests::{say, whole};
use http::StatusCode;
use tonic::{Code, Status};

use crate::child::{self, Child};
use crate::ledger;

const NAME: &str = "acme/prod";
const MIB: u64 = 1 << 20;
/// What a server logs that finds no room when it starts, and when somebody wants to write.
const NO_ROOM: [&str; 2] = [
    "no room in the data directory: uploads will be refused",
    "no room",
];

/// Everything that a client reads is there.
async fn reads_go_on(peer: &Peer, database: &TinyDb, root: RootAddress) {
    assert_eq!(peer.root().await.unwrap(), root);
    assert!(peer.metadata().await.unwrap().storage_size > 0);
    let files = peer.files().await.unwrap().table_file_info;
    assert!(!files.is_empty());
    let file = web::get(&files[0].url, &[]).await;
    assert_eq!(file.status, StatusCode::OK, "{}", file.text());
    let addresses: Vec<_> = database.chunks().keys().copied().collect();
    assert_eq!(peer.absent(hashes(&addresses)).await.unwrap(), [0; 0]);
    for (address, chunk) in database.chunks().iter().step_by(7) {
        assert_eq!(peer.read(*address).await, Some(Bytes::clone(chunk)));
    }
}

fn assert_exhausted(status: &Status) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let says_why = status.message().contains("free") || status.message().contains("space");
    assert!(says_why, "no reason: {status}");
}

fn assert_insufficient(answer: &Answer) {
    let text = answer.text();
    assert_eq!(answer.status, StatusCode::INSUFFICIENT_STORAGE, "{text}");
    let says_why = ["free", "space", "full"]
        .iter()
        .any(|word| text.contains(word));
    assert!(
        says_why && text.trim().lines().count() == 1,
        "no reason: {text:?}"
    );
}

fn commit(database: &mut TinyDb, message: &str, len: usize) -> TableFile {
    let content: Vec<u8> = message.bytes().cycle().take(len).collect();
    TableFile::classic(&database.commit_with("main", message, &[("table", &content)]))
}

#[test]
fn under_the_floor_of_free_space_uploads_are_refused_with_the_reason_and_reads_go_on() {
    let mut forge = Forge::start(Plan::on_local_disk());
    for message in NO_ROOM {
        forge.logs().expect(message);
    }
    let mut database = TinyDb::new();
    let file = commit(&mut database, "one", 50_000);
    let root = database.root();
    crate::run(async {
        let peer = forge.peer(NAME);
        peer.store(&file).await;
        assert!(
            peer.commit(root, RootAddress::ZERO, &[&file])
                .await
                .unwrap()
        );
    });
    let before = database.clone();
    let more = commit(&mut database, "two", 50_000);
    let space = rustix::fs::statvfs(forge.data().as_path()).unwrap();
    let free = space.f_bavail * space.f_frsize;
    // Half of the floor is left for what is small: a server starts above that, and below it too.
    for floor in [free / 2 * 3, free * 3] {
        forge = forge.restart(|plan| {
            plan.more = vec![("upload.free_floor", floor.to_string())];
        });
        crate::run(async {
            let peer = forge.peer(NAME);
            assert_exhausted(&peer.upload_url(&more).await.unwrap_err());
            reads_go_on(&peer, &before, root).await;
        });
    }
    let forge = forge.restart(|plan| plan.more.clear());
    crate::run(async {
        let peer = forge.peer(NAME);
        peer.store(&more).await;
        assert!(peer.commit(database.root(), root, &[&more]).await.unwrap());
    });
    forge.finish();
}

/// A server on a disk of its own.
struct Small {
    child: Child,
    disk: Disk,
}

impl Small {
    fn start(size_bytes: u64, free_floor: u64) -> Option<Self> {
        let disk = Disk::make(size_bytes)?;
        let (program, data) = (disk.command(&child::binary()), disk.path().join("data"));
        let floor = free_floor.to_string();
        let mut child = Child::start(move || child::serving(program(), &data, &floor));
        NO_ROOM
            .into_iter()
            .for_each(|message| child.expect(message));
        Some(Self { child, disk })
    }

    fn peer(&self) -> Peer {
        self.child.peer(NAME)
    }

    /// What is on the disk is whole, and these are the roots in its log.
    async fn assert_holds(&self, roots: &[RootAddress]) {
        let copy = self.disk.copy_of("data/store");
        let settings = ledger::settings(&copy.path().join("data"), None);
        whole::assert_whole(&settings).await;
        assert_eq!(ledger::roots(&settings, NAME).await, roots);
    }
}

#[test]
fn a_disk_that_runs_full_above_the_floor_is_read_and_written_to_again_when_there_is_room() {
    const FLOOR: u64 = 16 * MIB;
    let Some(mut small) = Small::start(64 * MIB, FLOOR) else {
        return;
    };
    crate::run(async {
        let ballast = small.disk.ballast();
        let peer = small.peer();
        let mut database = TinyDb::new();
        let first = commit(&mut database, "one", 50_000);
        let mut roots = vec![database.root()];
        peer.store(&first).await;
        assert!(
            peer.commit(roots[0], RootAddress::ZERO, &[&first])
                .await
                .unwrap()
        );
        let second = commit(&mut database, "two", 50_000);
        peer.store(&second).await;
        roots.push(database.root());
        let at_second = database.clone();
        let third = commit(&mut database, "three", 50_000);
        let url = peer.upload_url(&third).await.unwrap().unwrap();
        let unnamed = TableFile::classic(&TinyDb::new().commit("main", "never named"));
        peer.store(&unnamed).await;

        ballast.fill_but(FLOOR / 4 * 3);
        assert_exhausted(&peer.upload_url(&third).await.unwrap_err());
        assert_insufficient(&web::put(&url, third.bytes.clone()).await);
        let moved = peer.commit(roots[1], roots[0], &[&second]).await;
        assert!(moved.unwrap(), "what is small may use half of the floor");
        reads_go_on(&peer, &at_second, roots[1]).await;

        ballast.fill_but(FLOOR / 4);
        assert_exhausted(&peer.add(&[&unnamed]).await.unwrap_err());
        assert_insufficient(&web::put(&url, third.bytes.clone()).await);
        reads_go_on(&peer, &at_second, roots[1]).await;

        small.child.start_again();
        let peer = small.peer();
        reads_go_on(&peer, &at_second, roots[1]).await;
        assert_exhausted(&peer.upload_url(&third).await.unwrap_err());

        // The index is made anew where nothing else may be written.
        small.child.kill();
        std::fs::remove_dir_all(small.disk.outside().join("data/index")).unwrap();
        small.child.start_again();
        let peer = small.peer();
        reads_go_on(&peer, &at_second, roots[1]).await;
        small.assert_holds(&roots).await;

        ballast.throw_off();
        peer.store(&third).await;
        assert!(
            peer.commit(database.root(), roots[1], &[&third])
                .await
                .unwrap()
        );
        roots.push(database.root());
        reads_go_on(&peer, &database, roots[2]).await;
        small.assert_holds(&roots).await;
    });
}

/// The steps of a push that store something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Put,
    Add,
    Commit,
    Done,
}

/// Pushes a file whose address is known until something is refused for want of room. Which step that was.
async fn push_into(peer: &Peer, url: &str, file: &TableFile, root: [RootAddress; 2]) -> Step {
    let answer = web::put(url, file.bytes.clone()).await;
    if !answer.status.is_success() {
        assert_insufficient(&answer);
        return Step::Put;
    }
    if let Err(status) = peer.add(&[file]).await {
        assert_exhausted(&status);
        return Step::Add;
    }
    match peer.commit(root[1], root[0], &[]).await {
        Ok(moved) => assert!(moved, "nobody else pushes"),
        Err(status) => {
            assert_exhausted(&status);
            return Step::Commit;
        }
    }
    Step::Done
}

#[test]
fn a_disk_without_a_byte_left_loses_nothing_wherever_a_push_meets_it() {
    let Some(mut small) = Small::start(64 * MIB, 0) else {
        return;
    };
    crate::run(async {
        let ballast = small.disk.ballast();
        let mut database = TinyDb::new();
        let mut roots = Vec::new();
        let first = commit(&mut database, "the first", 2_000);
        let peer = small.peer();
        peer.store(&first).await;
        let root = database.root();
        assert!(
            peer.commit(root, RootAddress::ZERO, &[&first])
                .await
                .unwrap()
        );
        roots.push(root);

        let mut met = BTreeSet::new();
        for pages in 0.. {
            let (before, last) = (database.clone(), database.root());
            let file = commit(&mut database, &format!("{pages} pages are left"), 500);
            let url = peer.upload_url(&file).await.unwrap().unwrap();
            ballast.fill_but(pages * PAGE);
            let step = push_into(&peer, &url, &file, [last, database.root()]).await;
            met.insert(step);
            if step == Step::Done {
                reads_go_on(&peer, &database, database.root()).await;
            } else {
                reads_go_on(&peer, &before, last).await;
            }
            ballast.throw_off();
            // What was refused is repeated as soon as there is room, and is taken.
            if step != Step::Done {
                peer.store(&file).await;
                assert!(peer.commit(database.root(), last, &[&file]).await.unwrap());
            }
            roots.push(database.root());
            if step == Step::Done {
                break;
            }
            assert!(pages < 100, "a push never fits: {met:?}");
        }
        say::line(format_args!(
            "a push into {} different rests of a disk was refused at {met:?}",
            roots.len() - 1
        ));
        let all = [Step::Put, Step::Add, Step::Commit, Step::Done];
        assert_eq!(met, all.into(), "a step never met the full disk");

        let (spool, index) = (
            full_while_it_arrives(&small).await,
            full_in_the_index(&small).await,
        );
        assert!(spool.contains("spool"), "{spool}");
        assert!(index.contains("index"), "{index}");
        reads_go_on(&peer, &database, database.root()).await;
        small.assert_holds(&roots).await;
        small.child.start_again();
        reads_go_on(&small.peer(), &database, database.root()).await;
    });
}

#[test]
fn a_server_starts_on_a_disk_without_a_byte_left_and_everything_on_it_is_read() {
    let Some(mut small) = Small::start(64 * MIB, 0) else {
        return;
    };
    crate::run(async {
        let ballast = small.disk.ballast();
        let peer = small.peer();
        // So many entries go to the disk at once; those of small files are lost with the process.
        let large = BigFile::plan(1, 20_000, 40);
        let url = address_for(&peer, &large).await.unwrap();
        let answer = web::put_pieces(&url, large.len, large.pieces()).await;
        assert!(answer.status.is_success(), "{}", answer.text());
        take(&peer, &large).await;
        let mut database = TinyDb::new();
        let file = commit(&mut database, "one", 50_000);
        let root = database.root();
        peer.store(&file).await;
        let moved = peer.commit(root, RootAddress::ZERO, &[&file]).await;
        assert!(moved.unwrap());
        let refused = commit(&mut database.clone(), "two", 50_000);

        for remove_index in [false, true] {
            ballast.fill_but(0);
            small.child.kill();
            if remove_index {
                std::fs::remove_dir_all(small.disk.outside().join("data/index")).unwrap();
                ballast.fill_but(0);
            }
            small.child.start_again();
            let peer = small.peer();
            reads_go_on(&peer, &database, root).await;
            let some = large.address(7);
            let read = peer.read(some).await.map(|chunk| address_of(&chunk));
            assert_eq!(read, Some(some));
            assert_exhausted(&peer.upload_url(&refused).await.unwrap_err());
            small.assert_holds(&[root]).await;
        }

        ballast.throw_off();
        small.child.start_again();
        let peer = small.peer();
        peer.store(&refused).await;
        reads_go_on(&peer, &database, root).await;
    });
}

/// The disk runs full while the bytes of an upload come. What was answered.
async fn full_while_it_arrives(small: &Small) -> String {
    let peer = small.peer();
    let file = BigFile::plan(7, 6, 1 << 20);
    let url = address_for(&peer, &file)
        .await
        .expect("a new file is asked for");
    let ballast = small.disk.ballast();
    let pieces = file.pieces().enumerate().map(move |(index, piece)| {
        if index == 3 {
            ballast.fill_but(0);
        }
        piece
    });
    let answer = web::put_pieces(&url, file.len, pieces).await;
    assert_insufficient(&answer);
    small.disk.ballast().throw_off();
    take(&peer, &file).await;
    answer.text()
}

/// There is room for an upload, and none for what the chunk index keeps of it. What was answered.
async fn full_in_the_index(small: &Small) -> String {
    let peer = small.peer();
    let ballast = small.disk.ballast();
    let mut refused = None;
    for kib in [32, 128, 256, 512] {
        let file = BigFile::plan(100 + kib, 20_000, 40);
        let url = address_for(&peer, &file)
            .await
            .expect("a new file is asked for");
        ballast.fill_but((file.len + kib * 1024) / PAGE * PAGE);
        let answer = web::put_pieces(&url, file.len, file.pieces()).await;
        if !answer.status.is_success() {
            assert_insufficient(&answer);
            refused = Some(answer.text())
                .filter(|text| text.contains("index"))
                .or(refused);
        }
        ballast.throw_off();
        take(&peer, &file).await;
    }
    refused.expect("the index never met the full disk")
}

async fn address_for(peer: &Peer, file: &BigFile) -> Option<String> {
    let details = TableFileDetails {
        id: file.id.clone(),
        content_length: file.len,
        num_chunks: u64::from(file.chunks),
        ..TableFileDetails::default()
    };
    url_of(&peer.upload_locations(vec![details]).await.unwrap()[0])
}

/// Sends a file, if it is asked for, and adds it, now that there is room.
async fn take(peer: &Peer, file: &BigFile) {
    if let Some(url) = address_for(peer, file).await {
        let answer = web::put_pieces(&url, file.len, file.pieces()).await;
        assert!(answer.status.is_success(), "{}", answer.text());
    }
    let info = ChunkTableInfo {
        hash: file.id.clone(),
        chunk_count: file.chunks,
    };
    assert!(peer.add_infos(vec![info]).await.unwrap().success);
    let some: Vec<_> = (0..file.chunks)
        .step_by(500)
        .map(|index| file.address(index))
        .collect();
    assert_eq!(peer.has(&some).await, vec![true; some.len()]);
    assert_eq!(
        peer.read(some[0]).await.map(|chunk| address_of(&chunk)),
        Some(some[0])
    );
}
