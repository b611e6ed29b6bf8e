use std::collections::BTreeSet;

use bytes::Bytes;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::format::{FileKind, table};
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::noms_dir::{NewFile, NewStore};
use holdfast_chunkstore::{ErrorKind, RootAddress};
use holdfast_doltdb::model::Commit;
use holdfast_doltdb::testing::TinyDb;
use holdfast_doltdb::write::messages::clean_working_set;

use super::*;

/// Writes chunks into a table file.
fn write_file(file: NewFile, chunks: &[&Bytes]) -> ListedFile {
    let mut writer = table::Writer::new(file);
    for chunk in chunks {
        writer.append_chunk(hash_chunk(chunk), chunk).unwrap();
    }
    let (file, written) = writer.finish().unwrap();
    file.land(written.id, FileKind::Table).unwrap();
    ListedFile {
        id: written.id,
        chunks: written.count,
    }
}

fn store(directory: &Path, root: RootAddress, chunks: &[&Bytes]) -> NomsDir {
    let store = NewStore::create(directory).unwrap();
    let listed = write_file(store.begin_file().unwrap(), chunks);
    store.finish(root, vec![listed]).unwrap();
    NomsDir::open(directory).unwrap()
}

/// A database of which two branches have common commits, with a tag on one of them.
struct Company {
    tiny: TinyDb,
    /// What `main` and the tag on it reach.
    main: BTreeSet<ChunkAddress>,
    folder: tempfile::TempDir,
}

