//! What a request tells of its client: what program it is, and how it reaches this server, which is what the
//! addresses of data begin with.

use http::header::{HOST, USER_AGENT};
use http::uri::Authority;
use http::{HeaderMap, Request};

use crate::transport::Arrival;

/// The longest name of a program that is kept, in characters.
const PROGRAM_LEN: usize = 128;
/// The longest host that an address repeats: the longest name there can be, a colon, and a port; in bytes.
const HOST_LEN: usize = 253 + 6;

/// What the program that makes a request calls itself, cut to a length that a record may hold.
pub fn program(headers: &HeaderMap) -> String {
    let text = headers
        .get(USER_AGENT)
        .and_then(|value| value.to_str().ok());
    text.unwrap_or_default().chars().take(PROGRAM_LEN).collect()
}

/// The name by which a request reaches this server is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the authority of the request is longer than any host and port")]
pub struct LongAuthority;

/// Scheme and authority, and a path where the settings name one; without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// The address that the settings name, else the authority of the request with the scheme that
    /// `x-forwarded-proto` names, else the scheme it came by.
    pub fn of<B>(
        public_url: Option<&str>,
        arrival: Arrival,
        request: &Request<B>,
    ) -> Result<Self, LongAuthority> {
        if let Some(public_url) = public_url {
            return Ok(Self(public_url.to_owned()));
        }
        let scheme = match forwarded_scheme(request.headers()) {
            Some(scheme) => scheme,
            None if arrival.secure => "https",
            None => "http",
        };
        let from_header = || {
            let host = request.headers().get(HOST)?.to_str().ok()?;
            host.parse::<Authority>().ok()
        };
        let authority = request.uri().authority().cloned().or_else(from_header);
        let host_and_port = authority.as_ref().map_or("localhost", |authority| {
            let text = authority.as_str();
            text.rsplit_once('@').map_or(text, |(_, host)| host)
        });
        if host_and_port.len() > HOST_LEN {
            return Err(LongAuthority);
        }
        Ok(Self(format!("{scheme}://{host_and_port}")))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The scheme by which a proxy says that it was reached.
pub(crate) fn forwarded_scheme(headers: &HeaderMap) -> Option<&'static str> {
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
        let request = request.body(()).unwrap();
        BaseUrl::of(public_url, arrival, &request).unwrap().0
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

    #[test]
    fn an_authority_that_is_no_name_is_refused() {
        let arrival = Arrival {
            peer: "127.0.0.1:1".parse().unwrap(),
            secure: false,
        };
        let of = |host: &str| {
            let request = Request::builder().uri("/x").header("host", host);
            BaseUrl::of(None, arrival, &request.body(()).unwrap())
        };
        assert!(of(&format!("{}:65535", "x".repeat(253))).is_ok());
        assert_eq!(of(&"x".repeat(260)), Err(LongAuthority));
    }

    #[test]
    fn the_name_of_a_program_is_cut() {
        let mut headers = HeaderMap::new();
        assert_eq!(program(&headers), "");
        headers.insert(USER_AGENT, "x".repeat(129).parse().unwrap());
        assert_eq!(program(&headers), "x".repeat(128));
    }
}
