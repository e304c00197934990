//! Options of one's own voice: how it is sent, when, and what is done to it before.

use std::time::Duration;

use clap::{Args, ValueEnum};
use confab_console::values::{BitRate, duration_within, whole_within};
use confab_voice::{AdaptationConfig, EncoderConfig, FrameDuration, ProcessingConfig, TalkMode};

/// The longest wait for what brings lost frames back: what comes later is not waited for in any case.
const LONGEST_MAX_DELAY: Duration = Duration::from_millis(400);

const DEFAULT_BIT_RATE: BitRate = BitRate(24_000);

/// As [`AdaptationConfig`] has it.
const DEFAULT_MAX_DELAY: &str = "200ms";

/// Level of [`TalkFlag::Threshold`], in dB below full scale.
const DEFAULT_THRESHOLD: u8 = 45;

/// How one's own voice is sent.
#[derive(Debug, Clone, Args)]
pub struct Voice {
    /// Bit rate of the sent voice, with what protects it against loss, 6kbit/s to 128kbit/s. More is clearer, and costs every
    /// participant's download.
    #[arg(long, default_value_t = DEFAULT_BIT_RATE, value_name = "RATE", value_parser = BitRate::within(BitRate(6000)..=BitRate(128_000)))]
    pub bit_rate: BitRate,

    /// Length of each packet's voice. Shorter is quicker, longer costs less.
    #[arg(long, value_enum, default_value_t = FrameFlag::Ms20, value_name = "TIME")]
    pub frame: FrameFlag,

    /// Where frames are lost, wait up to this long for what brings them back, as 60ms; 0s to 400ms. Longer mends more, and
    /// everybody answers later. Without loss nothing waits. It holds for what you hear and for how your voice is protected.
    #[arg(long, default_value = DEFAULT_MAX_DELAY, value_name = "TIME", value_parser = duration_within(Duration::ZERO..=LONGEST_MAX_DELAY))]
    pub max_delay: Duration,

    /// When your voice is sent.
    #[arg(long, value_enum, default_value_t = TalkFlag::Open, value_name = "MODE")]
    pub talk: TalkFlag,

    /// With `--talk threshold`: what is quieter than this is not sent, in dB below full scale, 10 to 60. `confab join
    /// --json` tells the level of others in `stats`; 45 is quiet speech near the microphone.
    #[arg(long, default_value_t = DEFAULT_THRESHOLD, value_name = "DB", value_parser = whole_within(10_u8..=60))]
    pub threshold: u8,

    /// Join muted: `/unmute`, typed in the call, lifts it.
    #[arg(long)]
    pub muted: bool,

    /// Take noise out of what is said. Adds 10 ms of delay. Default: on for a microphone, off for a file or a tone.
    #[arg(long, value_name = "on|off", value_parser = clap::builder::BoolishValueParser::new())]
    pub noise_suppression: Option<bool>,

    /// Take out of the microphone what the speakers play, for calls without a headset.
    #[arg(long)]
    pub echo_cancellation: bool,

    /// Make a quiet voice louder and a loud one quieter, over seconds.
    #[arg(long)]
    pub gain_control: bool,

    /// Send frames in pauses too, so that nobody on the path, the relay included, can tell when somebody speaks. Members still
    /// see who speaks. Costs the full bit rate all the time, yours and that of all who hear you; and in a room with more
    /// speakers than the relay forwards, a place among them, which you lose to others when you speak for long. The input's
    /// begin, a mute by a moderator and a failing microphone still show. Default: pauses in which there is nothing to hear are
    /// not sent.
    #[arg(long)]
    pub hide_pauses: bool,
}

/// When one's own voice is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TalkFlag {
    /// While there is anything to hear, be it speech, music or noise.
    Open,
    /// While somebody speaks: noise and clicks are no speech.
    Voice,
    /// While it is louder than `--threshold`.
    Threshold,
    /// While you say so: an empty line (the Enter key), `/talk`, or a signal (SIGUSR1 begins, SIGUSR2 ends).
    Push,
}

/// Length of a packet's voice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FrameFlag {
    /// 10 ms.
    #[value(name = "10ms")]
    Ms10,
    /// 20 ms.
    #[value(name = "20ms")]
    Ms20,
    /// 40 ms.
    #[value(name = "40ms")]
    Ms40,
    /// 60 ms.
    #[value(name = "60ms")]
    Ms60,
}

impl Default for Voice {
    fn default() -> Self {
        Self {
            bit_rate: DEFAULT_BIT_RATE,
            frame: FrameFlag::Ms20,
            max_delay: AdaptationConfig::default().max_delay,
            talk: TalkFlag::Open,
            threshold: DEFAULT_THRESHOLD,
            muted: false,
            noise_suppression: None,
            echo_cancellation: false,
            gain_control: false,
            hide_pauses: false,
        }
    }
}

impl Voice {
    /// How it is encoded and protected.
    pub fn adaptation(&self) -> AdaptationConfig {
        AdaptationConfig {
            encoder: EncoderConfig {
                bitrate: self.bit_rate.0,
                frame: match self.frame {
                    FrameFlag::Ms10 => FrameDuration::Ms10,
                    FrameFlag::Ms20 => FrameDuration::Ms20,
                    FrameFlag::Ms40 => FrameDuration::Ms40,
                    FrameFlag::Ms60 => FrameDuration::Ms60,
                },
                ..EncoderConfig::default()
            },
            max_delay: self.max_delay,
            fixed: None,
        }
    }

    /// When it is sent.
    pub fn talk_mode(&self) -> TalkMode {
        match self.talk {
            TalkFlag::Open => TalkMode::Open,
            TalkFlag::Voice => TalkMode::Voice,
            TalkFlag::Threshold => TalkMode::Threshold(f32::from(self.threshold)),
            TalkFlag::Push => TalkMode::Push,
        }
    }

    /// What is done to it before. `is_microphone`: it comes from one, and not from a file or a tone.
    pub fn processing(&self, is_microphone: bool) -> ProcessingConfig {
        ProcessingConfig {
            high_pass: is_microphone,
            cancel_echo: self.echo_cancellation,
            suppress_noise: self.noise_suppression.unwrap_or(is_microphone),
            control_gain: self.gain_control,
        }
    }
}
