//! `holdfast tag`.

use holdfast_doltdb::model::Tag;
use holdfast_doltdb::source::get_one;
use holdfast_doltdb::{ReadError, RefName, Refs};
use jiff::Timestamp;
use serde_json::json;

use super::{place, unusable};
use crate::args::{Environment, Format, Output, Place};
use crate::ui;

pub(super) async fn tag(
    place: Place,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let looked = place::look(&place, environment).await?;
    let mut refs = Refs::open(&*looked.source, looked.root).await?;
    while let Some((name, address)) = refs.next().await? {
        let RefName::Tag(text) = &name else { continue };
        if !unusable::is_shown(&name, &looked.name) {
            continue;
        }
        let chunk = get_one(&*looked.source, address).await?;
        if let Err(fault) = name.check_kind(&chunk) {
            ui::warn(&format!("{}: {fault}; it is passed over", looked.name));
            continue;
        }
        let tag = Tag::decode(&chunk).map_err(|source| ReadError::Decode { address, source })?;
        match output.format {
            Format::Text => {
                let first = tag.description.lines().next().unwrap_or_default();
                let line = format!("{:<32} {}  {first}", ui::plain(text), tag.commit);
                ui::print(ui::plain(&line).trim_end())?;
            }
            Format::Json => {
                let tagger = &tag.tagger;
                let at = Timestamp::from_millisecond(tagger.at_millis).unwrap_or_default();
                let line = json!({
                    "name": text,
                    "address": address,
                    "commit": tag.commit,
                    "tagger": tagger.name,
                    "email": tagger.email,
                    "date": at.to_string(),
                    "message": tag.description,
                });
                ui::print(&line.to_string())?;
            }
        }
    }
    Ok(())
}
