//! Which refs of a remote a fetch takes, and what they are called here.
//!
//! What is named goes where Dolt takes it, whatever the specs of the remote say: a branch to the ref that follows it, a
//! tag to the tag of its name.

use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::RefName;

use super::{FetchRequest, RefUpdate};
use crate::database::RepoState;
use crate::transfer::datasets::Datasets;
use crate::transfer::error::TransferError;
use crate::transfer::ref_spec::RefSpec;
use crate::transfer::usable::Usable;

/// The refs that a fetch takes.
#[derive(Debug)]
pub(super) struct Wanted {
    /// What the remote's entry says.
    specs: Vec<RefSpec>,
    /// What was named; nothing where everything is meant that the specs say.
    named: Option<Vec<Named>>,
    /// A branch that is taken as well.
    also: Option<Named>,
}

/// A ref that was named.
#[derive(Debug)]
struct Named {
    /// Its full name at the remote, or a pattern of such.
    source: String,
    spec: RefSpec,
}

impl Wanted {
    /// What a request means, and the branch `also`.
    pub(super) fn new(
        request: &FetchRequest,
        also: Option<&str>,
        repo_state: &RepoState,
    ) -> Result<Self, TransferError> {
        let remote = &request.remote_name;
        let named = request.refs.as_ref();
        let named = named.map(|named| named.iter().map(|text| Named::parse(text, remote)));
        let also = also.map(|branch| Named::branch(branch, remote));
        Ok(Self {
            specs: specs(repo_state, remote)?,
            named: named.map(Iterator::collect).transpose()?,
            also: also.transpose()?,
        })
    }

    /// What a ref of the remote is called here; nothing where it is not taken.
    pub(super) fn here(&self, there: &RefName) -> Vec<RefName> {
        let there = there.to_string();
        let specs: Vec<_> = match &self.named {
            Some(named) => named.iter().map(|named| &named.spec).collect(),
            None => self.specs.iter().collect(),
        };
        let also = self.also.iter().map(|also| &also.spec);
        let mut found: Vec<RefName> = Vec::new();
        for here in specs.into_iter().chain(also) {
            let here = here.map(&there).map(|here| RefName::parse(&here));
            found.extend(here.filter(|here| !found.contains(here)));
        }
        found
    }

    /// Whether a tag was named.
    pub(super) fn names(&self, tag: &RefName) -> bool {
        let (tag, named) = (tag.to_string(), self.named.as_deref());
        let mut named = named.unwrap_or_default().iter();
        named.any(|named| named.spec.map(&tag).is_some())
    }

    /// Checks that the remote has what was named.
    pub(super) fn check_found(&self, remote: &Datasets) -> Result<(), TransferError> {
        let named = self.named.iter().flatten().chain(&self.also);
        for named in named {
            let is_found = |(name, _): (RefName, _)| {
                name.is_public() && named.spec.map(&name.to_string()).is_some()
            };
            if !remote.iter().any(is_found) {
                return Err(named.missing(remote));
            }
        }
        Ok(())
    }

    /// Refuses what was named and Dolt could not use; what nobody named is passed over.
    pub(super) fn check_usable(&self, usable: &Usable, of: &str) -> Result<(), TransferError> {
        let named = self.named.iter().flatten().chain(&self.also);
        let mut names = named.map(|named| RefName::parse(&named.source));
        names.try_for_each(|name| usable.check_asked(of, &name))
    }

    /// The refs here that follow a branch which the remote no longer has.
    pub(super) fn gone(&self, remote: &Datasets, local: &Datasets) -> Vec<RefUpdate> {
        let is_there = |there: &str| match RefName::parse(there) {
            branch @ RefName::Branch(_) => remote.get(&branch).is_some(),
            _ => false,
        };
        let is_gone = |(name, _): &(RefName, ChunkAddress)| {
            let here = name.to_string();
            let mut there = self.specs.iter().filter_map(|spec| spec.map_back(&here));
            let first = there.next();
            first.is_some_and(|first| !is_there(&first) && !there.any(|next| is_there(&next)))
        };
        let gone = local.iter().filter(is_gone);
        let gone = gone.map(|(name, old)| RefUpdate {
            name,
            old: Some(old),
            new: None,
        });
        gone.collect()
    }
}

