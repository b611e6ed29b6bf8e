//! The proxies that stand between the user and servers.
//!
//! Calls go through a tunnel, also where they are not encrypted: proxies seldom speak HTTP/2 themselves.

use std::fmt;
use std::sync::Arc;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{ClientBuilder, NoProxy, Proxy};
use tonic::transport::Uri;

use super::{CONNECT_TIMEOUT, KEEPALIVE};

/// This machine is always reached directly, as Dolt's own client does.
const DIRECT: &str = "localhost,127.0.0.0/8,::1";

/// The proxies that the user's environment names. They may hold passwords, so they are never shown.
#[derive(Clone, Default)]
pub struct ProxySettings {
    /// The one for `http://`.
    pub http: Option<String>,
    /// The one for `https://`.
    pub https: Option<String>,
    /// The one for both, where there is none of their own.
    pub all: Option<String>,
    /// The hosts that are reached directly, with commas between.
    pub direct: Option<String>,
}

impl fmt::Debug for ProxySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxySettings").finish_non_exhaustive()
    }
}

/// The way to each host.
#[derive(Debug)]
pub(super) struct Proxies {
    settings: ProxySettings,
    direct: String,
    matcher: Arc<Matcher>,
}

impl Proxies {
    /// Reads what the environment names.
    pub(super) fn new(settings: ProxySettings) -> Self {
        let direct = match &settings.direct {
            Some(direct) => format!("{direct},{DIRECT}"),
            None => DIRECT.to_owned(),
        };
        let named = |name: &Option<String>| name.clone().unwrap_or_default();
        let matcher = Matcher::builder()
            .all(named(&settings.all))
            .http(named(&settings.http))
            .https(named(&settings.https))
            .no(direct.clone())
            .build();
        Self {
            settings,
            direct,
            matcher: Arc::new(matcher),
        }
    }

    /// The way of calls to a server; nothing where it is reached directly.
    pub(super) fn tunnel(&self, server: &Uri) -> Option<Tunnel<HttpConnector>> {
        let proxy = self.matcher.intercept(server)?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_keepalive(Some(KEEPALIVE));
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let tunnel = Tunnel::new(proxy.uri().clone(), connector);
        Some(match proxy.basic_auth() {
            Some(proof) => tunnel.with_auth(proof.clone()),
            None => tunnel,
        })
    }

    /// Sends requests for data the same way.
    pub(super) fn apply(&self, client: ClientBuilder) -> reqwest::Result<ClientBuilder> {
        let ProxySettings {
            http, https, all, ..
        } = &self.settings;
        // Whatever the environment says was read before, and the first that fits is taken.
        let mut client = client.no_proxy();
        let named = [
            http.as_ref().map(Proxy::http),
            https.as_ref().map(Proxy::https),
            all.as_ref().map(Proxy::all),
        ];
        for proxy in named.into_iter().flatten() {
            let direct = NoProxy::from_string(&self.direct);
            client = client.proxy(proxy?.no_proxy(direct));
        }
        Ok(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunneled(settings: &ProxySettings, server: &'static str) -> bool {
        let proxies = Proxies::new(settings.clone());
        proxies.tunnel(&Uri::from_static(server)).is_some()
    }

    #[test]
    fn each_scheme_has_its_proxy() {
        let settings = ProxySettings {
            https: Some("http://user:secret@proxy.example.org:3128".to_owned()),
            ..ProxySettings::default()
        };
        assert!(tunneled(&settings, "https://forge.example.org:443"));
        assert!(!tunneled(&settings, "http://forge.example.org:80"));
        assert!(!format!("{settings:?}").contains("secret"));
    }

    #[test]
    fn hosts_that_are_named_and_this_machine_are_reached_directly() {
        let settings = ProxySettings {
            all: Some("http://proxy.example.org:3128".to_owned()),
            direct: Some("example.com,10.0.0.0/8".to_owned()),
            ..ProxySettings::default()
        };
        assert!(tunneled(&settings, "http://forge.example.org:80"));
        for server in [
            "http://example.com:80",
            "http://a.example.com:80",
            "http://10.1.2.3:80",
            "http://localhost:80",
            "http://127.0.0.1:80",
            "http://[::1]:80",
        ] {
            assert!(!tunneled(&settings, server), "{server}");
        }
    }
}
