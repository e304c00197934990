//! Who a member is.

use std::sync::Arc;

use crate::mls::identity::{DeviceKey, Endorsement, Subject};
use crate::mls::signing::PUBLIC_KEY_LEN;

/// Who a member is, and what it accepts.
#[derive(Clone, Debug)]
pub struct MemberConfig {
    /// The device's key.
    pub device: Arc<DeviceKey>,
    /// The account and where it joins.
    pub subject: Subject,
    /// What older devices say of this one.
    pub endorsements: Vec<Endorsement>,
    /// The public key of the server's delivery service.
    pub delivery_key: [u8; PUBLIC_KEY_LEN],
    /// True to accept [`Suite::Classical`](crate::mls::Suite::Classical) in a room of any size.
    pub allows_classical: bool,
    /// True to seal nothing after each change of the leaves until [`hold_sending`](super::Member::hold_sending) says that all who are
    /// here may hear.
    pub is_strict: bool,
}

impl MemberConfig {
    /// A member that accepts [`Suite::Classical`](crate::mls::Suite::Classical) in large rooms alone, waits for nobody to look who is here,
    /// and has no endorsements.
    pub fn new(
        device: impl Into<Arc<DeviceKey>>,
        subject: Subject,
        delivery_key: [u8; PUBLIC_KEY_LEN],
    ) -> Self {
        Self {
            device: device.into(),
            subject,
            endorsements: Vec::new(),
            delivery_key,
            allows_classical: false,
            is_strict: false,
        }
    }
}
