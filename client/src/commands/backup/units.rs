//! Times and shares as users write them.

use std::time::Duration;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::clock::Timestamp;
use holdfast_client::backup::{Share, Which};
use jiff::tz::TimeZone;

use crate::commands::Complaint;

/// Reads `30m`, `1h`, `1d`.
pub(super) fn interval(text: &str) -> Result<Duration, Complaint> {
    let wrong = || Complaint::Value {
        text: text.to_owned(),
        wanted: "a time such as 30m, 1h or 1d",
    };
    // A day is 24 hours here: what is counted is how long nothing was backed up.
    let split = text.find(|character: char| !character.is_ascii_digit());
    let (number, unit) = text.split_at(split.ok_or_else(wrong)?);
    let number: u32 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(wrong()),
    };
    match number {
        0 => Err(wrong()),
        number => Ok(Duration::from_secs(u64::from(number) * seconds)),
    }
}

/// Reads `5%` as so many of a million.
pub(super) fn per_million(text: &str) -> Result<u32, Complaint> {
    let wrong = || Complaint::Value {
        text: text.to_owned(),
        wanted: "a share such as 5% or 0.1%",
    };
    let percent: f64 = text
        .strip_suffix('%')
        .unwrap_or(text)
        .parse()
        .map_err(|_| wrong())?;
    match percent {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and a million"
        )]
        percent if percent > 0.0 && percent <= 100.0 => Ok((percent * 10_000.0).ceil() as u32),
        _ => Err(wrong()),
    }
}

/// Reads how much of the data is read back; nothing of it is an answer too.
pub(super) fn share(text: &str) -> Result<Share, Complaint> {
    match text.strip_suffix('%').unwrap_or(text) {
        "0" => Ok(Share::NONE),
        _ => per_million(text).map(Share::of),
    }
}

/// Reads a time, in UTC unless it says otherwise, or the address of a commit.
pub(super) fn moment(text: &str) -> Result<Which, Complaint> {
    if let Ok(commit) = text.parse::<ChunkAddress>() {
        return Ok(Which::Having(commit));
    }
    let wrong = || Complaint::Value {
        text: text.to_owned(),
        wanted: "a time such as 2026-03-01T12:00, or a commit",
    };
    let time = match text.parse::<jiff::Timestamp>() {
        Ok(time) => time,
        Err(_) => {
            let civil: jiff::civil::DateTime = text.parse().map_err(|_| wrong())?;
            TimeZone::UTC.to_timestamp(civil).map_err(|_| wrong())?
        }
    };
    let millis = u64::try_from(time.as_millisecond()).map_err(|_| wrong())?;
    Ok(Which::At(Timestamp(millis)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_a_unit() {
        assert_eq!(interval("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(interval("30m").unwrap(), Duration::from_secs(1800));
        assert_eq!(interval("1d").unwrap(), Duration::from_secs(86_400));
        for text in ["", "1", "h", "0h", "-1h", "1 hour", "1.5h"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_of_a_hundred() {
        assert_eq!(per_million("5%").unwrap(), 50_000);
        assert_eq!(per_million("0.1").unwrap(), 1000);
        assert_eq!(per_million("100%").unwrap(), 1_000_000);
        for text in ["", "%", "0%", "101%", "NaN", "-1"] {
            assert!(per_million(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments_are_times_and_commits() {
        let at = |text| moment(text).unwrap();
        let noon = Which::At(Timestamp(1_772_366_400_000));
        assert_eq!(at("2026-03-01T12:00"), noon);
        assert_eq!(at("2026-03-01 12:00:00"), noon);
        assert_eq!(at("2026-03-01T14:00:00+02:00"), noon);
        assert_eq!(at("2026-03-01T12:00:00Z"), noon);
        let commit = "v".repeat(32);
        assert_eq!(at(&commit), Which::Having(ChunkAddress::new([0xff; 20])));
        assert!(moment("yesterday").is_err());
    }
}
