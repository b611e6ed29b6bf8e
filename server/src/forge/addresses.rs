//! Signed, expiring addresses of data.
//!
//! ```text
//! GET       <base>/data/<object key>?e=<expiry>&s=<signature>
//! PUT POST  <base>/upload/<owner>/<name>/<file-id>[.darc]?l=<length>&n=<chunks>[&m=<md5>]&a=<actor>&e=<expiry>&s=<signature>
//! ```
//!
//! The signature is HMAC-SHA256 over the purpose, the path and the query before it, with a secret that all
//! servers of a forge share. Where reading needs a token that is part of the purpose of a download, so that no address
//! outlives the time when everybody could read. Secrets follow one another: what the one before and the one after
//! signed is good as well. An address of the same file is the same text for hours, so that clients can put
//! ranges of it together; it names no host, so any server may be asked. Signed addresses are never logged.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit as _, Mac as _};
use holdfast_chunkstore::TableFileId;
use holdfast_chunkstore::clock::Timestamp;
use holdfast_chunkstore::objects::ObjectKey;
use holdfast_chunkstore::repo::{DeclaredFile, FileKind, Md5, RepoName};
use sha2::Sha256;

use crate::settings::Readers;

/// How long the address of a file stays the same text.
pub const BUCKET: Duration = Duration::from_hours(6);
/// How long a download address is good for, from the beginning of its bucket: 24 to 30 hours for who gets it.
pub const DOWNLOAD_VALID: Duration = Duration::from_hours(30);
/// When a client should ask for a new address, from the beginning of the bucket.
pub const REFRESH_AFTER: Duration = Duration::from_hours(18);
/// How long an upload address is good for.
pub const UPLOAD_VALID: Duration = Duration::from_hours(6);

const DOWNLOAD_PREFIX: &str = "/data/";
const UPLOAD_PREFIX: &str = "/upload/";

/// A time on the grid of [`BUCKET`]s, from which addresses are signed.
pub fn bucket_start(now: Timestamp) -> Timestamp {
    let bucket = u64::try_from(BUCKET.as_millis()).unwrap_or(u64::MAX);
    Timestamp(now.0 - now.0 % bucket)
}

/// Why an address is not honored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is not one of ours.
    #[error("this address was not signed by this forge")]
    Signature,
    /// It was good once.
    #[error("this address has expired")]
    Expired,
    /// It is nothing that we would sign.
    #[error("there is nothing at this address")]
    Unknown,
}

/// What an upload address allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadTicket {
    /// Into which repository.
    pub repo: RepoName,
    /// What file, exactly.
    pub file: DeclaredFile,
    /// The name of who asked for the address: a plain word.
    pub actor: String,
}

/// Signs addresses and checks them.
pub struct Addresses {
    secret: [u8; 32],
    /// What they signed is good too.
    others: Vec<[u8; 32]>,
    readers: Readers,
}

impl std::fmt::Debug for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Addresses")
    }
}

impl Addresses {
    /// Takes the secret. Everybody may read.
    pub fn new(secret: [u8; 32]) -> Self {
        Self {
            secret,
            others: Vec::new(),
            readers: Readers::Everybody,
        }
    }

    /// Takes secrets whose signatures are good and that sign nothing here.
    #[must_use]
    pub fn with_others(self, others: Vec<[u8; 32]>) -> Self {
        Self { others, ..self }
    }

    /// Takes who may read.
    #[must_use]
    pub fn read_by(self, readers: Readers) -> Self {
        Self { readers, ..self }
    }

