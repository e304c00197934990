//! Into a room, to whichever of the server's nodes has it: redirections are followed, and what passes is waited for.

use std::time::{Duration, Instant};

use confab_protocol::control::{ErrorCode, Region, Slug};

use super::api::Resume;
use super::event::Incoming;
use super::sign_in::{Access, SignInError, SignedIn};
use super::{ApiError, Link, retry};
use crate::engine::room::Joined;

/// Most redirections that a join follows.
const MAX_HOPS: u32 = 4;

/// How long a room is asked for that changes its node: others are sure of a node's death 5 s after it.
const PATIENCE: Duration = Duration::from_secs(8);

/// Longest time between two token exchanges: shorter than any session.
const LONGEST_REFRESH: Duration = Duration::from_secs(24 * 3600);

/// The room to join, and the region to join it from.
#[derive(Debug, Clone)]
pub(super) struct Room {
    pub(super) slug: Slug,
    /// The person's region, or that of the first node.
    pub(super) region: Option<Region>,
}

/// A connection that is signed in.
pub(super) struct Connected {
    pub(super) link: Link,
    pub(super) incoming: Incoming,
    /// When to exchange the token.
    pub(super) refresh_at: Instant,
}

/// The result of a join.
pub(super) struct Entered {
    pub(super) joined: Joined,
    /// True when an earlier join was resumed.
    pub(super) resumed: bool,
}

impl Connected {
    pub(super) async fn open(access: &mut Access) -> Result<Self, SignInError> {
        Ok(Self::new(access.open_signed_in().await?))
    }

    fn new((link, signed_in): (Link, SignedIn)) -> Self {
        Self {
            incoming: link.incoming(),
            refresh_at: refresh_at(&link, &signed_in),
            link,
        }
    }
}

impl Room {
    /// Joins over `connected`, or over a connection to the node that has the room.
    pub(super) async fn enter(
        &mut self,
        mut connected: Connected,
        access: &mut Access,
        resume: impl Fn() -> Option<Resume>,
    ) -> Result<(Connected, Entered), SignInError> {
        if self.region.is_none() {
            self.region = connected.link.region.clone();
        }
        let mut hops = 0;
        loop {
            let error = match self.ask(&connected.link, &resume).await {
                Ok(entered) => return Ok((connected, entered)),
                Err(error) => error,
            };
            let nodes = match &error {
                ApiError::Elsewhere(nodes) if hops < MAX_HOPS => nodes.clone(),
                _ => return Err(error.into()),
            };
            hops += 1;
            match access.follow(nodes).await {
                Ok(there) => connected = Connected::new(there),
                // It may have died; then the one that sent us there will know in a moment.
                Err(failed) => {
                    tracing::debug!("the node that is said to have the room does not answer");
                    if matches!(failed, SignInError::SessionOver(_)) {
                        return Err(failed);
                    }
                }
            }
        }
    }

    /// Joins, or takes the join up again, or joins afresh when that one is gone. A room that changes its node, or has no
    /// relay for a join that was there before, is asked again for a while.
    pub(super) async fn ask(
        &self,
        link: &Link,
        resume: impl Fn() -> Option<Resume>,
    ) -> Result<Entered, ApiError> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let resume = resume();
            let error = match self.ask_once(link, resume.as_ref()).await {
                Ok(entered) => return Ok(entered),
                Err(error) => error,
            };
            let pause = match retry::for_the_room(&error, crate::random::fraction()) {
                // A first join fails at once: the person is waiting.
                Some(_) if resume.is_none() && error.code() == Some(ErrorCode::NoRelay) => None,
                pause => pause.filter(|pause| Instant::now() + *pause < give_up),
            };
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            }
        }
    }

    async fn ask_once(&self, link: &Link, resume: Option<&Resume>) -> Result<Entered, ApiError> {
        let join = |resume| link.join(&self.slug, resume, self.region.as_ref());
        match join(resume).await {
            Err(error) if resume.is_some() && error.code() == Some(ErrorCode::NotFound) => {
                let joined = join(None).await?;
                Ok(Entered {
                    joined,
                    resumed: false,
                })
            }
            answer => Ok(Entered {
                joined: answer?,
                resumed: resume.is_some(),
            }),
        }
    }
}

/// When to exchange the token that `link` signed in with, by the server's clock at the welcome.
pub(super) fn refresh_at(link: &Link, signed_in: &SignedIn) -> Instant {
    link.hello_at + refresh_after(link.server_time_ms, signed_in.refresh_after_ms)
}

/// Time from the welcome to the exchange: [`LONGEST_REFRESH`] at most, whatever times the server gives.
fn refresh_after(server_time_ms: u64, refresh_after_ms: u64) -> Duration {
    let until = refresh_after_ms.saturating_sub(server_time_ms);
    Duration::from_millis(until).min(LONGEST_REFRESH)
}

/// True when a limit of the room, or of the account in it, is reached.
pub(super) fn is_limit(error: &SignInError) -> bool {
    error.api().and_then(ApiError::code) == Some(ErrorCode::LimitReached)
}

/// True when trying again would fail the same way. An answer that an attacker on the path can forge is never final: a
/// certificate that is refused, an unsupported version.
pub(super) fn is_final(error: &SignInError) -> bool {
    let refused = |error: &ApiError| {
        matches!(
            error.code(),
            Some(
                ErrorCode::Denied
                    | ErrorCode::Banned
                    | ErrorCode::NotFound
                    | ErrorCode::LimitReached
                    | ErrorCode::NotAuthenticated
                    | ErrorCode::SessionEnded
                    | ErrorCode::UnsupportedVersion
                    | ErrorCode::UnknownRequest
                    | ErrorCode::InvalidArgument
            )
        )
    };
    match error {
        SignInError::NotLoggedIn(_) | SignInError::SessionOver(_) | SignInError::TokenOver(_) => {
            true
        }
        error => error.api().is_some_and(refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_times_of_a_server_put_the_exchange_of_a_token_off_for_ever() {
        let minute = 60_000;
        assert_eq!(refresh_after(0, minute), Duration::from_secs(60));
        assert_eq!(refresh_after(2 * minute, minute), Duration::ZERO);
        assert_eq!(refresh_after(0, u64::MAX), LONGEST_REFRESH);
        assert_eq!(refresh_after(u64::MAX, 0), Duration::ZERO);
    }
}
