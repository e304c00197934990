//! Bytes, timestamps and clocks that nobody promised anything about.

use std::time::{Duration, Instant};

use confab_voice::codec::is_silence;
use confab_voice::{CodecError, Decoder, Encoder, EncoderConfig, FrameDuration, SpeakerStream};
use confab_voice::{VoiceActivity, packet_duration};
use opusic_c::{SampleRate, utils};
use proptest::prelude::*;

#[test]
fn durations_agree_with_libopus_for_every_toc_byte_and_frame_count() {
    for toc in 0..=255_u8 {
        for second in 0..=255_u8 {
            for length in [1, 2, 3, 4, 50, 51, 121, 1200, 1276, 1277, 1278, 2552, 2554] {
                let mut packet = vec![0_u8; length];
                packet[0] = toc;
                if let Some(byte) = packet.get_mut(1) {
                    *byte = second;
                }
                if let Ok(samples) = packet_duration(&packet) {
                    let theirs = utils::get_nb_samples(&packet, SampleRate::Hz48000);
                    assert_eq!(theirs, Ok(samples), "{toc:#x} {second:#x} {length}");
                }
            }
        }
    }
}

#[test]
fn encoded_packets_have_the_duration_of_their_input() {
    use FrameDuration::{Ms10, Ms20, Ms40, Ms60};
    for frame in [Ms10, Ms20, Ms40, Ms60] {
        let config = EncoderConfig {
            frame,
            dtx: true,
            inband_fec: true,
            expected_loss: 10,
            ..EncoderConfig::default()
        };
        let mut encoder = Encoder::new(config).unwrap();
        assert_eq!(encoder.lookahead(), 312);
        let pcm = vec![0.0; frame.samples()];
        let mut silent = 0;
        for _ in 0..50 {
            let packet = encoder.encode(&pcm).unwrap();
            assert_eq!(packet_duration(packet), Ok(frame.samples()));
            silent += usize::from(is_silence(packet));
        }
        assert!(silent > 20, "DTX: {silent} of 50");
        assert_eq!(
            encoder.encode(&pcm[1..]),
            Err(CodecError::FrameLength {
                got: frame.samples() - 1,
                expected: frame.samples()
            })
        );
    }
}

#[test]
fn every_packet_of_a_constant_bit_rate_has_one_length_whatever_is_in_it() {
    use FrameDuration::{Ms10, Ms20, Ms40, Ms60};
    let mut seed = 1u32;
    let mut noise = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    for frame in [Ms10, Ms20, Ms40, Ms60] {
        for bitrate in [
            6_000, 9_100, 16_000, 24_000, 37_777, 64_000, 128_000, 510_000,
        ] {
            let config = EncoderConfig {
                bitrate,
                frame,
                complexity: 3,
                ..EncoderConfig::default()
            };
            let mut encoder = Encoder::new(config).unwrap();
            let expected = encoder.packet_bytes();
            let mut phase = 0.0f32;
            for n in 0..60 {
                // Silence, noise, a tone and clicks, and a loss report now and then: reasons to change the mode.
                let pcm: Vec<f32> = (0..frame.samples())
                    .map(|at| match n / 7 % 4 {
                        0 => 0.0,
                        1 => 0.2 * noise(),
                        2 => {
                            phase = (phase + 440.0 / 48_000.0).fract();
                            0.5 * (phase * std::f32::consts::TAU).sin()
                        }
                        _ => f32::from(u8::from(at % 400 == 0)),
                    })
                    .collect();
                encoder.set_expected_loss(n % 5 * 20).unwrap();
                let length = encoder.encode(&pcm).unwrap().len();
                assert_eq!(length, expected, "{frame:?} at {bitrate}, frame {n}");
            }
        }
    }
}

#[test]
fn settings_out_of_range_are_named() {
    let refused = |config| Encoder::new(config).err();
    let base = EncoderConfig::default;
    assert_eq!(
        refused(EncoderConfig {
            bitrate: 10,
            ..base()
        }),
        Some(CodecError::Setting("bitrate"))
    );
    assert_eq!(
        refused(EncoderConfig {
            complexity: 11,
            ..base()
        }),
        Some(CodecError::Setting("complexity"))
    );
    assert_eq!(
        refused(EncoderConfig {
            expected_loss: 101,
            ..base()
        }),
        Some(CodecError::Setting("expected loss"))
    );
}