impl Company {
    fn new() -> Self {
        let long: &[u8] = &[7; 100_000];
        let mut tiny = TinyDb::new();
        let mut chunks = tiny.commit_with("main", "first", &[("rows", long)]);
        let mut roots = vec![tiny.root().chunk()];
        chunks.extend(tiny.commit_with("main", "second", &[("rows", &long[1..])]));
        roots.push(tiny.root().chunk());
        chunks.extend(tiny.tag("v1", "main"));
        roots.push(tiny.root().chunk());
        let main = chunks.iter().map(|chunk| hash_chunk(chunk));
        let main = main.filter(|address| !roots.contains(&Some(*address)));
        let main = main.collect();
        let own: (&str, &[u8]) = ("own", b"secret");
        let parents: Vec<_> = tiny.head("main").into_iter().collect();
        tiny.commit_on("other", "of another customer", &[own], &parents);
        Self {
            tiny,
            main,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn subject(&self, branches: &[&str]) -> Subject {
        let head = |branch: &&str| ((*branch).to_owned(), self.tiny.head(branch).unwrap());
        Subject {
            from: "https://h/a/b".to_owned(),
            branches: branches.iter().map(head).collect(),
            tags: BTreeMap::from([("v1".to_owned(), self.tiny.refs()["refs/tags/v1"])]),
            made_at: "2026-01-01T00:00:00Z".to_owned(),
        }
    }

    /// A store of everything.
    fn all(&self) -> NomsDir {
        let chunks: Vec<_> = self.tiny.chunks().values().collect();
        store(&self.path("all"), self.tiny.root(), &chunks)
    }

    /// The chunks of `main` and of the root of a store in which it lies alone, with a working set.
    fn alone(&self) -> (RootAddress, Vec<Bytes>) {
        let mut tiny = self.tiny.clone();
        let head = Commit::decode(&tiny.chunks()[&tiny.head("main").unwrap()])
            .unwrap()
            .root;
        let address = tiny.put_raw(clean_working_set(head, None));
        tiny.set(&[
            ("refs/heads/other", None),
            ("workingSets/heads/main", Some(address)),
        ]);
        let mut wanted = self.main.clone();
        wanted.extend([address, tiny.root().chunk().unwrap()]);
        let chunks = tiny.chunks().iter();
        let chunks = chunks.filter(|(address, _)| wanted.contains(address));
        (
            tiny.root(),
            chunks.map(|(_, chunk)| chunk.clone()).collect(),
        )
    }
}

fn children_of(chunk: &[u8], found: &mut Vec<ChunkAddress>) {
    holdfast_doltdb::children(chunk, &mut |child| found.push(child)).unwrap();
}

fn key() -> SigningKey {
    use ring::signature::{Ed25519KeyPair, KeyPair as _};
    let pair = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
    let public = pair.public_key().as_ref().try_into().unwrap();
    SigningKey::new(&[9; 32], &public).unwrap()
}

fn listed(path: &Path) -> BTreeSet<ChunkAddress> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().skip(2);
    lines.map(|line| line.parse().unwrap()).collect()
}

fn found(compared: &Compared) -> [u64; 3] {
    [compared.missing, compared.extra, compared.unreached]
}

#[test]
fn what_the_refs_reach_is_listed_whatever_lies_beside_it() {
    let company = Company::new();
    let (all, path) = (company.all(), company.path("inventory"));
    let subject = company.subject(&["main"]);
    let header = write(&all, subject, Beside::Passed, Some(&key()), &path).unwrap();
    assert_eq!(listed(&path), company.main);
    assert_eq!(header.chunks, company.main.len() as u64);
    assert_eq!(read_header(&path).unwrap(), header);

    let mut subject = company.subject(&["main"]);
    subject
        .branches
        .insert("gone".to_owned(), hash_chunk(b"nowhere"));
    let error = write(&all, subject, Beside::Passed, None, &company.path("no")).unwrap_err();
    assert!(matches!(error, InventoryError::Lacks { .. }), "{error}");
    assert!(!company.path("no").exists());
}

#[test]
fn a_store_that_holds_something_else_is_no_whole_of_what_was_moved() {
    let company = Company::new();
    let (all, path) = (company.all(), company.path("inventory"));
    let subject = company.subject(&["main"]);
    let error = write(&all, subject, Beside::Refused, None, &path).unwrap_err();
    let InventoryError::Beside { count, .. } = error else {
        panic!("{error}");
    };
    // Of the other branch, and roots from before.
    assert_eq!(
        count,
        (company.tiny.chunks().len() - company.main.len() - 1) as u64
    );
    assert!(!path.exists());

    let (root, chunks) = company.alone();
    let chunks: Vec<_> = chunks.iter().collect();
    let alone = store(&company.path("alone"), root, &chunks);
    let subject = company.subject(&["main"]);
    write(&alone, subject, Beside::Refused, Some(&key()), &path).unwrap();
    assert_eq!(listed(&path), company.main);
    let compared = compare(&alone, &path).unwrap();
    assert_eq!(found(&compared), [0, 0, 0]);
    assert_eq!(compared.signed_by.as_deref(), Some(key().id()));
    let everything = compare(&all, &path).unwrap();
    // The root of the other store holds its refs.
    assert_eq!(found(&everything), [0, count, 0]);
}

#[test]
fn what_is_there_and_not_listed_is_found_in_files_that_nothing_lists_too() {
    let company = Company::new();
    let path = company.path("inventory");
    let (root, chunks) = company.alone();
    let chunks: Vec<_> = chunks.iter().collect();
    let directory = company.path("alone");
    let alone = store(&directory, root, &chunks);
    write(
        &alone,
        company.subject(&["main"]),
        Beside::Refused,
        None,
        &path,
    )
    .unwrap();
    let secret = company.tiny.chunks().iter();
    let secret = secret.filter(|(address, _)| !company.main.contains(address));
    let secret: Vec<_> = secret.map(|(_, chunk)| chunk).take(2).collect();
    write_file(NewFile::begin(&directory).unwrap(), &secret[..1]);
    assert_eq!(found(&compare(&alone, &path).unwrap()), [0, 1, 0]);
    let old = directory.join("oldgen");
    durable::create_root(&old).unwrap();
    write_file(NewFile::begin(&old).unwrap(), &secret[1..]);
    assert_eq!(found(&compare(&alone, &path).unwrap()), [0, 2, 0]);
    std::fs::remove_file(&path).unwrap();
    let refused = write(
        &alone,
        company.subject(&["main"]),
        Beside::Refused,
        None,
        &path,
    );
    let error = refused.unwrap_err();
    assert!(
        matches!(error, InventoryError::Beside { count: 2, .. }),
        "{error}"
    );
}

#[test]
fn what_is_listed_and_missing_is_found() {
    let company = Company::new();
    let path = company.path("inventory");
    let (root, mut chunks) = company.alone();
    let all: Vec<_> = chunks.iter().collect();
    let alone = store(&company.path("alone"), root, &all);
    write(
        &alone,
        company.subject(&["main"]),
        Beside::Refused,
        None,
        &path,
    )
    .unwrap();
    let is_leaf = |chunk: &Bytes| {
        let mut below = Vec::new();
        children_of(chunk, &mut below);
        below.is_empty() && company.main.contains(&hash_chunk(chunk))
    };
    let leaf = chunks.iter().position(is_leaf).unwrap();
    let leaf = chunks.remove(leaf);
    let left: Vec<_> = chunks.iter().collect();
    let torn = store(&company.path("torn"), root, &left);
    assert_eq!(found(&compare(&torn, &path).unwrap()), [1, 0, 0]);
    let one = store(&company.path("one"), RootAddress::ZERO, &[&leaf]);
    let others = company.main.len() as u64 - 1;
    assert_eq!(found(&compare(&one, &path).unwrap()), [others, 0, 1]);
}

#[test]
fn what_is_listed_and_not_reached_is_found() {
    let company = Company::new();
    let (all, path) = (company.all(), company.path("inventory"));
    let subject = company.subject(&["main", "other"]);
    let header = write(&all, subject, Beside::Passed, None, &path).unwrap();
    // A list with one branch more than its first line tells.
    let text = std::fs::read_to_string(&path).unwrap();
    let other = format!(",\"other\":\"{}\"", company.tiny.head("other").unwrap());
    assert!(text.contains(&other), "{text}");
    let changed = text.replace(&other, "");
    durable::write_over(&path, "new-", 0o644, changed.as_bytes()).unwrap();
    let unreached = header.chunks - company.main.len() as u64;
    let compared = compare(&all, &path).unwrap();
    assert_eq!((compared.missing, compared.unreached), (0, unreached));
    assert!(unreached > 0);
}

#[test]
fn nothing_is_written_over() {
    let company = Company::new();
    let (all, path) = (company.all(), company.path("inventory"));
    let subject = || company.subject(&["main"]);
    let first = write(&all, subject(), Beside::Passed, Some(&key()), &path).unwrap();
    let text = std::fs::read(&path).unwrap();
    let mut later = subject();
    later.made_at = "2027-01-01T00:00:00Z".to_owned();
    let again = write(&all, later, Beside::Passed, None, &path).unwrap();
    assert_eq!(
        (again, std::fs::read(&path).unwrap()),
        (first, text.clone())
    );

    // The same first line over another list.
    let mut torn = text.clone();
    torn.truncate(text.len() - 33);
    durable::write_over(&path, "new-", 0o644, &torn).unwrap();
    let error = write(&all, subject(), Beside::Passed, None, &path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), torn);
    durable::write_over(&path, "new-", 0o644, &text).unwrap();