    /// What the address of a download is signed for.
    fn download_purpose(&self) -> &'static str {
        match self.readers {
            Readers::Everybody => "GET",
            Readers::Token => "GET with token",
        }
    }

    /// The path and query under which anybody may read an object, for the bucket of `now`.
    pub fn download(&self, key: &ObjectKey, now: Timestamp) -> String {
        let expires = bucket_start(now).plus(DOWNLOAD_VALID).seconds();
        self.sign(
            self.download_purpose(),
            format!("{DOWNLOAD_PREFIX}{key}?e={expires}"),
        )
    }

    /// The path and query under which one file may be sent.
    pub fn upload(&self, ticket: &UploadTicket, now: Timestamp) -> String {
        let UploadTicket { repo, file, actor } = ticket;
        let expires = now.plus(UPLOAD_VALID).seconds();
        let mut text = format!("{UPLOAD_PREFIX}{repo}/{}{}", file.id, file.kind.suffix());
        write!(text, "?l={}&n={}", file.len, file.chunks).expect("a String takes anything");
        if let Some(Md5(md5)) = &file.md5 {
            write!(text, "&m={}", HEXLOWER.encode(md5)).expect("a String takes anything");
        }
        write!(text, "&a={actor}&e={expires}").expect("a String takes anything");
        self.sign("PUT", text)
    }

    /// Whether a path is that of a download, signed or not.
    pub fn is_download(path: &str) -> bool {
        path.starts_with(DOWNLOAD_PREFIX)
    }

    /// Whether a path is that of an upload, signed or not.
    pub fn is_upload(path: &str) -> bool {
        path.starts_with(UPLOAD_PREFIX)
    }

    /// Checks a download address and tells what it names.
    pub fn check_download(
        &self,
        path: &str,
        query: Option<&str>,
        now: Timestamp,
    ) -> Result<ObjectKey, AddressError> {
        let path = &*plain(path)?;
        self.check(self.download_purpose(), path, query, now)?;
        let key = path
            .strip_prefix(DOWNLOAD_PREFIX)
            .ok_or(AddressError::Unknown)?;
        ObjectKey::parse(key).map_err(|_| AddressError::Unknown)
    }

    /// Checks an upload address and tells what it allows.
    pub fn check_upload(
        &self,
        path: &str,
        query: Option<&str>,
        now: Timestamp,
    ) -> Result<UploadTicket, AddressError> {
        let path = &*plain(path)?;
        let query = self.check("PUT", path, query, now)?;
        parse_ticket(path, query).ok_or(AddressError::Unknown)
    }

    fn sign(&self, purpose: &str, mut text: String) -> String {
        let signature = mac(&self.secret, purpose, &text).finalize().into_bytes();
        write!(text, "&s={}", BASE64URL_NOPAD.encode(&signature)).expect("a String takes anything");
        text
    }

    /// Checks signature and time; returns the query without its signature.
    fn check<'q>(
        &self,
        purpose: &str,
        path: &str,
        query: Option<&'q str>,
        now: Timestamp,
    ) -> Result<&'q str, AddressError> {
        let (signed, signature) = query
            .and_then(|query| query.rsplit_once("&s="))
            .ok_or(AddressError::Signature)?;
        let signature = BASE64URL_NOPAD
            .decode(signature.as_bytes())
            .map_err(|_| AddressError::Signature)?;
        let text = format!("{path}?{signed}");
        let mut secrets = std::iter::once(&self.secret).chain(&self.others);
        let is_good = |secret| {
            let verified = mac(secret, purpose, &text).verify_slice(&signature);
            verified.is_ok()
        };
        if !secrets.any(is_good) {
            return Err(AddressError::Signature);
        }
        let expires: u64 = field(signed, "e")
            .and_then(|text| text.parse().ok())
            .ok_or(AddressError::Unknown)?;
        if now.seconds() >= expires {
            return Err(AddressError::Expired);
        }
        Ok(signed)
    }
}

fn mac(secret: &[u8; 32], purpose: &str, text: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes any length");
    mac.update(purpose.as_bytes());
    mac.update(b" ");
    mac.update(text.as_bytes());
    mac
}

/// A path as it was signed: who passes an address on may write any character of it as `%` and two digits.
fn plain(path: &str) -> Result<Cow<'_, str>, AddressError> {
    if !path.contains('%') {
        return Ok(Cow::Borrowed(path));
    }
    let (first, rest) = path.split_once('%').unwrap_or((path, ""));
    let mut bytes = first.as_bytes().to_vec();
    for part in rest.split('%') {
        let (digits, plain) = part.split_at_checked(2).ok_or(AddressError::Unknown)?;
        let byte = HEXLOWER_PERMISSIVE.decode(digits.as_bytes());
        bytes.extend(byte.map_err(|_| AddressError::Unknown)?);
        bytes.extend_from_slice(plain.as_bytes());
    }
    let text = String::from_utf8(bytes).map_err(|_| AddressError::Unknown)?;
    Ok(Cow::Owned(text))
}

fn field<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

fn parse_ticket(path: &str, query: &str) -> Option<UploadTicket> {
    let (repo, file) = path.strip_prefix(UPLOAD_PREFIX)?.rsplit_once('/')?;
    let (id, kind) = match file.strip_suffix(FileKind::Archive.suffix()) {
        Some(id) => (id, FileKind::Archive),
        None => (file, FileKind::Table),
    };
    let md5 = match field(query, "m") {
        Some(text) => {
            let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
            Some(Md5(bytes.try_into().ok()?))
        }
        None => None,
    };
    Some(UploadTicket {
        repo: repo.parse().ok()?,
        actor: field(query, "a")?.to_owned(),
        file: DeclaredFile {
            id: id.parse::<TableFileId>().ok()?,
            kind,
            len: field(query, "l")?.parse().ok()?,
            chunks: field(query, "n")?.parse().ok()?,
            md5,
        },
    })
}

#[cfg(test)]
mod tests {
    use holdfast_chunkstore::testing::mutate;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    const NOON: Timestamp = Timestamp(1_700_000_000_000);

    fn split(address: &str) -> (&str, Option<&str>) {
        let (path, query) = address.split_once('?').unwrap();
        (path, Some(query))
    }

    fn ticket(kind: FileKind, md5: Option<Md5>) -> UploadTicket {
        UploadTicket {
            repo: "acme/prod".parse().unwrap(),
            actor: "anyone".to_owned(),
            file: DeclaredFile {
                id: TableFileId::new([7; 20]),
                kind,
                len: 12,
                chunks: 3,
                md5,
            },
        }
    }

