//! `join`: into a room, talk and listen, and out again.

mod audio;
mod call;
mod choices;
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
mod obey;
mod own_voice;
mod pace;
mod plan;
mod sleep;
mod sound;
mod texts;
mod typed;

use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use confab_console::Signals;
use confab_e2ee::mls::identity::{ServerId, Subject};
use confab_e2ee::mls::member::MemberConfig;
use confab_protocol::control::MediaGrant;

use super::arrival;
use super::context::Context;
use super::hot_key::HotKey;
use crate::audio::device::Side;
use crate::audio::recorder::Recorder;
use crate::engine::room::Joined;
use crate::engine::{Engine, Settings};
use crate::failure::{Exit, Failure};
use crate::flags::{Join, Place, Text};
use crate::identity::OwnDevice;
use crate::net::sign_in::SignInError;
use crate::net::supervisor::{Joiner, Supervisor};
use crate::net::udp::Sockets;
use crate::output::Output;
use crate::store::device_keys::AccountKey;
use crate::store::settings::Settings as Chosen;
use crate::store::{Store, StoreError};
use audio::CallAudio;
use call::{Call, PersonParts};
use choices::Choices;
use ending::ended_by;
use event::{CallEvent, ParticipantShown};
use group_news::GroupNews;
use identities::Identities;
use own_voice::OwnVoice;
use plan::Plan;
use sound::Sound;
use texts::Texts;

/// Interval at which the reader of standard output is checked before the call.
const READER_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Time that a running join gets when the program is told to end.
const ABANDON_JOIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Time that each thread of the recorder gets to remove what it created for a call that did not begin.
const ABANDON_TIMEOUT: Duration = Duration::from_millis(500);

/// Refuses contradictory options, before anything is asked or opened.
pub(super) fn check(flags: &Join) -> Result<(), Failure> {
    sound::check(flags)
}

pub(super) async fn run(
    context: &Context,
    place: &Place,
    flags: Join,
    signals: &mut Signals,
    hot_key: HotKey,
) -> Result<Exit, Failure> {
    let texts = Texts::typed(&flags);
    run_with((context, place), flags, texts, signals, hot_key).await
}

/// `text`: into the room, without sound, for as long as it takes to say something in writing.
pub(super) async fn send_texts(
    context: &Context,
    place: &Place,
    flags: Text,
    signals: &mut Signals,
    hot_key: HotKey,
) -> Result<Exit, Failure> {
    let texts = Texts::to_be_sent(flags.messages);
    let flags = Join::without_sound(flags.place, flags.guest);
    run_with((context, place), flags, texts, signals, hot_key).await
}

async fn run_with(
    to: (&Context, &Place),
    flags: Join,
    texts: Texts,
    signals: &mut Signals,
    hot_key: HotKey,
) -> Result<Exit, Failure> {
    let mut recorder = None;
    let by = (texts, hot_key);
    let ended = Box::pin(join(to, flags, by, signals, &mut recorder)).await;
    // A call that began has taken the recorder.
    if let Some(recorder) = recorder {
        recorder.abandon(ABANDON_TIMEOUT).await;
    }
    ended
}

