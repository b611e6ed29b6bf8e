//! The steps, and what we want of each.

/// One thing that is done with a remote, and timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Everything is pushed to a repository that does not exist.
    FirstPush,
    /// Everything is cloned.
    Clone,
    /// A commit that touches 400 scattered rows is pushed.
    SmallPush,
    /// The same is fetched.
    SmallFetch,
    /// There is nothing to push.
    PushNothing,
    /// There is nothing to fetch.
    FetchNothing,
    /// The newest commit is cloned without its history.
    ShallowClone,
    /// Eight push at once, each to a branch of its own.
    Writers,
}

/// The largest ratios to the baseline that we are content with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Target {
    pub(crate) wall: Option<f64>,
    pub(crate) cpu: Option<f64>,
}

/// A server may have had so many MB at once.
pub(crate) const MEMORY_TARGET_MB: f64 = 200.0;

impl Step {
    /// The steps on local disk.
    pub(crate) const ON_DISK: &'static [Self] = &[
        Self::FirstPush,
        Self::Clone,
        Self::SmallPush,
        Self::SmallFetch,
        Self::PushNothing,
        Self::FetchNothing,
        Self::ShallowClone,
        Self::Writers,
    ];

    /// The steps on S3.
    pub(crate) const ON_S3: &'static [Self] = &[
        Self::FirstPush,
        Self::Clone,
        Self::SmallPush,
        Self::SmallFetch,
    ];

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::FirstPush => "first push of everything",
            Self::Clone => "clone of everything",
            Self::SmallPush => "push of 400 scattered rows",
            Self::SmallFetch => "fetch of 400 scattered rows",
            Self::PushNothing => "push of nothing",
            Self::FetchNothing => "fetch of nothing",
            Self::ShallowClone => "clone --depth 1",
            Self::Writers => "8 writers at once",
        }
    }

    /// Targets on local disk, as ratios to remotesrv.
    pub(crate) fn target_on_disk(self) -> Target {
        let (wall, cpu) = match self {
            Self::FirstPush => (1.15, None),
            Self::Clone => (1.0, Some(1.0)),
            Self::SmallPush | Self::SmallFetch => (1.0, Some(0.7)),
            Self::PushNothing | Self::FetchNothing | Self::Writers => (1.0, None),
            Self::ShallowClone => (0.9, Some(0.5)),
        };
        Target {
            wall: Some(wall),
            cpu,
        }
    }

    /// Targets on S3, as ratios to dolt's own remote there.
    pub(crate) fn target_on_s3(self, presigned: bool) -> Target {
        let wall = match self {
            Self::FirstPush => Some(1.3),
            Self::Clone if presigned => Some(1.1),
            Self::Clone => Some(1.6),
            Self::SmallPush => Some(0.6),
            _ => None,
        };
        Target { wall, cpu: None }
    }
}
