//! `trust device`, `trust endorse` and `trust endorsed`: a device that others know vouches for another one of the same account.

use confab_e2ee::mls::identity::{DevicePublicKey, Endorsement};

use super::lookup::needed_own_key;
use super::shown::{EndorsementShown, EndorserKept, OwnDeviceShown};
use crate::clock::unix_ms;
use crate::commands::context::{Context, KnownServer};
use crate::failure::{Exit, Failure};
use crate::stderr::print_on_stderr;
use crate::store::device_keys::AccountKey;

pub(super) async fn show_device(context: &Context, known: &KnownServer) -> Result<(), Failure> {
    let own = needed_own_key(known).await?;
    let device = own.key.public();
    let report = OwnDeviceShown::new(&known.server, &own);
    context.output.print(&report);
    print_on_stderr(&format!(
        "To endorse this device, run on one that people know: confab trust endorse {device}"
    ));
    Ok(())
}

pub(super) async fn endorse(
    context: &Context,
    known: &KnownServer,
    device: DevicePublicKey,
) -> Result<(), Failure> {
    let own = needed_own_key(known).await?;
    if device == own.key.public() {
        return Err(Failure::usage(
            "this is the key of this device: give that of the other one, as `confab trust device` shows it there",
        ));
    }
    let endorsement = Endorsement::sign(&own.key, known.id, own.account, device);
    pin(known, &own, device).await?;
    let report = EndorsementShown::new(&known.server, &own, device, endorsement);
    context.output.print(&report);
    print_on_stderr(&format!(
        "Run on the other device, as {}: confab trust endorsed {endorsement}",
        own.name
    ));
    Ok(())
}

pub(super) async fn keep(
    context: &Context,
    known: &KnownServer,
    endorsement: Endorsement,
) -> Result<(), Failure> {
    let own = needed_own_key(known).await?;
    let device = own.key.public();
    if endorsement.by == device || !endorsement.is_valid(known.id, own.account, device) {
        let message = format!(
            "this endorsement is not for this device of {} at {}: make it on the other device, logged in to the same account, \
             with `confab trust endorse {device}`",
            own.name, known.server
        );
        return Err(Failure::new(Exit::Denied, "wrong_endorsement", message));
    }
    known
        .store
        .add_endorsement(known.id, own.account, endorsement)
        .await?;
    pin(known, &own, endorsement.by).await?;
    let report = EndorserKept::new(&known.server, &own, endorsement.by);
    context.output.print(&report);
    Ok(())
}

/// A person has passed on the whole key of another device of the account: it is verified here.
async fn pin(
    known: &KnownServer,
    own: &AccountKey,
    device: DevicePublicKey,
) -> Result<(), Failure> {
    let mut locked = known.store.lock_pins(known.id).await?;
    locked
        .pins
        .keep_own(own.account, &own.name, device, unix_ms());
    locked.save().await?;
    Ok(())
}
