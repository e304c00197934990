//! Where webhooks go to, and the key that signs them.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::hmac;
use data_encoding::BASE64;
use hyper::Uri;
use zeroize::Zeroizing;

/// How a secret begins.
const SECRET_PREFIX: &str = "whsec_";
/// Shortest and longest secret, in bytes.
const SECRET_LEN: std::ops::RangeInclusive<usize> = 24..=64;

/// A program that is told.
#[derive(Clone, Debug)]
pub struct WebhookTarget {
    pub url: WebhookUrl,
    pub secret: WebhookSecret,
}

/// The URL of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookUrl {
    pub is_tls: bool,
    pub host: String,
    pub port: u16,
    /// With the query.
    pub path: String,
}

/// Text that is no target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    #[error("give a URL that begins with https:// or http://, as https://hooks.example.org/confab")]
    Url,
    #[error(
        "a user and a password have no place in the URL: the receiver knows the server by its signature"
    )]
    Userinfo,
    #[error(
        "a secret begins with whsec_ and has 24 to 64 bytes in base64, as `echo whsec_$(head -c 32 /dev/urandom | base64)` makes one"
    )]
    Secret,
}

impl FromStr for WebhookUrl {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let uri: Uri = text.parse().map_err(|_| BadTarget::Url)?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(BadTarget::Url),
        };
        let authority = uri.authority().ok_or(BadTarget::Url)?;
        if authority.as_str().contains('@') {
            return Err(BadTarget::Userinfo);
        }
        if authority.host().is_empty() {
            return Err(BadTarget::Url);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            is_tls,
            host: authority.host().to_owned(),
            port: authority
                .port_u16()
                .unwrap_or(if is_tls { 443 } else { 80 }),
            path: path.to_owned(),
        })
    }
}

impl WebhookUrl {
    /// The host for a connection: an IPv6 address without its brackets.
    pub(super) fn dialled(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The header `Host`.
    pub(super) fn host_header(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// The key that signs. `Debug` hides it.
#[derive(Clone)]
pub struct WebhookSecret(Zeroizing<Vec<u8>>);

impl FromStr for WebhookSecret {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let encoded = text.trim().strip_prefix(SECRET_PREFIX);
        let encoded = encoded.ok_or(BadTarget::Secret)?;
        let bytes = BASE64.decode(encoded.as_bytes());
        let bytes = Zeroizing::new(bytes.map_err(|_| BadTarget::Secret)?);
        match SECRET_LEN.contains(&bytes.len()) {
            true => Ok(Self(bytes)),
            false => Err(BadTarget::Secret),
        }
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

impl WebhookSecret {
    /// The header `webhook-signature` of a message (Standard Webhooks 1.0, "Symmetric signatures").
    pub(super) fn sign(&self, id: &str, seconds: u64, body: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let tag = hmac::sign(&key, format!("{id}.{seconds}.{body}").as_bytes());
        format!("v1,{}", BASE64.encode(tag.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_scheme_and_a_host() {
        let url: WebhookUrl = "https://hooks.example.org/confab?a=1".parse().unwrap();
        assert_eq!((url.is_tls, url.port), (true, 443));
        assert_eq!(
            (url.host.as_str(), url.path.as_str()),
            ("hooks.example.org", "/confab?a=1")
        );
        let url: WebhookUrl = "http://[::1]:8080".parse().unwrap();
        assert_eq!(
            (url.dialled(), url.port, url.path.as_str()),
            ("::1", 8080, "/")
        );
        for (bad, error) in [
            ("hooks.example.org", BadTarget::Url),
            ("ftp://hooks.example.org", BadTarget::Url),
            ("https:///x", BadTarget::Url),
            ("", BadTarget::Url),
            ("https://ann:secret@hooks.example.org", BadTarget::Userinfo),
        ] {
            assert_eq!(bad.parse::<WebhookUrl>(), Err(error), "{bad}");
        }
    }

    #[test]
    fn a_signature_is_that_of_the_specification() {
        // The example of the Standard Webhooks specification and its libraries' tests.
        let secret: WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let body = r#"{"test": 2432232314}"#;
        let signed = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(!format!("{secret:?}").contains("MfKQ"));
    }

    #[test]
    fn a_secret_is_long_enough_and_marked() {
        let text = |len| format!("whsec_{}", BASE64.encode(&vec![7; len]));
        assert!(text(24).parse::<WebhookSecret>().is_ok());
        assert!(format!("{}\n", text(64)).parse::<WebhookSecret>().is_ok());
        for bad in [
            text(23),
            text(65),
            text(32).replace("whsec_", ""),
            "whsec_!".to_owned(),
        ] {
            assert!(bad.parse::<WebhookSecret>().is_err(), "{bad}");
        }
    }
}
