//! Names that settings had before, and that go on working.

use super::reference::{self, Setting};

/// What a setting was called before.
#[derive(Debug, Clone, Copy)]
pub struct Former {
    /// The setting.
    pub key: &'static str,
    /// The name that it had in a settings file, from which that of its variable follows.
    pub former_key: Option<&'static str>,
    /// The flag that it had.
    pub former_flag: &'static str,
}

const fn flag(key: &'static str, former_flag: &'static str) -> Former {
    Former {
        key,
        former_key: None,
        former_flag,
    }
}

const fn name(key: &'static str, former_key: &'static str, former_flag: &'static str) -> Former {
    Former {
        key,
        former_key: Some(former_key),
        former_flag,
    }
}

/// All of them.
pub const FORMER: &[Former] = &[
    flag("upload.free_floor", "free-floor"),
    flag("upload.spool_limit", "spool-limit"),
    flag("upload.threads", "threads"),
    flag("network.max_connections", "max-connections"),
    name("stop.timeout", "network.drain_timeout", "drain-timeout"),
    name("stop.quiet", "network.drain_quiet", "drain-quiet"),
];

/// The flags that a setting had.
pub fn flags_of(key: &str) -> impl Iterator<Item = &'static str> {
    let former = FORMER.iter().filter(move |former| former.key == key);
    former.map(|former| former.former_flag)
}

/// The setting that a name in a settings file meant before.
pub(super) fn by_key(former_key: &str) -> Option<&'static Setting> {
    find(|former| former.former_key == Some(former_key))
}

/// The setting that an environment variable meant before.
pub(super) fn by_variable(variable: &str) -> Option<&'static Setting> {
    find(|former| {
        let former_key = former.former_key.map(reference::variable_of);
        former_key.is_some_and(|name| name == variable)
    })
}

fn find(is_meant: impl Fn(&Former) -> bool) -> Option<&'static Setting> {
    let former = FORMER.iter().find(|former| is_meant(former))?;
    reference::by_key(former.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_former_name_leads_to_a_setting_and_is_no_name_of_another() {
        for former in FORMER {
            assert!(reference::by_key(former.key).is_some(), "{former:?}");
            let mut flags = reference::SETTINGS.iter().filter_map(|one| one.flag);
            assert!(flags.all(|flag| flag != former.former_flag), "{former:?}");
            if let Some(key) = former.former_key {
                assert!(reference::by_key(key).is_none(), "{former:?}");
                assert!(by_key(key).is_some(), "{former:?}");
                assert!(by_variable(&reference::variable_of(key)).is_some());
            }
        }
    }
}
