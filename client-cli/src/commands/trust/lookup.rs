//! Lookups of the commands of `trust`: this device's key, and names that are known.

use confab_protocol::control::Username;

use crate::commands::context::KnownServer;
use crate::failure::{Exit, Failure};
use crate::identity::Pins;
use crate::store::device_keys::AccountKey;

/// This device's key for the account that is logged in, if there is one.
pub(super) async fn own_key(known: &KnownServer) -> Result<Option<AccountKey>, Failure> {
    let sessions = known.store.sessions().await?;
    let session = sessions.get(&known.server.to_string());
    let Some(name) = session.and_then(|session| session.username.parse().ok()) else {
        return Ok(None);
    };
    Ok(known.store.find_device_key(known.id, &name).await?)
}

/// This device's key for the account that is logged in.
pub(super) async fn needed_own_key(known: &KnownServer) -> Result<AccountKey, Failure> {
    own_key(known).await?.ok_or_else(|| {
        let message = format!(
            "this device has no key at {} yet: log in with `confab --server {0} login NAME`",
            known.server
        );
        Failure::new(Exit::Auth, "not_authenticated", message)
    })
}

/// Fails if no device of this name is known.
pub(super) fn check_known(
    pins: &Pins,
    name: &Username,
    known: &KnownServer,
) -> Result<(), Failure> {
    if pins.devices_of(name).next().is_some() {
        return Ok(());
    }
    let similar = pins.similar_names(name.as_str());
    let names: Vec<_> = similar.into_iter().map(Username::as_str).collect();
    let advice = match names[..] {
        [] => "people are known once they were in a call with you, see `confab trust list`".into(),
        _ => format!("known names like it: {}", names.join(", ")),
    };
    let message = format!("no device of {name} is known at {}: {advice}", known.server);
    Err(Failure::new(Exit::NotFound, "unknown_person", message))
}
