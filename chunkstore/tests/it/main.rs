//! Integration tests of holdfast-chunkstore.

mod index;
mod objects;
