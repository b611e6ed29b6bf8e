//! What the forge is, its secrets, and which repository a name means.
//!
//! # Truth
//! `forge.json`, `keys/` and the registers under `catalog/names/`, each created if absent and never changed.
//!
//! # Order
//! The pool's member object first, then the name's entry: nobody shares a pool without being listed in it.
//!
//! # Crash
//! A member object whose repository no name means is left; upkeep closes it.
//!
//! # Retry
//! A create is tried again, and then what stands there is read: whatever it is counts, whoever made it.

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::id::{PoolId, RepoId, Stamp};
use crate::objects::{ObjectError, ObjectKey, ObjectStoreExt as _};
use crate::repo::error::{RepositoryError, object};
use crate::repo::layout;
use crate::repo::name::RepoName;
use crate::repo::parts::Parts;
use crate::repo::version::check_version;

/// The format version of a forge that this code writes.
pub const FORGE_VERSION: u32 = 1;
/// Which defaults a new forge is made with: the number of times that what holds where nothing is set was changed.
pub const DEFAULTS: u32 = 1;
/// The longest object of the catalog that is read.
const MAX_LEN: u64 = 64 << 10;

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Forge {
    version: u32,
    forge: Stamp,
    created: Timestamp,
    /// Not there in a forge that was made before the first change.
    #[serde(default)]
    defaults: u32,
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Secret {
    version: u32,
    secret: String,
}

/// An object of the catalog, which says which version of its layout it has.
trait Versioned: serde::Serialize + serde::de::DeserializeOwned {
    /// The version that is written, and the highest that is read.
    const VERSION: u32;
}

impl Versioned for Forge {
    const VERSION: u32 = FORGE_VERSION;
}

impl Versioned for Secret {
    const VERSION: u32 = 1;
}

impl Versioned for Binding {
    const VERSION: u32 = 1;
}

/// Which repository a name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Binding {
    version: u32,
    /// The repository.
    pub repo: RepoId,
    /// Where its files are.
    pub pool: PoolId,
    /// When the name was given.
    pub time: Timestamp,
}

/// Checks that this forge is one that we can read, or begins a new one. Returns the defaults that it was made with.
pub async fn open_forge(parts: &Parts) -> Result<u32, RepositoryError> {
    let fresh = Forge {
        version: FORGE_VERSION,
        forge: parts.ids.stamp(),
        created: parts.clock.now(),
        defaults: DEFAULTS,
    };
    let forge: Forge = create_or_read(parts, layout::forge(), &fresh).await?;
    Ok(forge.defaults)
}

/// Reads a secret of the forge; the first to ask creates it.
pub async fn secret(parts: &Parts, name: &str) -> Result<[u8; 32], RepositoryError> {
    let key = layout::secret(name);
    let fresh = Secret {
        version: Secret::VERSION,
        secret: data_encoding::HEXLOWER.encode(&parts.ids.secret()),
    };
    let stored: Secret = create_or_read(parts, key.clone(), &fresh).await?;
    let bytes = data_encoding::HEXLOWER
        .decode(stored.secret.as_bytes())
        .ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| RepositoryError::Damaged {
            key,
            what: "it does not hold 32 bytes in hexadecimal".to_owned(),
        })
}

/// Reads which repository a name means, or nothing.
pub async fn lookup(parts: &Parts, name: &RepoName) -> Result<Option<Binding>, RepositoryError> {
    match read(parts, &layout::name_entry(name, 1)).await {
        Ok(binding) => Ok(Some(binding)),
        Err(RepositoryError::Object {
            source: ObjectError::NotFound { .. },
            ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives a name a repository of its own, unless it has one.
pub async fn bind(parts: &Parts, name: &RepoName) -> Result<Binding, RepositoryError> {
    if let Some(binding) = lookup(parts, name).await? {
        return Ok(binding);
    }
    let fresh = Binding {
        version: Binding::VERSION,
        repo: parts.ids.repo(),
        pool: parts.ids.pool(),
        time: parts.clock.now(),
    };
    let member = layout::member(fresh.pool, fresh.repo);
    let note = Bytes::from(format!("{{\"version\": 1, \"name\": \"{name}\"}}"));
    parts
        .objects
        .create_stamped(&member, note)
        .await
        .map_err(object("note who shares the pool"))?;
    create_or_read(parts, layout::name_entry(name, 1), &fresh).await
}

/// Checks that there is a forge that we can read. Writes nothing.
pub async fn check_forge(parts: &Parts) -> Result<(), RepositoryError> {
    read::<Forge>(parts, &layout::forge()).await.map(drop)
}

/// A name, and what it means where that can be read.
pub type Named = (RepoName, Result<Binding, RepositoryError>);

/// Lists every name with what it means, in the order of the names.
pub async fn names(parts: &Parts) -> Result<Vec<Named>, RepositoryError> {
    let entries = parts
        .objects
        .list_all(layout::NAMES)
        .await
        .map_err(object("list the names of repositories"))?;
    let mut names = Vec::new();
    for meta in entries {
        if let Some((name, 1)) = layout::parse_name_entry(&meta.key) {
            names.push((name, read(parts, &meta.key).await));
        }
    }
    names.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(names)
}

async fn create_or_read<T: Versioned>(
    parts: &Parts,
    key: ObjectKey,
    fresh: &T,
) -> Result<T, RepositoryError> {
    match read(parts, &key).await {
        Err(RepositoryError::Object {
            source: ObjectError::NotFound { .. },
            ..
        }) => {}
        found => return found,
    }
    let bytes =
        Bytes::from(serde_json::to_vec_pretty(fresh).expect("the catalog has only text keys"));
    // Who stores nothing of his own may take what stands there for his: it is read and believed in any case.
    match parts.objects.create_stamped(&key, bytes).await {
        Ok(()) | Err(ObjectError::AlreadyExists { .. }) => read(parts, &key).await,
        Err(error) => Err(object("write to the catalog")(error)),
    }
}

async fn read<T: Versioned>(parts: &Parts, key: &ObjectKey) -> Result<T, RepositoryError> {
    let bytes = parts
        .objects
        .read(key, None, MAX_LEN)
        .await
        .map_err(object("read the catalog"))?;
    check_version(key, &bytes, T::VERSION)?;
    serde_json::from_slice(&bytes).map_err(|error| RepositoryError::Damaged {
        key: key.clone(),
        what: error.to_string(),
    })
}
