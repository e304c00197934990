//! Session tokens: creation, parsing and validation. No I/O.
//!
//! A token is 60 bytes: `session (16) · generation (4) · secret (32) · check (8)`. The check is keyed: only tokens of this
//! cluster reach the store. An old generation is therefore a real token that was copied.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};
use bytes::Bytes;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::clock::UnixMillis;
use crate::store::{SecretHash, SessionId, SessionRecord};

pub use confab_protocol::control::TOKEN_LEN;

/// Length of a token's secret in bytes.
pub const SECRET_LEN: usize = 32;
/// Grace period in which the previous token still returns the same successor.
pub const GRACE: Duration = Duration::from_secs(60);
/// Age of a token at which the client refreshes it.
pub const REFRESH_AFTER: Duration = Duration::from_secs(60 * 60);

const CHECK_LEN: usize = 8;

/// Creates and verifies tokens. The same key on every node of a cluster.
#[derive(Clone)]
pub struct TokenKey(hmac::Key);

/// A session token.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Token {
    #[zeroize(skip)]
    session: SessionId,
    generation: u32,
    secret: [u8; SECRET_LEN],
}

/// Validity of a token for its session.
#[derive(PartialEq, Eq)]
pub enum TokenStatus {
    /// The newest token of the session.
    Current,
    /// The previous token within its grace period: the client may not have received the successor.
    InGrace {
        /// The newest token, to be sent to the client.
        successor: Token,
    },
    /// An older token: two parties hold tokens of the session, which must end.
    Stolen,
}

impl TokenKey {
    /// Derives the key from 32 random bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    pub fn first(&self, session: SessionId, secret: [u8; SECRET_LEN]) -> Token {
        Token {
            session,
            generation: 0,
            secret,
        }
    }

    /// The next token, a function of this one, so that every node computes the same. `None` after 2^32 tokens.
    pub fn successor(&self, token: &Token) -> Option<Token> {
        let generation = token.generation.checked_add(1)?;
        let mut secret = [0; SECRET_LEN];
        secret.copy_from_slice(
            self.sign(b"successor", token.session, generation, &token.secret)
                .as_ref(),
        );
        Some(Token {
            session: token.session,
            generation,
            secret,
        })
    }

    /// Encodes the token for the client.
    pub fn seal(&self, token: &Token) -> Bytes {
        let mut out = Vec::with_capacity(TOKEN_LEN);
        out.extend_from_slice(&token.session.0);
        out.extend_from_slice(&token.generation.to_be_bytes());
        out.extend_from_slice(&token.secret);
        out.extend_from_slice(&self.check(token));
        out.into()
    }

    /// Verifies and parses a token; `None` if this cluster did not create it.
    pub fn open(&self, bytes: &[u8]) -> Option<Token> {
        let (session, rest) = bytes.split_first_chunk::<16>()?;
        let (generation, rest) = rest.split_first_chunk::<4>()?;
        let (secret, check) = rest.split_first_chunk::<SECRET_LEN>()?;
        let token = Token {
            session: SessionId(*session),
            generation: u32::from_be_bytes(*generation),
            secret: *secret,
        };
        verify_slices_are_equal(check, &self.check(&token)).ok()?;
        Some(token)
    }

    /// Validity of the token for the stored session.
    pub fn judge(&self, token: &Token, session: &SessionRecord, now: UnixMillis) -> TokenStatus {
        if token.generation == session.generation {
            return match matches(token, session) {
                true => TokenStatus::Current,
                false => TokenStatus::Stolen,
            };
        }
        let in_grace = !session.used && now.since(session.rotated) < GRACE;
        match self.successor(token) {
            Some(successor)
                if in_grace
                    && successor.generation == session.generation
                    && matches(&successor, session) =>
            {
                TokenStatus::InGrace { successor }
            }
            _ => TokenStatus::Stolen,
        }
    }

    fn check(&self, token: &Token) -> [u8; CHECK_LEN] {
        let tag = self.sign(b"check", token.session, token.generation, &token.secret);
        let mut check = [0; CHECK_LEN];
        check.copy_from_slice(&tag.as_ref()[..CHECK_LEN]);
        check
    }

    fn sign(
        &self,
        purpose: &[u8],
        session: SessionId,
        generation: u32,
        secret: &[u8; SECRET_LEN],
    ) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(purpose);
        context.update(&session.0);
        context.update(&generation.to_be_bytes());
        context.update(secret);
        context.sign()
    }
}

impl Token {
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Number of tokens of the session before this one.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Hash of the secret, as the store has it.
    pub fn secret_hash(&self) -> SecretHash {
        let mut hash = SecretHash::default();
        let whole = digest::digest(&digest::SHA256, &self.secret);
        hash.copy_from_slice(&whole.as_ref()[..size_of::<SecretHash>()]);
        hash
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

fn matches(token: &Token, session: &SessionRecord) -> bool {
    verify_slices_are_equal(&token.secret_hash(), &session.secret_hash).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use confab_protocol::control::AccountId;

    const START: UnixMillis = UnixMillis(1_000_000);

    fn key() -> TokenKey {
        TokenKey::new(&[7; 32])
    }

    fn first() -> Token {
        key().first(SessionId([1; 16]), [2; 32])
    }

    /// A session whose newest token is `token`, since `START`.
    fn session_at(token: &Token) -> SessionRecord {
        SessionRecord {
            id: token.session,
            account: AccountId::new([3; 16]),
            generation: token.generation,
            secret_hash: token.secret_hash(),
            used: false,
            device: "laptop".parse().unwrap(),
            created: UnixMillis(0),
            rotated: START,
            expires: UnixMillis(u64::MAX),
        }
    }

    #[test]
    fn a_token_is_60_bytes_and_a_changed_one_is_rejected() {
        let sealed = key().seal(&first());
        assert_eq!(sealed.len(), TOKEN_LEN);
        assert!(key().open(&sealed) == Some(first()));
        for at in 0..TOKEN_LEN {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            assert!(key().open(&changed).is_none(), "byte {at}");
        }
        assert!(key().open(&sealed[1..]).is_none());
        assert!(TokenKey::new(&[8; 32]).open(&sealed).is_none());
    }

    #[test]
    fn a_repeated_refresh_gives_the_same_successor() {
        let successor = key().successor(&first()).unwrap();
        let session = session_at(&successor);
        let soon = START.after(GRACE - Duration::from_millis(1));
        let TokenStatus::InGrace { successor: again } = key().judge(&first(), &session, soon)
        else {
            panic!("not in grace");
        };
        assert!(again == successor);
        assert!(key().judge(&successor, &session, soon) == TokenStatus::Current);
    }

    #[test]
    fn the_previous_token_means_theft_after_grace_or_use() {
        let successor = key().successor(&first()).unwrap();
        let mut session = session_at(&successor);
        assert!(key().judge(&first(), &session, START.after(GRACE)) == TokenStatus::Stolen);
        session.used = true;
        assert!(key().judge(&first(), &session, START) == TokenStatus::Stolen);
    }

    #[test]
    fn a_token_before_the_previous_one_always_means_theft() {
        let second = key().successor(&first()).unwrap();
        let third = key().successor(&second).unwrap();
        let session = session_at(&third);
        assert!(key().judge(&first(), &session, START) == TokenStatus::Stolen);
        assert!(matches!(
            key().judge(&second, &session, START),
            TokenStatus::InGrace { .. }
        ));
    }
}
