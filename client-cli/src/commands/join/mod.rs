//! `join`: into a room, talk and listen, and out again.

mod call;
mod pace;
mod said;
mod sleep;
mod sound;

use std::time::{Duration, Instant, SystemTime};

use confab_voice::{EncoderConfig, FrameDuration};

use super::Context;
use crate::engine::{Engine, Settings};
use crate::failure::{Exit, Failure};
use crate::flags::Join;
use crate::net::supervisor::Supervisor;
use crate::net::udp::Sockets;
use call::{Call, Plan};
use said::{Person, Said};
use sound::Sound;

pub(super) async fn run(context: &Context, flags: Join) -> Result<Exit, Failure> {
    let mut signals = Signals::new()?;
    let prepare = async {
        let access = context.access().await?;
        let encoder = encoder(&flags)?;
        let sound = Sound::open(&flags)?;
        let sockets = Sockets::open().map_err(|error| {
            Failure::new(
                Exit::Network,
                "socket",
                format!("cannot open a UDP socket: {error}"),
            )
        })?;
        let (joined, media, supervisor) =
            Supervisor::start(access, flags.slug.clone(), flags.region.clone()).await?;
        Ok::<_, Failure>((encoder, sound, sockets, joined, media, supervisor))
    };
    let (encoder, sound, sockets, joined, media, supervisor) = tokio::select! {
        prepared = prepare => prepared?,
        exit = signals.next() => return Ok(exit),
    };

    let now = Instant::now();
    let settings = Settings {
        encoder,
        timestamp: crate::random::u32(),
    };
    let engine = Engine::new(&joined, media, settings, now).map_err(|error| {
        Failure::new(
            Exit::Audio,
            "codec",
            format!("cannot start the voice codec: {error}"),
        )
    })?;
    context.output.say(&Said::Joined {
        slug: flags.slug.to_string(),
        conference: joined.conference.to_string(),
        me: Person::from(&joined.me),
        participants: joined.others.iter().map(Person::from).collect(),
    });
    let plan = plan(&flags, now);
    Call::new(
        engine,
        sound,
        sockets,
        supervisor,
        context.output.clone(),
        plan,
    )
    .run(&mut signals)
    .await
}

/// Ctrl-C and SIGTERM.
pub(super) struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        Ok(Self {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
                .map_err(|error| {
                    Failure::new(
                        Exit::Other,
                        "signal",
                        format!("cannot wait for signals: {error}"),
                    )
                })?,
        })
    }

    /// Waits for one: what the program then ends with.
    pub(super) async fn next(&mut self) -> Exit {
        #[cfg(unix)]
        let terminate = self.terminate.recv();
        #[cfg(not(unix))]
        let terminate = std::future::pending::<()>();
        tokio::select! {
            // Without a handler Ctrl-C ends the program as well.
            Ok(()) = tokio::signal::ctrl_c() => Exit::Interrupted,
            _ = terminate => Exit::Done,
        }
    }
}

fn encoder(flags: &Join) -> Result<EncoderConfig, Failure> {
    let frame = match flags.frame.as_str() {
        "10" => FrameDuration::Ms10,
        "20" => FrameDuration::Ms20,
        "40" => FrameDuration::Ms40,
        "60" => FrameDuration::Ms60,
        other => {
            return Err(Failure::usage(format!(
                "--frame is 10, 20, 40 or 60 ms, not {other}"
            )));
        }
    };
    Ok(EncoderConfig {
        bitrate: flags.bitrate,
        frame,
        ..EncoderConfig::default()
    })
}

fn plan(flags: &Join, now: Instant) -> Plan {
    let wall = SystemTime::now();
    let since_1970 = wall
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let wait = match flags.start_at {
        Some(seconds) => Duration::try_from_secs_f64(seconds)
            .unwrap_or(Duration::ZERO)
            .saturating_sub(since_1970),
        None => flags.delay.unwrap_or(Duration::ZERO),
    };
    Plan {
        start: now,
        start_unix: since_1970,
        input_at: now.checked_add(wait).unwrap_or(now),
        leave_at: flags
            .duration
            .and_then(|duration| now.checked_add(duration)),
        until_end: flags.until_end,
        stats_every: flags.stats_every,
    }
}
