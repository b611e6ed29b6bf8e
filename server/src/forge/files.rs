//! Whole files: the list for a clone, and their addresses.

use std::time::Duration;

use holdfast_chunkstore::RootAddress;
use holdfast_chunkstore::clock::Timestamp;
use holdfast_chunkstore::objects::{ObjectBody, ObjectError, ObjectKey, SignedAddress};
use holdfast_chunkstore::repo::{Listing, RepoName, Repository, RepositoryError, ServedFile, View};

use super::addresses::{DOWNLOAD_VALID, REFRESH_AFTER, bucket_start};
use super::{Caller, Forge, ForgeError};
use crate::settings::Delivery;

/// An address of the bucket that ends sooner than this is not given out.
const LEAST_LEFT: Duration = Duration::from_mins(1);
/// How long before its end an address is to be exchanged, or half of what is left of it where that is less.
const BEFORE_END: Duration = Duration::from_mins(5);

/// An address, and when to ask for a new one.
#[derive(Clone, PartialEq, Eq)]
pub struct DataUrl {
    /// The address. Signed: never logged.
    pub url: String,
    /// When to ask for a new one.
    pub refresh_after: Timestamp,
}

impl std::fmt::Debug for DataUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataUrl")
            .field("refresh_after", &self.refresh_after)
            .finish_non_exhaustive()
    }
}

/// How long a request waits until it is known whether something needs the damaged files of a repository.
const LOOKED_THROUGH: Duration = Duration::from_secs(30);

impl Forge {
    /// Lists root and files, of one moment.
    pub async fn listing(&self, caller: &Caller, name: &RepoName) -> Result<Listing, ForgeError> {
        match self.readable(caller, name).await? {
            Some(repository) => self.listing_of(repository, caller.view).await,
            None => Ok(Listing {
                root: RootAddress::ZERO,
                files: Vec::new(),
            }),
        }
    }

    /// Lists root and files. Where files are damaged, whether something needs them is found beside the request, which
    /// waits for that a while only; what was found is remembered for the next.
    async fn listing_of(&self, repository: Repository, view: View) -> Result<Listing, ForgeError> {
        if !repository.has_damage().await {
            return Ok(repository.listing(view).await?);
        }
        let name = repository.name().clone();
        let (to, listed) = tokio::sync::oneshot::channel();
        self.upkeep.spawn(async move {
            let listing = repository.listing(view).await;
            // The request may have ended.
            drop(to.send(listing));
        });
        tokio::select! {
            biased;
            listing = listed => match listing {
                Ok(listing) => Ok(listing?),
                // The server stops.
                Err(_) => Err(ForgeError::LookedThrough { name }),
            },
            () = self.clock().sleep(LOOKED_THROUGH) => Err(ForgeError::LookedThrough { name }),
        }
    }

    /// Gives a new address for a file, named as in [`ServedFile::key`]'s last segment, or as dolt names it.
    pub async fn refresh(
        &self,
        caller: &Caller,
        name: &RepoName,
        file: &str,
    ) -> Result<DataUrl, ForgeError> {
        let missing = || ForgeError::NoFile {
            name: name.clone(),
            file: file.chars().take(128).collect(),
        };
        let repository = self.readable(caller, name).await?.ok_or_else(missing)?;
        if let Some(served) = repository.served(file).await? {
            return self.data_url(caller, &served).await;
        }
        let id = file.strip_suffix(".darc").unwrap_or(file).parse();
        let id = id.map_err(|_| missing())?;
        let listing = self.listing_of(repository, caller.view).await?;
        let served = listing.files.iter().find(|served| served.file.id == id);
        self.data_url(caller, served.ok_or_else(missing)?).await
    }

