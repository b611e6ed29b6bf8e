//! Messages decoded, one file per kind. They borrow from the chunk.

mod commit;
mod store_root;
mod tag;
mod working_set;

pub use commit::{Commit, Signer};
pub use store_root::StoreRoot;
pub use tag::Tag;
pub use working_set::WorkingSet;
