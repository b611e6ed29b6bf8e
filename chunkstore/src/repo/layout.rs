//! The only place that builds object keys.
//!
//! ```text
//! forge.json                                            format version, forge id
//! keys/<name>                                           secrets that all servers of the forge share
//! catalog/names/<owner>/<name>/<sequence>               which repository a name means
//! repos/<repo>/log/<sequence / 10^4>/<sequence>         the register and the history of one repository
//! repos/<repo>/uploads/<2 characters>/<file>.<upload>   checked files, named by a record or not yet
//! repos/<repo>/side/<stamp>-<what>[-<number>]           lists too long for a record or an upload's note
//! repos/<repo>/hint                                     a sequence that somebody saw; may lag
//! pools/<pool>/members/<repo>                           who shares the pool
//! pools/<pool>/files/<2 characters>/<file>.<upload>[.darc]
//! pools/<pool>/derived/<archive>.<upload>.table         a classic twin of an archive, as one server made it
//! pools/<pool>/derived/<archive>.<number>.table.json    which of them counts, unless it is lost
//! ```
//!
//! Sequences begin at 1 and are written with ten digits, so that keys sort as numbers do.

use crate::address::TableFileId;
use crate::id::{PoolId, RepoId, Stamp, UploadId};
use crate::objects::ObjectKey;
use crate::repo::file::{FileKind, StoredFile};
use crate::repo::name::RepoName;

fn key(text: String) -> ObjectKey {
    ObjectKey::parse(text).expect("ids, names and numbers are made of the characters of keys")
}

/// What the whole forge is.
pub fn forge() -> ObjectKey {
    key("forge.json".to_owned())
}

/// A secret of the forge; `name` is one of ours, never a user's.
pub fn secret(name: &str) -> ObjectKey {
    key(format!("keys/{name}"))
}

/// All names.
pub const NAMES: &str = "catalog/names/";

/// An entry of the register that says which repository a name means.
pub fn name_entry(name: &RepoName, sequence: u64) -> ObjectKey {
    key(format!(
        "{NAMES}{}/{}/{sequence:010}",
        name.owner(),
        name.name()
    ))
}

/// The name and the sequence that a key under [`NAMES`] stands for.
pub fn parse_name_entry(key: &ObjectKey) -> Option<(RepoName, u64)> {
    let (name, sequence) = key.as_str().strip_prefix(NAMES)?.rsplit_once('/')?;
    let (name, sequence) = (name.parse().ok()?, sequence.parse().ok()?);
    (name_entry(&name, sequence) == *key).then_some((name, sequence))
}

/// The greatest number of a record whose key sorts as the number does.
pub const LAST_SEQUENCE: u64 = 9_999_999_999;

/// One record of a repository's log.
pub fn record(repo: RepoId, sequence: u64) -> ObjectKey {
    key(format!(
        "repos/{repo}/log/{:06}/{sequence:010}",
        sequence / 10_000
    ))
}

/// All records of a repository's log.
pub fn log(repo: RepoId) -> String {
    format!("repos/{repo}/log/")
}

/// A sequence of the log that somebody saw.
pub fn hint(repo: RepoId) -> ObjectKey {
    key(format!("repos/{repo}/hint"))
}

/// One of the objects of a list too long for the record that `stamp` marks.
pub fn side_part(repo: RepoId, stamp: Stamp, what: &'static str, number: usize) -> ObjectKey {
    key(format!("repos/{repo}/side/{stamp}-{what}-{number:04}"))
}

/// A list too long for the note of the upload that `stamp` marks.
pub fn side(repo: RepoId, stamp: Stamp, what: &'static str) -> ObjectKey {
    key(format!("repos/{repo}/side/{stamp}-{what}"))
}

/// The key of a list beside a record or a note of a repository, written down by its text.
pub fn parse_side(repo: RepoId, text: &str) -> Option<ObjectKey> {
    let name = text.strip_prefix(&format!("repos/{repo}/side/"))?;
    let (stamp, _) = name.split_once('-')?;
    stamp.parse::<Stamp>().ok()?;
    ObjectKey::parse(text.to_owned()).ok()
}

/// Everything that was uploaded to a repository under a file's name.
pub fn uploads_of(repo: RepoId, file: TableFileId) -> String {
    let id = file.to_string();
    format!("repos/{repo}/uploads/{}/{id}.", &id[..2])
}

