//! Where an authority is reached: `http://host:port`.

use hyper::Uri;
use std::fmt;
use std::str::FromStr;

/// The port of HTTP.
const PORT_DEFAULT: u16 = 80;

/// An authority's host and port. Documents are signed and public, so plain HTTP is all it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityAddress {
    host: String,
    port: u16,
}

/// Why a text is no authority's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no authority's address: use \"http://192.0.2.1:7780\", without a path")]
pub struct AuthorityAddressError(String);

impl AuthorityAddress {
    /// Host and port, as they are dialled and as the request names them.
    pub fn host_and_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl FromStr for AuthorityAddress {
    type Err = AuthorityAddressError;

    fn from_str(text: &str) -> Result<Self, AuthorityAddressError> {
        let refused = || AuthorityAddressError(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| refused())?;
        let plain = uri.scheme_str() == Some("http") && uri.query().is_none();
        let authority = uri.authority().filter(|_| plain && uri.path() == "/");
        let authority = authority.filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(refused)?;
        let host = authority.host().to_owned();
        let port = match authority.as_str().strip_prefix(&host).map(|rest| rest.strip_prefix(':')) {
            Some(None) => PORT_DEFAULT,
            Some(Some(port)) => port.parse().map_err(|_| refused())?,
            None => return Err(refused()),
        };
        if host.is_empty() || port == 0 {
            return Err(refused());
        }
        Ok(AuthorityAddress { host, port })
    }
}

impl fmt::Display for AuthorityAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "http://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_perhaps_a_port() {
        let dialled = |text: &str| {
            text.parse::<AuthorityAddress>().map(|authority| authority.host_and_port())
        };
        assert_eq!(dialled("http://127.0.0.1:7780"), Ok("127.0.0.1:7780".into()));
        assert_eq!(dialled("http://[::1]:7780/"), Ok("[::1]:7780".into()));
        assert_eq!(dialled("http://directory.example"), Ok("directory.example:80".into()));
    }

    #[test]
    fn everything_else_is_refused() {
        let refused = [
            "",
            "127.0.0.1:7780",
            "https://127.0.0.1",
            "http://",
            "http://127.0.0.1/v1",
            "http://127.0.0.1?x",
            "http://me@127.0.0.1",
            "http://127.0.0.1:0",
            "http://127.0.0.1:",
            "http://127.0.0.1:99999",
        ];
        for text in refused {
            assert!(text.parse::<AuthorityAddress>().is_err(), "{text:?}");
        }
    }
}