#[test]
fn concealment_takes_multiples_of_two_and_a_half_ms() {
    let mut decoder = Decoder::new().unwrap();
    for units in 1..60 {
        assert_eq!(decoder.conceal(&mut vec![0.0; units * 120]), Ok(()));
    }
    assert_eq!(
        decoder.conceal(&mut [0.0; 100]),
        Err(CodecError::ConcealLength(100))
    );
    assert_eq!(decoder.conceal(&mut []), Err(CodecError::ConcealLength(0)));
    let too_short = decoder.decode(&[0x08, 0], &mut [0.0; 100]);
    assert_eq!(
        too_short,
        Err(CodecError::OutputTooShort {
            got: 100,
            needed: 960
        })
    );
}

#[derive(Clone, Debug)]
enum Step {
    Push {
        at_ms: i32,
        timestamp: u32,
        packet: Vec<u8>,
        talkspurt: bool,
    },
    Redundant {
        at_ms: i32,
        timestamp: u32,
        packet: Vec<u8>,
    },
    Pull {
        at_ms: i32,
        periods: usize,
    },
    Pause,
}

/// Mostly short packets that are valid, so that the buffer sees more than refusals.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(toc, body)| {
            let mut packet = vec![toc & 0xfc];
            packet.extend(body);
            packet
        }),
        1 => prop::collection::vec(any::<u8>(), 0..1300),
    ]
}

/// Mostly near to each other; sometimes anything.
fn timestamp() -> impl Strategy<Value = u32> {
    prop_oneof![
        6 => (0..100_u32).prop_map(|n| (n * 960).wrapping_sub(20_000)),
        1 => any::<u32>(),
    ]
}

fn at_ms() -> impl Strategy<Value = i32> {
    prop_oneof![8 => -5..40_i32, 1 => -5000..5000_i32, 1 => any::<i32>()]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (at_ms(), timestamp(), packet(), any::<bool>()).prop_map(
            |(at_ms, timestamp, packet, talkspurt)| Step::Push { at_ms, timestamp, packet, talkspurt }
        ),
        1 => (at_ms(), timestamp(), packet())
            .prop_map(|(at_ms, timestamp, packet)| Step::Redundant { at_ms, timestamp, packet }),
        6 => (at_ms(), 0..7_usize).prop_map(|(at_ms, periods)| Step::Pull { at_ms, periods }),
        1 => Just(Step::Pause),
    ]
}

/// `at` moved by `ms`, or `at` where the platform cannot say so.
fn moved(at: Instant, ms: i32) -> Instant {
    let by = Duration::from_millis(ms.unsigned_abs().into());
    let moved = if ms < 0 {
        at.checked_sub(by)
    } else {
        at.checked_add(by)
    };
    moved.unwrap_or(at)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_survives_anything_and_always_fills(steps in prop::collection::vec(step(), 1..150)) {
        let mut stream = SpeakerStream::new(Duration::from_millis(200)).unwrap();
        let mut now = Instant::now();
        for step in steps {
            match step {
                Step::Push { at_ms, timestamp, packet, talkspurt } => {
                    now = moved(now, at_ms);
                    stream.push(now, timestamp, &packet, talkspurt);
                }
                Step::Redundant { at_ms, timestamp, packet } => {
                    now = moved(now, at_ms);
                    stream.protected(now, timestamp);
                    stream.push_redundant(timestamp, &packet);
                }
                Step::Pause => stream.pause(),
                Step::Pull { at_ms, periods } => {
                    now = moved(now, at_ms);
                    let mut out = vec![f32::NAN; periods * 480];
                    let pulled = stream.pull(now, &mut out);
                    prop_assert!(out.iter().all(|sample| sample.is_finite()));
                    prop_assert!(pulled.voice <= out.len());
                    prop_assert!(out[pulled.voice..].iter().all(|&sample| sample == 0.0));
                }
            }
            prop_assert!(stream.waiting() <= 64);
            let _ = stream.stats();
        }
    }

    #[test]
    fn framing_is_refused_exactly_where_libopus_refuses_it(
        toc in any::<u8>(),
        body in prop_oneof![prop::collection::vec(any::<u8>(), 0..60), prop::collection::vec(any::<u8>(), 0..1400)],
    ) {
        let mut packet = vec![toc];
        packet.extend(body);
        let mut decoder = opusic_c::Decoder::new(opusic_c::Channels::Mono, SampleRate::Hz48000).unwrap();
        let theirs = decoder.decode_float_to_slice(&packet, &mut [0.0; 5760], false);
        prop_assert_eq!(packet_duration(&packet).ok(), theirs.ok());
    }

    #[test]
    fn a_level_is_within_its_range(pcm in prop::collection::vec(any::<f32>(), 0..500)) {
        let level = confab_voice::level_dbov(&pcm);
        prop_assert!((0.0..=127.0).contains(&level));
        let _ = VoiceActivity::new().update(level, pcm.len());
    }
}
