//! Tests of the crate as its users see it.

mod fixtures;
mod golden;
mod index;
mod objects;
