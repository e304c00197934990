//! Log-ins, beside what their passwords cost alone.

use std::time::Instant;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use confab::net::Link;
use confab_control::domain::HashCost;
use confab_protocol::wire::{self, request};

use super::errors::ControlError;
use super::rig::{ControlRig, PASSWORD, drop_events, refused};
use crate::figures::{Figure, Goal, median};
use crate::load::cpu;

const PAIRS: usize = 7;
/// Of a pair: hashes, and log-ins.
const COUNT: u32 = 40;
/// Connections that log in in turn, new ones for each pair: control lets a connection that is not signed in ask 20 times in a
/// row, then 5 times a second. There is no pause, for with pauses the hashes themselves take a tenth longer: other programs
/// have the caches meanwhile.
const CONNECTIONS: usize = 4;

/// Log-ins and hashes for each second of processor time, and their ratio.
///
/// A log-in is one request on a connection that stands; that it logs out again afterwards is counted, too.
pub async fn figures(
    rig: &ControlRig,
    progress: &impl Fn(&str),
) -> Result<Vec<Figure>, ControlError> {
    let user = rig.register("logs-in").await?;
    let (mut bare, mut logins, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        progress(&format!("pair {} of {PAIRS}", pair + 1));
        let links = connections(rig).await?;
        let alone = tokio::task::spawn_blocking(hashes).await??;
        let before = rig.usage()?;
        for link in links.iter().cycle().take(COUNT as usize) {
            let login = wire::Login {
                name: user.name.clone(),
                password: PASSWORD.to_owned(),
                device: "confab-bench".to_owned(),
                ..wire::Login::default()
            };
            let granted = link.granted(request::Kind::Login(login)).await;
            granted.map_err(refused("a log-in"))?;
            let logout = link.done(request::Kind::Logout(wire::Logout {})).await;
            logout.map_err(refused("a log-out"))?;
        }
        let with_control = f64::from(COUNT) / rig.used_since(&before)?.as_secs_f64();
        bare.push(alone);
        logins.push(with_control);
        ratios.push(with_control / alone);
    }
    Ok(vec![
        Figure::new("control.argon2_per_s_core", median(bare), "1/s", Goal::None),
        Figure::new(
            "control.logins_per_s_core",
            median(logins),
            "1/s",
            Goal::None,
        ),
        Figure::new(
            "control.logins_vs_argon2",
            median(ratios),
            "ratio",
            Goal::AtLeast(0.85),
        ),
    ])
}

async fn connections(rig: &ControlRig) -> Result<Vec<Link>, ControlError> {
    let mut links = Vec::new();
    for _ in 0..CONNECTIONS {
        let link = rig.connect().await?;
        drop_events(&link);
        links.push(link);
    }
    Ok(links)
}

/// Hashes that this thread computes in a second of its processor time.
fn hashes() -> Result<f64, ControlError> {
    let cost = HashCost::default();
    let failed = |_| ControlError::Other("Argon2id does not take these parameters");
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(failed)?;
    let mut memory = vec![Block::default(); params.block_count()];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let (mut hash, salt) = ([0; 32], [7; 16]);
    let (used, began) = (cpu::used_by_thread()?, Instant::now());
    for _ in 0..COUNT {
        argon2
            .hash_password_into_with_memory(PASSWORD.as_bytes(), &salt, &mut hash, &mut memory)
            .map_err(failed)?;
    }
    let used = (cpu::used_by_thread()? - used).min(began.elapsed());
    Ok(f64::from(COUNT) / used.as_secs_f64())
}