/// Everything that was uploaded to a repository.
pub fn uploads(repo: RepoId) -> String {
    format!("repos/{repo}/uploads/")
}

/// What is known of one upload.
pub fn upload(repo: RepoId, file: TableFileId, upload: UploadId) -> ObjectKey {
    key(format!("{}{upload}", uploads_of(repo, file)))
}

/// Says that a repository shares a pool.
pub fn member(pool: PoolId, repo: RepoId) -> ObjectKey {
    key(format!("pools/{pool}/members/{repo}"))
}

/// All stored files of a pool.
pub fn files(pool: PoolId) -> String {
    format!("pools/{pool}/files/")
}

/// The bytes of a stored file.
pub fn file(pool: PoolId, file: &StoredFile) -> ObjectKey {
    file_of(pool, file.id, file.upload, file.kind)
}

/// The bytes of a file that is about to be stored.
pub fn file_of(pool: PoolId, id: TableFileId, upload: UploadId, kind: FileKind) -> ObjectKey {
    let id = id.to_string();
    let (fan_out, suffix) = (&id[..2], kind.suffix());
    key(format!(
        "pools/{pool}/files/{fan_out}/{id}.{upload}{suffix}"
    ))
}

/// The pool and the upload of a key that [`file_of`] built.
pub fn parse_file(key: &ObjectKey) -> Option<(PoolId, UploadId)> {
    let (pool, rest) = key.as_str().strip_prefix("pools/")?.split_once('/')?;
    let (_, upload, _) = parse_file_name(key.name())?;
    rest.starts_with("files/")
        .then_some((pool.parse().ok()?, upload))
}

/// What the last segment of [`file_of`] says.
pub fn parse_file_name(name: &str) -> Option<(TableFileId, UploadId, FileKind)> {
    let (name, kind) = match name.strip_suffix(FileKind::Archive.suffix()) {
        Some(name) => (name, FileKind::Archive),
        None => (name, FileKind::Table),
    };
    let (id, upload) = name.split_once('.')?;
    Some((id.parse().ok()?, upload.parse().ok()?, kind))
}

/// A classic twin of an archive. Twins of one archive, made by several servers, are told apart by their own ids.
pub fn twin(pool: PoolId, archive: UploadId, twin: UploadId) -> ObjectKey {
    key(format!("pools/{pool}/derived/{archive}.{twin}.table"))
}

/// The archive and the twin that the last segment of [`twin`] names.
pub fn parse_twin_name(name: &str) -> Option<(UploadId, UploadId)> {
    let (archive, twin) = name.strip_suffix(".table")?.split_once('.')?;
    Some((archive.parse().ok()?, twin.parse().ok()?))
}

/// Whether a key is one that an upload in parts may be under way to: of a file, of a twin, or of a long list.
pub fn is_of_an_upload(key: &ObjectKey) -> bool {
    let segments: Vec<&str> = key.as_str().split('/').collect();
    match segments[..] {
        ["pools", pool, "files", _, name] => {
            let pool = pool.parse().ok();
            let named = pool.zip(parse_file_name(name));
            named.is_some_and(|(pool, (id, upload, kind))| file_of(pool, id, upload, kind) == *key)
        }
        ["pools", pool, "derived", name] => {
            let named = pool.parse().ok().zip(parse_twin_name(name));
            named.is_some_and(|(pool, (archive, upload))| twin(pool, archive, upload) == *key)
        }
        ["repos", repo, "side", name] => {
            let stamp = name
                .split_once('-')
                .map(|(stamp, _)| stamp.parse::<Stamp>());
            repo.parse::<RepoId>().is_ok() && matches!(stamp, Some(Ok(_)))
        }
        _ => false,
    }
}

/// All classic twins of an archive, and their notes.
pub fn twins(pool: PoolId, archive: UploadId) -> String {
    format!("{}{archive}.", derived(pool))
}

/// Everything that was made from the files of a pool and can be made again.
pub fn derived(pool: PoolId) -> String {
    format!("pools/{pool}/derived/")
}

