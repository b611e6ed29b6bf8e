//! Spans: where they lie, what they are used for, and how a chunk comes out of them.

use zstd::zstd_safe::{self, DCtx, DDict};

use super::{Layout, Version};
use crate::format::reader::whole_items;
use crate::format::table::record;
use crate::format::{DecodeError, MAX_STORED_LEN, to_usize};
use crate::index::ByteSpan;

/// The longest dictionary that is accepted. Dolt's have 4 KiB.
pub const MAX_DICTIONARY_LEN: u32 = 1 << 20;

/// Reads a block of the span ends.
pub fn span_ends(block: &[u8]) -> Result<impl ExactSizeIterator<Item = u64> + '_, DecodeError> {
    numbers("span ends", block)
}

/// Reads a block of the prefixes.
pub fn prefixes(block: &[u8]) -> Result<impl ExactSizeIterator<Item = u64> + '_, DecodeError> {
    numbers("prefixes", block)
}

/// Reads a block of the chunk references.
pub fn references(
    block: &[u8],
) -> Result<impl ExactSizeIterator<Item = SpanReference> + '_, DecodeError> {
    let items = whole_items("chunk references", block)?;
    Ok(items.iter().map(SpanReference::decode))
}

/// Reads a block of the suffixes.
pub fn suffixes(block: &[u8]) -> Result<&[[u8; 12]], DecodeError> {
    whole_items("suffixes", block)
}

fn numbers<'a>(
    what: &'static str,
    block: &'a [u8],
) -> Result<impl ExactSizeIterator<Item = u64> + 'a, DecodeError> {
    let items = whole_items(what, block)?;
    Ok(items.iter().map(|bytes| u64::from_be_bytes(*bytes)))
}

/// Which spans a chunk lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanReference {
    /// The dictionary's span; 0 for a snappy record.
    pub dictionary: u32,
    /// The span of the stored chunk.
    pub data: u32,
}

impl SpanReference {
    pub(super) fn decode(bytes: &[u8; 8]) -> Self {
        let both = u64::from_be_bytes(*bytes);
        let half = |number: u64| u32::try_from(number).expect("32 bits are left");
        Self {
            dictionary: half(both >> 32),
            data: half(both & u64::from(u32::MAX)),
        }
    }

    /// Checks the rules that one reference can break by itself; `chunk` is its place in the index.
    pub(crate) fn check(self, layout: &Layout, chunk: u32) -> Result<(), DecodeError> {
        let Self { dictionary, data } = self;
        let count = layout.span_count();
        let outside = |span| DecodeError::SpanRange { chunk, span, count };
        if data == 0 || data > count {
            return Err(outside(data));
        }
        if dictionary > count {
            return Err(outside(dictionary));
        }
        if dictionary == 0 && layout.version() == Version::One {
            return Err(DecodeError::DictionaryMissing { chunk });
        }
        if dictionary == data {
            return Err(DecodeError::SpanShared { span: data });
        }
        if dictionary > data {
            return Err(DecodeError::DictionaryLate { chunk, dictionary });
        }
        Ok(())
    }

    pub(super) fn encode(self) -> [u8; 8] {
        (u64::from(self.dictionary) << 32 | u64::from(self.data)).to_be_bytes()
    }
}

/// Turns span ends into places: none is empty or too long, none goes back, the last fills the data section.
#[derive(Debug)]
pub struct DataSpans {
    data_len: u64,
    end: u64,
    number: u32,
}

impl DataSpans {
    /// Begins with the first span.
    pub fn new(layout: &Layout) -> Self {
        Self {
            data_len: layout.data_len(),
            end: 0,
            number: 1,
        }
    }

