//! `holdfast inspect`: what a chunk, a ref or a file is.

mod chunk;
mod file;

use std::path::{Path, PathBuf};

use holdfast_chunkstore::index::ChunkEntry;
use holdfast_chunkstore::{ChunkAddress, TableFileId};
use serde_json::json;

use super::place::{self, Looked};
use super::{Complaint, pool};
use crate::args::{self, Environment, Format, Output};
use crate::ui;

pub(super) async fn inspect(
    arguments: args::Inspect,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let what = &arguments.what;
    let is_address = what.parse::<ChunkAddress>().is_ok();
    let path = Path::new(what);
    // The names of files are addresses too, and those of branches may be names of files.
    if path.is_file() && !is_address {
        return show_file(path.to_owned(), &arguments, output).await;
    }
    let looked = match place::look(&arguments.place, environment).await {
        Err(_) if path.is_file() => {
            return show_file(path.to_owned(), &arguments, output).await;
        }
        looked => looked?,
    };
    let named = match what.parse() {
        Ok(address) => Some(address),
        Err(_) => looked.find(what).await?,
    };
    if let Some(address) = named
        && let Some(facts) = chunk::facts(&looked, address).await?
    {
        return facts.print(output.format);
    }
    match file_called(&looked, what) {
        Some(path) => show_file(path, &arguments, output).await,
        None => {
            let what = what.clone();
            Err(Complaint::Nothing { what }.into())
        }
    }
}

/// The file of a store that has this id.
fn file_called(looked: &Looked, id: &str) -> Option<PathBuf> {
    let id: TableFileId = id.parse().ok()?;
    let store = looked.store()?;
    if id == holdfast_chunkstore::format::manifest::JOURNAL_ID {
        return store.journal().map(|journal| journal.path().to_owned());
    }
    let mut files = store.files().iter();
    let found = files.find(|file| file.id() == id);
    found.map(|file| file.path().to_owned())
}

async fn show_file(path: PathBuf, arguments: &args::Inspect, output: Output) -> anyhow::Result<()> {
    let file = pool().run(move || file::read(&path)).await?;
    file.facts.print(output.format)?;
    if arguments.chunks {
        for entry in file.chunks {
            ui::print(&entry_line(&entry, output.format))?;
        }
    }
    Ok(())
}

fn entry_line(entry: &ChunkEntry, format: Format) -> String {
    let (address, data) = (entry.address, entry.span.data);
    let dictionary = entry.span.dictionary.map(|span| span.offset);
    match format {
        Format::Json => json!({
            "address": address,
            "offset": data.offset,
            "stored_len": data.len,
            "dictionary": dictionary,
        })
        .to_string(),
        Format::Text => {
            let form = match dictionary {
                Some(offset) => format!("dictionary at {offset}"),
                None => "no dictionary".to_owned(),
            };
            format!("{address} {:>12} {:>9}  {form}", data.offset, data.len)
        }
    }
}
