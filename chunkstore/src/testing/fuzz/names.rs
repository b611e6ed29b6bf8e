//! Names, keys and ids, which come as text from clients and from stores. Bytes that are not text are made text
//! first.

use std::fmt::{Debug, Display};
use std::path::{Component, Path};
use std::str::FromStr;

use crate::address::{AddressError, ChunkAddress, RootAddress, TableFileId};
use crate::id::{PoolId, RepoId, Stamp, UploadId};
use crate::objects::ObjectKey;
use crate::repo::RepoName;
use crate::repo::layout;

/// An object's key.
pub fn object_key(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(key) = ObjectKey::parse(text.as_ref()) else {
        return;
    };
    assert_eq!(key.as_str(), text);
    assert!(text.len() <= 512 && text.ends_with(key.name()) && !key.name().contains('/'));
    let path = Path::new(key.as_str());
    let is_plain = |part| matches!(part, Component::Normal(part) if part.len() <= 255);
    assert!(path.is_relative() && path.components().all(is_plain));
    assert_eq!(path.components().count(), text.split('/').count());
}

/// The key of an entry that says what a name means, with and without what all such keys begin with.
pub fn name_entry(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for text in [text.to_string(), format!("{}{text}", layout::NAMES)] {
        if let Ok(key) = ObjectKey::parse(text)
            && let Some((name, sequence)) = layout::parse_name_entry(&key)
        {
            assert_eq!(layout::name_entry(&name, sequence), key);
        }
    }
}

/// The name by which a file is given out: that of an upload, or of a classic twin.
pub fn served_name(bytes: &[u8]) {
    let name = String::from_utf8_lossy(bytes);
    let pool = PoolId::new([7; 16]);
    let file = layout::parse_file_name(&name);
    if let Some((id, upload, kind)) = file {
        assert_eq!(layout::file_of(pool, id, upload, kind).name(), name);
    }
    if let Some((archive, twin)) = layout::parse_twin_name(&name) {
        assert_eq!(layout::twin(pool, archive, twin).name(), name);
        assert!(file.is_none());
    }
}

/// The name of a repository.
pub fn repo_name(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(name) = printed_as_parsed::<RepoName>(&text) {
        assert_eq!(format!("{}/{}", name.owner(), name.name()), text);
        let entry = layout::name_entry(&name, u64::MAX);
        assert_eq!(layout::parse_name_entry(&entry), Some((name, u64::MAX)));
    }
}

/// Addresses as bytes and as text, and ids.
pub fn id(bytes: &[u8]) {
    match ChunkAddress::try_from(bytes) {
        Ok(address) => {
            assert_eq!(address.as_bytes(), bytes);
            let parts = ChunkAddress::from_parts(address.prefix(), address.suffix());
            assert_eq!(parts, address);
            assert_eq!(address.to_string().parse(), Ok(address));
            assert_eq!(
                RootAddress::from(address).chunk().is_none(),
                address.is_zero()
            );
        }
        Err(error) => assert_eq!(error, AddressError::Length { have: bytes.len() }),
    }
    let text = String::from_utf8_lossy(bytes);
    printed_as_parsed::<ChunkAddress>(&text);
    printed_as_parsed::<RootAddress>(&text);
    printed_as_parsed::<TableFileId>(&text);
    let is_id = [
        printed_as_parsed::<RepoId>(&text).is_some(),
        printed_as_parsed::<PoolId>(&text).is_some(),
        printed_as_parsed::<UploadId>(&text).is_some(),
        printed_as_parsed::<Stamp>(&text).is_some(),
    ];
    assert!(is_id.iter().filter(|is_one| **is_one).count() <= 1);
}

/// Parses text. What is of the type says the same text, and is a part of a key as it stands.
fn printed_as_parsed<T: FromStr<Err: Debug> + Display>(text: &str) -> Option<T> {
    let value = text.parse::<T>().ok()?;
    assert_eq!(value.to_string(), text);
    assert!(ObjectKey::parse(text).is_ok());
    Some(value)
}
