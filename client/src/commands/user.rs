//! The user's own settings and keys, where Dolt keeps them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use holdfast_chunkstore::objects::durable;
use holdfast_client::database::{DatabasePaths, DoltSettings};
use holdfast_client::remote::credentials::{Credentials, Secret, SigningKey};

use super::Complaint;
use crate::args::Environment;

/// What a user's directory holds.
#[derive(Debug, Default)]
pub(super) struct User {
    directory: Option<PathBuf>,
    pub(super) settings: DoltSettings,
}

impl User {
    /// Reads the settings of the user whose environment this is, and over them those of a database; none where there are
    /// none.
    pub(super) fn read(environment: &Environment, database: Option<&Path>) -> anyhow::Result<Self> {
        let mut user = Self::of(environment)?;
        if let Some(database) = database {
            let own = DoltSettings::load(&DatabasePaths::new(database))?;
            user.settings = own.over(user.settings);
        }
        Ok(user)
    }

    fn of(environment: &Environment) -> anyhow::Result<Self> {
        let Some(home) = &environment.home else {
            return Ok(Self::default());
        };
        let directory = Path::new(home).join(".dolt");
        let path = directory.join(SETTINGS);
        let settings = match std::fs::read(&path) {
            Ok(text) => DoltSettings::decode(&text).map_err(|error| Complaint::User {
                text: format!("read {}: {error}", path.display()),
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => DoltSettings::default(),
            Err(error) => {
                let text = format!("read {}: {error}", path.display());
                return Err(Complaint::User { text }.into());
            }
        };
        Ok(Self {
            directory: Some(directory),
            settings,
        })
    }

    /// Who the user says that he is to servers: `--user`, else the key of his settings, else nobody.
    pub(super) fn credentials(
        &self,
        user: Option<String>,
        environment: &Environment,
    ) -> anyhow::Result<Credentials> {
        if let Some(user) = user {
            let password = environment
                .password
                .as_deref()
                .ok_or(Complaint::NoPassword)?;
            return Ok(Credentials::Password {
                user,
                password: Secret::new(password),
            });
        }
        Ok(self.key()?.map_or(Credentials::Nobody, Credentials::Key))
    }

    /// The key of the user's settings, if one is named.
    pub(super) fn key(&self) -> anyhow::Result<Option<SigningKey>> {
        match (self.settings.get("user.creds"), &self.directory) {
            (Some(id), Some(directory)) => read_key(directory, id).map(Some),
            _ => Ok(None),
        }
    }

    /// The key pair of that id.
    pub(super) fn read_key(&self, id: &str) -> anyhow::Result<SigningKey> {
        read_key(self.directory()?, id)
    }

    /// Where keys are kept.
    pub(super) fn key_folder(&self) -> Result<PathBuf, Complaint> {
        Ok(self.directory()?.join(KEYS))
    }

    /// The ids of all keys, in their order.
    pub(super) fn keys(&self) -> anyhow::Result<Vec<String>> {
        let folder = self.key_folder()?;
        let failed = || format!("could not list {}", folder.display());
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(failed),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry.with_context(failed)?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".jwk"));
            ids.extend(id.map(str::to_owned));
        }
        ids.sort();
        Ok(ids)
    }

    /// Uses a key from now on: the settings of the user name it, and say everything else as before.
    pub(super) fn set_key(&mut self, id: &str) -> anyhow::Result<()> {
        let path = self.directory()?.join(SETTINGS);
        self.settings.set("user.creds", id);
        let mode = match std::fs::metadata(&path) {
            Ok(metadata) => metadata.permissions().mode() & 0o777,
            Err(_) => 0o600,
        };
        durable::write_over(&path, "new-", mode, &self.settings.encode())
            .with_context(|| format!("could not write {}", path.display()))
    }

    fn directory(&self) -> Result<&Path, Complaint> {
        self.directory.as_deref().ok_or(Complaint::NoHome)
    }
}

/// The settings of a user, in Dolt's folder.
const SETTINGS: &str = "config_global.json";

/// The folder of key pairs in it.
const KEYS: &str = "creds";

/// Reads the key pair of that id.
fn read_key(directory: &Path, id: &str) -> anyhow::Result<SigningKey> {
    let path = directory.join(KEYS).join(format!("{id}.jwk"));
    let wrong = |what: &str| Complaint::User {
        text: format!("read the key {}: {what}", path.display()),
    };
    let text = std::fs::read(&path).map_err(|error| wrong(&error.to_string()))?;
    let key = SigningKey::decode_file(&text).map_err(|error| wrong(&error.to_string()))?;
    match key.id() == id {
        true => Ok(key),
        false => Err(wrong("it holds another key than its name says").into()),
    }
}

#[cfg(test)]
mod tests {
    use holdfast_client::remote::ProxySettings;

    use super::*;

    fn write(directory: &Path, name: &str, text: &str) {
        let dolt = directory.join(".dolt");
        durable::create_root(&dolt).unwrap();
        durable::write_over(&dolt.join(name), "new-", 0o644, text.as_bytes()).unwrap();
    }

    #[test]
    fn the_settings_of_a_database_count_before_those_of_its_user() {
        let (home, database) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let environment = Environment {
            home: Some(home.path().into()),
            password: None,
            proxies: ProxySettings::default(),
            is_plain: true,
        };
        let read = || User::read(&environment, Some(database.path()));
        assert_eq!(read().unwrap().settings.get("user.name"), None);
        let text = r#"{"user.name":"Ada","remotes.default_host":"example.org","user.creds":"a"}"#;
        write(home.path(), "config_global.json", text);
        assert_eq!(read().unwrap().settings.get("user.name"), Some("Ada"));
        let text = r#"{"remotes.default_host":"forge.test","user.creds":"b"}"#;
        write(database.path(), "config.json", text);
        let user = read().unwrap();
        assert_eq!(user.settings.get("user.name"), Some("Ada"));
        let host = user.settings.get("remotes.default_host");
        assert_eq!(host, Some("forge.test"));
        let error = user.key().unwrap_err().to_string();
        assert!(error.contains("b.jwk"), "{error}");
        let alone = User::read(&environment, None).unwrap();
        let host = alone.settings.get("remotes.default_host");
        assert_eq!(host, Some("example.org"));
        write(database.path(), "config.json", "{");
        let error = read().unwrap_err().to_string();
        assert!(error.contains("config.json"), "{error}");
    }
}