    /// Takes the end of the next span and returns where it lies.
    pub fn advance(&mut self, end: u64) -> Result<ByteSpan, DecodeError> {
        let number = self.number;
        let offset = self.end;
        if end > self.data_len {
            return Err(DecodeError::DataLen {
                sum: end,
                have: self.data_len,
            });
        }
        let len = end
            .checked_sub(offset)
            .ok_or(DecodeError::SpanBackwards { number })?;
        match u32::try_from(len) {
            Ok(len) if (1..=MAX_STORED_LEN).contains(&len) => {
                self.end = end;
                self.number = number.saturating_add(1);
                Ok(ByteSpan { offset, len })
            }
            _ => Err(DecodeError::StoredLen { number, len }),
        }
    }

    /// Checks that the last span ended where the index begins.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.end == self.data_len {
            Ok(())
        } else {
            Err(DecodeError::DataLen {
                sum: self.end,
                have: self.data_len,
            })
        }
    }
}

/// Checks the uses of spans: each has exactly one, a dictionary lies before the chunks that need it. Keeps one
/// byte a span.
#[derive(Debug)]
pub struct SpanRoles {
    version: Version,
    /// By span id less one.
    roles: Vec<Role>,
    chunk: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Unused,
    Data,
    Dictionary,
}

impl SpanRoles {
    /// Begins with the first chunk reference.
    pub fn new(layout: &Layout) -> Self {
        Self {
            version: layout.version(),
            roles: vec![Role::Unused; to_usize(layout.span_count())],
            chunk: 0,
        }
    }

    /// Takes the next chunk reference.
    pub fn check(&mut self, reference: SpanReference) -> Result<(), DecodeError> {
        let SpanReference { dictionary, data } = reference;
        let chunk = self.chunk;
        let role = self.role(data)?;
        if *role != Role::Unused {
            return Err(DecodeError::SpanShared { span: data });
        }
        *role = Role::Data;
        if dictionary == 0 {
            if self.version == Version::One {
                return Err(DecodeError::DictionaryMissing { chunk });
            }
        } else {
            let role = self.role(dictionary)?;
            if *role == Role::Data {
                return Err(DecodeError::SpanShared { span: dictionary });
            }
            *role = Role::Dictionary;
            if dictionary > data {
                return Err(DecodeError::DictionaryLate { chunk, dictionary });
            }
        }
        self.chunk = chunk.saturating_add(1);
        Ok(())
    }

    /// Checks that no span is left without a use.
    pub fn finish(self) -> Result<(), DecodeError> {
        match (1..)
            .zip(&self.roles)
            .find(|(_, role)| **role == Role::Unused)
        {
            Some((span, _)) => Err(DecodeError::SpanUnused { span }),
            None => Ok(()),
        }
    }

    fn role(&mut self, span: u32) -> Result<&mut Role, DecodeError> {
        let chunk = self.chunk;
        let count = u32::try_from(self.roles.len()).unwrap_or(u32::MAX);
        to_usize(span)
            .checked_sub(1)
            .and_then(|at| self.roles.get_mut(at))
            .ok_or(DecodeError::SpanRange { chunk, span, count })
    }
}

/// A dictionary, ready for use. Shared freely between threads.
pub struct Dictionary {
    prepared: DDict<'static>,
    len: usize,
}

impl Dictionary {
    /// Decodes a dictionary span: a zstd frame of at most [`MAX_DICTIONARY_LEN`] bytes.
    pub fn decode(span: &[u8]) -> Result<Self, DecodeError> {
        let mut bytes = Vec::new();
        let mut context = context();
        let len = decode_frame("dictionary", span, MAX_DICTIONARY_LEN, &mut bytes, |out| {
            context.decompress(out, span)
        })?;
        let prepared = DDict::try_create(&bytes).ok_or(DecodeError::Zstd {
            what: "dictionary",
            reason: "not a dictionary",
        })?;
        Ok(Self { prepared, len })
    }

    /// The length of the dictionary, decompressed.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing, which cannot be.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl std::fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dictionary")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// Decodes stored chunks of either kind; keeps zstd's working memory from one to the next.
pub struct Decoder {
    context: DCtx<'static>,
}

impl Decoder {
    /// Makes a decoder.
    pub fn new() -> Self {
        Self { context: context() }
    }

