//! The QUIC control server of Confab: accounts, conferences, membership, live rooms
