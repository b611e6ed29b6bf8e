//! What a chunk is, where it lies, and what it points at.

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::noms_dir::{NomsDir, Place, StoreError};
use holdfast_client::database::DatabaseError;
use holdfast_doltdb::model::{Commit, Signer, Tag, WorkingSet};
use holdfast_doltdb::source::find_one;
use holdfast_doltdb::{DecodeError, Message, MessageKind, children};
use jiff::Timestamp;

use crate::commands::place::Looked;
use crate::ui::facts::Facts;

/// Tells of a chunk; nothing where it is not there.
pub(super) async fn facts(looked: &Looked, address: ChunkAddress) -> anyhow::Result<Option<Facts>> {
    let mut facts = Facts::default();
    facts.add("address", address);
    if looked.ghosts().contains(&address) {
        facts.add("kind", "commit that a shallow clone left out");
        return Ok(Some(facts));
    }
    let Some(chunk) = find_one(&*looked.source, address).await? else {
        return Ok(None);
    };
    let kind = match Message::decode(&chunk) {
        Ok(message) => kind_name(message.kind()),
        Err(error) => format!("no message: {error}"),
    };
    facts.add("kind", kind);
    facts.add("len", chunk.len());
    facts.add("address_fits", hash_chunk(&chunk) == address);
    if let Some(store) = looked.store() {
        let place = place(store, address, &mut facts);
        place.map_err(|source| DatabaseError::Store { source })?;
    }
    describe(&chunk, &mut facts);
    Ok(Some(facts))
}

/// What is in a chunk, as far as it can be told.
fn describe(chunk: &[u8], facts: &mut Facts) {
    if let Err(error) = fields(chunk, facts) {
        facts.add("problem", error.to_string());
    }
    let mut found = Vec::new();
    let told = children(chunk, &mut |child| found.push(child));
    found.sort_unstable();
    found.dedup();
    facts.add("children", found);
    if let Err(error) = told {
        facts.add("more_children", error.to_string());
    }
}

fn kind_name(kind: MessageKind) -> String {
    match kind {
        MessageKind::Unknown(id) => format!("unknown kind {id}"),
        known => format!("{known:?}"),
    }
}

/// Which file a chunk lies in, and where.
fn place(store: &NomsDir, address: ChunkAddress, facts: &mut Facts) -> Result<(), StoreError> {
    let (path, data, dictionary) = match (store.find(address)?, store.journal()) {
        (Some(Place::File { file, span }), _) => {
            let path = store.file(file).map(|file| file.path().to_owned());
            (path.unwrap_or_default(), span.data, span.dictionary)
        }
        (Some(Place::Journal { span }), Some(journal)) => (journal.path().to_owned(), span, None),
        _ => return Ok(()),
    };
    facts.add("file", path.as_path());
    facts.add("offset", data.offset);
    facts.add("stored_len", data.len);
    facts.add("dictionary", dictionary.map(|span| span.offset));
    Ok(())
}

/// The fields of the kinds that people ask for.
fn fields(chunk: &[u8], facts: &mut Facts) -> Result<(), DecodeError> {
    let Ok(message) = Message::decode(chunk) else {
        return Ok(());
    };
    match message.kind() {
        MessageKind::Commit => {
            let commit = Commit::decode(chunk)?;
            facts.add("height", commit.height);
            facts.add("parents", commit.parents().collect::<Vec<_>>());
            facts.add("root", commit.root);
            facts.add("closure", commit.closure);
            add_signer("author", "author_date", &commit.author, facts);
            add_signer("committer", "committer_date", &commit.committer, facts);
            facts.add("signed", commit.signature.is_some());
            facts.add("message", commit.description);
        }
        MessageKind::Tag => {
            let tag = Tag::decode(chunk)?;
            facts.add("commit", tag.commit);
            add_signer("tagger", "tagger_date", &tag.tagger, facts);
            facts.add("message", tag.description);
        }
        MessageKind::WorkingSet => {
            let set = WorkingSet::decode(chunk)?;
            facts.add("working_root", set.working_root);
            facts.add("staged_root", set.staged_root);
            facts.add("merging", set.is_merging);
            facts.add("rebasing", set.is_rebasing);
            facts.add("changed_by", format!("{} <{}>", set.name, set.email));
            let seconds = i64::try_from(set.at_seconds).unwrap_or(i64::MAX);
            let at = Timestamp::from_second(seconds).ok();
            facts.add("changed_at", at.map(|at| at.to_string()));
            facts.add("message", set.description);
        }
        _ => {}
    }
    Ok(())
}

fn add_signer(role: &'static str, date: &'static str, signer: &Signer<'_>, facts: &mut Facts) {
    facts.add(role, format!("{} <{}>", signer.name, signer.email));
    let at = Timestamp::from_millisecond(signer.at_millis).ok();
    facts.add(date, at.map(|at| at.to_string()));
}

#[cfg(test)]
mod tests {
    use holdfast_doltdb::testing::messages::tag;
    use holdfast_doltdb::write::messages::clean_working_set;

    use super::*;

    fn described(chunk: &[u8]) -> String {
        let mut facts = Facts::default();
        describe(chunk, &mut facts);
        facts.lines().join("\n")
    }

    #[test]
    fn fields_and_children_of_what_people_ask_for_are_told() {
        let commit = ChunkAddress::new([5; 20]);
        let told = described(&tag(commit, "Ada", "first\nlast", 0));
        for line in [
            format!("commit         {commit}"),
            "tagger         Ada <tiny@example.com>".to_owned(),
            "message        first".to_owned(),
            "message        last".to_owned(),
            format!("children       {commit}"),
        ] {
            assert!(told.contains(&line), "{line}: {told}");
        }
        let told = described(&clean_working_set(commit, None));
        assert!(told.contains("merging        no"), "{told}");
        assert!(told.contains(&format!("working root   {commit}")), "{told}");
    }

    #[test]
    fn what_is_no_message_has_no_children() {
        let told = described(b"no message");
        assert!(told.starts_with("more children"), "{told}");
    }
}
