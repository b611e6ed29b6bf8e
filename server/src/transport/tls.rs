//! The certificate and key of TLS, read again when their files change.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::settings::TlsSettings;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file is missing, or is not PEM with what it should hold.
    #[error("could not read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// The file holds no certificate.
    #[error("could not use {}: it holds no certificate", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not fit, or are of a kind that is not served.
    #[error("could not use the certificate in {}", path.display())]
    Unusable {
        /// The file with the certificate.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// What tells one state of the two files from another.
type FileStamp = [Option<(std::time::SystemTime, u64)>; 2];

struct Current {
    stamp: FileStamp,
    acceptor: TlsAcceptor,
}

/// A certificate with its key.
pub struct TlsIdentity {
    files: TlsSettings,
    current: Mutex<Current>,
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl TlsIdentity {
    /// Reads both files.
    pub fn load(files: TlsSettings) -> Result<Self, TlsError> {
        let current = Current {
            stamp: stamp(&files),
            acceptor: acceptor(&files)?,
        };
        Ok(Self {
            files,
            current: Mutex::new(current),
        })
    }

    /// Returns what accepts the next connection. If a file has changed since the last call both are read
    /// again; if they cannot be used, what was read before stays in use.
    pub fn acceptor(&self) -> TlsAcceptor {
        let stamp = stamp(&self.files);
        let mut current = self.current.lock();
        if current.stamp != stamp {
            current.stamp = stamp;
            match acceptor(&self.files) {
                Ok(acceptor) => {
                    tracing::info!(cert = %self.files.cert.display(), "certificate read again");
                    current.acceptor = acceptor;
                }
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(
                        error,
                        "changed certificate not usable, the old one stays in use"
                    );
                }
            }
        }
        current.acceptor.clone()
    }
}

fn stamp(files: &TlsSettings) -> FileStamp {
    let one = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    [one(&files.cert), one(&files.key)]
}

fn acceptor(files: &TlsSettings) -> Result<TlsAcceptor, TlsError> {
    let read_error = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Read { path, source }
    };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(read_error(&files.cert))?;
    if chain.is_empty() {
        let path = files.cert.clone();
        return Err(TlsError::Empty { path });
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(read_error(&files.key))?;
    let unusable = |source| TlsError::Unusable {
        path: files.cert.clone(),
        source,
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "tests write files that need not survive"
)]
mod tests {
    use super::*;
    use crate::telemetry::lines::Lines;

    /// A certificate and its key, in PEM.
    fn made() -> [String; 2] {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        [made.cert.pem(), made.signing_key.serialize_pem()]
    }

    #[test]
    fn a_certificate_without_its_key_leaves_the_old_pair_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let files = TlsSettings {
            cert: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem"),
        };
        // The length tells a change too, where the time does not.
        let write = |path: &Path, text: &str, more: &str| {
            std::fs::write(path, format!("{text}{more}")).unwrap();
        };
        let ([cert, key], [next_cert, next_key]) = (made(), made());
        write(&files.cert, &cert, "");
        write(&files.key, &key, "");
        let identity = TlsIdentity::load(files.clone()).unwrap();
        let in_use = || Arc::clone(identity.acceptor().config());
        let old = in_use();
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(lines.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            write(&files.cert, &next_cert, "\n\n");
            for _ in 0..2 {
                assert!(Arc::ptr_eq(&old, &in_use()), "half of it is there");
            }
        });
        assert_eq!(lines.text().matches("WARN").count(), 1, "{}", lines.text());
        write(&files.key, &next_key, "\n\n");
        assert!(!Arc::ptr_eq(&old, &in_use()), "both are there");
    }
}
