//! How the client of a request reaches this server: what the addresses of data begin with.

use http::uri::Authority;
use http::{HeaderMap, Request};

use crate::transport::Arrival;

/// Scheme and authority, and a path where the settings name one; without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// The address that the settings name, else the authority of the request with the scheme that
    /// `x-forwarded-proto` names, else the scheme it came by.
    pub fn of<B>(public_url: Option<&str>, arrival: Arrival, request: &Request<B>) -> Self {
        if let Some(public_url) = public_url {
            return Self(public_url.to_owned());
        }
        let scheme = match forwarded_scheme(request.headers()) {
            Some(scheme) => scheme,
            None if arrival.secure => "https",
            None => "http",
        };
        let from_header = || {
            let host = request.headers().get(http::header::HOST)?.to_str().ok()?;
            host.parse::<Authority>().ok()
        };
        let authority = request.uri().authority().cloned().or_else(from_header);
        let host_and_port = authority.as_ref().map_or("localhost", |authority| {
            let text = authority.as_str();
            text.rsplit_once('@').map_or(text, |(_, host)| host)
        });
        Self(format!("{scheme}://{host_and_port}"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn forwarded_scheme(headers: &HeaderMap) -> Option<&'static str> {
    let value = headers.get("x-forwarded-proto")?.to_str().ok()?;
    match value.split(',').next()?.trim() {
        "https" => Some("https"),
        "http" => Some("http"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base_url(public_url: Option<&str>, secure: bool, headers: &[(&str, &str)]) -> String {
        let arrival = Arrival {
            peer: "127.0.0.1:1".parse().unwrap(),
            secure,
        };
        let mut request = Request::builder().uri("/x");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        BaseUrl::of(public_url, arrival, &request.body(()).unwrap()).0
    }

    #[test]
    fn the_authority_is_repeated_with_its_port_and_brackets() {
        assert_eq!(
            base_url(None, false, &[("host", "[::1]:80")]),
            "http://[::1]:80"
        );
        assert_eq!(
            base_url(None, true, &[("host", "forge:1")]),
            "https://forge:1"
        );
    }

    #[test]
    fn a_proxy_may_name_the_scheme_and_nothing_else() {
        let host = ("host", "forge");
        let proto = |value| base_url(None, false, &[host, ("x-forwarded-proto", value)]);
        assert_eq!(proto("https"), "https://forge");
        assert_eq!(proto("https, http"), "https://forge");
        assert_eq!(proto("javascript"), "http://forge");
    }

    #[test]
    fn the_settings_win() {
        let headers = [("host", "inner"), ("x-forwarded-proto", "http")];
        assert_eq!(
            base_url(Some("https://f/x"), false, &headers),
            "https://f/x"
        );
    }
}