impl Named {
    fn branch(branch: &str, remote: &str) -> Result<Self, TransferError> {
        Self::pair(
            format!("refs/heads/{branch}"),
            &format!("refs/remotes/{remote}/{branch}"),
        )
    }

    /// Reads a branch, `refs/heads/<branch>`, `refs/tags/<tag>`, or `<there>:<here>`. A `+` before it changes nothing.
    fn parse(text: &str, remote: &str) -> Result<Self, TransferError> {
        let refused = || TransferError::NotFetched {
            text: text.to_owned(),
        };
        let pair = text.strip_prefix('+').unwrap_or(text);
        let (there, here) = match pair.split_once(':') {
            Some((there, here)) => (there, Some(here)),
            None => (pair, None),
        };
        let there = match there.starts_with("refs/") || there.is_empty() {
            true => there.to_owned(),
            false => format!("refs/heads/{there}"),
        };
        let here = here.map(|here| match here.starts_with("remotes/") {
            true => format!("refs/{here}"),
            false => here.to_owned(),
        });
        match (RefName::parse(&there), here) {
            (RefName::Branch(branch), None) => Self::branch(&branch, remote),
            (RefName::Branch(_), Some(here)) => match RefName::parse(&here) {
                RefName::RemoteBranch { .. } => Self::pair(there, &here),
                _ => Err(refused()),
            },
            (RefName::Tag(_), here) if here.as_ref().is_none_or(|here| *here == there) => {
                Self::pair(there.clone(), &there)
            }
            _ => Err(refused()),
        }
    }

    fn pair(source: String, here: &str) -> Result<Self, TransferError> {
        let spec = RefSpec::parse(&format!("{source}:{here}"));
        let spec = spec.map_err(|source| TransferError::Spec { source })?;
        Ok(Self { source, spec })
    }

    fn missing(&self, remote: &Datasets) -> TransferError {
        match RefName::parse(&self.source) {
            RefName::Tag(tag) => TransferError::NoTag {
                known: remote.known(&RefName::Tag(tag.clone())),
                tag,
            },
            RefName::Branch(branch) => TransferError::NoBranch {
                known: remote.known(&RefName::Branch(branch.clone())),
                branch,
            },
            other => TransferError::NoBranch {
                known: remote.known(&other),
                branch: other.to_string(),
            },
        }
    }
}