async fn join(
    (context, place): (&Context, &Place),
    flags: Join,
    (texts, hot_key): (Texts, HotKey),
    signals: &mut Signals,
    recorder: &mut Option<Recorder>,
) -> Result<Exit, Failure> {
    let output = context.output;
    let prepare = async {
        let access = context.access().await?;
        let choices = chosen(&access.store, &flags, output).await?;
        let sound = Sound::open(&flags, &choices, recorder).await?;
        let sockets = Sockets::open().map_err(|error| {
            Failure::new(
                Exit::Network,
                "socket",
                format!("cannot open a UDP socket: {error}"),
            )
        })?;
        let access = match (&flags.guest, place) {
            (Some(name), place) => arrival::enter_as_guest(access, place, name).await?,
            (None, Place::Link(link)) => {
                arrival::enter(context, link).await?;
                access
            }
            (None, Place::Slug(_)) => access,
        };
        let (store, name) = (access.store.clone(), access.server.to_string());
        let joiner = Joiner::connect(access).await?;
        Ok::<_, Failure>((sound, choices, sockets, store, (name, joiner)))
    };
    let (sound, choices, sockets, store, (server_name, joiner)) = tokio::select! {
        prepared = prepare => prepared?,
        signal = signals.next() => return Ok(ended_by(signal)),
        () = reader_gone(output) => return Err(no_reader()),
    };
    let mut joining = pin!(joiner.join(place.slug().clone(), flags.region.clone()));
    let (joined, media, supervisor) = tokio::select! {
        entered = &mut joining => entered?,
        signal = signals.next() => {
            abandon_join(joining).await;
            return Ok(ended_by(signal));
        }
    };

    tracing::debug!(
        others = joined.others.len(),
        relay_addresses = media.addresses.len(),
        "the server lets this client into the room"
    );
    let now = Instant::now();
    let settings = Settings {
        voice: flags.voice.adaptation(),
        timestamp: crate::random::u32(),
        processing: flags.voice.processing(flags.has_microphone()),
        talk: flags.voice.talk_mode(),
        hide_pauses: flags.voice.hide_pauses,
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
    let mut engine = Engine::new(&joined, media, member, settings, now).map_err(|error| {
        Failure::new(
            Exit::Audio,
            "codec",
            format!("cannot start the voice codec: {error}"),
        )
    })?;
    output.print(&CallEvent::Joined {
        slug: place.slug().to_string(),
        conference: joined.conference.to_string(),
        me: ParticipantShown::from(&joined.me),
        participants: joined.others.iter().map(ParticipantShown::from).collect(),
    });
    let plan = Plan::new(&flags, now);
    let audio = CallAudio::new(sound, recorder.take(), output, &plan);
    for (username, percent) in choices.volumes(server) {
        engine.set_volume(username, f32::from(percent) / 100.0);
    }
    let person = PersonParts {
        texts,
        news: GroupNews::new(context.common.verbose > 0),
        identities,
        own_voice: OwnVoice::new(&flags.voice, &mut engine),
        choices: Choices::new(store.clone(), server, choices),
        hot_key,
        server: server_name,
    };
    let call = Call::new(engine, audio, sockets, supervisor, output, plan, person);
    let ended = Box::pin(call.run(signals)).await;
    store.flush().await;
    ended
}

/// What the person has chosen, with the devices that the options name. These are kept.
async fn chosen(store: &Store, flags: &Join, output: Output) -> Result<Chosen, Failure> {
    let mut settings = match store.settings().await {
        Ok(settings) => settings,
        Err(error) => {
            // Nobody stays silent for it.
            let message = error.to_string();
            output.print(&CallEvent::Warning { message });
            Chosen::default()
        }
    };
    let sides = [
        (Side::Microphone, &flags.sound_card.input_device),
        (Side::Speakers, &flags.sound_card.output_device),
    ];
    for (side, name) in sides {
        let Some(name) = name.clone() else {
            continue;
        };
        let resolving = tokio::task::spawn_blocking(move || choices::resolve(side, &name));
        let wanted = resolving.await.map_err(|error| {
            let message = format!("cannot look for devices: {error}");
            Failure::new(Exit::Other, "thread", message)
        })?;
        let wanted = wanted.map_err(|why| Failure::new(Exit::Audio, "audio", why))?;
        let id = wanted.into_kept();
        choices::device_of(&mut settings, side).clone_from(&id);
        let keep = move |settings: &mut Chosen| *choices::device_of(settings, side) = id;
        if let Err(error) = store.change_settings(keep).await {
            let message = format!("the device is used, and not remembered: {error}");
            output.print(&CallEvent::Warning { message });
        }
    }
    Ok(settings)
}

/// This device's key, and the devices of others that are known.
async fn identities(
    store: &Store,
    server: ServerId,
    subject: &Subject,
    is_strict: bool,
) -> Result<(AccountKey, Identities), StoreError> {
    let (account, name) = (subject.account, subject.username.clone());
    let own = match name.is_guest() {
        true => AccountKey {
            account,
            name: name.clone(),
            key: store.guest_key(server).await?,
            endorsements: Vec::new(),
        },
        false => store.device_key(server, account, &name).await?,
    };
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
