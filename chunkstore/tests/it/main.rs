//! Tests of the crate as its users see it.

mod fixtures;
mod golden;
mod index;
mod ingest;
mod made_files;
mod objects;