/// Says which twin of an archive counts. Notes are numbered from 1; each says that the twins of those before it
/// were lost.
pub fn twin_note(pool: PoolId, archive: UploadId, number: u64) -> ObjectKey {
    key(format!(
        "pools/{pool}/derived/{archive}.{number:010}.table.json"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_from_their_keys() {
        let name: RepoName = "acme/prod.v2".parse().unwrap();
        assert_eq!(parse_name_entry(&name_entry(&name, 7)), Some((name, 7)));
        assert_eq!(parse_name_entry(&forge()), None);
        // Another way to write the number would be a second entry of the same number.
        for text in [
            "catalog/names/acme/prod/7",
            "catalog/names/acme/prod/00000000007",
        ] {
            let key = ObjectKey::parse(text).unwrap();
            assert_eq!(parse_name_entry(&key), None, "{text}");
        }
    }

    #[test]
    fn records_sort_as_their_numbers_do() {
        let repo = RepoId::new([0; 16]);
        let keys: Vec<_> = [1, 2, 255, 9_999, 10_000, 10_001, 123_456]
            .map(|n| record(repo, n))
            .into();
        assert!(keys.is_sorted());
    }

    #[test]
    fn what_was_uploaded_under_a_name_stands_in_a_folder_of_few_others() {
        let (repo, upload_id) = (RepoId::new([1; 16]), UploadId::new([3; 16]));
        let [one, other] = [[2; 20], [0xf2; 20]].map(TableFileId::new);
        let note = upload(repo, one, upload_id);
        assert!(note.as_str().starts_with(&uploads_of(repo, one)));
        assert!(note.as_str().starts_with(&uploads(repo)));
        assert_eq!(note.name(), format!("{one}.{upload_id}"));
        let folder = |prefix: String| prefix.rsplit_once('/').unwrap().0.to_owned();
        assert_ne!(
            folder(uploads_of(repo, one)),
            folder(uploads_of(repo, other))
        );
    }

    #[test]
    fn a_file_is_read_back_from_its_key() {
        let (pool, upload_id) = (PoolId::new([1; 16]), UploadId::new([3; 16]));
        let id = TableFileId::new([2; 20]);
        for kind in [FileKind::Table, FileKind::Archive] {
            let key = file_of(pool, id, upload_id, kind);
            assert!(key.as_str().starts_with(&files(pool)));
            assert_eq!(parse_file(&key), Some((pool, upload_id)));
        }
        assert_eq!(parse_file(&twin(pool, upload_id, upload_id)), None);
        assert_eq!(parse_file(&forge()), None);
    }

    #[test]
    fn only_lists_of_the_repository_are_read_off_their_text() {
        let (repo, stamp) = (RepoId::new([1; 16]), Stamp::new([2; 16]));
        for key in [
            side(repo, stamp, "leaving"),
            side_part(repo, stamp, "all-files", 3),
        ] {
            assert_eq!(parse_side(repo, key.as_str()), Some(key.clone()));
            assert_eq!(parse_side(RepoId::new([9; 16]), key.as_str()), None);
        }
        for text in [
            record(repo, 1).to_string(),
            format!("repos/{repo}/side/x-leaving"),
        ] {
            assert_eq!(parse_side(repo, &text), None, "{text}");
        }
    }

    #[test]
    fn keys_of_uploads_are_told_from_all_others() {
        let (repo, pool) = (RepoId::new([1; 16]), PoolId::new([2; 16]));
        let (id, upload_id) = (TableFileId::new([3; 20]), UploadId::new([4; 16]));
        let of_uploads = [
            file_of(pool, id, upload_id, FileKind::Archive),
            twin(pool, upload_id, UploadId::new([5; 16])),
            side(repo, Stamp::new([6; 16]), "leaving"),
        ];
        assert!(of_uploads.iter().all(is_of_an_upload), "{of_uploads:?}");
        let of_others = [
            forge(),
            record(repo, 1),
            upload(repo, id, upload_id),
            key(format!("photos/{}", of_uploads[0])),
            key(format!("pools/{pool}/files/zz/{id}.{upload_id}")),
            key("pools/mine/files/ab/backup.tar".to_owned()),
        ];
        let taken = of_others.iter().find(|key| is_of_an_upload(key));
        assert_eq!(taken, None);
    }

    #[test]
    fn only_the_keys_of_archives_end_in_darc() {
        let [table, archive] = [FileKind::Table, FileKind::Archive].map(|kind| {
            file_of(
                PoolId::new([1; 16]),
                TableFileId::new([2; 20]),
                UploadId::new([3; 16]),
                kind,
            )
        });
        assert!(archive.as_str().ends_with(".darc") && !table.as_str().ends_with(".darc"));
    }
}
