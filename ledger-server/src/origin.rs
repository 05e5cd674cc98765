//! Which pages in browsers may have something done.
//!
//! A browser lets any page send requests to whatever it reaches, a server on its own machine too, and names the page in `Origin`
//! with all but reads. So what a page asks for is done only where this server's own address is in that header, or one that the
//! operator named. A client that is no browser sends none, and nothing is asked of its `Host`.
//!
//! Whoever serves a page can let its name lead here afterwards (DNS rebinding), and the browser takes this server for the page's own
//! then. So what the page calls this server counts only if it is no name that a stranger can have: an address, `localhost`, or one
//! word, such as containers have. (Reads carry no `Origin` there, so they are not covered.)

use std::net::Ipv4Addr;
use std::str::FromStr;

use axum::http::{HeaderMap, HeaderValue, Method, header};

use crate::error::{Code, Problem};
use crate::wire::scan::cut;

/// Where a page comes from: `https://ledger.example`, with a port where it is not the usual one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin(String);

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Origin, String> {
        let lower = text.to_ascii_lowercase();
        let is_part = |part: &str, more: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.as_bytes().contains(&byte))
        };
        match lower.split_once("://") {
            Some((scheme, host)) if is_part(scheme, "+-.") && is_part(host, "-._:[]") => {
                // Browsers leave the usual port out.
                let usual = match scheme {
                    "http" => ":80",
                    "https" => ":443",
                    _ => "",
                };
                Ok(Origin(lower.strip_suffix(usual).unwrap_or(&lower).to_owned()))
            }
            _ => {
                Err(format!("{text:?} is no origin; write SCHEME://HOST or SCHEME://HOST:PORT, and nothing behind it"))
            }
        }
    }
}

/// Why a request is not done for the page that it comes from, if so.
pub(crate) fn refusal(method: &Method, headers: &HeaderMap, allowed: &[Origin]) -> Option<Problem> {
    if method.is_safe() {
        return None;
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).filter(|host| is_nobody_elses(host));
    let is_own = |origin: &str| {
        let place = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        place.zip(host).is_some_and(|(place, host)| place.eq_ignore_ascii_case(host))
    };
    let is_admitted = |origin: &HeaderValue| {
        let text = origin.to_str().unwrap_or_default();
        is_own(text) || allowed.iter().any(|allowed| allowed.0.eq_ignore_ascii_case(text))
    };
    let stranger = headers.get_all(header::ORIGIN).iter().find(|origin| !is_admitted(origin))?;
    let stranger = String::from_utf8_lossy(stranger.as_bytes());
    let detail = format!(
        "the header Origin is {:?}: a page of another server asks for this; if it may, start this one with \
         --allowed-origins and name it there, and if no browser sent this, leave the header out",
        cut(&stranger)
    );
    Some(Problem::new(Code::Forbidden, detail))
}

/// Whether what a request calls this server is no name of a domain, which its owner may let lead anywhere.
fn is_nobody_elses(host: &str) -> bool {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(host, |(name, _)| name);
    name.starts_with('[') || !name.contains('.') || name.ends_with(".localhost") || name.parse::<Ipv4Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        for (text, read) in [
            ("https://Ledger.example", "https://ledger.example"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("https://ledger.example:443", "https://ledger.example"),
            ("http://ledger.example:443", "http://ledger.example:443"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ] {
            assert_eq!(text.parse(), Ok(Origin(read.to_owned())));
        }
        for bad in
            ["", "*", "null", "ledger.example", "https://", "https://x/", "https://x/y", "https://*.x", "https://é"]
        {
            assert!(bad.parse::<Origin>().unwrap_err().contains("SCHEME"), "{bad}");
        }
    }

    #[test]
    fn a_name_of_a_domain_may_be_anybodys() {
        for host in ["127.0.0.1:8080", "127.0.0.1", "[::1]:8080", "[::1]", "localhost:1", "a.localhost", "ledger:8080"]
        {
            assert!(is_nobody_elses(host), "{host}");
        }
        for host in ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "evil.:80", "1.2.3.4.5"] {
            assert!(!is_nobody_elses(host), "{host}");
        }
    }
}
