//! Which certificates of servers are trusted: those that an authority signed that the system, `SSL_CERT_FILE` or
//! `SSL_CERT_DIR` names, and a certificate that is itself one of those named.
//!
//! A certificate that `openssl req -x509` makes is marked as that of an authority, and the usual check takes none such
//! for a server. Go, and so dolt, does where exactly this certificate is named. Name, time and purpose are checked in
//! both cases.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
};

/// The extension of a certificate that lists purposes, as it stands in DER.
const PURPOSES: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x25];
/// The purpose of a server.
const SERVER: &[u8] = &[0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
/// Any purpose.
const ANY: &[u8] = &[0x06, 0x04, 0x55, 0x1d, 0x25, 0x00];

/// Checks the certificates of servers.
#[derive(Debug)]
pub(super) struct Trust {
    named: Vec<CertificateDer<'static>>,
    /// Nothing where no authority is named: then nobody is trusted.
    usual: Option<Arc<WebPkiServerVerifier>>,
}

impl Trust {
    /// What the system and the environment name, read once.
    pub(super) fn of_system() -> Arc<Self> {
        static TRUST: OnceLock<Arc<Trust>> = OnceLock::new();
        let read = || {
            let found = rustls_native_certs::load_native_certs();
            Arc::new(Self::in_these(found.certs))
        };
        Arc::clone(TRUST.get_or_init(read))
    }

    /// Trusts these, and whom they sign.
    fn in_these(named: Vec<CertificateDer<'static>>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(named.iter().cloned());
        let provider = Arc::new(ring::default_provider());
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        Self {
            named,
            // It fails only where there are no authorities.
            usual: usual.build().ok(),
        }
    }

    /// How TLS is spoken with this trust, to servers that choose between both versions of HTTP.
    pub(super) fn config(self: Arc<Self>) -> Result<ClientConfig, Error> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions()?;
        let builder = builder.dangerous().with_custom_certificate_verifier(self);
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    fn usual(&self) -> Result<&WebPkiServerVerifier, Error> {
        let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        self.usual.as_deref().ok_or(unknown)
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let usual = self.usual()?;
        let checked =
            usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match checked {
            // The time was checked before, and what comes after it is checked here.
            Err(error) if is_of_an_authority(&error) && self.named.contains(end_entity) => {
                let parsed = ParsedCertificate::try_from(end_entity)?;
                rustls::client::verify_server_name(&parsed, server_name)?;
                match may_be_a_server(end_entity) {
                    true => Ok(ServerCertVerified::assertion()),
                    false => Err(Error::InvalidCertificate(CertificateError::InvalidPurpose)),
                }
            }
            checked => checked,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual()?
            .verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual()?
            .verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Whether a certificate was refused for nothing but that it is one of an authority.
fn is_of_an_authority(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) = error else {
        return false;
    };
    cause.to_string() == "CaUsedAsEndEntity"
}

/// Whether a certificate names no purposes, or that of a server among them.
fn may_be_a_server(certificate: &[u8]) -> bool {
    let has = |part: &[u8]| certificate.windows(part.len()).any(|window| window == part);
    !has(PURPOSES) || has(SERVER) || has(ANY)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
    };

    use super::*;

    /// A moment in 2026.
    const NOW: Duration = Duration::from_secs(1_780_000_000);

    /// What `openssl req -x509 -subj /CN=localhost -addext subjectAltName=DNS:localhost` makes, changed.
    fn made(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(2035, 1, 1);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    fn check(
        named: &[&CertificateDer<'static>],
        shown: &CertificateDer<'static>,
        name: &'static str,
    ) -> Result<(), Error> {
        let named = named.iter().map(|one| (*one).clone()).collect();
        let name = ServerName::try_from(name).unwrap();
        let now = UnixTime::since_unix_epoch(NOW);
        let trust = Trust::in_these(named);
        let checked = trust.verify_server_cert(shown, &[], &name, &[], now);
        checked.map(drop)
    }

    #[test]
    fn a_certificate_that_is_named_itself_is_trusted_though_it_is_of_an_authority() {
        let certificate = made(|_| ());
        check(&[&certificate], &certificate, "localhost").unwrap();
        let both = made(|params| {
            params.extended_key_usages = vec![
                ExtendedKeyUsagePurpose::ClientAuth,
                ExtendedKeyUsagePurpose::ServerAuth,
            ];
        });
        check(&[&both], &both, "localhost").unwrap();
    }

    #[test]
    fn name_time_and_purpose_count_all_the_same() {
        let certificate = made(|_| ());
        check(&[&certificate], &certificate, "other.example.org").unwrap_err();
        let ended = made(|params| params.not_after = date_time_ymd(2026, 1, 1));
        check(&[&ended], &ended, "localhost").unwrap_err();
        let to_come = made(|params| params.not_before = date_time_ymd(2030, 1, 1));
        check(&[&to_come], &to_come, "localhost").unwrap_err();
        let of_clients = made(|params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        });
        check(&[&of_clients], &of_clients, "localhost").unwrap_err();
    }

    #[test]
    fn another_certificate_of_the_same_name_is_not_trusted() {
        let [named, shown] = [made(|_| ()), made(|_| ())];
        check(&[&named], &shown, "localhost").unwrap_err();
        check(&[], &shown, "localhost").unwrap_err();
    }
}
