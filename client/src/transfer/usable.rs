//! The refs of a store that Dolt can use. The others are passed over with a warning: they are in nobody's way, and none
//! comes into a store of ours.

use std::collections::BTreeSet;

use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::{ChunkSource, ReadError, RefFault, RefName, unusable_refs};

use super::datasets::Datasets;
use super::error::TransferError;
use super::events::Observer;

/// Datasets without those that Dolt could not use.
#[derive(Debug, Default)]
pub(crate) struct Usable {
    pub(crate) datasets: Datasets,
    /// What was taken out, and why.
    pub(crate) passed_over: Vec<(RefName, RefFault)>,
}

impl Usable {
    /// Takes out what has a name that cannot be used.
    pub(crate) fn by_name(datasets: Datasets) -> Self {
        let fault = |name: RefName| Some((name.check_usable().err()?, name));
        let passed_over = datasets.iter().filter_map(|(name, _)| fault(name));
        let passed_over: Vec<_> = passed_over
            .map(|(fault, name)| (name, fault.into()))
            .collect();
        let mut this = Self {
            datasets,
            passed_over: Vec::new(),
        };
        this.take_out(passed_over);
        this
    }

    /// Takes out what has such a name, and those among `looked_at` that stand for a chunk of another kind than their
    /// place asks for.
    pub(crate) async fn by_kind(
        source: &dyn ChunkSource,
        datasets: Datasets,
        looked_at: impl Fn(&RefName, ChunkAddress) -> bool,
    ) -> Result<Self, ReadError> {
        let mut this = Self::by_name(datasets);
        let refs = this.datasets.iter();
        let refs: Vec<_> = refs.filter(|(name, at)| looked_at(name, *at)).collect();
        let unusable = unusable_refs(source, refs).await?;
        this.take_out(unusable);
        Ok(this)
    }

    fn take_out(&mut self, unusable: Vec<(RefName, RefFault)>) {
        let names: BTreeSet<_> = unusable.iter().map(|(name, _)| name.to_string()).collect();
        self.datasets.remove(&names);
        self.passed_over.extend(unusable);
    }

    /// Tells what is passed over of a store, and what stops Dolt there; nothing of what only its own machinery keeps.
    pub(crate) fn warn(&self, of: &str, observer: &dyn Observer) {
        for fault in self
            .datasets
            .iter()
            .filter_map(|(name, _)| name.check_place().err())
        {
            observer.warn(&format!("{of}: {fault}; dolt may stop at it"));
        }
        for (_, fault) in self.passed_over.iter().filter(|(name, _)| is_shown(name)) {
            observer.warn(&passed_over(of, fault));
        }
    }

    /// Tells which tags are passed over, where of the rest only what was asked for comes.
    pub(crate) fn warn_of_tags(&self, of: &str, observer: &dyn Observer) {
        let is_tag = |(name, _): &&(RefName, RefFault)| matches!(name, RefName::Tag(_));
        for (_, fault) in self.passed_over.iter().filter(is_tag) {
            observer.warn(&passed_over(of, fault));
        }
    }

    /// Refuses what was asked for by name and is passed over.
    pub(crate) fn check_asked(&self, of: &str, asked: &RefName) -> Result<(), TransferError> {
        match self.passed_over.iter().find(|(name, _)| name == asked) {
            None => Ok(()),
            Some((_, fault)) => Err(unusable(of, fault.clone())),
        }
    }
}

/// The words for a ref that is passed over.
pub(crate) fn passed_over(of: &str, fault: &RefFault) -> String {
    format!("{of}: {fault}; it is passed over")
}

/// A ref that was asked for and cannot be used.
pub(crate) fn unusable(of: &str, source: RefFault) -> TransferError {
    TransferError::RemoteName {
        remote: of.to_owned(),
        source,
    }
}

fn is_shown(name: &RefName) -> bool {
    // A place without a name in it is none of these, and stops Dolt like them.
    !matches!(
        name,
        RefName::RemoteBranch { .. }
            | RefName::Stash(_)
            | RefName::Statistics(_)
            | RefName::Tuple(_)
    )
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use holdfast_doltdb::testing::TinyDb;

    use super::*;

    #[test]
    fn only_what_dolt_can_use_is_left() {
        let mut tiny = TinyDb::new();
        tiny.commit("main", "first");
        tiny.tag("v1", "main");
        let (commit, tag) = (tiny.head("main"), tiny.refs().get("refs/tags/v1").copied());
        tiny.set(&[
            ("refs/heads/a//b", commit),
            ("refs/heads/z", tag),
            ("refs/tags/x", commit),
            ("refs/new/a/b", tag),
        ]);
        let datasets = block_on(Datasets::read(&tiny, tiny.root())).unwrap();
        let usable = block_on(Usable::by_kind(&tiny, datasets, |_, _| true)).unwrap();
        let names: Vec<_> = usable
            .datasets
            .iter()
            .map(|(name, _)| name.to_string())
            .collect();
        assert_eq!(names, ["refs/heads/main", "refs/new/a/b", "refs/tags/v1"]);
        assert_eq!(usable.passed_over.len(), 3);
        let asked = |name: &str| usable.check_asked("there", &RefName::parse(name));
        assert!(asked("refs/heads/z").is_err());
        assert!(asked("refs/heads/main").is_ok());
    }
}
