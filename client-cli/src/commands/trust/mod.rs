//! `trust`: the devices of people. All of it works without a connection.

mod endorse;
mod lookup;
mod shown;
mod verify;

use confab_protocol::control::Username;

use super::context::{Context, KnownServer};
use crate::failure::Failure;
use crate::flags::Trust;
use lookup::{check_known, own_key};
use shown::{Decided, DeviceList, keys_of};

pub(super) async fn run(context: &Context, command: Trust) -> Result<(), Failure> {
    let known = context.known_server().await?;
    match command {
        Trust::List => list(context, &known).await,
        Trust::Accept { name } => accept(context, &known, name).await,
        Trust::Forget { name } => forget(context, &known, name).await,
        Trust::Verify { name, yes } => verify::run(context, &known, name, yes).await,
        Trust::Device => endorse::show_device(context, &known).await,
        Trust::Endorse { device } => endorse::endorse(context, &known, device).await,
        Trust::Endorsed { endorsement } => endorse::keep(context, &known, endorsement).await,
    }
}

async fn list(context: &Context, known: &KnownServer) -> Result<(), Failure> {
    let pins = known.store.pins(known.id).await?;
    let own = own_key(known).await?.map(|own| own.key.public());
    let list = DeviceList::new(&known.server, &pins, own);
    context.output.print(&list);
    Ok(())
}

async fn accept(context: &Context, known: &KnownServer, name: Username) -> Result<(), Failure> {
    let mut locked = known.store.lock_pins(known.id).await?;
    check_known(&locked.pins, &name, known)?;
    let accepted = locked.pins.accept(&name);
    let text = match accepted.len() {
        0 => format!("nothing to accept: {name} is on no new device"),
        1 => format!("the new device of {name} is accepted"),
        count => format!("{count} new devices of {name} are accepted"),
    };
    if !accepted.is_empty() {
        locked.save().await?;
    }
    let devices = keys_of(&accepted);
    let report = Decided::new("trust_accepted", &known.server, &name, devices, text);
    context.output.print(&report);
    Ok(())
}

async fn forget(context: &Context, known: &KnownServer, name: Username) -> Result<(), Failure> {
    let mut locked = known.store.lock_pins(known.id).await?;
    check_known(&locked.pins, &name, known)?;
    let forgotten = locked.pins.forget(&name);
    locked.save().await?;
    let text = match forgotten.len() {
        0 => format!("forgotten: that an account of another name was shown as {name}"),
        1 => format!("the device of {name} is forgotten; the next one is taken for the first"),
        count => {
            format!("{count} devices of {name} are forgotten; the next one is taken for the first")
        }
    };
    let devices = keys_of(&forgotten);
    let report = Decided::new("trust_forgotten", &known.server, &name, devices, text);
    context.output.print(&report);
    Ok(())
}