    /// Returns how long a stored chunk claims to be, and `limit` where it does not say or lies: nothing that is decoded
    /// with that limit takes more.
    pub fn claimed_len(stored: &[u8], dictionary: Option<&Dictionary>, limit: u32) -> u32 {
        let claimed = match dictionary {
            Some(_) => one_frame("chunk", stored).ok().flatten(),
            None => {
                let block = stored.len().checked_sub(record::CHECKSUM_LEN);
                let block = block.and_then(|len| stored.get(..len));
                block.and_then(|block| record::chunk_len(block, limit).ok().map(u64::from))
            }
        };
        let claimed = claimed.and_then(|len| u32::try_from(len).ok());
        claimed.map_or(limit, |len| len.min(limit))
    }

    /// Decodes a stored chunk: appends the chunk to `out` and returns its length. With a dictionary `stored` is
    /// a zstd frame, without one a snappy record. The address is not checked. After an error `out` is as it was.
    pub fn decode(
        &mut self,
        stored: &[u8],
        dictionary: Option<&Dictionary>,
        limit: u32,
        out: &mut Vec<u8>,
    ) -> Result<usize, DecodeError> {
        let Some(dictionary) = dictionary else {
            return record::decode(stored, limit, out);
        };
        decode_frame("chunk", stored, limit, out, |out| {
            self.context
                .decompress_using_ddict(out, stored, &dictionary.prepared)
        })
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

fn context() -> DCtx<'static> {
    DCtx::create()
}

/// The first guess for a frame that does not say how much it holds.
const FIRST_GUESS: u64 = 64 * 1024;

/// What zstd says of a buffer that is too small.
const TOO_SMALL: &str = "Destination buffer is too small";

/// Decompresses exactly one frame of at most `limit` bytes onto the end of `out`.
fn decode_frame(
    what: &'static str,
    frame: &[u8],
    limit: u32,
    out: &mut Vec<u8>,
    mut decompress: impl FnMut(&mut [u8]) -> zstd_safe::SafeResult,
) -> Result<usize, DecodeError> {
    let claimed = one_frame(what, frame)?;
    let limit = u64::from(limit);
    if claimed == Some(0) {
        return Err(DecodeError::EmptyChunk);
    }
    let too_long = |len| DecodeError::TooLong { what, len, limit };
    let mut room = claimed.unwrap_or(FIRST_GUESS.min(limit));
    if room > limit {
        return Err(too_long(room));
    }
    let start = out.len();
    loop {
        let size = usize::try_from(room).map_err(|_| too_long(room))?;
        out.resize(start + size, 0);
        let error = match decompress(&mut out[start..]) {
            Ok(len) if len > 0 => {
                out.truncate(start + len);
                return Ok(len);
            }
            Ok(_) => DecodeError::EmptyChunk,
            Err(code) => match zstd_safe::get_error_name(code) {
                TOO_SMALL if claimed.is_none() && room < limit => {
                    room = (room * 2).min(limit);
                    continue;
                }
                TOO_SMALL if claimed.is_none() => too_long(room + 1),
                reason => DecodeError::Zstd { what, reason },
            },
        };
        out.truncate(start);
        return Err(error);
    }
}

/// Checks that `frame` is exactly one zstd frame, and returns the length it claims for its content, if it does.
pub(super) fn one_frame(what: &'static str, frame: &[u8]) -> Result<Option<u64>, DecodeError> {
    let zstd = |reason| DecodeError::Zstd { what, reason };
    let frame_len = zstd_safe::find_frame_compressed_size(frame)
        .map_err(|code| zstd(zstd_safe::get_error_name(code)))?;
    if frame_len != frame.len() {
        return Err(zstd("bytes behind the frame"));
    }
    zstd_safe::get_frame_content_size(frame).map_err(|_| zstd("not a frame"))
}
