//! Several channels to one: the loudest channel, with hysteresis.
//!
//! A mean would halve a voice that is on one channel of two, and silence one that is on both with opposite signs. The
//! loudest channel is the voice wherever it is. It is changed only for a channel that is clearly louder than the chosen one
//! was within the last seconds, or that is nearly as loud while the chosen one is silent, as where each of two speakers has
//! a channel. It is changed by a short crossfade, and neither pauses nor noise make it go to and fro.

/// Most channels that are looked at; those above are ignored.
pub const MAX_CHANNELS: usize = 64;

/// Loudness is measured and the channel is chosen for so much sound at a time.
const WINDOW_MS: u32 = 10;

/// Another channel is chosen when its energy is so many times that of the chosen one: 6 dB.
const HYSTERESIS: f32 = 4.0;

/// Factor of a channel's remembered energy in each window: −10 dB a second, so that a speaker's pause is no reason to change
/// the channel.
const DECAY: f32 = 0.977_237;

/// Somebody else speaks: another channel has at least this part of the remembered energy of the chosen one (−12 dB), and
/// so many times (10 dB) what the chosen one has now.
const OTHER_VOICE: f32 = 0.063;
const NOW_SILENT: f32 = 10.0;

/// Length of the crossfade from one channel to another.
const FADE_MS: u32 = 5;

/// Chooses among the channels of one stream. Allocates nothing.
#[derive(Debug, Clone)]
pub struct Downmix {
    channels: usize,
    /// Frames of a window.
    window: usize,
    /// Frames of a crossfade.
    fade: usize,
    /// Peak of each channel's mean energy, falling.
    energy: [f32; MAX_CHANNELS],
    chosen: usize,
    /// The channel chosen before, and the frames of the crossfade that are left.
    fading: Option<(usize, usize)>,
    /// False until a channel was chosen for its sound: the first one needs no crossfade.
    heard: bool,
}

impl Downmix {
    /// For `channels` interleaved channels at `rate` frames a second, both at least 1.
    pub fn new(channels: u16, rate: u32) -> Self {
        let frames = |ms: u32| (rate as usize * ms as usize / 1000).max(1);
        Self {
            channels: usize::from(channels.max(1)),
            window: frames(WINDOW_MS),
            fade: frames(FADE_MS),
            energy: [0.0; MAX_CHANNELS],
            chosen: 0,
            fading: None,
            heard: false,
        }
    }

    /// Gives one sample for each frame of `samples` to `out`. A last frame that is not whole is left out.
    ///
    /// `read` turns a sample into one within ±1.0 and is asked more than once for each.
    pub fn mix<T: Copy>(
        &mut self,
        samples: &[T],
        read: impl Fn(T) -> f32,
        mut out: impl FnMut(f32),
    ) {
        if self.channels == 1 {
            return samples.iter().for_each(|sample| out(read(*sample)));
        }
        for window in samples.chunks(self.window * self.channels) {
            let frames = window.chunks_exact(self.channels);
            self.choose(frames.clone(), &read);
            for frame in frames {
                out(self.fade_in(frame, &read));
            }
        }
    }

    /// The channel that is taken now, from 0.
    pub fn chosen(&self) -> usize {
        self.chosen
    }

    fn choose<'a, T: Copy + 'a>(
        &mut self,
        frames: impl ExactSizeIterator<Item = &'a [T]> + Clone,
        read: &impl Fn(T) -> f32,
    ) {
        let count = frames.len().max(1) as f32;
        let decay = DECAY.powf(count / self.window as f32);
        let looked_at = self.channels.min(MAX_CHANNELS);
        let mut now = [0.0; MAX_CHANNELS];
        // By what is remembered, and by what there is now.
        let (mut loudest, mut loudest_now) = (self.chosen, self.chosen);
        for channel in 0..looked_at {
            let sum: f32 = frames
                .clone()
                .map(|frame| read(frame[channel]).powi(2))
                .sum();
            now[channel] = sum / count;
            self.energy[channel] = (self.energy[channel] * decay).max(now[channel]);
            if self.energy[channel] > self.energy[loudest] {
                loudest = channel;
            }
            if now[channel] > now[loudest_now] {
                loudest_now = channel;
            }
        }
        let chosen = self.chosen;
        if self.energy[loudest] > self.energy[chosen] * HYSTERESIS {
            self.change_to(loudest);
        } else if now[loudest_now] > self.energy[chosen] * OTHER_VOICE
            && now[loudest_now] > now[chosen] * NOW_SILENT
        {
            // What the one before was like is no reason to go back to it.
            self.energy[chosen] = self.energy[chosen].min(self.energy[loudest_now]);
            self.change_to(loudest_now);
        }
    }

    fn change_to(&mut self, channel: usize) {
        if std::mem::replace(&mut self.heard, true) {
            self.fading = Some((self.chosen, self.fade));
        }
        self.chosen = channel;
    }

