//! Gathers the text of each setting: settings file, then environment, then flags, the later over the earlier.

use std::collections::BTreeMap;
use std::fmt;

use super::reference::{self, SETTINGS};

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The table of defaults.
    Default,
    /// The settings file.
    File,
    /// An environment variable.
    Environment,
    /// A flag of the command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::File => "settings file",
            Self::Environment => "environment",
            Self::Flag => "flag",
        })
    }
}

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: {reason}")]
pub struct Complaint {
    /// The setting, key or file that it is about.
    pub subject: String,
    /// What is wrong. Never repeats the value of a secret.
    pub reason: String,
}

impl Complaint {
    /// Makes one.
    pub fn new(subject: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            reason: reason.into(),
        }
    }
}

/// The texts of all settings that somebody set, before any is understood.
#[derive(Default)]
pub struct Gathered {
    values: BTreeMap<&'static str, (String, Origin)>,
    /// What was wrong so far.
    pub complaints: Vec<Complaint>,
    /// What is odd and may be meant: names of variables that look like ours.
    pub notes: Vec<String>,
}

impl fmt::Debug for Gathered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self
            .values
            .iter()
            .map(|(key, (_, origin))| (key, origin))
            .collect();
        f.debug_struct("Gathered")
            .field("keys", &keys)
            .field("complaints", &self.complaints)
            .finish_non_exhaustive()
    }
}

impl Gathered {
    /// Starts with nothing set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one value from a flag, or in a test.
    pub fn set(&mut self, key: &str, value: impl Into<String>, origin: Origin) {
        match reference::by_key(key) {
            Some(setting) => {
                self.values.insert(setting.key, (value.into(), origin));
            }
            None => self
                .complaints
                .push(Complaint::new(key, "there is no such setting")),
        }
    }

    /// Takes the text of a settings file. Keys that are not settings are complained of by name.
    pub fn add_file(&mut self, name: &str, text: &str) {
        match text.parse::<toml::Table>() {
            Ok(table) => self.add_table("", &table),
            Err(error) => self.complaints.push(Complaint::new(
                name,
                format!("not a TOML file: {}", error.message()),
            )),
        }
    }

    fn add_table(&mut self, prefix: &str, table: &toml::Table) {
        for (name, value) in table {
            let key = format!("{prefix}{name}");
            let text = match value {
                toml::Value::Table(inner) if reference::by_key(&key).is_none() => {
                    self.add_table(&format!("{key}."), inner);
                    continue;
                }
                toml::Value::String(text) => Some(text.clone()),
                toml::Value::Integer(number) => Some(number.to_string()),
                toml::Value::Boolean(switch) => Some(switch.to_string()),
                toml::Value::Array(items) => items
                    .iter()
                    .map(toml::Value::as_str)
                    .collect::<Option<Vec<_>>>()
                    .map(|words| words.join(",")),
                toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
            };
            match text {
                Some(text) => self.set(&key, text, Origin::File),
                None => self.complaints.push(Complaint::new(
                    key,
                    "not a text, number, switch or list of texts",
                )),
            }
        }
    }

    /// Takes the environment. A variable that begins like ours and is none is noted, not complained of:
    /// Kubernetes makes such for every service of the name.
    pub fn add_environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        for (name, value) in variables {
            match SETTINGS.iter().find(|setting| setting.variable == name) {
                Some(setting) => self.set(setting.key, value, Origin::Environment),
                None if name == "HOLDFAST_CONFIG" => {}
                None if name.starts_with("HOLDFAST_") => {
                    self.notes
                        .push(format!("environment variable {name} is no setting"));
                }
                None => {}
            }
        }
    }

    /// The text of a setting, or its default.
    pub(super) fn text(&self, key: &str) -> &str {
        let default = || reference::by_key(key).map_or("", |setting| setting.default);
        self.values
            .get(key)
            .map_or_else(default, |(text, _)| text.as_str())
    }

    /// Where the value of a setting came from.
    pub fn origin(&self, key: &str) -> Origin {
        self.values
            .get(key)
            .map_or(Origin::Default, |(_, origin)| *origin)
    }
}
