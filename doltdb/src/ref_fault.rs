//! What makes a ref one that Dolt cannot use: its name, or the kind of chunk that it stands for.
//!
//! One such ref is enough to stop Dolt, which reads all refs of a remote before it takes any. A place below `refs/` that
//! is not known here may be one of a newer Dolt; each older one stops there with "unknown ref type".

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;

use crate::error::ReadError;
use crate::message::MessageKind;
use crate::refs::{RefName, RefNameError};
use crate::source::{self, ChunkSource};

/// How many chunks are asked for at once.
const BATCH: usize = 256;

/// The beginnings of names whose place is known.
const PLACES: [&str; 10] = [
    "refs/heads/",
    "refs/tags/",
    "refs/remotes/",
    "refs/stashes/",
    "refs/internal/",
    "refs/workspaces/",
    "refs/statistics/",
    "refs/tuples/",
    "workingSets/",
    "workingSets/heads/",
];

/// What is wrong with a ref.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefFault {
    /// Its name.
    #[error(transparent)]
    Name(#[from] RefNameError),
    /// The place that its name puts it in.
    #[error("the ref {name:?} is in no place that Dolt knows, such as refs/heads/ or refs/tags/")]
    Place {
        /// The full name, cut at 200 characters.
        name: String,
    },
    /// What it stands for.
    #[error("the ref {name:?} stands for {}, and its place asks for {}", words(*found), words(Some(*wanted)))]
    Kind {
        /// The full name, cut at 200 characters.
        name: String,
        /// The kind that its place asks for.
        wanted: MessageKind,
        /// The kind that is there; nothing for what is no message.
        found: Option<MessageKind>,
    },
}

impl RefName {
    /// The kind of chunk that stands under such a name; nothing where the place is not known.
    pub fn kind(&self) -> Option<MessageKind> {
        match self {
            Self::Branch(_)
            | Self::RemoteBranch { .. }
            | Self::Internal(_)
            | Self::Workspace(_) => Some(MessageKind::Commit),
            Self::Tag(_) => Some(MessageKind::Tag),
            Self::WorkingSet(_) => Some(MessageKind::WorkingSet),
            Self::Stash(_) => Some(MessageKind::StashList),
            Self::Statistics(_) => Some(MessageKind::Statistic),
            Self::Tuple(_) => Some(MessageKind::Tuple),
            Self::Other(_) => None,
        }
    }

    /// Checks that a ref of this name may come to be or move: [`RefName::check`], for every name whose place is known.
    pub fn check_placed(&self) -> Result<(), RefNameError> {
        match self {
            Self::Other(name) => self.check_other(name),
            _ => self.check(),
        }
    }

    /// Checks that Dolt could use something of this name that a store has, where its place is known.
    pub fn check_usable(&self) -> Result<(), RefNameError> {
        match self {
            Self::Other(name) => self.check_other(name),
            _ => self.check_found(),
        }
    }

    /// Refuses the name of a place without the name of anything in it, and what Dolt takes for no name.
    fn check_other(&self, name: &str) -> Result<(), RefNameError> {
        let is_remote = |name: &str| name.strip_prefix("refs/remotes/").is_some();
        match PLACES.contains(&name) || is_remote(name) {
            true => Err(self.refused("is the name of a place, and of nothing in it")),
            false => self.check_found(),
        }
    }

    /// Checks that a ref is in a place that Dolt knows: it stops at others below `refs/`, and passes over what is
    /// elsewhere.
    pub fn check_place(&self) -> Result<(), RefFault> {
        match self {
            Self::Other(name) if name.starts_with("refs/") => Err(RefFault::Place {
                name: name.chars().take(200).collect(),
            }),
            _ => Ok(()),
        }
    }

    /// Checks the kind of the chunk that a ref stands for, of which `head` holds the first
    /// [`MessageKind::HEAD_LEN`] bytes or more.
    pub fn check_kind(&self, head: &[u8]) -> Result<(), RefFault> {
        let found = MessageKind::of_head(head);
        match self.kind() {
            Some(wanted) if found != Some(wanted) => Err(RefFault::Kind {
                name: self.to_string().chars().take(200).collect(),
                wanted,
                found,
            }),
            _ => Ok(()),
        }
    }

    /// The dolt command that removes such a ref from a local database, where there is one. Names that a shell or a
    /// terminal would take for something else have none.
    pub fn dolt_removal(&self) -> Option<String> {
        let (command, name) = match self {
            Self::Branch(name) => ("dolt branch -D", name.clone()),
            Self::Tag(name) => ("dolt tag -d", name.clone()),
            Self::RemoteBranch { remote, branch } => {
                ("dolt branch -D -r", format!("{remote}/{branch}"))
            }
            _ => return None,
        };
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\'';
        let is_plain = name.len() <= 200 && !name.starts_with('-') && name.bytes().all(is_plain);
        is_plain.then(|| format!("{command} '{name}'"))
    }
}

fn words(kind: Option<MessageKind>) -> &'static str {
    match kind {
        None => "something that is no message",
        Some(MessageKind::Commit) => "a commit",
        Some(MessageKind::Tag) => "a tag",
        Some(MessageKind::WorkingSet) => "a working set",
        Some(MessageKind::StashList) => "a list of stashes",
        Some(MessageKind::Statistic) => "statistics",
        Some(MessageKind::Tuple) => "a small value",
        Some(MessageKind::RootValue) => "the tables of a database",
        Some(_) => "a chunk of another kind",
    }
}

