//! Where writers put their bytes: a sink that buffers, counts and hashes what goes through.

use std::io::Write;

use md5::{Digest as _, Md5};
use ring::digest;

use super::EncodeError;
use crate::address::TableFileId;

/// What a finished file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The id that the file's name must be.
    pub id: TableFileId,
    /// How many chunks it holds.
    pub count: u32,
    /// Its length.
    pub len: u64,
    /// The length of its data section, which an upload of an archive calls the split offset.
    pub data_len: u64,
    /// MD5 of the whole file, unless its writer was told to leave it out.
    pub md5: Option<[u8; 16]>,
}

/// How many bytes are gathered before the sink sees them.
const BUFFER_LEN: usize = 64 * 1024;

/// Buffers, counts and hashes.
pub(super) struct Sink<W> {
    inner: W,
    what: &'static str,
    buffer: Vec<u8>,
    len: u64,
    md5: Option<Md5>,
    sha512: Option<digest::Context>,
}

/// What a sink knows in the end.
pub(super) struct Sums {
    pub(super) len: u64,
    pub(super) md5: Option<[u8; 16]>,
    pub(super) sha512: Option<digest::Digest>,
}

impl<W: Write> Sink<W> {
    /// A sink of the file that `what` names in errors.
    pub(super) fn new(inner: W, what: &'static str) -> Self {
        Self {
            inner,
            what,
            buffer: Vec::with_capacity(BUFFER_LEN),
            len: 0,
            md5: Some(Md5::new()),
            sha512: None,
        }
    }

    /// Keeps the SHA-512 too. Before the first byte.
    pub(super) fn with_sha512(mut self) -> Self {
        self.sha512 = Some(digest::Context::new(&digest::SHA512));
        self
    }

    /// Leaves out the MD5. Before the first byte.
    pub(super) fn without_md5(mut self) -> Self {
        self.md5 = None;
        self
    }

    /// How many bytes were put.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Takes the next bytes.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.len += bytes.len() as u64;
        if self.buffer.len() + bytes.len() > BUFFER_LEN {
            self.drain()?;
        }
        if bytes.len() > BUFFER_LEN {
            return self.pass(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes out what is left and returns the inner sink.
    pub(super) fn finish(mut self) -> Result<(W, Sums), EncodeError> {
        self.drain()?;
        let flushed = self.inner.flush();
        flushed.map_err(|source| EncodeError::Write {
            what: self.what,
            source,
        })?;
        let sums = Sums {
            len: self.len,
            md5: self.md5.map(|md5| md5.finalize().into()),
            sha512: self.sha512.map(digest::Context::finish),
        };
        Ok((self.inner, sums))
    }

    fn drain(&mut self) -> Result<(), EncodeError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let passed = self.pass(&buffer);
        buffer.clear();
        self.buffer = buffer;
        passed
    }

    fn pass(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
        let written = self.inner.write_all(bytes);
        written.map_err(|source| EncodeError::Write {
            what: self.what,
            source,
        })
    }
}
