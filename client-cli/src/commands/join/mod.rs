//! `join`: into a room, talk and listen, and out again.

mod audio;
mod call;
#[cfg(feature = "device")]
mod devices;
mod ending;
mod event;
mod files;
mod group_news;
mod identities;
mod network;
#[cfg(not(feature = "device"))]
mod no_devices;
mod pace;
mod plan;
mod sleep;
mod sound;
mod texts;

use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use confab_console::Signals;
use confab_e2ee::mls::identity::{ServerId, Subject};
use confab_e2ee::mls::member::MemberConfig;
use confab_protocol::control::MediaGrant;
use confab_voice::{AdaptationConfig, EncoderConfig, FrameDuration};

use super::context::Context;
use crate::audio::recorder::Recorder;
use crate::engine::room::Joined;
use crate::engine::{Engine, Settings};
use crate::failure::{Exit, Failure};
use crate::flags::{Join, Text};
use crate::identity::OwnDevice;
use crate::net::sign_in::SignInError;
use crate::net::supervisor::{Joiner, Supervisor};
use crate::net::udp::Sockets;
use crate::output::Output;
use crate::store::device_keys::AccountKey;
use crate::store::{Store, StoreError};
use audio::CallAudio;
use call::{Call, GroupParts};
use ending::ended_by;
use event::{CallEvent, ParticipantShown};
use group_news::GroupNews;
use identities::Identities;
use plan::Plan;
use sound::Sound;
use texts::Texts;

/// Interval at which the reader of standard output is checked before the call.
const READER_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Time that a running join gets when the program is told to end.
const ABANDON_JOIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Time that each thread of the recorder gets to remove what it created for a call that did not begin.
const ABANDON_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) async fn run(
    context: &Context,
    flags: Join,
    signals: &mut Signals,
) -> Result<Exit, Failure> {
    let texts = Texts::typed(&flags);
    run_with(context, flags, texts, signals).await
}

/// `text`: into the room, without sound, for as long as it takes to say something in writing.
pub(super) async fn send_texts(
    context: &Context,
    flags: Text,
    signals: &mut Signals,
) -> Result<Exit, Failure> {
    let texts = Texts::to_be_sent(flags.messages);
    run_with(context, Join::without_sound(flags.slug), texts, signals).await
}

async fn run_with(
    context: &Context,
    flags: Join,
    texts: Texts,
    signals: &mut Signals,
) -> Result<Exit, Failure> {
    let mut recorder = None;
    let ended = Box::pin(join(context, flags, texts, signals, &mut recorder)).await;
    // A call that began has taken the recorder.
    if let Some(recorder) = recorder {
        recorder.abandon(ABANDON_TIMEOUT).await;
    }
    ended
}

async fn join(
    context: &Context,
    flags: Join,
    texts: Texts,
    signals: &mut Signals,
    recorder: &mut Option<Recorder>,
) -> Result<Exit, Failure> {
    let output = context.output;
    let prepare = async {
        let access = context.access().await?;
        let encoder = encoder(&flags)?;
        let sound = Sound::open(&flags, recorder).await?;
        let sockets = Sockets::open().map_err(|error| {
            Failure::new(
                Exit::Network,
                "socket",
                format!("cannot open a UDP socket: {error}"),
            )
        })?;
        let store = access.store.clone();
        let joiner = Joiner::connect(access).await?;
        Ok::<_, Failure>((encoder, sound, sockets, store, joiner))
    };
    let (encoder, sound, sockets, store, joiner) = tokio::select! {
        prepared = prepare => prepared?,
        signal = signals.next() => return Ok(ended_by(signal)),
        () = reader_gone(output) => return Err(no_reader()),
    };
    let mut joining = pin!(joiner.join(flags.slug.clone(), flags.region.clone()));
    let (joined, media, supervisor) = tokio::select! {
        entered = &mut joining => entered?,
        signal = signals.next() => {
            abandon_join(joining).await;
            return Ok(ended_by(signal));
        }
    };

    let now = Instant::now();
    let settings = Settings {
        voice: AdaptationConfig {
            encoder,
            max_delay: flags.max_delay,
            fixed: None,
        },
        timestamp: crate::random::u32(),
        hide_pauses: flags.hide_pauses,
    };
    let server = supervisor.server_id();
    let subject = joined.subject(server);
    let known = identities(&store, server, &subject, flags.strict_trust).await;
    let (own, identities) = match known {
        Ok(known) => known,
        Err(error) => {
            supervisor.leave().await;
            return Err(error.into());
        }
    };
    let member = MemberConfig {
        is_strict: flags.strict_trust,
        allows_classical: flags.allow_classical,
        endorsements: own.endorsements,
        ..MemberConfig::new(own.key, subject, joined.delivery_key)
    };
    let engine = Engine::new(&joined, media, member, settings, now).map_err(|error| {
        Failure::new(
            Exit::Audio,
            "codec",
            format!("cannot start the voice codec: {error}"),
        )
    })?;
    output.print(&CallEvent::Joined {
        slug: flags.slug.to_string(),
        conference: joined.conference.to_string(),
        me: ParticipantShown::from(&joined.me),
        participants: joined.others.iter().map(ParticipantShown::from).collect(),
    });
    let plan = Plan::new(&flags, now);
    let audio = CallAudio::new(sound, recorder.take(), output, &plan);
    let group = GroupParts {
        texts,
        news: GroupNews::new(context.common.verbose > 0),
        identities,
    };
    let call = Call::new(engine, audio, sockets, supervisor, output, plan, group);
    let ended = Box::pin(call.run(signals)).await;
    store.flush().await;
    ended
}

/// This device's key, and the devices of others that are known.
async fn identities(
    store: &Store,
    server: ServerId,
    subject: &Subject,
    is_strict: bool,
) -> Result<(AccountKey, Identities), StoreError> {
    let (account, name) = (subject.account, subject.username.clone());
    let own = store.device_key(server, account, &name).await?;
    let device = OwnDevice {
        account,
        name,
        key: own.key.public(),
    };
    let identities = Identities::open(store.clone(), server, device, is_strict).await?;
    Ok((own, identities))
}

/// Waits until standard output has no reader.
async fn reader_gone(output: Output) {
    while !output.is_gone() {
        tokio::time::sleep(READER_CHECK_INTERVAL).await;
    }
}

fn no_reader() -> Failure {
    Failure::new(
        Exit::Output,
        "output",
        "standard output has no reader: redirect it to a file or to /dev/null",
    )
}

/// Waits a short time for a running join and leaves the room again, so that no participant stays behind.
async fn abandon_join(
    joining: Pin<&mut impl Future<Output = Result<(Joined, MediaGrant, Supervisor), SignInError>>>,
) {
    if let Ok(Ok((_, _, supervisor))) = tokio::time::timeout(ABANDON_JOIN_TIMEOUT, joining).await {
        supervisor.leave().await;
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