    /// The address of a file for a client: the same text for hours, unless the keys of the bucket end before.
    pub async fn data_url(
        &self,
        caller: &Caller,
        file: &ServedFile,
    ) -> Result<DataUrl, ForgeError> {
        let now = self.clock().now();
        let presigned = match self.delivery {
            Delivery::Server => None,
            Delivery::Presigned => {
                let objects = &self.repositories.parts().objects;
                let presigned = objects
                    .presign(&file.key, bucket_start(now), DOWNLOAD_VALID)
                    .await;
                presigned.map_err(read_error("sign an address of the bucket"))?
            }
        };
        if let Some(presigned) = presigned.and_then(|signed| lasting(signed, now)) {
            return Ok(presigned);
        }
        let path = self.addresses.download(&file.key, now);
        Ok(DataUrl {
            url: format!("{}{path}", caller.base_url.as_str()),
            refresh_after: bucket_start(now).plus(REFRESH_AFTER),
        })
    }

    /// Checks the address of a download and tells which object it names.
    pub fn check_download(&self, path: &str, query: Option<&str>) -> Result<ObjectKey, ForgeError> {
        let now = self.clock().now();
        Ok(self.addresses.check_download(path, query, now)?)
    }

    /// Tells the length of a file in bytes.
    pub async fn download_len(&self, key: &ObjectKey) -> Result<u64, ForgeError> {
        let objects = &self.repositories.parts().objects;
        match objects.head(key).await {
            Ok(meta) => self.check_len(key, meta.len).map(|()| meta.len),
            Err(source) => Err(self.read_failed("open a table file", key, source).await),
        }
    }

    /// Reads a file, or a range of it.
    pub async fn read_download(
        &self,
        key: &ObjectKey,
        range: Option<std::ops::Range<u64>>,
    ) -> Result<ObjectBody, ForgeError> {
        let objects = &self.repositories.parts().objects;
        match objects.get(key, range).await {
            Ok(body) => self.check_len(key, body.object_len).map(|()| body),
            Err(source) => Err(self.read_failed("read a table file", key, source).await),
        }
    }

    async fn read_failed(
        &self,
        action: &'static str,
        key: &ObjectKey,
        source: ObjectError,
    ) -> ForgeError {
        match self.if_damaged(key, &source).await {
            Some(damaged) => damaged,
            None => read_error(action)(source),
        }
    }
}

/// An address of the bucket, unless it ends too soon to be of use.
fn lasting(signed: SignedAddress, now: Timestamp) -> Option<DataUrl> {
    let SignedAddress { url, expires } = signed;
    let left = expires.since(now);
    let last = now.plus(left - BEFORE_END.min(left / 2));
    let refresh_after = bucket_start(now).plus(REFRESH_AFTER).min(last);
    (left >= LEAST_LEFT).then_some(DataUrl { url, refresh_after })
}

fn read_error(action: &'static str) -> impl FnOnce(ObjectError) -> ForgeError {
    move |source| match source {
        ObjectError::NotFound { .. } => ForgeError::Gone,
        ObjectError::Range { len, .. } => ForgeError::Range { len },
        source => ForgeError::Repository(RepositoryError::Object { action, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(now: Timestamp, expires: Timestamp) -> Option<Timestamp> {
        let url = "https://bucket.example.com/a".to_owned();
        let lasting = lasting(SignedAddress { url, expires }, now);
        lasting.map(|address| address.refresh_after)
    }

    #[test]
    fn an_address_of_the_bucket_is_exchanged_before_it_ends_and_not_given_out_at_its_end() {
        let start = bucket_start(Timestamp(1_700_000_000_000));
        let now = start.plus(Duration::from_hours(5));
        let whole = start.plus(DOWNLOAD_VALID);
        assert_eq!(given(now, whole), Some(start.plus(REFRESH_AFTER)));
        let after = |minutes| now.plus(Duration::from_mins(minutes));
        assert_eq!(given(now, after(60)), Some(after(55)));
        assert_eq!(given(now, after(4)), Some(after(2)));
        let a_minute = after(1);
        assert_eq!(
            given(now, a_minute),
            Some(now.plus(Duration::from_secs(30)))
        );
        assert_eq!(given(now.plus(Duration::from_secs(1)), a_minute), None);
        assert_eq!(given(after(2), a_minute), None);
    }
}