/// Finds the refs that Dolt could not use among some that a store has: name by name, what is wrong with it. Chunks
/// that are not there are no fault of the ref.
pub async fn unusable_refs<S: ChunkSource + ?Sized>(
    source: &S,
    refs: impl IntoIterator<Item = (RefName, ChunkAddress)>,
) -> Result<Vec<(RefName, RefFault)>, ReadError> {
    let (mut unusable, mut named) = (Vec::new(), Vec::new());
    for (name, address) in refs {
        match name.check_usable() {
            Err(fault) => unusable.push((name, fault.into())),
            Ok(()) if name.kind().is_some() => named.push((name, address)),
            Ok(()) => {}
        }
    }
    for batch in named.chunks(BATCH) {
        let addresses: Vec<_> = batch.iter().map(|(_, address)| *address).collect();
        let mut names = batch.iter().map(|(name, _)| name);
        let show = |_, chunk: Option<Bytes>| {
            let faulty = names.next().zip(chunk);
            if let Some((name, Err(fault))) =
                faulty.map(|(name, chunk)| (name, name.check_kind(&chunk)))
            {
                unusable.push((name.clone(), fault));
            }
            Ok(())
        };
        source::each(source, &addresses, show).await?;
    }
    Ok(unusable)
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::testing::TinyDb;

    #[test]
    fn every_place_asks_for_a_kind_and_unknown_places_for_none() {
        for (name, wanted) in [
            ("refs/heads/a", Some(MessageKind::Commit)),
            ("refs/remotes/o/a", Some(MessageKind::Commit)),
            ("refs/internal/create", Some(MessageKind::Commit)),
            ("refs/workspaces/w", Some(MessageKind::Commit)),
            ("refs/tags/a", Some(MessageKind::Tag)),
            ("workingSets/heads/a", Some(MessageKind::WorkingSet)),
            ("refs/stashes/dolt-cli", Some(MessageKind::StashList)),
            ("refs/statistics/main", Some(MessageKind::Statistic)),
            ("refs/tuples/k", Some(MessageKind::Tuple)),
            ("workingSets/workspaces/w", None),
            ("refs/new/a", None),
            ("else", None),
        ] {
            assert_eq!(RefName::parse(name).kind(), wanted, "{name}");
        }
    }

    #[test]
    fn a_place_without_a_name_in_it_is_refused_and_unknown_places_pass() {
        for name in [
            "refs/heads/",
            "refs/tags/",
            "refs/remotes/",
            "refs/remotes/origin",
            "refs/remotes/origin/",
            "refs/stashes/",
            "workingSets/heads/",
            "workingSets/",
        ] {
            assert!(RefName::parse(name).check_placed().is_err(), "{name}");
            assert!(RefName::parse(name).check_usable().is_err(), "{name}");
        }
        for name in ["refs/new/a/b", "new", "workingSets/workspaces/a"] {
            assert_eq!(RefName::parse(name).check_placed(), Ok(()), "{name}");
            assert_eq!(RefName::parse(name).check_usable(), Ok(()), "{name}");
        }
        for name in ["refs/new/a//b", "r fs/heads/main", "workingSets/x y", ""] {
            assert!(RefName::parse(name).check_placed().is_err(), "{name}");
            assert!(RefName::parse(name).check_usable().is_err(), "{name}");
        }
    }

    #[test]
    fn a_place_below_refs_that_dolt_does_not_know_is_told() {
        for name in [
            "refs/tacs/v1",
            "refs/lheads/side",
            "refs/heads",
            "refs/new/a",
        ] {
            let fault = RefName::parse(name).check_place().unwrap_err();
            assert!(
                fault
                    .to_string()
                    .contains(&format!("{name:?} is in no place"))
            );
        }
        for name in [
            "refs/heads/a",
            "refs/tuples/k",
            "workingSets/workspaces/w",
            "else",
        ] {
            assert_eq!(RefName::parse(name).check_place(), Ok(()), "{name}");
        }
    }

    #[test]
    fn refs_that_dolt_could_not_use_are_found_with_the_reason() {
        let mut tiny = TinyDb::new();
        tiny.commit("main", "first");
        tiny.tag("v1", "main");
        let (commit, tag) = (tiny.head("main"), tiny.refs().get("refs/tags/v1").copied());
        tiny.set(&[
            ("refs/heads/z", tag),
            ("refs/tags/x", commit),
            ("refs/heads//x/y", commit),
            ("workingSets/heads/w", commit),
            ("refs/new/thing", tag),
        ]);
        let refs = tiny.refs().iter();
        let refs = refs.map(|(name, address)| (RefName::parse(name), *address));
        let found = block_on(unusable_refs(&tiny, refs)).unwrap();
        let mut texts: Vec<_> = found.iter().map(|(_, fault)| fault.to_string()).collect();
        texts.sort();
        assert_eq!(
            texts,
            [
                r#"the name "refs/heads//x/y" has an empty part"#,
                r#"the ref "refs/heads/z" stands for a tag, and its place asks for a commit"#,
                r#"the ref "refs/tags/x" stands for a commit, and its place asks for a tag"#,
                r#"the ref "workingSets/heads/w" stands for a commit, and its place asks for a working set"#,
            ]
        );
    }

    #[test]
    fn the_command_that_removes_a_ref_is_safe_to_paste() {
        let removal = |name: &str| RefName::parse(name).dolt_removal();
        assert_eq!(
            removal("refs/heads/a//b").as_deref(),
            Some("dolt branch -D 'a//b'")
        );
        assert_eq!(removal("refs/tags/x").as_deref(), Some("dolt tag -d 'x'"));
        assert_eq!(
            removal("refs/remotes/origin//x").as_deref(),
            Some("dolt branch -D -r 'origin//x'")
        );
        for name in [
            "refs/heads/a'b",
            "refs/heads/a\u{1b}b",
            "refs/heads/-f",
            "workingSets/heads/a",
        ] {
            assert_eq!(removal(name), None, "{name:?}");
        }
    }
}
