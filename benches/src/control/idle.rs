//! Connections on which nothing happens: their memory, and the processor time of their signs of life.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::errors::ControlError;
use super::rig::{ControlRig, refused};
use crate::figures::{Figure, Goal};

/// Before memory is looked at first: what a server takes once is taken by then.
const FIRST: usize = 500;
/// Connections on top of those.
const MORE: usize = 4000;
/// Connections of one account; it has 64 at most.
const OF_ACCOUNT: usize = 60;
/// Handshakes at a time.
const AT_ONCE: usize = 16;
/// Until what handshakes took is given back.
const SETTLE: Duration = Duration::from_secs(5);
/// For which processor time is looked at.
const LOOK: Duration = Duration::from_secs(10);

/// Idle connections in a gigabyte of control's memory, and what each takes of a core.
pub async fn figures(rig: &ControlRig) -> Result<Vec<Figure>, ControlError> {
    let mut tokens = Vec::new();
    for number in 0..(FIRST + MORE).div_ceil(OF_ACCOUNT) {
        let user = rig.register(&format!("idles-{number}")).await?;
        let token: Arc<[u8]> = user.token.into();
        tokens.extend(std::iter::repeat_n(token, OF_ACCOUNT));
    }
    let first = connect(rig, &tokens[..FIRST]).await?;
    tokio::time::sleep(SETTLE).await;
    let before = rig.memory()?;
    let more = connect(rig, &tokens[FIRST..FIRST + MORE]).await?;
    tokio::time::sleep(SETTLE).await;
    let grown = rig.memory()?.saturating_sub(before) as f64;
    let (used, began) = (rig.usage()?, Instant::now());
    tokio::time::sleep(LOOK).await;
    let used = rig.used_since(&used)?.as_secs_f64() / began.elapsed().as_secs_f64();
    let each = used * 1e6 / (first.len() + more.len()) as f64;
    Ok(vec![
        Figure::new(
            "control.idle_connections_per_gb",
            1e9 * MORE as f64 / grown,
            "count",
            Goal::AtLeast(20_000.0),
        ),
        Figure::new("control.idle_connection_us_per_s", each, "us", Goal::None),
    ])
}

async fn connect(
    rig: &ControlRig,
    tokens: &[Arc<[u8]>],
) -> Result<Vec<confab::net::Link>, ControlError> {
    let mut links = Vec::new();
    for some in tokens.chunks(AT_ONCE) {
        let mut connecting = JoinSet::new();
        for token in some {
            let (opening, token) = (rig.connect(), token.clone());
            connecting.spawn(async move {
                let link = opening.await?;
                let signed_in = link.authenticate(&token).await;
                signed_in.map_err(refused("a token"))?;
                Ok::<_, ControlError>(link)
            });
        }
        while let Some(link) = connecting.join_next().await {
            links.push(link??);
        }
    }
    Ok(links)
}