    fn fade_in<T: Copy>(&mut self, frame: &[T], read: &impl Fn(T) -> f32) -> f32 {
        let now = read(frame[self.chosen]);
        let Some((before, left)) = self.fading else {
            return now;
        };
        let share = left as f32 / (self.fade + 1) as f32;
        self.fading = (left > 1).then_some((before, left - 1));
        now + share * (read(frame[before]) - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::f32::consts::TAU;

    const RATE: u32 = 48_000;

    /// Interleaved frames of which each channel is a sine, as loud as `gains` says.
    fn sines(frames: usize, gains: &[f32]) -> Vec<f32> {
        (0..frames)
            .flat_map(|n| {
                let sample = (n as f32 * 440.0 / RATE as f32 * TAU).sin();
                gains.iter().map(move |gain| gain * sample)
            })
            .collect()
    }

    fn mixed(downmix: &mut Downmix, samples: &[f32]) -> Vec<f32> {
        let mut out = Vec::new();
        downmix.mix(samples, |sample| sample, |sample| out.push(sample));
        out
    }

    fn peak(samples: &[f32]) -> f32 {
        samples.iter().fold(0.0, |most, s| most.max(s.abs()))
    }

    #[test]
    fn a_voice_on_one_channel_of_eight_is_as_loud_as_on_one_of_one() {
        for channel in 0..8 {
            let mut gains = [0.001; 8];
            gains[channel] = 0.5;
            let mut downmix = Downmix::new(8, RATE);
            let out = mixed(&mut downmix, &sines(4800, &gains));
            assert_eq!(out.len(), 4800);
            assert_eq!(downmix.chosen(), channel);
            assert!(
                (peak(&out[..480]) - 0.5).abs() < 0.01,
                "from the first window on"
            );
            assert!((peak(&out) - 0.5).abs() < 0.01);
        }
    }

    #[test]
    fn opposite_signs_do_not_silence_a_voice() {
        let out = mixed(&mut Downmix::new(2, RATE), &sines(4800, &[0.5, -0.5]));
        assert!((peak(&out) - 0.5).abs() < 0.01);
    }

    #[test]
    fn channels_that_are_nearly_as_loud_do_not_take_turns() {
        let mut downmix = Downmix::new(2, RATE);
        mixed(&mut downmix, &sines(4800, &[0.5, 0.1]));
        for round in 0..50 {
            let gains = if round % 2 == 0 {
                [0.4, 0.6]
            } else {
                [0.6, 0.4]
            };
            mixed(&mut downmix, &sines(960, &gains));
            assert_eq!(downmix.chosen(), 0);
        }
    }

    #[test]
    fn a_pause_does_not_change_the_channel_and_another_speaker_does_without_a_click() {
        let mut downmix = Downmix::new(2, RATE);
        mixed(&mut downmix, &sines(48_000, &[0.5, 0.01]));
        // Noise on the other channel while the speaker breathes for half a second.
        mixed(&mut downmix, &sines(24_000, &[0.001, 0.02]));
        assert_eq!(downmix.chosen(), 0);
        // For seconds nobody is on the first one, and somebody on the second.
        mixed(&mut downmix, &sines(96_000, &[0.0, 0.0]));
        let out = mixed(&mut downmix, &sines(9600, &[0.0, 0.5]));
        assert_eq!(downmix.chosen(), 1);
        let steepest = out
            .windows(2)
            .fold(0.0_f32, |most, w| most.max((w[1] - w[0]).abs()));
        assert!(steepest < 0.05, "{steepest}");
    }

    #[test]
    fn each_of_two_speakers_with_a_channel_of_their_own_is_heard_from_the_first_syllable_on() {
        let mut downmix = Downmix::new(2, RATE);
        // One is four times as loud as the other, and each is a little heard on the other's channel.
        for (gains, channel) in [
            ([0.8, 0.02], 0),
            ([0.02, 0.21], 1),
            ([0.8, 0.02], 0),
            ([0.01, 0.21], 1),
        ] {
            let out = mixed(&mut downmix, &sines(9600, &gains));
            assert_eq!(downmix.chosen(), channel);
            assert!((peak(&out[480..1440]) - gains[channel]).abs() < 0.01);
        }
    }

    #[test]
    fn pieces_of_any_length_are_mixed_as_the_whole_is() {
        let mut whole = Downmix::new(2, RATE);
        let mut pieces = whole.clone();
        mixed(&mut whole, &sines(48_000, &[0.5, 0.01]));
        for piece in sines(48_000, &[0.5, 0.01]).chunks(2 * 32) {
            mixed(&mut pieces, piece);
        }
        for _ in 0..300 {
            mixed(&mut whole, &[0.0; 960]);
            for piece in [0.0; 960].chunks(2 * 7) {
                mixed(&mut pieces, piece);
            }
        }
        // In 3 s it fell by 30 dB.
        for remembered in [whole.energy[0], pieces.energy[0]] {
            let fell = 10.0 * (0.125 / remembered).log10();
            assert!((28.0..32.5).contains(&fell), "{fell} dB");
        }
    }

    #[test]
    fn silence_stays_silence() {
        let out = mixed(&mut Downmix::new(3, RATE), &[0.0; 3000]);
        assert_eq!(out, vec![0.0; 1000]);
    }

    proptest! {
        #[test]
        fn every_frame_gives_one_sample_of_one_of_its_channels_or_between_two(
            channels in 1u16..70,
            rate in 1u32..200_000,
            samples in prop::collection::vec(-1.0f32..1.0, 0..4000),
        ) {
            let mut downmix = Downmix::new(channels, rate);
            let out = mixed(&mut downmix, &samples);
            let frames: Vec<_> = samples.chunks_exact(usize::from(channels)).collect();
            prop_assert_eq!(out.len(), frames.len());
            for (sample, frame) in out.iter().zip(frames) {
                let least = frame.iter().copied().fold(1.0, f32::min);
                let most = frame.iter().copied().fold(-1.0, f32::max);
                prop_assert!((least - 1e-6..=most + 1e-6).contains(sample));
            }
        }
    }
}
