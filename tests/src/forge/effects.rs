//! Whether what a test chose shows in what its clients did: read off the log lines, the proxies and the bucket.

use crate::peer::Peer;
use crate::remote::Uploads;
use crate::wait;

use super::{FinishedRequest, Forge, wait_on};

const NEWER_STREAM: &str = "/StreamChunkLocations";
const LEGACY_STREAM: &str = "/StreamDownloadLocations";

impl Forge {
    /// Panics unless the plan had its effect on what dolt did, which was told to upload such files.
    ///
    /// Of servers that hold no repository only what concerns every request is looked at: dolt moved no data then.
    pub fn assert_effects(&self, uploads: Uploads) {
        self.one_was("any request", |_| true);
        self.assert_connections();
        let addresses = self.listed_addresses();
        if addresses.is_empty() {
            return;
        }
        self.assert_uploads(uploads);
        if self.plan.stream_chunk_locations {
            self.one_was("the newer stream", |one| one.path.ends_with(NEWER_STREAM));
        } else {
            self.one_was("the legacy stream", |one| one.path.ends_with(LEGACY_STREAM));
            self.none_was("the newer stream", |one| one.path.ends_with(NEWER_STREAM));
        }
        self.assert_delivery(&addresses);
    }

    fn assert_connections(&self) {
        if let Some(door) = &self.running().tls_door {
            const TLS_HANDSHAKE: u8 = 0x16;
            let first_bytes = door.first_bytes();
            assert!(!first_bytes.is_empty(), "nobody came over https");
            assert!(
                first_bytes.iter().all(|byte| *byte == TLS_HANDSHAKE),
                "not all connections to the https address were TLS: {first_bytes:x?}"
            );
        }
        if let Some(proxy) = &self.running().proxy {
            let answered = proxy.answered();
            assert!(
                answered.iter().all(|count| *count > 0),
                "a server answered nothing: {answered:?}"
            );
        }
    }

    fn assert_uploads(&self, uploads: Uploads) {
        let is_upload = |one: &FinishedRequest| one.path.starts_with("/upload/");
        let is_archive = |one: &FinishedRequest| one.path.ends_with(".darc");
        match uploads {
            Uploads::Archives => {
                self.one_was("an upload of an archive", |one| {
                    is_upload(one) && is_archive(one)
                });
            }
            Uploads::TableFiles => {
                self.one_was("an upload", is_upload);
                self.none_was("an upload of an archive", |one| {
                    is_upload(one) && is_archive(one)
                });
            }
        }
    }

    fn assert_delivery(&self, addresses: &[String]) {
        let is_read = |one: &FinishedRequest| one.method == "GET" && one.path.starts_with("/data/");
        let from = match &self.ground.access {
            Some((access, _)) if self.plan.presigned => format!("{}/", access.endpoint),
            _ => format!("{}/data/", self.base_url()),
        };
        for address in addresses {
            let shown = address.split('?').next();
            assert!(address.starts_with(&from), "{shown:?} is not below {from}");
        }
        let presigned_reads = self.bucket().map(|bucket| bucket.presigned_reads());
        if self.plan.presigned {
            self.none_was("a read of data from a server", is_read);
            assert_ne!(presigned_reads, Some(0), "nothing was read from the bucket");
        } else {
            self.one_was("a read of data from a server", is_read);
            assert_eq!(presigned_reads.unwrap_or(0), 0, "reads from the bucket");
        }
    }

    /// The addresses of all files of all repositories, as a client in clear text gets them.
    fn listed_addresses(&self) -> Vec<String> {
        let (base_url, names) = (self.base_url().to_owned(), self.repositories());
        wait_on(&self.running().runtime, async move {
            let mut addresses = Vec::new();
            for name in names {
                let listing = Peer::new(&base_url, &name).files().await.unwrap();
                addresses.extend(listing.table_file_info.into_iter().map(|file| file.url));
            }
            addresses
        })
    }

    /// Waits for the line of such a request: it is written a moment after the client has its answer.
    fn one_was(&self, what: &str, is_it: impl Fn(&FinishedRequest) -> bool) {
        wait::until(&format!("the log to tell of {what}"), || {
            self.logs().requests().iter().any(&is_it)
        });
    }

    fn none_was(&self, what: &str, is_it: impl Fn(&FinishedRequest) -> bool) {
        let requests = self.logs().requests();
        let found = requests.iter().find(|one| is_it(one));
        assert!(found.is_none(), "there was {what}: {found:?}");
    }
}
