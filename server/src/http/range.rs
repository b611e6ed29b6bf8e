//! The `Range` header: one range of bytes (pure).

use std::ops::Range;

/// What part of a file a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All of it.
    Whole,
    /// From one byte up to, but without, another.
    Part {
        /// The first byte.
        from: u64,
        /// The byte behind the last.
        until: u64,
    },
    /// From one byte to the end.
    From(u64),
    /// The last so many bytes.
    Last(u64),
}

/// Why a range is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Not a range of bytes.
    #[error("malformed range")]
    Malformed,
    /// More than one range.
    #[error("only one range is served at a time")]
    Several,
    /// Not inside any file.
    #[error("the range does not lie inside the file")]
    Outside,
}

/// Reads a `Range` header.
pub fn parse(header: &str) -> Result<Wanted, RangeError> {
    let (unit, ranges) = header.split_once('=').ok_or(RangeError::Malformed)?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Err(RangeError::Malformed);
    }
    if ranges.contains(',') {
        return Err(RangeError::Several);
    }
    let (first, last) = ranges.trim().split_once('-').ok_or(RangeError::Malformed)?;
    match (first.trim(), last.trim()) {
        ("", "") => Err(RangeError::Malformed),
        ("", suffix) => Ok(Wanted::Last(number(suffix)?)),
        (first, "") => Ok(Wanted::From(number(first)?)),
        (first, last) => {
            let (from, last) = (number(first)?, number(last)?);
            if last < from {
                return Err(RangeError::Malformed);
            }
            let until = last.checked_add(1).ok_or(RangeError::Outside)?;
            Ok(Wanted::Part { from, until })
        }
    }
}

impl Wanted {
    /// The range in a file of `len` bytes; nothing for all of it. A range that reaches past the end is
    /// refused where the standard would cut it: a client that takes a short answer for a whole one loses
    /// data.
    pub fn within(self, len: u64) -> Result<Option<Range<u64>>, RangeError> {
        let range = match self {
            Self::Whole => return Ok(None),
            Self::Part { from, until } => from..until,
            Self::From(from) => from..len,
            Self::Last(count) => len.checked_sub(count).ok_or(RangeError::Outside)?..len,
        };
        if range.start < range.end && range.end <= len {
            Ok(Some(range))
        } else {
            Err(RangeError::Outside)
        }
    }
}

/// Digits only: `u64::from_str` would take a sign as well. What is larger than any file is the largest number.
fn number(text: &str) -> Result<u64, RangeError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(RangeError::Malformed);
    }
    Ok(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(header: &str, len: u64) -> Result<Option<Range<u64>>, RangeError> {
        parse(header)?.within(len)
    }

    #[test]
    fn one_range_in_its_three_forms() {
        assert_eq!(within("bytes=0-99", 100), Ok(Some(0..100)));
        assert_eq!(within("bytes=5-5", 100), Ok(Some(5..6)));
        assert_eq!(within("bytes=90-", 100), Ok(Some(90..100)));
        assert_eq!(within("bytes=-10", 100), Ok(Some(90..100)));
        assert_eq!(Wanted::Whole.within(100), Ok(None));
    }

    #[test]
    fn nothing_is_cut_short() {
        for header in [
            "bytes=0-100",
            "bytes=100-",
            "bytes=100-100",
            "bytes=-0",
            "bytes=-101",
            "bytes=0-18446744073709551615",
            "bytes=0-99999999999999999999999",
        ] {
            assert_eq!(within(header, 100), Err(RangeError::Outside), "{header}");
        }
        assert_eq!(within("bytes=0-", 0), Err(RangeError::Outside));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=2-1",
            "rows=1-2",
            "bytes=1-2-3",
            "bytes=0x1-2",
            "bytes==1-2",
            "bytes=99999999999999999999999-x",
        ] {
            assert_eq!(parse(header), Err(RangeError::Malformed), "{header}");
        }
        assert_eq!(parse("bytes=1-2,4-5"), Err(RangeError::Several));
    }
}