    let other = company.subject(&["other"]);
    let error = write(&all, other, Beside::Passed, None, &path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), text);

    let notes = company.path("notes");
    durable::write_over(&notes, "new-", 0o644, b"of the user").unwrap();
    let nowhere = company.path("nowhere");
    std::os::unix::fs::symlink(company.path("missing"), &nowhere).unwrap();
    for path in [&notes, &nowhere, &company.path("all")] {
        let refused = write(&all, subject(), Beside::Passed, None, path);
        assert!(refused.is_err(), "{}", path.display());
    }
    assert_eq!(std::fs::read(&notes).unwrap(), b"of the user");
    assert!(!company.path("missing").exists());
    let temporary = std::fs::read_dir(company.folder.path()).unwrap().count();
    assert_eq!(temporary, 4, "the store, the inventory, and what was there");
}

#[test]
fn a_changed_inventory_is_found_out() {
    let company = Company::new();
    let (all, path) = (company.all(), company.path("inventory"));
    let subject = company.subject(&["main"]);
    write(&all, subject, Beside::Passed, Some(&key()), &path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let without = [&lines[..3], &lines[4..]].concat().join("\n");
    let mut swapped = lines.clone();
    swapped.swap(3, 4);
    for (changed, words) in [
        (
            text.replace("https://h/a/b", "https://h/a/c"),
            "its signature is wrong",
        ),
        (without, "its list"),
        (swapped.join("\n"), "the order"),
        (text.replace(":2,\"from", ":1,\"from"), "its form"),
        ("{}".to_owned(), "its first line"),
        (
            text.replace(&format!("\n{}", &lines[2][..8]), "\nzzzzzzzz"),
            "an address",
        ),
    ] {
        durable::write_over(&path, "new-", 0o644, changed.as_bytes()).unwrap();
        let error = compare(&all, &path).unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn an_inventory_of_a_newer_form_is_refused_by_its_form() {
    let company = Company::new();
    let (all, path) = (company.all(), company.path("inventory"));
    let newer = br#"{"holdfast_inventory":3,"something":"else"}"#;
    durable::write_over(&path, "new-", 0o644, newer).unwrap();
    let error = compare(&all, &path).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("form 3, and this version reads form 2"),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(read_header(&path).is_err());
}
