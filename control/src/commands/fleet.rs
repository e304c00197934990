//! The commands on nodes and relays.

use std::fmt::Display;

use confab_console::{Class, Form, out};
use serde_json::json;

use super::answers::{answer, note, object, report_change, say};
use super::asked::operator;
use super::companion::INSIDE;
use super::errors::CommandError;
use crate::clock::Clock;
use crate::flags::{AdminFlags, DrainFlags, RevokeNodeFlags, RevokeRelayFlags};
use crate::operator::show::{self, counted};

pub(super) async fn status(flags: &AdminFlags) -> Result<(), CommandError> {
    let status = operator(&flags.operator)?.status().await?;
    match flags.json {
        true => object(&show::json(&status)),
        false => answer(show::text(&status).trim_end()),
    }
    Ok(())
}

pub(super) async fn drain(flags: &DrainFlags) -> Result<(), CommandError> {
    let (relay, is_json) = (&flags.relay, flags.admin.json);
    let progress = |sessions: u32| match is_json {
        true => {
            let left = json!({ "event": "draining", "of": relay.as_str(), "sessions": sessions });
            out().put(Class::Event, Form::Json, &left.to_string());
        }
        false => say(&format!(
            "{relay}: {} left",
            counted(sessions.into(), "session")
        )),
    };
    let operator = operator(&flags.admin.operator)?;
    let drained = operator.drain(relay, flags.wait, progress).await?;
    if is_json {
        object(&json!({
            "event": "drained",
            "of": relay.as_str(),
            "lost": drained.lost,
            "is_last": drained.is_last,
        }));
        return Ok(());
    }
    let outcome = match drained.lost {
        0 => "no session is left".to_owned(),
        lost => format!("ended; {} lost voice", counted(lost.into(), "participant")),
    };
    let voice = match drained.is_last {
        true if relay.as_str() == INSIDE => {
            ". No other relay takes calls: nobody can begin one until the server is started again, or another relay is linked"
        }
        true => ". No other relay takes calls: nobody can begin one until one is linked",
        false => "",
    };
    answer(&format!("{relay}: {outcome}{voice}"));
    Ok(())
}

pub(super) async fn revoke_relay(flags: &RevokeRelayFlags) -> Result<(), CommandError> {
    let (relay, now) = (&flags.relay, Clock::System.now());
    let operator = operator(&flags.admin.operator)?;
    // Before, for a relay that is revoked is linked no more.
    let linked = operator.status().await.map(|status| status.relays);
    operator.revoke_relay(relay, now).await?;
    let next = match relay.as_str() == INSIDE {
        true => "the server makes a new one when it is started again".to_owned(),
        false => format!("make a new one with `confab-control relay-identity {relay}`"),
    };
    report_change(
        &flags.admin,
        ("revoked", relay.as_str()),
        &format!("{relay}: its identities up to now are revoked; {next}"),
    );
    if let Ok(linked) = linked {
        warn_of_unknown("relay", relay, linked.iter().map(|one| &one.name));
    }
    Ok(())
}

pub(super) async fn revoke_node(flags: &RevokeNodeFlags) -> Result<(), CommandError> {
    let (node, now) = (&flags.name, Clock::System.now());
    let operator = operator(&flags.admin.operator)?;
    let known = operator.status().await.map(|status| status.nodes);
    operator.revoke_node(node, now).await?;
    report_change(
        &flags.admin,
        ("revoked", node.as_str()),
        &format!(
            "{node}: its identities up to now are revoked; make a new one with `confab-control node-identity {node}`, and change the database's password and token.key if they may be known"
        ),
    );
    if let Ok(known) = known {
        warn_of_unknown("node", node, known.iter().map(|one| &one.name));
    }
    Ok(())
}

/// Says that a name that was revoked is none of those that are linked: it may be a typo.
fn warn_of_unknown<'a, N: Display + PartialEq + 'a>(
    kind: &str,
    name: &N,
    linked: impl Iterator<Item = &'a N>,
) {
    let linked: Vec<&N> = linked.collect();
    if linked.contains(&name) {
        return;
    }
    let names = show::names(linked);
    note(&format!(
        "warning: no {kind} of the name {name} is linked now, only: {names}. If you meant one of these, revoke that"
    ));
}
