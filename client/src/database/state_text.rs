//! The text of `repo_state.json`, changed in some fields.
//!
//! # Truth
//! The file, as dolt wrote it last: also fields that we do not know stay as they are written.
//! # Order
//! The file is read again, changed, and replaced in one step, unless it is another one by then.
//! # Crash
//! The old file stands there, or the new one.
//!
//! Dolt writes the file without a lock, also while the store is held: what it wrote meanwhile is kept.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{DatabaseError, DatabasePaths, io, replace_file};

/// How often a file that changes while it is changed is read again.
const ATTEMPTS: u32 = 10;

/// Changes fields of the file of a database. Blocks.
pub(crate) fn change_state(
    paths: &DatabasePaths,
    change: impl Fn(&mut Fields) -> Result<(), serde_json::Error>,
) -> Result<(), DatabaseError> {
    let path = paths.repo_state();
    let read = || std::fs::read(&path).map_err(io("read", &path));
    let change = |text: &[u8]| {
        changed_text(text, &change).map_err(|source| DatabaseError::File {
            path: path.clone(),
            source,
        })
    };
    let mut text = read()?;
    for _ in 1..ATTEMPTS {
        let changed = change(&text)?;
        let now = read()?;
        if now == text {
            return replace_file(&path, &changed);
        }
        text = now;
    }
    replace_file(&path, &change(&text)?)
}

/// The text with some fields changed.
pub(super) fn changed_text(
    text: &[u8],
    change: impl Fn(&mut Fields) -> Result<(), serde_json::Error>,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut state: Fields = serde_json::from_slice(text)?;
    change(&mut state)?;
    Ok(state.written(0)?.get().as_bytes().to_vec())
}

/// The fields of an object in their order, their values as they are written.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(String, Box<RawValue>)>);

impl Fields {
    /// The value of a field; the last one of that name, as Dolt reads it.
    pub(crate) fn get(&self, name: &str) -> Option<&RawValue> {
        let found = self.0.iter().rfind(|(known, _)| known == name);
        found.map(|(_, value)| &**value)
    }

    /// The names of all fields.
    #[cfg(test)]
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The fields of an object in a field; none where it is not there or null.
    pub(crate) fn object(&self, name: &str) -> Result<Self, serde_json::Error> {
        let object = match self.get(name) {
            Some(object) => serde_json::from_str::<Option<Self>>(object.get())?,
            None => None,
        };
        Ok(object.unwrap_or_default())
    }

    /// Removes a field.
    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    /// Sets a field in its place, or behind the others.
    pub(crate) fn set(&mut self, name: &str, value: Box<RawValue>) {
        match self.0.iter_mut().rfind(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Sets a field in its place, or before the first one that sorts behind it: so does Dolt order names.
    pub(crate) fn set_sorted(&mut self, name: &str, value: Box<RawValue>) {
        if self.get(name).is_some() {
            return self.set(name, value);
        }
        let at = self.0.iter().position(|(known, _)| known.as_str() > name);
        let at = at.unwrap_or(self.0.len());
        self.0.insert(at, (name.to_owned(), value));
    }

    /// The object as Dolt indents one that stands so deep in others.
    pub(crate) fn written(&self, depth: usize) -> Result<Box<RawValue>, serde_json::Error> {
        if self.0.is_empty() {
            return RawValue::from_string("{}".to_owned());
        }
        let (inner, outer) = ("  ".repeat(depth + 1), "  ".repeat(depth));
        let mut lines = Vec::with_capacity(self.0.len());
        for (name, value) in &self.0 {
            let name = serde_json::to_string(name)?;
            lines.push(format!("{inner}{name}: {value}"));
        }
        RawValue::from_string(format!("{{\n{}\n{outer}}}", lines.join(",\n")))
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some(field) = map.next_entry()? {
                    fields.0.push(field);
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Object)
    }
}
