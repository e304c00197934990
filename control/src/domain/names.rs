//! Names of relays and control nodes, and their DNS names in certificates.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The suffix of a relay's name in its certificate.
pub const RELAY_DOMAIN: &str = ".relay.confab.internal";
/// The suffix of a control node's name in its certificate.
pub const NODE_DOMAIN: &str = ".node.confab.internal";
/// The name in the certificate of an operator's command.
pub const OPERATOR_NAME: &str = "operator.confab.internal";

/// Longest name, in bytes.
const MAX_LEN: usize = 32;

macro_rules! name {
    ($(#[doc = $doc:literal])* $name:ident, $(#[doc = $bad_doc:literal])* $bad:ident, $message:literal) => {
        $(#[doc = $doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        $(#[doc = $bad_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
        #[error($message)]
        pub struct $bad;

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = $bad;

            fn from_str(text: &str) -> Result<Self, $bad> {
                if is_label(text) {
                    Ok(Self(text.into()))
                } else {
                    Err($bad)
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    };
}

name!(
    /// A relay's name: 1 to 32 of `a-z 0-9 -`, as in a DNS name.
    RelayName,
    /// The text is not a valid relay name.
    BadRelayName,
    "a relay's name has 1 to 32 of a-z, 0-9 and '-', with no '-' at either end"
);
name!(
    /// A control node's name: 1 to 32 of `a-z 0-9 -`, as in a DNS name.
    NodeName,
    /// The text is not a valid node name.
    BadNodeName,
    "a node's name has 1 to 32 of a-z, 0-9 and '-', with no '-' at either end"
);

/// A peer that connects to a node within the cluster. As text: its DNS name in the certificate.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Peer {
    Relay(RelayName),
    Node(NodeName),
    Operator,
}

/// The text is not the DNS name of a relay, node or operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the DNS name of a relay, node or operator")]
pub struct BadPeer;

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relay(name) => write!(f, "{name}{RELAY_DOMAIN}"),
            Self::Node(name) => write!(f, "{name}{NODE_DOMAIN}"),
            Self::Operator => f.write_str(OPERATOR_NAME),
        }
    }
}

impl FromStr for Peer {
    type Err = BadPeer;

    fn from_str(name: &str) -> Result<Self, BadPeer> {
        if name == OPERATOR_NAME {
            return Ok(Self::Operator);
        }
        let relay = name.strip_suffix(RELAY_DOMAIN).map(str::parse);
        if let Some(relay) = relay {
            return relay.map(Self::Relay).map_err(|_| BadPeer);
        }
        let node = name.strip_suffix(NODE_DOMAIN).ok_or(BadPeer)?;
        node.parse().map(Self::Node).map_err(|_| BadPeer)
    }
}

/// True if the text is a DNS label in lower case, of at most [`MAX_LEN`] bytes.
fn is_label(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=MAX_LEN).contains(&text.len())
        && text.chars().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_of_dns_names() {
        let longest = "a".repeat(MAX_LEN);
        for good in ["a", "berlin-1", "7", longest.as_str()] {
            let relay: RelayName = good.parse().unwrap();
            let node: NodeName = good.parse().unwrap();
            assert_eq!((relay.as_str(), node.to_string().as_str()), (good, good));
        }
        let too_long = "a".repeat(MAX_LEN + 1);
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a.b",
            "a_b",
            "ä",
            " a",
            too_long.as_str(),
        ] {
            assert_eq!(bad.parse::<RelayName>(), Err(BadRelayName), "{bad}");
            assert_eq!(bad.parse::<NodeName>(), Err(BadNodeName), "{bad}");
        }
        assert!(BadNodeName.to_string().starts_with("a node's name"));
    }
}
