//! The user's own settings and keys, where Dolt keeps them.

use std::path::{Path, PathBuf};

use holdfast_client::database::DoltSettings;
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
    /// Reads the settings of the user whose environment this is; none where there are none.
    pub(super) fn read(environment: &Environment) -> anyhow::Result<Self> {
        let Some(home) = &environment.home else {
            return Ok(Self::default());
        };
        let directory = Path::new(home).join(".dolt");
        let path = directory.join("config_global.json");
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
}

/// Reads the key pair of that id.
fn read_key(directory: &Path, id: &str) -> anyhow::Result<SigningKey> {
    let path = directory.join("creds").join(format!("{id}.jwk"));
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
