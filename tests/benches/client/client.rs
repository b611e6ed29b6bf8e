//! The two that are compared.

use std::path::Path;

use anyhow::Result;
use holdfast_tests::bench::programs::Programs;

/// Whose client works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    /// Dolt's own, the baseline.
    Dolt,
    /// Ours.
    Holdfast,
}

impl Client {
    /// Both, the baseline first.
    pub(crate) const BOTH: [Self; 2] = [Self::Dolt, Self::Holdfast];

    /// The name of its program.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dolt => "dolt",
            Self::Holdfast => "holdfast",
        }
    }

    /// Its program. Both take the same arguments for what is done here.
    pub(crate) fn binary(self, programs: &Programs) -> Result<&Path> {
        match self {
            Self::Dolt => Ok(&programs.dolt),
            Self::Holdfast => programs.holdfast(),
        }
    }
}
