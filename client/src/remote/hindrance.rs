//! What keeps a connection to a server from being made, found among the causes of an error.

use std::error::Error;
use std::fmt;
use std::io;

/// What keeps a connection from being made. None of it passes by itself within seconds, where the server was never
/// reached before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hindrance {
    /// Nothing listens at the port.
    Refused,
    /// The name service does not know the host.
    UnknownHost,
    /// The certificate of the server is not trusted.
    Certificate,
    /// The server does not speak TLS, and was asked to.
    NoTls,
    /// The server speaks TLS, and was not asked to.
    Tls,
    /// The server speaks no HTTP/2, which the remotes API needs.
    NoHttp2,
}

impl Hindrance {
    /// Looks for one in an error and its causes, those included that an error of the system hides; with what the cause
    /// says in detail.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Option<(Self, String)> {
        let mut next = Some(error);
        while let Some(cause) = next {
            if let Some(found) = Self::of_one(cause) {
                let detail = match found {
                    Self::Certificate => cause.to_string(),
                    _ => String::new(),
                };
                return Some((found, detail));
            }
            let inner = cause
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref);
            if let Some(found) = inner.and_then(|inner| Self::of(inner)) {
                return Some(found);
            }
            next = cause.source();
        }
        None
    }

    fn of_one(cause: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(error) = cause.downcast_ref::<rustls::Error>() {
            return match error {
                rustls::Error::InvalidCertificate(_) => Some(Self::Certificate),
                rustls::Error::InvalidMessage(_) => Some(Self::NoTls),
                _ => None,
            };
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return match error.kind() {
                io::ErrorKind::ConnectionRefused => Some(Self::Refused),
                _ => None,
            };
        }
        // The connector has no type for it that can be seen.
        cause
            .to_string()
            .starts_with("dns error")
            .then_some(Self::UnknownHost)
    }

    /// Whether it stays as it is even where the server was reached before.
    pub(crate) fn is_lasting(self) -> bool {
        match self {
            Self::Refused | Self::UnknownHost => false,
            Self::Certificate | Self::NoTls | Self::Tls | Self::NoHttp2 => true,
        }
    }

    /// One step that may help.
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::Refused => "check host and port in the address, and that the server runs",
            Self::UnknownHost => "check the spelling of the host in the address, and the network",
            Self::Certificate => {
                "name the file of the authority that signed the certificate in SSL_CERT_FILE, or check the host in the \
                 address"
            }
            Self::NoTls => "write http:// in the address, or check the port",
            Self::Tls => "write https:// in the address",
            Self::NoHttp2 => {
                "check the address; a proxy in front of the server must pass on HTTP/2, and gRPC over it"
            }
        }
    }
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "connection refused, nothing listens there",
            Self::UnknownHost => "the name of the host is not known",
            Self::Certificate => "the certificate of the server is not trusted",
            Self::NoTls => "the server does not speak TLS",
            Self::Tls => "the server speaks TLS, and the address asks for clear text",
            Self::NoHttp2 => "the server speaks no HTTP/2, and so not Dolt's remotes API",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layered(inner: impl Error + Send + Sync + 'static) -> io::Error {
        io::Error::other(io::Error::other(inner))
    }

    #[test]
    fn the_innermost_cause_is_found() {
        let certificate = rustls::CertificateError::UnknownIssuer;
        for (error, wanted) in [
            (
                layered(io::Error::from(io::ErrorKind::ConnectionRefused)),
                Some(Hindrance::Refused),
            ),
            (
                layered(io::Error::other("dns error: no record")),
                Some(Hindrance::UnknownHost),
            ),
            (
                layered(rustls::Error::InvalidCertificate(certificate)),
                Some(Hindrance::Certificate),
            ),
            (
                layered(rustls::Error::InvalidMessage(
                    rustls::InvalidMessage::InvalidContentType,
                )),
                Some(Hindrance::NoTls),
            ),
            (
                layered(io::Error::from(io::ErrorKind::ConnectionReset)),
                None,
            ),
        ] {
            let found = Hindrance::of(&error).map(|(found, _)| found);
            assert_eq!(found, wanted, "{error:?}");
        }
    }
}
