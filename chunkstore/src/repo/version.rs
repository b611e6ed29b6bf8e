//! The versions of stored objects, looked at before anything else of them.

use crate::objects::ObjectKey;
use crate::repo::error::RepositoryError;

/// Refuses the text of an object of a later version than `known`. Text that names no version is the decoder's matter.
pub(crate) fn check_version(
    key: &ObjectKey,
    text: &[u8],
    known: u32,
) -> Result<(), RepositoryError> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    match serde_json::from_slice(text) {
        Ok(Versioned { version }) if version > known => Err(RepositoryError::Newer {
            key: key.clone(),
            version,
            known,
        }),
        _ => Ok(()),
    }
}
