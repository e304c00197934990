//! Options of a call.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use confab_console::values::duration;
use confab_protocol::control::link::{BadLink, ConferenceLink, is_meant_as_link};
use confab_protocol::control::{NameError, Region, Slug, Username};

use super::voice::Voice;

/// Time between two `stats` events.
const DEFAULT_STATS_EVERY: Duration = Duration::from_secs(5);

/// Options of `join`.
#[derive(Debug, Clone, Args)]
pub struct Join {
    /// The conference: its slug, or a link to it, as `confab conference link` and `confab conference invite --link` print it, or `-` for
    /// a link in the first line of standard input, where no other user of the machine sees it.
    #[arg(value_name = "CONFERENCE|LINK|-")]
    pub place: PlaceFlag,

    /// Come as a guest, under this name, where the server takes guests: no account is needed, and none stays. Others see the name with `~`
    /// and four characters behind it.
    #[arg(long, value_name = "NAME")]
    pub guest: Option<Username>,

    /// The input: a WAV file of any rate and number of channels, `-` for a WAV stream on standard input, or `none`.
    /// Default: the microphone; none in a build without the feature `device`.
    #[arg(long = "in", value_name = "FILE.wav|-|none", conflicts_with = "tone")]
    pub input: Option<String>,

    /// Send a sine of this frequency, 20 to 20000 Hz.
    #[arg(long, value_name = "HZ", value_parser = parse_hertz)]
    pub tone: Option<f32>,

    /// The output: a WAV file that does not exist yet (48 kHz, 16 bit, mono; RF64 beyond 4 GiB), `-` for a
    /// WAV stream on standard output (events then go to standard error), or `none`. Default: the speakers; none in a build
    /// without the feature `device`.
    #[arg(long = "out", value_name = "FILE.wav|-|none")]
    pub output: Option<String>,

    /// Replace the file of --out if it exists; its content is lost.
    #[arg(long, requires = "output")]
    pub overwrite: bool,

    /// Write one file for each speaker into this directory, NAME-LABEL.wav (NAME-LABEL-2.wav where that is there already),
    /// all beginning when --out does. An account gets 8 files and 4 GiB at most.
    #[arg(long, value_name = "DIR")]
    pub record_dir: Option<PathBuf>,

    /// Leave after this time in the room, as 500ms, 10s, 2m or 1h. Default: stay until Ctrl-C.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,

    /// Leave 1 s after the input has ended.
    #[arg(long, conflicts_with = "repeat")]
    pub until_end: bool,

    /// Play the input file from its beginning again and again.
    #[arg(long = "loop")]
    pub repeat: bool,

    /// Begin the input this long after the join, as 1.5s. Default: at once.
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "start_at")]
    pub delay: Option<Duration>,

    /// Begin the input at this time of the wall clock, in seconds since 1970-01-01 UTC with a fraction; at once if it
    /// has passed.
    #[arg(long, value_name = "SECONDS", value_parser = parse_unix_seconds)]
    pub start_at: Option<f64>,

    /// The participant's region, as the server's operator names it: it decides the relay of a room that begins. Default: where
    /// the control node is that answers first.
    #[arg(long, value_name = "NAME")]
    pub region: Option<Region>,

    /// Microphone and speakers.
    #[command(flatten)]
    pub sound_card: SoundCard,

    /// One's own voice.
    #[command(flatten)]
    pub voice: Voice,

    /// Read commands and texts from standard input, a line each, though it is no terminal. `/help` lists the commands.
    #[arg(long)]
    pub commands: bool,

    /// Send nothing while a participant is on a device that is not trusted: a new one for which no known device of the
    /// account vouches, or one under the name of another account. `confab trust accept` and `confab trust verify` end that,
    /// also during the call. Default: such a device is shown, and can hear.
    #[arg(long)]
    pub strict_trust: bool,

    /// Join a room of up to 256 participants even if its keys are not protected against quantum computers of the future.
    /// Default: that is refused, for a server that asks for it may want to weaken the call.
    #[arg(long)]
    pub allow_classical: bool,

    /// Time between two `stats` events (with --json), as 5s.
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = duration)]
    pub stats_every: Duration,
}

/// A conference as it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceFlag {
    /// By an argument.
    Given(Place),
    /// By a link in the first line of standard input.
    StandardInput,
}

/// A conference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At the server that the session is of.
    Slug(Slug),
    /// At the server of the link.
    Link(ConferenceLink),
}

impl Place {
    /// The conference's name at its server.
    pub fn slug(&self) -> &Slug {
        match self {
            Self::Slug(slug) => slug,
            Self::Link(link) => &link.slug,
        }
    }
}

impl PlaceFlag {
    /// True if it is given by a link, which names its server.
    pub fn is_link(&self) -> bool {
        !matches!(self, Self::Given(Place::Slug(_)))
    }
}

impl FromStr for PlaceFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "-" => Ok(Self::StandardInput),
            text => text.parse().map(Self::Given),
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match is_meant_as_link(text) {
            true => text
                .parse()
                .map(Self::Link)
                .map_err(|error: BadLink| error.to_string()),
            false => text
                .parse()
                .map(Self::Slug)
                .map_err(|error: NameError| error.to_string()),
        }
    }
}

/// Which devices a call uses.
#[derive(Debug, Clone, Default, Args)]
pub struct SoundCard {
    /// The microphone: an id or a part of a name, as `confab devices` shows it, or `default` for the one that the system
    /// chooses. Remembered for later calls.
    #[arg(long, value_name = "DEVICE", conflicts_with_all = ["input", "tone"])]
    pub input_device: Option<String>,

    /// The speakers, in the same way.
    #[arg(long, value_name = "DEVICE", conflicts_with = "output")]
    pub output_device: Option<String>,
}

/// Options of `text`.
#[derive(Debug, Clone, Args)]
pub struct Text {
    /// The conference: its slug, or a link to it, or `-` for a link in the first line of standard input.
    #[arg(value_name = "CONFERENCE|LINK|-")]
    pub place: PlaceFlag,

    /// Come as a guest, under this name, where the server takes guests.
    #[arg(long, value_name = "NAME")]
    pub guest: Option<Username>,

    /// A text of up to 4086 bytes; may be repeated. Default: each line of standard input is one.
    #[arg(long = "message", value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub messages: Vec<String>,
}

impl Join {
    /// True if what is said comes from a microphone.
    pub fn has_microphone(&self) -> bool {
        self.tone.is_none() && self.input.is_none()
    }

    /// A participation that says nothing and plays nothing.
    pub fn without_sound(place: PlaceFlag, guest: Option<Username>) -> Self {
        let none = || Some("none".to_owned());
        Self {
            place,
            guest,
            input: none(),
            tone: None,
            output: none(),
            overwrite: false,
            record_dir: None,
            strict_trust: false,
            allow_classical: false,
            duration: None,
            until_end: false,
            repeat: false,
            delay: None,
            start_at: None,
            region: None,
            sound_card: SoundCard::default(),
            voice: Voice::default(),
            commands: false,
            stats_every: DEFAULT_STATS_EVERY,
        }
    }
}

fn parse_hertz(text: &str) -> Result<f32, String> {
    let hertz: f32 = text
        .parse()
        .map_err(|_| "a number of hertz, such as 440".to_owned())?;
    if (20.0..=20_000.0).contains(&hertz) {
        Ok(hertz)
    } else {
        Err("20 to 20000 Hz can be heard".into())
    }
}

fn parse_unix_seconds(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)
        .ok_or_else(|| "seconds since 1970, such as 1795000000.25".to_owned())
}
