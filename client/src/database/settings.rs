//! Dolt's own settings: flat JSON objects of texts, one per user and one per database.

use std::collections::BTreeMap;

use super::{DatabaseError, DatabasePaths, io};

/// Settings of a user or of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DoltSettings(BTreeMap<String, String>);

impl DoltSettings {
    /// Reads the text of a settings file.
    pub fn decode(text: &[u8]) -> Result<Self, serde_json::Error> {
        Ok(Self(serde_json::from_slice(text)?))
    }

    /// Reads those of a database; none where it has no file of them. Blocks.
    pub fn load(paths: &DatabasePaths) -> Result<Self, DatabaseError> {
        let path = paths.settings();
        match std::fs::read(&path) {
            Ok(text) => Self::decode(&text).map_err(|source| DatabaseError::File { path, source }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(io("read", &path)(error)),
        }
    }

    /// A setting by its name, such as `user.name`; an empty one counts as none.
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// Sets a setting.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// The text of a settings file, in one line with the names in their order, as Dolt writes it.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).expect("a map of texts can be written")
    }

    /// These, and where they say nothing, those of `user`.
    #[must_use]
    pub fn over(self, user: Self) -> Self {
        let mut both = user.0;
        both.extend(self.0);
        Self(both)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_wins_over_its_user() {
        let user = DoltSettings::decode(br#"{"user.name":"Ada","user.email":"a@example.org"}"#);
        let own = DoltSettings::decode(br#"{"user.name":"Grace"}"#).unwrap();
        let both = own.over(user.unwrap());
        assert_eq!(both.get("user.name"), Some("Grace"));
        assert_eq!(both.get("user.email"), Some("a@example.org"));
        assert_eq!(both.get("user.creds"), None);
        assert!(DoltSettings::decode(b"[]").is_err());
    }
}
