//! `trust verify`: codes that two people compare.

use confab_e2ee::mls::identity::device_code;
use confab_protocol::control::Username;

use super::lookup::{check_known, needed_own_key};
use super::shown::{Code, Decided, keys_of, short};
use crate::commands::context::{Context, KnownServer};
use crate::commands::meet;
use crate::failure::{Exit, Failure};
use crate::identity::Pins;
use crate::identity::choice::Known;
use crate::output::Output;
use crate::stderr::print_on_stderr;
use crate::store::device_keys::AccountKey;

pub(super) async fn run(
    context: &Context,
    known: &KnownServer,
    name: Username,
    yes: bool,
) -> Result<(), Failure> {
    let server = &known.server;
    let own = needed_own_key(known).await?;
    let pins = known.store.pins(known.id).await?;
    check_known(&pins, &name, known)?;
    let devices = devices_to_compare(&pins, &name, &own);
    if devices.is_empty() {
        let message = format!("{name} is known on this device alone: there is nothing to compare");
        return Err(Failure::new(Exit::NotFound, "unknown_person", message));
    }
    for device in &devices {
        let of_other = (device.account, device.key);
        let code = device_code((own.account, own.key.public()), of_other);
        context.output.print(&Code::new(&name, device, code));
    }
    print_on_stderr(&format!(
        "Let {name} run `confab trust verify {}`, and read the digits to each other by another way than this server: face to \
         face, or in a phone call in which you know the voice. All thirty have to be the same.",
        own.name
    ));
    let same = match yes {
        true => devices.clone(),
        false => ask(context.output, &devices).await?,
    };
    if !same.is_empty() {
        let mut locked = known.store.lock_pins(known.id).await?;
        for device in &same {
            locked.pins.verify(&name, device);
        }
        locked.save().await?;
        let text = match same.len() {
            1 => format!("the device of {name} is verified"),
            count => format!("{count} devices of {name} are verified"),
        };
        let keys = keys_of(&same);
        let report = Decided::new("trust_verified", server, &name, keys, text);
        context.output.print(&report);
    }
    match same.len() == devices.len() {
        true => Ok(()),
        false => Err(not_the_same(&name)),
    }
}

/// The devices of which nothing is decided yet; if there is none, all of them. Never this one.
fn devices_to_compare(pins: &Pins, name: &Username, own: &AccountKey) -> Vec<Known> {
    let is_other = |known: &Known| known.key != own.key.public();
    let undecided = pins.undecided(name).into_iter();
    let undecided: Vec<_> = undecided.filter(is_other).collect();
    match undecided.is_empty() {
        true => pins.devices_of(name).filter(is_other).collect(),
        false => undecided,
    }
}

/// Asks about each device, and gives those whose codes are the same.
async fn ask(output: Output, devices: &[Known]) -> Result<Vec<Known>, Failure> {
    // The codes have to be on the screen before the question.
    let written = tokio::task::spawn_blocking(move || output.wait()).await;
    written.map_err(|error| {
        let message = format!("cannot show the code: {error}");
        Failure::new(Exit::Other, "thread", message)
    })??;
    if !meet::has_person() {
        return Err(Failure::usage(
            "no terminal to ask whether the codes are the same: compare them, and give --yes if they are",
        ));
    }
    let mut same = Vec::new();
    for device in devices {
        let which = match devices.len() {
            1 => String::new(),
            _ => format!("{}: ", short(&device.key)),
        };
        print_on_stderr(&format!("{which}the same? [y/N]"));
        let answer = meet::read_line().await?;
        if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            same.push(*device);
        }
    }
    Ok(same)
}

fn not_the_same(name: &Username) -> Failure {
    let message = format!(
        "a device of {name} is not verified. If its digits differ, it is not {name}'s, or somebody is in between: do not accept \
         it, and tell {name} by another way"
    );
    Failure::new(Exit::Denied, "not_the_same", message)
}
