//! What people write for a commit.
//!
//! ```text
//! revision = (branch | tag | remote "/" branch | full name of a dataset | address) step*
//! step     = "^" [n]      the n-th parent; the first without a number
//!          | "~" [n]      n times the first parent; once without a number
//! ```
//!
//! A branch hides a tag of the same name, and both hide a branch of a remote.

use holdfast_chunkstore::{ChunkAddress, RootAddress};

use super::History;
use crate::error::ReadError;
use crate::message::{Message, MessageKind};
use crate::model::Tag;
use crate::refs::RefName;
use crate::source::{self, ChunkSource};
use crate::tree::AddressMap;

/// The commit that a revision stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The commit.
    pub commit: ChunkAddress,
    /// The dataset that the revision begins with; nothing where it begins with an address.
    pub name: Option<RefName>,
}

/// One step from a commit to a parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// To the parent with this number, from zero.
    Parent(usize),
    /// So many times to the first parent.
    First(u64),
}

impl<S: ChunkSource + ?Sized> History<'_, S> {
    /// Returns the commit that a revision stands for in the store with a root: nothing if the text is no
    /// revision, no such thing is there, it is no commit, or the way leads out of history or into what a
    /// shallow clone left out.
    pub async fn resolve(
        &self,
        root: RootAddress,
        text: &str,
    ) -> Result<Option<Resolved>, ReadError> {
        let Some((base, steps)) = parse(text) else {
            return Ok(None);
        };
        let found = match base.parse() {
            Ok(address) => self
                .committed(address)
                .await?
                .map(|commit| Resolved { commit, name: None }),
            Err(_) => self.named(root, base).await?,
        };
        let Some(mut resolved) = found else {
            return Ok(None);
        };
        for step in steps {
            match self.step(resolved.commit, step).await? {
                Some(commit) => resolved.commit = commit,
                None => return Ok(None),
            }
        }
        Ok(Some(resolved))
    }

    /// Returns an address if a commit is there.
    async fn committed(&self, address: ChunkAddress) -> Result<Option<ChunkAddress>, ReadError> {
        let chunk = source::find_one(self.source, address).await?;
        let kind = chunk.and_then(|chunk| Some(Message::decode(&chunk).ok()?.kind()));
        Ok((kind == Some(MessageKind::Commit)).then_some(address))
    }

    /// Finds a dataset by its full or short name, and the commit that it stands for.
    async fn named(&self, root: RootAddress, name: &str) -> Result<Option<Resolved>, ReadError> {
        let refs = AddressMap::open(self.source, root).await?;
        for prefix in ["", "refs/heads/", "refs/tags/", "refs/remotes/"] {
            let full = format!("{prefix}{name}");
            let Some(address) = refs.get(full.as_bytes()).await? else {
                continue;
            };
            let commit = self.commit_of(address).await?;
            let name = RefName::parse(&full);
            return Ok(commit.map(|commit| Resolved {
                commit,
                name: Some(name),
            }));
        }
        Ok(None)
    }

    /// Returns the commit that a dataset's value is or tags; nothing for other values.
    async fn commit_of(&self, address: ChunkAddress) -> Result<Option<ChunkAddress>, ReadError> {
        let decode = |source| ReadError::Decode { address, source };
        let chunk = source::get_one(self.source, address).await?;
        match Message::decode(&chunk).map_err(decode)?.kind() {
            MessageKind::Commit => Ok(Some(address)),
            MessageKind::Tag => Ok(Some(Tag::decode(&chunk).map_err(decode)?.commit)),
            _ => Ok(None),
        }
    }

    async fn step(
        &self,
        mut commit: ChunkAddress,
        step: Step,
    ) -> Result<Option<ChunkAddress>, ReadError> {
        let (number, times) = match step {
            Step::Parent(number) => (number, 1),
            Step::First(times) => (0, times),
        };
        for _ in 0..times {
            let parents = &self.read(&[commit]).await?[0].parents;
            match parents.get(number) {
                Some(parent) if !self.is_ghost(parent) => commit = *parent,
                _ => return Ok(None),
            }
        }
        Ok(Some(commit))
    }
}

/// Takes a revision apart; nothing if its steps are none.
fn parse(text: &str) -> Option<(&str, Vec<Step>)> {
    // Neither sign can be part of a name.
    let (base, mut rest) = text.split_at(text.find(['^', '~']).unwrap_or(text.len()));
    let mut steps = Vec::new();
    while let Some(sign) = rest.chars().next() {
        let behind = &rest[sign.len_utf8()..];
        let end = behind.find(|digit: char| !digit.is_ascii_digit());
        let (number, behind) = behind.split_at(end.unwrap_or(behind.len()));
        let number: u64 = if number.is_empty() {
            1
        } else {
            number.parse().ok()?
        };
        steps.push(match sign {
            '^' => Step::Parent(usize::try_from(number).ok()?.checked_sub(1)?),
            '~' => Step::First(number),
            _ => return None,
        });
        rest = behind;
    }
    Some((base, steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_a_name_and_steps() {
        use Step::{First, Parent};
        assert_eq!(parse("main"), Some(("main", vec![])));
        assert_eq!(parse("a/b~"), Some(("a/b", vec![First(1)])));
        assert_eq!(
            parse("v1^2~10^^~0"),
            Some((
                "v1",
                vec![Parent(1), First(10), Parent(0), Parent(0), First(0)]
            ))
        );
        assert_eq!(parse(""), Some(("", vec![])));
        for text in [
            "main~x",
            "main^0",
            "main^-1",
            "main~1é",
            "main~99999999999999999999",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
