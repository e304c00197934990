//! Domain types that the store and the services share. They import neither.
//!
//! * `account_name`: the names by which an account is found; `present`: who is in a room;
//! * `mail_code`: codes that a person reads in a mail;
//! * `names`: names of relays, control nodes and peers;
//! * `password`: password hashes and their cost;
//! * `typed`: how secrets look that a person types.

mod account_name;
mod mail_code;
mod names;
mod password;
mod present;
mod typed;

pub use account_name::AccountName;
pub use mail_code::{BadMailCode, MailCode};
pub use names::{
    BadNodeName, BadPeer, BadRelayName, NODE_DOMAIN, NodeName, OPERATOR_NAME, Peer, RELAY_DOMAIN,
    RelayName,
};
pub use password::{HashCost, PasswordHash};
pub use present::Present;
pub use typed::as_typed;
