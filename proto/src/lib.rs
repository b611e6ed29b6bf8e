//! The messages and stubs of the protocols that Holdfast speaks.
//!
//! The definitions in `protos/` say what travels; they are compiled by the build script, and nothing
//! is written by hand here. What each side must do with a message is not known to this crate.
//!
//! The features `client` and `server` choose which half of the stubs is there; both are on by
//! default. Every `bytes` field is a [`bytes::Bytes`], cut from the received message without a copy.

/// The API that `dolt` speaks with its remotes, version `v1alpha1`.
///
/// `ChunkStoreService` moves roots, says which chunks a repository holds, and hands out the HTTP
/// addresses that table files are read from and written to. `CredentialsService` says who the
/// caller is.
#[expect(
    missing_docs,
    reason = "generated: the definitions document what needs a word"
)]
#[cfg_attr(
    any(feature = "client", feature = "server"),
    expect(
        unused_qualifications,
        clippy::allow_attributes_without_reason,
        reason = "generated: written for any caller's imports and lints"
    )
)]
#[cfg_attr(
    feature = "server",
    expect(
        clippy::allow_attributes,
        clippy::clone_on_ref_ptr,
        clippy::too_many_lines,
        reason = "generated: so does tonic write the dispatch of a service"
    )
)]
pub mod remotesapi {
    tonic::include_proto!("dolt.services.remotesapi.v1alpha1");
}

/// Every definition of this crate and what it imports, as an encoded `FileDescriptorSet`: what the
/// reflection service serves.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
