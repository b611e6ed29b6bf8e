//! From what a user writes to a commit.

use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_doltdb::model::Tag;
use holdfast_doltdb::tree::AddressMap;
use holdfast_doltdb::{ChunkSource, ReadError, RefName, Refs};

use super::read_chunk;

/// Takes a branch, a tag, a remote branch, the full name of a ref, or the address of a chunk to an address; nothing
/// where the name stands for nothing. A tag stands for its commit.
pub async fn resolve(
    source: &dyn ChunkSource,
    root: RootAddress,
    name: &str,
) -> Result<Option<ChunkAddress>, ReadError> {
    if let Ok(address) = name.parse::<ChunkAddress>() {
        return match read_chunk(source, address).await {
            Ok(_) => Ok(Some(address)),
            Err(ReadError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        };
    }
    let refs = AddressMap::open(source, root).await?;
    for prefix in ["", "refs/heads/", "refs/tags/", "refs/remotes/"] {
        let candidate = format!("{prefix}{name}");
        let Some(address) = refs.get(candidate.as_bytes()).await? else {
            continue;
        };
        if !candidate.starts_with("refs/tags/") {
            return Ok(Some(address));
        }
        let chunk = read_chunk(source, address).await?;
        let tag = Tag::decode(&chunk).map_err(|source| ReadError::Decode { address, source })?;
        return Ok(Some(tag.commit));
    }
    Ok(None)
}

/// The branch that stands for a store of which nobody says one: `main`, else `master`, else the first; nothing where
/// there is no branch.
pub async fn usual_branch(
    source: &dyn ChunkSource,
    root: RootAddress,
) -> Result<Option<String>, ReadError> {
    let refs = AddressMap::open(source, root).await?;
    for usual in ["main", "master"] {
        let name = format!("refs/heads/{usual}");
        if refs.get(name.as_bytes()).await?.is_some() {
            return Ok(Some(usual.to_owned()));
        }
    }
    let mut refs = Refs::open(source, root).await?;
    while let Some((name, _)) = refs.next().await? {
        if let RefName::Branch(branch) = name {
            return Ok(Some(branch));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ancestry::testing::Commits;

    #[tokio::test]
    async fn names_stand_for_commits_as_in_dolt() {
        let mut commits = Commits::default();
        let first = commits.add(&[]);
        let second = commits.add(&[first]);
        let tag = commits.tag(first);
        let root = commits.refs(&[
            ("refs/heads/feature/x", second),
            ("refs/heads/other", first),
            ("refs/remotes/origin/main", first),
            ("refs/tags/v1", tag),
        ]);
        for (name, wanted) in [
            ("feature/x", Some(second)),
            ("refs/heads/other", Some(first)),
            ("origin/main", Some(first)),
            ("v1", Some(first)),
            ("nothing", None),
            (&second.to_string(), Some(second)),
            ("00000000000000000000000000000001", None),
        ] {
            let found = resolve(&commits, root, name).await.unwrap();
            assert_eq!(found, wanted, "{name}");
        }
        let usual = usual_branch(&commits, root).await.unwrap();
        assert_eq!(usual.as_deref(), Some("feature/x"));
        let root = commits.refs(&[("refs/heads/a", first), ("refs/heads/main", first)]);
        let usual = usual_branch(&commits, root).await.unwrap();
        assert_eq!(usual.as_deref(), Some("main"));
        let none = usual_branch(&commits, RootAddress::ZERO).await.unwrap();
        assert_eq!(none, None);
    }
}
