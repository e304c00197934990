//! Joins at real programs: how long until a joiner has its keys, and what that costs control.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use confab::net::Link;
use confab::net::api::OwnJoin;
use confab_protocol::control::{JoinId, Slug};
use confab_protocol::wire::{self, Visibility, request};
use tokio::sync::mpsc;

use crate::control::ControlError;
use crate::control::rig::{ControlRig, StoreChoice, refused};
use crate::figures::{Figure, Goal, median};
use crate::load::group::{NewMember, take_part};

/// Members of the room, the one who comes and goes included.
const MEMBERS: usize = 10;
/// How often it comes.
const TIMES: usize = 30;
const SLUG: &str = "joins-with-keys";
/// Time for the others to have the next epoch.
const SETTLED: Duration = Duration::from_millis(400);
/// How often it is looked whether a member has keys.
const LOOK_AGAIN: Duration = Duration::from_micros(200);
/// A join that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(20);

/// A connection, and the way to its member.
struct Client {
    link: Arc<Link>,
    members: mpsc::UnboundedSender<NewMember>,
}

/// The median time from a join's request to the keys of the room, and control's processor time for it.
pub async fn figures(programs: &Path) -> Result<Vec<Figure>, ControlError> {
    let rig = ControlRig::start(programs, StoreChoice::File).await?;
    let slug: Slug = SLUG
        .parse()
        .map_err(|_| ControlError::Other("a slug that is none"))?;
    let mut clients = Vec::new();
    for number in 0..MEMBERS {
        clients.push(Client::open(&rig, &format!("keys-{number}")).await?);
    }
    let create = wire::CreateConference {
        slug: SLUG.to_owned(),
        visibility: Visibility::Public.into(),
        ..Default::default()
    };
    let first = clients.first().map(|client| client.link.clone());
    let first = first.ok_or(ControlError::Other("nobody to open a room"))?;
    let made = first.conference(request::Kind::CreateConference(create));
    made.await.map_err(refused("a conference"))?;
    for client in &clients[1..] {
        client.join(&slug).await?;
    }
    let guest = &clients[0];
    let mut times = Vec::new();
    let mut used = Duration::ZERO;
    for _ in 0..TIMES {
        let before = rig.usage()?;
        let (took, join) = guest.join(&slug).await?;
        times.push(took.as_secs_f64() * 1000.0);
        guest
            .link
            .leave(&slug, join)
            .await
            .map_err(refused("a leave"))?;
        // The others go on without it.
        tokio::time::sleep(SETTLED).await;
        used += rig.used_since(&before)?;
    }
    drop(clients);
    rig.end().await?;
    let each = used.as_secs_f64() * 1000.0 / TIMES as f64;
    Ok(vec![
        Figure::new("e2ee.join_ms.p50", median(times), "ms", Goal::AtMost(40.0)),
        Figure::new("e2ee.control_cpu_ms", each, "ms", Goal::None),
    ])
}

impl Client {
    async fn open(rig: &ControlRig, name: &str) -> Result<Self, ControlError> {
        let account = rig.register(name).await?;
        let link = Arc::new(rig.connect().await?);
        let signed_in = link.authenticate(&account.token).await;
        signed_in.map_err(refused("a token"))?;
        let (members, new) = mpsc::unbounded_channel();
        tokio::spawn(take_part(link.clone(), new, Arc::default()));
        Ok(Self { link, members })
    }

    /// Joins, and waits until its member seals.
    async fn join(&self, slug: &Slug) -> Result<(Duration, JoinId), ControlError> {
        let began = Instant::now();
        let joined = self.link.join(slug, None, None).await;
        let joined = joined.map_err(refused("a join"))?;
        let own = OwnJoin {
            conference: joined.conference,
            id: joined.me.join_id,
            secret: joined
                .resume
                .clone()
                .ok_or(ControlError::Other("a join without a secret"))?,
        };
        let member = NewMember::new(&self.link, own, &joined);
        let key = member.key();
        // The task ends with the connection.
        let _ = self.members.send(member);
        while key.get().is_none() {
            if began.elapsed() > DEADLINE {
                return Err(ControlError::Other("a member without keys"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok((began.elapsed(), joined.me.join_id))
    }
}
