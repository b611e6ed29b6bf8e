//! Gathers the text of each setting: settings file, then environment, then flags, the later over the earlier.

use std::collections::BTreeMap;
use std::fmt;

use super::reference::{self, SETTINGS, Setting};
use super::{former, spelling};

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
        if let Some(setting) = reference::by_key(key) {
            self.values.insert(setting.key, (value.into(), origin));
        } else if let Some(setting) = former::by_key(key) {
            self.set_by_former_name(setting, value.into(), origin);
        } else {
            let reason = no_such("setting", spelling::meant_key(key));
            self.complaints.push(Complaint::new(key, reason));
        }
    }

    /// Sets what was given under a name that the setting had before: what is given under its own name counts.
    fn set_by_former_name(&mut self, setting: &'static Setting, value: String, origin: Origin) {
        let of_before = self.origin(setting.key);
        if of_before < origin || !self.values.contains_key(setting.key) {
            self.values.insert(setting.key, (value, origin));
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

    /// Takes the environment. A variable that begins like ours, is none and is no misspelt one is noted, not complained
    /// of: Kubernetes makes such for every service of the name.
    pub fn add_environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        for (name, value) in variables {
            if !name.starts_with("HOLDFAST_") || name == spelling::CONFIG_VARIABLE {
                continue;
            }
            if let Some(setting) = SETTINGS.iter().find(|setting| setting.variable == name) {
                self.set(setting.key, value, Origin::Environment);
            } else if let Some(setting) = former::by_variable(&name) {
                self.set_by_former_name(setting, value, Origin::Environment);
            } else if let Some(meant) = spelling::meant_variable(&name) {
                let reason = no_such("variable", Some(meant));
                self.complaints.push(Complaint::new(name, reason));
            } else {
                self.notes
                    .push(format!("environment variable {name} is no setting"));
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

/// What is said of a name that means nothing here.
fn no_such(what: &str, meant: Option<&str>) -> String {
    match meant {
        Some(meant) => format!("there is no such {what}; is {meant} meant?"),
        None => format!("there is no such {what}"),
    }
}