    #[test]
    fn a_download_address_is_stable_for_hours_and_good_for_a_day() {
        let addresses = Addresses::new([1; 32]);
        let key = ObjectKey::parse("pools/p/files/ab/abc.up_1.darc").unwrap();
        let start = bucket_start(NOON);
        let address = addresses.download(&key, start);
        let later = start.plus(BUCKET - Duration::from_millis(1));
        assert_eq!(addresses.download(&key, later), address);
        assert_ne!(addresses.download(&key, start.plus(BUCKET)), address);
        let (path, query) = split(&address);
        assert!(path.ends_with(".darc"));
        let after_a_day = later.plus(Duration::from_hours(24));
        assert_eq!(addresses.check_download(path, query, after_a_day), Ok(key));
        let too_late = start.plus(DOWNLOAD_VALID);
        assert_eq!(
            addresses.check_download(path, query, too_late),
            Err(AddressError::Expired)
        );
        assert!(REFRESH_AFTER > BUCKET && REFRESH_AFTER + Duration::from_mins(5) < DOWNLOAD_VALID);
    }

    #[test]
    fn a_path_may_be_written_with_any_of_its_characters_encoded() {
        assert_eq!(plain("/data/a").unwrap(), "/data/a");
        assert_eq!(plain("/%64ata/%41%5f%5F").unwrap(), "/data/A__");
        for broken in ["%", "/a%4", "/a%4x", "/%ff", "/a%\u{e9}"] {
            assert_eq!(plain(broken), Err(AddressError::Unknown), "{broken}");
        }
    }

    #[test]
    fn an_upload_address_carries_what_was_declared() {
        let addresses = Addresses::new([1; 32]);
        for kind in [FileKind::Table, FileKind::Archive] {
            for md5 in [None, Some(Md5([9; 16]))] {
                let ticket = ticket(kind, md5);
                let address = addresses.upload(&ticket, NOON);
                let (path, query) = split(&address);
                assert_eq!(addresses.check_upload(path, query, NOON), Ok(ticket));
            }
        }
    }

    #[test]
    fn no_byte_of_an_address_may_change() {
        let addresses = Addresses::new([1; 32]);
        let address = addresses.upload(&ticket(FileKind::Table, None), NOON);
        let (path, query) = split(&address);
        assert!(addresses.check_download(path, query, NOON).is_err());
        for i in 0..address.len() {
            let mut changed = address.clone().into_bytes();
            changed[i] ^= 1;
            let changed = String::from_utf8(changed).unwrap();
            let Some((path, query)) = changed.split_once('?') else {
                continue;
            };
            assert!(
                addresses.check_upload(path, Some(query), NOON).is_err(),
                "{changed}"
            );
        }
        let other = Addresses::new([2; 32]);
        assert_eq!(
            other.check_upload(path, query, NOON),
            Err(AddressError::Signature)
        );
    }

    #[test]
    fn a_secret_follows_another_and_an_address_outlives_one_of_them() {
        let key = ObjectKey::parse("pools/p/files/ab/abc.up_1").unwrap();
        let signs = |number: u8| {
            let others = vec![[number + 1; 32], [number - 1; 32]];
            Addresses::new([number; 32]).with_others(others)
        };
        let address = signs(5).download(&key, NOON);
        let (path, query) = split(&address);
        for number in 1..9 {
            let checked = signs(number).check_download(path, query, NOON);
            assert_eq!(checked.is_ok(), (4..=6).contains(&number), "{number}");
        }
    }

    #[test]
    fn an_address_is_good_for_those_who_could_read_when_it_was_signed() {
        let key = ObjectKey::parse("pools/p/files/ab/abc.up_1").unwrap();
        let of = |readers| Addresses::new([1; 32]).read_by(readers);
        for signed in [Readers::Everybody, Readers::Token] {
            let address = of(signed).download(&key, NOON);
            let (path, query) = split(&address);
            for checked in [Readers::Everybody, Readers::Token] {
                let is_good = of(checked).check_download(path, query, NOON).is_ok();
                assert_eq!(is_good, signed == checked);
            }
        }
    }

    /// The signature keeps everything odd from what reads a ticket, which takes it all the same.
    #[test]
    fn a_ticket_that_nobody_signed_takes_anything() {
        let addresses = Addresses::new([1; 32]);
        let bases = [FileKind::Table, FileKind::Archive].map(|kind| {
            let address = addresses.upload(&ticket(kind, Some(Md5([9; 16]))), NOON);
            address.into_bytes()
        });
        let mut random = StdRng::seed_from_u64(1);
        let mut read = 0;
        for _ in 0..10_000 {
            let address = mutate::mutated(&bases, &mut random);
            let address = String::from_utf8_lossy(&address);
            let Some((path, query)) = address.split_once('?') else {
                continue;
            };
            if let Some(ticket) = parse_ticket(path, query) {
                read += 1;
                let again = addresses.upload(&ticket, NOON);
                let (path, query) = split(&again);
                assert_eq!(addresses.check_upload(path, query, NOON), Ok(ticket));
            }
        }
        assert!(read > 100, "{read} could be read");
    }
}
