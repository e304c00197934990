//! Tokens by which a server knows the address of this process from an earlier connection (RFC 9000 §8.1.3): a server under load
//! then asks for no other proof of it. In memory only, because the same process makes the reconnections.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use quinn::{TokenMemoryCache, TokenStore};

use super::Server;

/// The tokens of all servers, by host and port. The cache bounds both.
static CACHE: LazyLock<TokenMemoryCache> = LazyLock::new(TokenMemoryCache::default);

/// The tokens of one server. All nodes of a cluster may show the same name, so the name does not tell them apart.
pub(super) struct AddressTokens {
    server: String,
}

impl AddressTokens {
    pub(super) fn of(server: &Server) -> Arc<Self> {
        let server = server.to_string();
        Arc::new(Self { server })
    }
}

impl TokenStore for AddressTokens {
    fn insert(&self, _name: &str, token: Bytes) {
        CACHE.insert(&self.server, token);
    }

    fn take(&self, _name: &str) -> Option<Bytes> {
        CACHE.take(&self.server)
    }
}
