//! Who asks, and what he may do, until accounts exist.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::error::ForgeError;
use crate::settings::{AccessSettings, Readers};

/// What somebody shows of himself.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing, or nothing that we know.
    Nothing,
    /// A user name and a password; an administrator's user name does not matter.
    Basic {
        /// The user name.
        user: String,
        /// The password, or a token in its place.
        password: String,
    },
    /// A token of any kind. Clients that are logged in elsewhere send theirs to everybody.
    Bearer {
        /// The token.
        token: String,
    },
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Basic { .. } => "Basic",
            Self::Bearer { .. } => "Bearer",
        })
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Principal {
    /// Anybody.
    Anyone,
    /// Who has the administrator token.
    Administrator,
}

impl Principal {
    /// The name that the log of a repository has for him.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::Administrator => "administrator",
        }
    }
}

/// What somebody wants to do to a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Read.
    Read,
    /// Write, and create what is not there.
    Write,
}

/// Tells who may do what.
#[derive(Debug)]
pub struct Access {
    settings: AccessSettings,
    readers: Readers,
}

impl Access {
    /// Takes the rules, and who may read.
    pub fn new(settings: AccessSettings, readers: Readers) -> Self {
        Self { settings, readers }
    }

    /// Finds out who somebody is. An unknown Bearer is nobody; a wrong password is refused.
    pub fn principal(&self, credentials: &Credentials) -> Result<Principal, ForgeError> {
        match credentials {
            Credentials::Nothing => Ok(Principal::Anyone),
            Credentials::Bearer { token } if self.is_admin_token(token) => {
                Ok(Principal::Administrator)
            }
            Credentials::Bearer { .. } => Ok(Principal::Anyone),
            Credentials::Basic { password, .. } if self.is_admin_token(password) => {
                Ok(Principal::Administrator)
            }
            Credentials::Basic { .. } if self.settings.open => Ok(Principal::Anyone),
            Credentials::Basic { user, .. } => Err(ForgeError::Unauthenticated {
                reason: format!(
                    "Access denied for user '{}': DOLT_REMOTE_PASSWORD does not hold the token of this server",
                    plain(user)
                ),
            }),
        }
    }

    /// Whether somebody may do something; the answer is the same for every repository.
    pub fn check(&self, principal: Principal, action: Action) -> Result<(), ForgeError> {
        let known = self.settings.open || principal == Principal::Administrator;
        let refused = |reason: &str| {
            Err(ForgeError::Unauthenticated {
                reason: reason.to_owned(),
            })
        };
        match action {
            Action::Read if known || self.readers == Readers::Everybody => Ok(()),
            Action::Read => refused(
                "this server is read with its token: give --user and the token in DOLT_REMOTE_PASSWORD; a command \
                 without --user, such as `dolt backup`, needs a server with reads = \"public\"",
            ),
            Action::Write if !known => refused(
                "this server is written to with its token: give --user and the token in DOLT_REMOTE_PASSWORD; a \
                 command without --user, such as `dolt backup`, needs a server that runs with --open",
            ),
            Action::Write if self.settings.read_only => Err(ForgeError::ReadOnly),
            Action::Write => Ok(()),
        }
    }

    /// Whether the server as a whole takes this; who asks was checked when his address was signed.
    pub fn check_server(&self, action: Action) -> Result<(), ForgeError> {
        match action {
            Action::Write if self.settings.read_only => Err(ForgeError::ReadOnly),
            Action::Read | Action::Write => Ok(()),
        }
    }

    /// Hashing first makes the comparison take as long for every length.
    fn is_admin_token(&self, text: &str) -> bool {
        self.settings.admin_token.as_ref().is_some_and(|token| {
            let [ours, theirs] = [token.reveal(), text].map(|text| Sha256::digest(text.as_bytes()));
            ours.as_slice().ct_eq(theirs.as_slice()).into()
        })
    }
}

/// A user name as it may be shown.
fn plain(user: &str) -> String {
    user.chars()
        .filter(|character| !character.is_control())
        .take(64)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Secret;
    use holdfast_chunkstore::ErrorKind;

    fn access(open: bool, read_only: bool, readers: Readers) -> Access {
        let settings = AccessSettings {
            open,
            open_to_the_network: false,
            read_only,
            readers: None,
            admin_token: Some(Secret::new("s3cret:with:colons")),
        };
        Access::new(settings, readers)
    }

    fn basic(password: &str) -> Credentials {
        Credentials::Basic {
            user: "me".to_owned(),
            password: password.to_owned(),
        }
    }

    #[test]
    fn the_token_is_a_password_or_a_bearer() {
        let access = access(false, false, Readers::Everybody);
        let token = "s3cret:with:colons".to_owned();
        for credentials in [basic(&token), Credentials::Bearer { token }] {
            let principal = access.principal(&credentials).unwrap();
            assert_eq!(principal, Principal::Administrator);
            assert!(access.check(principal, Action::Write).is_ok());
        }
    }

    #[test]
    fn an_unknown_bearer_is_nobody_and_a_wrong_password_is_refused() {
        let access = access(false, false, Readers::Everybody);
        let token = "eyJ.of.another".to_owned();
        let principal = access.principal(&Credentials::Bearer { token }).unwrap();
        assert_eq!(principal, Principal::Anyone);
        assert!(access.check(principal, Action::Read).is_ok());
        let refused = access.check(principal, Action::Write).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unauthenticated);
        let wrong = access.principal(&basic("wrong")).unwrap_err();
        let wrong = wrong.to_string();
        assert!(
            wrong.starts_with("Access denied for user 'me': "),
            "{wrong}"
        );
    }

    #[test]
    fn a_closed_server_is_not_read_without_the_token() {
        let access = access(false, false, Readers::Token);
        let refused = access.check(Principal::Anyone, Action::Read).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unauthenticated);
        assert!(access.check(Principal::Administrator, Action::Read).is_ok());
    }

    #[test]
    fn a_read_only_server_is_written_to_by_nobody() {
        for open in [true, false] {
            let access = access(open, true, Readers::Everybody);
            let refused = access
                .check(Principal::Administrator, Action::Write)
                .unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Denied);
            assert_eq!(
                refused.to_string(),
                "this server only provides read-only access"
            );
        }
    }
}