/// The specs of a remote; those that every remote has where none are written down.
fn specs(repo_state: &RepoState, remote: &str) -> Result<Vec<RefSpec>, TransferError> {
    let written = repo_state.remotes.get(remote);
    let written = written.map(|entry| entry.fetch_specs.as_slice());
    let usual = [format!("refs/heads/*:refs/remotes/{remote}/*")];
    let texts = match written {
        Some(specs) if !specs.is_empty() => specs,
        _ => &usual,
    };
    let parse = |text: &String| RefSpec::parse(text);
    let parsed = texts.iter().map(parse).collect::<Result<_, _>>();
    parsed.map_err(|source| TransferError::Spec { source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::RemoteEntry;

    fn named(text: &str) -> Result<Wanted, TransferError> {
        Ok(Wanted {
            specs: Vec::new(),
            named: Some(vec![Named::parse(text, "origin")?]),
            also: None,
        })
    }

    fn datasets(names: &[&str]) -> Datasets {
        let mut datasets = Datasets::default();
        for name in names {
            let address = ChunkAddress::new([1; 20]);
            datasets.set(&RefName::parse(name), Some(address));
        }
        datasets
    }

    fn here(wanted: &Wanted, there: &str) -> Vec<String> {
        let here = wanted.here(&RefName::parse(there));
        here.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_named_goes_where_dolt_takes_it() {
        for (text, there, wanted) in [
            ("b", "refs/heads/b", "refs/remotes/origin/b"),
            ("+b", "refs/heads/b", "refs/remotes/origin/b"),
            ("a/b", "refs/heads/a/b", "refs/remotes/origin/a/b"),
            ("refs/heads/b", "refs/heads/b", "refs/remotes/origin/b"),
            ("refs/tags/v", "refs/tags/v", "refs/tags/v"),
            ("refs/tags/v:refs/tags/v", "refs/tags/v", "refs/tags/v"),
            ("b:refs/remotes/up/c", "refs/heads/b", "refs/remotes/up/c"),
            ("b:remotes/up/c", "refs/heads/b", "refs/remotes/up/c"),
            (
                "refs/heads/*:refs/remotes/up/*",
                "refs/heads/x",
                "refs/remotes/up/x",
            ),
            ("b*", "refs/heads/bc", "refs/remotes/origin/bc"),
        ] {
            let named = named(text).unwrap();
            assert_eq!(here(&named, there), [wanted], "{text}");
        }
        for text in [
            "",
            "+",
            ":b",
            "b:",
            "b:c",
            "b:refs/heads/c",
            "refs/tags/v:refs/tags/w",
            "refs/tags/v:refs/remotes/origin/v",
            "refs/stashes/x",
            "refs/remotes/origin/b",
            "refs/heads/*:refs/remotes/origin/b",
        ] {
            assert!(named(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_the_remote_has_not_is_said_by_its_name() {
        let remote = datasets(&["refs/heads/b", "refs/tags/v"]);
        for found in ["b", "refs/tags/v", "refs/heads/*:refs/remotes/o/*"] {
            named(found).unwrap().check_found(&remote).unwrap();
        }
        for (missing, words) in [
            ("c", "could not find branch \"c\" at the remote"),
            ("v", "could not find branch \"v\" at the remote"),
            ("refs/heads/c", "could not find branch \"c\" at the remote"),
            (
                "c:refs/remotes/o/b",
                "could not find branch \"c\" at the remote",
            ),
            ("refs/tags/b", "could not find tag \"b\" at the remote"),
        ] {
            let error = named(missing).unwrap().check_found(&remote).unwrap_err();
            assert_eq!(error.to_string(), words);
        }
    }

    #[test]
    fn specs_say_what_is_fetched_and_what_is_gone() {
        let mut entry = RemoteEntry::new("origin", "file:///remote");
        entry.fetch_specs = vec!["refs/heads/main:refs/remotes/origin/main".to_owned()];
        let narrow = RepoState::cloned("main", entry);
        let also = Named::branch("b", "origin").unwrap();
        let mut wanted = Wanted {
            specs: specs(&narrow, "origin").unwrap(),
            named: None,
            also: Some(also),
        };
        assert_eq!(
            here(&wanted, "refs/heads/main"),
            ["refs/remotes/origin/main"]
        );
        assert_eq!(here(&wanted, "refs/heads/b"), ["refs/remotes/origin/b"]);
        assert!(here(&wanted, "refs/heads/c").is_empty());
        let local = datasets(&[
            "refs/heads/main",
            "refs/remotes/origin/main",
            "refs/remotes/origin/b",
            "refs/remotes/up/main",
        ]);
        let gone = |wanted: &Wanted, there: &[&str]| {
            let gone = wanted.gone(&datasets(there), &local).into_iter();
            gone.map(|update| update.name.to_string())
                .collect::<Vec<_>>()
        };
        assert!(gone(&wanted, &["refs/heads/main"]).is_empty());
        assert_eq!(gone(&wanted, &[]), ["refs/remotes/origin/main"]);

        wanted.specs = specs(&RepoState::alone("main"), "origin").unwrap();
        assert_eq!(
            here(&wanted, "refs/heads/b"),
            ["refs/remotes/origin/b"],
            "once"
        );
        assert_eq!(
            gone(&wanted, &["refs/heads/main"]),
            ["refs/remotes/origin/b"]
        );
    }
}
