//! TLS before a server in clear text, as old servers of Dolt speak it: it chooses no protocol.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::connect;

/// Takes connections by TLS and passes them on in clear text.
pub struct TlsDoor {
    address: SocketAddr,
    certificate: String,
    acceptor: TlsAcceptor,
    listener: Option<TcpListener>,
    accepting: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for TlsDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsDoor")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl TlsDoor {
    /// Listens on a free port of the loopback, with a certificate of its own for `name`. It leads nowhere yet.
    pub async fn bind(name: &str) -> io::Result<Self> {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        assert!(config.alpn_protocols.is_empty(), "it chooses no protocol");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self {
            address: listener.local_addr()?,
            certificate: made.cert.pem(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            listener: Some(listener),
            accepting: None,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate to trust, as PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Leads to a server from here on; once. Must be called within a runtime.
    pub fn lead_to(&mut self, backend: SocketAddr) {
        let listener = self.listener.take().expect("it leads to one server");
        let acceptor = self.acceptor.clone();
        self.accepting = Some(tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A client that does not trust it goes away.
                    let mut client = acceptor.accept(client).await?;
                    let mut server = connect(backend).await?;
                    tokio::io::copy_bidirectional(&mut client, &mut server).await
                });
            }
        }));
    }
}

impl Drop for TlsDoor {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}
