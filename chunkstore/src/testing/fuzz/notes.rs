//! What the forge writes down for itself, and reads back from a store that may have been damaged.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::id::RepoId;
use crate::repo::catalog::Binding;
use crate::repo::file::{Md5, Sha256, StoredFile};
use crate::repo::layout;
use crate::repo::log::decode_hint;
use crate::repo::record::{
    Listed, Record, RefMove, RetiredFile, VERSION, decode_list, digest, encode_list,
};
use crate::repo::state::{CheckpointLists, Delta, State};
use crate::repo::uploads::UploadNote;

/// A record of a log, its checkpoint, and the state that it leads to.
pub fn log_record(bytes: &[u8]) {
    let key = layout::record(RepoId::new([7; 16]), 1);
    let Ok(record) = Record::decode(&key, bytes) else {
        return;
    };
    assert!(record.version <= VERSION);
    let again = Record::decode(&key, &record.encode());
    assert_eq!(again.expect("it was just written"), record);

    let (Listed::Inline(added), Listed::Inline(gone)) = (&record.added, &record.retired) else {
        return;
    };
    let delta = Delta {
        added: added.clone(),
        retired: gone.clone(),
        released: Vec::new(),
        deleted: Vec::new(),
    };
    let state = State::empty().after(&record, digest(bytes), delta);
    assert_eq!(
        (state.sequence, state.root, state.time),
        (record.sequence, record.new_root, record.time)
    );
    assert!(state.files.len() <= added.len());
    assert!(state.stored_len() >= state.files.values().map(|file| file.len).max().unwrap_or(0));
    let mut gone = gone.iter();
    assert!(gone.all(|upload| !state.files.contains_key(upload)));
    if let Some(checkpoint) = &record.checkpoint
        && let (Listed::Inline(files), Listed::Inline(retired), Listed::Inline(released)) =
            (&checkpoint.files, &checkpoint.retired, &checkpoint.released)
    {
        let lists = CheckpointLists {
            files: files.clone(),
            retired: retired.clone(),
            released: released.clone(),
        };
        let state = State::from_checkpoint(&record, digest(bytes), lists, checkpoint.cleared);
        assert!(state.agrees_with(&state) && state.released.len() <= released.len());
        assert!(state.files.len() <= files.len() && state.retired.len() <= retired.len());
    }
}

/// A list that stands beside a record: of refs, of files, or of retired files.
pub fn side_list(bytes: &[u8]) {
    read_list::<RefMove>(bytes);
    read_list::<StoredFile>(bytes);
    read_list::<RetiredFile>(bytes);
}

/// The note of an upload.
pub fn upload_note(bytes: &[u8]) {
    let key = layout::forge();
    if let Ok(note) = UploadNote::decode(&key, bytes) {
        let again = UploadNote::decode(&key, &note.encode());
        assert_eq!(again.expect("it was just written"), note);
    }
}

/// The note of a classic twin, and digests in it.
pub fn twin_note(bytes: &[u8]) {
    read_json::<StoredFile>(bytes);
    let text = serde_json::to_vec(&String::from_utf8_lossy(bytes)).expect("text is JSON");
    read_json::<Sha256>(&text);
    read_json::<Md5>(&text);
}

/// What a name means.
pub fn binding(bytes: &[u8]) {
    read_json::<Binding>(bytes);
}

/// The hint where a log ends.
pub fn head_hint(bytes: &[u8]) {
    let hint = decode_hint(bytes);
    assert_eq!(decode_hint(hint.to_string().as_bytes()), hint);
    // A lying hint is asked for like any other record.
    assert!(layout::record(RepoId::new([7; 16]), hint).name().len() >= 10);
}

fn read_list<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(list) = decode_list::<T>(bytes) {
        assert!(list.len() <= bytes.len());
        let again = decode_list::<T>(&encode_list(&list));
        assert_eq!(again.expect("it was just written"), list);
    }
}

fn read_json<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(bytes) {
        let again = serde_json::to_vec(&value).expect("it has only text keys");
        let again = serde_json::from_slice::<T>(&again);
        assert_eq!(again.expect("it was just written"), value);
    }
}
