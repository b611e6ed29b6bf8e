//! The steps, and what we want of each.

use crate::remote::Link;

/// One thing that a client does, and that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Everything is cloned.
    Clone,
    /// The newest commit is cloned without its history.
    ShallowClone,
    /// There is nothing to fetch.
    FetchNothing,
    /// A commit that touches few scattered rows is fetched.
    SmallFetch,
    /// A commit that touches many scattered rows is fetched.
    LargeFetch,
    /// Everything is pushed to a repository that does not exist.
    FirstPush,
    /// A commit that touches few scattered rows is pushed.
    SmallPush,
}

/// A client may have so many MB at once, whatever the size of the database.
pub(crate) const MEMORY_TARGET_MB: f64 = 120.0;

impl Step {
    /// All, in an order in which each finds what it needs.
    pub(crate) const ALL: [Self; 7] = [
        Self::Clone,
        Self::ShallowClone,
        Self::FetchNothing,
        Self::SmallFetch,
        Self::LargeFetch,
        Self::FirstPush,
        Self::SmallPush,
    ];

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Clone => "clone of everything",
            Self::ShallowClone => "clone --depth 1",
            Self::FetchNothing => "fetch of nothing",
            Self::SmallFetch => "fetch of 400 scattered rows",
            Self::LargeFetch => "fetch of 41,000 scattered rows",
            Self::FirstPush => "push of everything",
            Self::SmallPush => "push of 400 scattered rows",
        }
    }

    /// The rows that its commit touches, if it is about one.
    pub(crate) fn rows(self) -> Option<u64> {
        match self {
            Self::SmallFetch | Self::SmallPush => Some(400),
            Self::LargeFetch => Some(41_000),
            Self::Clone | Self::ShallowClone | Self::FetchNothing | Self::FirstPush => None,
        }
    }

    /// The largest ratio of our time to dolt's that we are content with.
    pub(crate) fn target(self, link: Link) -> f64 {
        match (self, link) {
            (Self::Clone, Link::Loopback) => 1.2,
            (Self::Clone, Link::Line) => 1.0,
            (Self::ShallowClone, Link::Loopback) => 0.25,
            (Self::LargeFetch, _) => 0.4,
            (Self::SmallPush, _) => 0.6,
            (Self::ShallowClone, Link::Line)
            | (Self::FetchNothing | Self::SmallFetch | Self::FirstPush, _) => 0.5,
        }
    }
}
