//! Named values: an object of JSON in one line, or a line for each.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::args::Format;

/// How wide names are in text.
const NAME_WIDTH: usize = 14;

/// Named values in their order. What is null is not shown to people.
#[derive(Debug, Default)]
pub(crate) struct Facts(Vec<(&'static str, Value)>);

impl Facts {
    /// Adds a value.
    pub(crate) fn add(&mut self, name: &'static str, value: impl Serialize) {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        self.0.push((name, value));
    }

    /// Prints them.
    pub(crate) fn print(self, format: Format) -> anyhow::Result<()> {
        match format {
            Format::Json => super::print(&self.json().to_string()),
            Format::Text => {
                for line in self.lines() {
                    super::print(&line)?;
                }
                Ok(())
            }
        }
    }

    fn json(self) -> Value {
        let pairs = self.0.into_iter();
        let map: Map<_, _> = pairs
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Value::Object(map)
    }

    /// A line for each value, and for each element of a list.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, value) in &self.0 {
            let name = name.replace('_', " ");
            let mut line =
                |text: &str| lines.push(format!("{name:<NAME_WIDTH$} {}", super::plain(text)));
            match value {
                Value::Null => {}
                Value::Bool(true) => line("yes"),
                Value::Bool(false) => line("no"),
                Value::String(text) if text.contains('\n') => text.lines().for_each(line),
                Value::Array(values) => values.iter().for_each(|value| line(&shown(value))),
                Value::Object(pairs) => {
                    let pairs = pairs.iter();
                    pairs.for_each(|(key, value)| line(&format!("{key} {}", shown(value))));
                }
                value => line(&shown(value)),
            }
        }
        lines
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(pairs) => {
            let values: Vec<_> = pairs.values().map(shown).collect();
            values.join("  ")
        }
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_a_line_for_each_element_and_null_has_none() {
        let mut facts = Facts::default();
        facts.add("kind", "Commit");
        facts.add("closure", None::<u64>);
        facts.add("stored_len", 7);
        facts.add("parents", ["a", "b"]);
        facts.add("merging", false);
        assert_eq!(
            facts.lines(),
            [
                "kind           Commit",
                "stored len     7",
                "parents        a",
                "parents        b",
                "merging        no",
            ]
        );
        let json = facts.json();
        assert_eq!(json["parents"][1], "b");
        assert!(json["closure"].is_null());
    }
}
