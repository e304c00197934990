//! Joins into rooms that are live: how long the one who joins waits, and what it takes of a core.

use std::time::{Duration, Instant};

use confab_protocol::control::{JoinId, Slug};
use confab_protocol::wire::{self, request};

use super::errors::ControlError;
use super::rig::{ControlRig, SignedInUser, refused, request_unthrottled};
use crate::figures::{Figure, Goal, median};

/// Each of these joins each room.
const USERS: usize = 9;
const ROOMS: usize = 100;
/// The first is not counted: it makes everybody a member.
const ROUNDS: usize = 6;
/// Between the beginnings of two joins: no connection asks more often than it may.
const PAUSE: Duration = Duration::from_micros(2500);
/// Between two requests of one connection that are not measured.
const STEP: Duration = Duration::from_millis(22);

/// Median and 99th percentile of a join, and joins for each second of processor time of control.
///
/// A join is timed by the client, from its request to the answer, over the loopback interface; one at a time. Joins open a
/// session at a real relay. The rooms are known and live: somebody is in each.
pub async fn figures(
    rig: &ControlRig,
    progress: &impl Fn(&str),
) -> Result<Vec<Figure>, ControlError> {
    let host = rig.register(&format!("{}-host", rig.name)).await?;
    let rooms = open_rooms(rig, &host).await?;
    let mut users = Vec::new();
    for number in 0..USERS {
        users.push(rig.register(&format!("joiner-{number}")).await?);
    }
    let (mut times, mut rates) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        progress(&format!("round {} of {ROUNDS}", round + 1));
        let mut inside = Vec::new();
        for slug in &rooms {
            inside.push((&host, slug, join(&host, slug).await?));
            tokio::time::sleep(STEP).await;
        }
        let before = rig.usage()?;
        let mut taken = Vec::new();
        for slug in &rooms {
            for user in &users {
                let began = Instant::now();
                let joined = join(user, slug).await?;
                taken.push(began.elapsed());
                inside.push((user, slug, joined));
                tokio::time::sleep_until((began + PAUSE).into()).await;
            }
        }
        let used = rig.used_since(&before)?;
        if round > 0 {
            rates.push(taken.len() as f64 / used.as_secs_f64());
            times.append(&mut taken);
        }
        leave_all(inside).await?;
    }
    times.sort();
    let ms = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1000.0;
    let most = if rig.name == "sqlite" { 5.0 } else { 15.0 };
    let named = |name: &str| format!("control.{name}.{}", rig.name);
    Ok(vec![
        Figure::new(&named("join_ms.p50"), ms(50), "ms", Goal::AtMost(most)),
        Figure::new(&named("join_ms.p99"), ms(99), "ms", Goal::None),
        Figure::new(
            &named("joins_per_s_core"),
            median(rates),
            "1/s",
            Goal::AtLeast(500.0),
        ),
    ])
}

async fn open_rooms(rig: &ControlRig, host: &SignedInUser) -> Result<Vec<Slug>, ControlError> {
    let mut rooms = Vec::new();
    for number in 0..ROOMS {
        let slug = format!("{}-room-{number}", rig.name);
        let create = wire::CreateConference {
            slug: slug.clone(),
            title: String::new(),
            visibility: wire::Visibility::Public.into(),
            ..Default::default()
        };
        let create = request::Kind::CreateConference(create);
        request_unthrottled(&host.link, "a conference", create).await?;
        let slug = slug.parse();
        rooms.push(slug.map_err(|_| ControlError::Other("a slug that was no slug"))?);
    }
    Ok(rooms)
}

async fn join(user: &SignedInUser, slug: &Slug) -> Result<JoinId, ControlError> {
    let joined = user.link.join(slug, None, None).await;
    Ok(joined.map_err(refused("a join"))?.me.join_id)
}

/// Leaves every room, on all connections at once.
async fn leave_all(inside: Vec<(&SignedInUser, &Slug, JoinId)>) -> Result<(), ControlError> {
    let mut leaving = tokio::task::JoinSet::new();
    let mut by_person: Vec<(&SignedInUser, Vec<(Slug, JoinId)>)> = Vec::new();
    for (user, slug, joined) in inside {
        let of_person = by_person
            .iter_mut()
            .find(|(known, _)| known.name == user.name);
        match of_person {
            Some((_, rooms)) => rooms.push((slug.clone(), joined)),
            None => by_person.push((user, vec![(slug.clone(), joined)])),
        }
    }
    for (user, rooms) in by_person {
        let link = user.link.clone();
        leaving.spawn(async move {
            for (slug, joined) in rooms {
                let leave = wire::LeaveRoom {
                    slug: slug.to_string(),
                    join_id: joined.to_wire(),
                };
                request_unthrottled(&link, "to leave", request::Kind::LeaveRoom(leave)).await?;
                tokio::time::sleep(STEP).await;
            }
            Ok::<_, ControlError>(())
        });
    }
    while let Some(left) = leaving.join_next().await {
        left??;
    }
    Ok(())
}
