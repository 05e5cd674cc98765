//! Where a bank is reached.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hyper::Uri;

/// `http://HOST[:PORT][/PATH]` or the same with `https`: no user, no query.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BankAddress {
    /// Without a slash at its end.
    base: String,
    is_secure: bool,
    is_loopback: bool,
}

impl BankAddress {
    /// Whether it is spoken to over TLS.
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// Whether what is said to it never leaves this machine.
    pub fn is_loopback(&self) -> bool {
        self.is_loopback
    }

    /// The address of `path`, which begins with a slash and holds nothing that a URI would escape.
    pub(crate) fn at(&self, path: &str) -> Uri {
        Uri::try_from(format!("{}{path}", self.base)).expect("a checked address and a plain path")
    }
}

impl FromStr for BankAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<BankAddress, String> {
        // The text is not repeated: whoever wrote a password into it should not find it in a log.
        let fault =
            || "a bank's address is http://HOST:PORT or https://HOST/PATH, without user, password and query".to_owned();
        let uri = Uri::from_str(text).map_err(|_| fault())?;
        let is_secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(fault()),
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(fault)?;
        if authority.host().is_empty() || uri.query().is_some() || text.contains('#') {
            return Err(fault());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let is_loopback = host.parse::<IpAddr>().map_or(host == "localhost", |address| address.is_loopback());
        let base = text.trim_end_matches('/').to_owned();
        Ok(BankAddress { base, is_secure, is_loopback })
    }
}

impl fmt::Display for BankAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_a_host_and_a_path() {
        for (text, secure, loopback, at) in [
            ("http://127.0.0.1:9090", false, true, "http://127.0.0.1:9090/payouts"),
            ("http://localhost:9090/", false, true, "http://localhost:9090/payouts"),
            ("http://[::1]:9090", false, true, "http://[::1]:9090/payouts"),
            ("https://bank.example/v1/", true, false, "https://bank.example/v1/payouts"),
        ] {
            let address: BankAddress = text.parse().unwrap();
            assert_eq!((address.is_secure(), address.is_loopback()), (secure, loopback), "{text}");
            assert_eq!(address.at("/payouts").to_string(), at);
        }
        for text in [
            "",
            "bank",
            "bank.example:80",
            "ftp://bank.example",
            "http://",
            "http:///x",
            "http://me:secret@bank.example",
            "http://bank.example/?token=secret",
            "http://bank.example/#secret",
        ] {
            let fault = text.parse::<BankAddress>().unwrap_err();
            assert!(!fault.contains("secret"), "{text}: {fault}");
        }
    }
}
