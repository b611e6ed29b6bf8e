//! Which refs of the target move.

use std::collections::BTreeSet;

use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::{RefFault, RefName};

use crate::transfer::datasets::Datasets;
use crate::transfer::{RefUpdate, Vanished};

/// What is done at the target.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) updates: Vec<RefUpdate>,
    /// The datasets of the target when it is done.
    pub(super) datasets: Datasets,
    /// What must be there with everything below it.
    pub(super) roots: Vec<ChunkAddress>,
}

impl Plan {
    /// Plans from the refs of the source that can be used. Those that the source has and that are passed over stay at
    /// the target as they are.
    pub(super) fn make(
        source: &Datasets,
        passed_over: &[(RefName, RefFault)],
        target: Datasets,
        vanished: Vanished,
    ) -> Self {
        let mut updates: Vec<_> = source
            .iter()
            .filter(|(name, address)| name.is_public() && target.get(name) != Some(*address))
            .map(|(name, address)| RefUpdate {
                old: target.get(&name),
                new: Some(address),
                name,
            })
            .collect();
        // A source without a branch is a mistake rather than a wish to lose all of them.
        let has_branch = source
            .iter()
            .any(|(name, _)| matches!(name, RefName::Branch(_)));
        if vanished == Vanished::Pruned && has_branch {
            let gone = target.iter();
            let is_passed_over =
                |name: &RefName| passed_over.iter().any(|(passed, _)| passed == name);
            let gone = gone.filter(|(name, _)| {
                name.is_public() && source.get(name).is_none() && !is_passed_over(name)
            });
            updates.extend(gone.map(|(name, address)| RefUpdate {
                name,
                old: Some(address),
                new: None,
            }));
        }
        let mut datasets = target;
        for update in &updates {
            datasets.set(&update.name, update.new);
            if let (RefName::Branch(branch), None) = (&update.name, update.new) {
                datasets.set(&RefName::WorkingSet(branch.clone()), None);
            }
        }
        let roots: BTreeSet<_> = updates.iter().filter_map(|update| update.new).collect();
        Self {
            updates,
            datasets,
            roots: roots.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datasets(pairs: &[(&str, u8)]) -> Datasets {
        let mut datasets = Datasets::default();
        for (name, byte) in pairs {
            let address = ChunkAddress::new([*byte; 20]);
            datasets.set(&RefName::parse(name), Some(address));
        }
        datasets
    }

    const SOURCE: [(&str, u8); 4] = [
        ("refs/heads/main", 2),
        ("refs/heads/new", 3),
        ("refs/tags/v1", 4),
        ("workingSets/heads/main", 5),
    ];

    #[test]
    fn branches_and_tags_become_equal_and_working_sets_are_not_touched() {
        let target = datasets(&[
            ("refs/heads/main", 1),
            ("refs/heads/old", 7),
            ("refs/tags/v1", 4),
            ("workingSets/heads/main", 8),
            ("workingSets/heads/old", 9),
        ]);
        let plan = Plan::make(&datasets(&SOURCE), &[], target.clone(), Vanished::Pruned);
        let expected = datasets(&[
            ("refs/heads/main", 2),
            ("refs/heads/new", 3),
            ("refs/tags/v1", 4),
            ("workingSets/heads/main", 8),
        ]);
        assert_eq!(plan.datasets, expected);
        assert_eq!(plan.roots, [2, 3].map(|byte| ChunkAddress::new([byte; 20])));
        let names: Vec<_> = plan
            .updates
            .iter()
            .map(|update| update.name.to_string())
            .collect();
        assert_eq!(
            names,
            ["refs/heads/main", "refs/heads/new", "refs/heads/old"]
        );

        let kept = Plan::make(&datasets(&SOURCE), &[], target, Vanished::Kept);
        assert_eq!(kept.updates.len(), 2);
        let old = RefName::Branch("old".to_owned());
        assert!(kept.datasets.get(&old).is_some());
    }

    #[test]
    fn what_the_source_has_and_cannot_be_used_is_not_removed_at_the_target() {
        let name = RefName::parse("refs/heads/a//b");
        let fault = RefFault::from(name.check().unwrap_err());
        let mut target = datasets(&SOURCE);
        target.set(&name, Some(ChunkAddress::new([9; 20])));
        let passed_over = [(name.clone(), fault)];
        let source = datasets(&SOURCE);
        let plan = Plan::make(&source, &passed_over, target.clone(), Vanished::Pruned);
        assert!(plan.updates.is_empty());
        let plan = Plan::make(&source, &[], target, Vanished::Pruned);
        assert_eq!(plan.updates[0].name, name);
    }

    #[test]
    fn what_is_equal_needs_nothing() {
        let plan = Plan::make(&datasets(&SOURCE), &[], datasets(&SOURCE), Vanished::Pruned);
        assert!(plan.updates.is_empty() && plan.roots.is_empty());
    }
}
