//! Who asks: the `authorization` of a call, and the program that makes it.

use data_encoding::BASE64;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::forge::access::Credentials;
use crate::forge::{Caller, Forge, ForgeError, client_version};
use crate::origin::{self, BaseUrl};

/// Finds out who makes a call.
pub fn caller(forge: &Forge, headers: &HeaderMap, base_url: BaseUrl) -> Result<Caller, ForgeError> {
    let principal = forge.principal(&credentials(headers)?)?;
    let client = origin::program(headers);
    tracing::Span::current().record("principal", principal.name());
    Ok(Caller {
        principal,
        view: client_version::view(&client),
        client,
        base_url,
    })
}

/// Whether a call shows a password or a token, right or wrong.
pub fn shows_token(headers: &HeaderMap) -> bool {
    let shown = credentials(headers);
    shown.is_ok_and(|shown| shown != Credentials::Nothing)
}

/// Whether a call shows what `dolt login` made for some other server, a signed JSON token: dolt sends it to all servers.
pub fn shows_login(headers: &HeaderMap) -> bool {
    let Ok(Credentials::Bearer { token }) = credentials(headers) else {
        return false;
    };
    // The text of `{"`.
    token.starts_with("eyJ") && token.split('.').filter(|part| !part.is_empty()).count() == 3
}

/// Reads the `authorization` of a call. What is neither Basic nor Bearer counts as nothing.
pub fn credentials(headers: &HeaderMap) -> Result<Credentials, ForgeError> {
    let malformed = || ForgeError::Unauthenticated {
        reason: "malformed authorization".to_owned(),
    };
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Ok(Credentials::Nothing);
    };
    let text = value.to_str().map_err(|_| malformed())?;
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if scheme.eq_ignore_ascii_case("bearer") {
        let token = rest.trim().to_owned();
        return Ok(Credentials::Bearer { token });
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Ok(Credentials::Nothing);
    }
    let decoded = BASE64
        .decode(rest.trim().as_bytes())
        .map_err(|_| malformed())?;
    let decoded = String::from_utf8(decoded).map_err(|_| malformed())?;
    // A password may hold colons, a user name may not.
    let (user, password) = decoded.split_once(':').ok_or_else(malformed)?;
    Ok(Credentials::Basic {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(authorization: Option<&str>) -> Result<Credentials, ForgeError> {
        let mut headers = HeaderMap::new();
        if let Some(text) = authorization {
            headers.insert(AUTHORIZATION, text.parse().unwrap());
        }
        credentials(&headers)
    }

    #[test]
    fn basic_is_cut_at_the_first_colon() {
        let header = format!("Basic {}", BASE64.encode(b"me:pass:word"));
        let Ok(Credentials::Basic { user, password }) = read(Some(&header)) else {
            panic!("not Basic");
        };
        assert_eq!((user.as_str(), password.as_str()), ("me", "pass:word"));
    }

    #[test]
    fn malformed_basic_is_refused() {
        let no_colon = format!("Basic {}", BASE64.encode(b"me"));
        let not_text = format!("Basic {}", BASE64.encode(b"me:\xff"));
        for header in ["Basic", "Basic !!!", &no_colon, &not_text] {
            assert!(read(Some(header)).is_err(), "{header}");
        }
    }

    #[test]
    fn what_dolt_login_made_is_told_from_a_token() {
        for (authorization, is_login) in [
            (Some("Bearer eyJhbGciOi.eyJhdWQi.c2ln"), true),
            (Some("Bearer eyJhbGciOi"), false),
            (Some("Bearer a.b.c"), false),
            (Some("Basic eyJhbGciOi.eyJhdWQi.c2ln"), false),
            (None, false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(text) = authorization {
                headers.insert(AUTHORIZATION, text.parse().unwrap());
            }
            assert_eq!(shows_login(&headers), is_login, "{authorization:?}");
        }
    }

    #[test]
    fn what_is_unknown_counts_as_nothing() {
        assert_eq!(read(None).unwrap(), Credentials::Nothing);
        assert_eq!(read(Some("Digest x")).unwrap(), Credentials::Nothing);
        let bearer = Credentials::Bearer {
            token: "a.b.c".to_owned(),
        };
        assert_eq!(read(Some("bearer a.b.c")).unwrap(), bearer);
    }
}
