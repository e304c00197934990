//! Under which conditions is measured, and what is asked for there.

use std::time::Duration;

use confab_voice::{AdaptationConfig, Code, EncoderConfig, Profile};

use super::network::Loss;
use super::{ClarityError, Options};
use crate::figures::Goal;

/// The losses, by name.
pub(super) const LOSSES: [(&str, Loss); 6] = [
    ("clean", Loss::None),
    ("r5", Loss::Random(0.05)),
    ("r10", Loss::Random(0.1)),
    ("r20", Loss::Random(0.2)),
    (
        "b3_20",
        Loss::Bursts {
            part: 0.2,
            mean: 3.0,
        },
    ),
    (
        "b5_20",
        Loss::Bursts {
            part: 0.2,
            mean: 5.0,
        },
    ),
];

/// The limits of senders, and under each of [`LOSSES`] the PESQ and, where one is given, the PLCMOS that is asked for.
pub(super) const LIMITS: [Limit; 4] = [
    Limit {
        name: "25k_60ms",
        bitrate: 25_000,
        delay_ms: 60,
        pesq: [4.35, 4.05, 3.8, 3.35, 2.6, 2.15],
        plcmos: None,
    },
    Limit {
        name: "25k_200ms",
        bitrate: 25_000,
        delay_ms: 200,
        pesq: [4.35, 4.2, 4.15, 3.7, 3.05, 3.05],
        plcmos: Some([4.1, 4.1, 4.0, 3.9, 3.85]),
    },
    Limit {
        name: "50k_60ms",
        bitrate: 50_000,
        delay_ms: 60,
        pesq: [4.35, 4.4, 4.3, 4.0, 2.85, 2.3],
        plcmos: None,
    },
    Limit {
        name: "50k_200ms",
        bitrate: 50_000,
        delay_ms: 200,
        pesq: [4.35, 4.4, 4.4, 4.3, 3.9, 3.6],
        plcmos: Some([4.15, 4.15, 4.15, 4.1, 4.05]),
    },
];

/// The limits of a sender, and what is asked of it.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    pub(super) name: &'static str,
    /// Bits a second for voice and blocks together.
    pub(super) bitrate: u32,
    /// The longest look-ahead.
    delay_ms: u64,
    pesq: [f64; 6],
    /// The first loss is none, and nothing is asked there.
    plcmos: Option<[f64; 5]>,
}

impl Limit {
    /// The PLCMOS that is asked for under one of [`LOSSES`].
    fn plcmos_under(&self, loss: usize) -> Option<f64> {
        let under_loss = loss.checked_sub(1)?;
        self.plcmos?.get(under_loss).copied()
    }
}

/// A condition: what is measured together.
pub(super) struct Condition {
    pub(super) name: String,
    pub(super) voice: AdaptationConfig,
    pub(super) loss: Loss,
    pub(super) pesq: Goal,
    pub(super) plcmos: Goal,
}

/// The conditions that are wanted: each of [`LOSSES`] under each of [`LIMITS`].
pub(super) fn conditions(options: &Options) -> Result<Vec<Condition>, ClarityError> {
    // Beside the adaptation stands what concealment alone makes of it.
    let mut ways = vec![
        (String::new(), None),
        (".off".to_owned(), Some(Profile::OFF)),
    ];
    if !options.profiles.is_empty() {
        ways.clear();
    }
    for name in &options.profiles {
        let profile = Profile::by_name(name).or_else(|| parse_profile(name));
        let profile = profile.ok_or_else(|| {
            let names: Vec<_> = Profile::ALL.iter().map(|profile| profile.name).collect();
            ClarityError::Profile(name.clone(), names.join(", "))
        })?;
        ways.push((format!(".{name}"), Some(profile)));
    }
    let mut conditions = Vec::new();
    for limit in LIMITS {
        for (index, (loss_name, loss)) in LOSSES.into_iter().enumerate() {
            for (suffix, fixed) in &ways {
                let is_repeated = limit.name != LIMITS[0].name && *fixed == Some(Profile::OFF);
                if is_repeated && options.profiles.is_empty() {
                    // Without blocks nothing waits, and more bits do not help.
                    continue;
                }
                let name = format!("{loss_name}_{}{suffix}", limit.name);
                if options
                    .only
                    .as_ref()
                    .is_some_and(|only| !name.contains(only.as_str()))
                {
                    continue;
                }
                let encoder = EncoderConfig {
                    bitrate: limit.bitrate,
                    ..EncoderConfig::default()
                };
                conditions.push(Condition {
                    name,
                    voice: AdaptationConfig {
                        encoder,
                        max_delay: Duration::from_millis(limit.delay_ms),
                        fixed: *fixed,
                    },
                    loss,
                    pesq: goal(fixed.is_none(), Some(limit.pesq[index])),
                    plcmos: goal(fixed.is_none(), limit.plcmos_under(index)),
                });
            }
        }
    }
    Ok(conditions)
}

/// A goal for what a client does by itself; other ways are there to compare with.
fn goal(is_asked: bool, least: Option<f64>) -> Goal {
    match least.filter(|_| is_asked) {
        Some(least) => Goal::AtLeast(least),
        None => Goal::None,
    }
}

/// A profile of one's own, as `-/x3/r1023+c1`: the frames of a cycle behind `/`, the codes beside each behind `+`. `x` and `r` have
/// the mask of an XOR and of a random linear combination, `c` the age of a copy in frames.
fn parse_profile(text: &str) -> Option<&'static Profile> {
    let code = |text: &str| {
        let (kind, number) = text.split_at_checked(1)?;
        Some(match kind {
            "x" => Code::Xor(number.parse().ok()?),
            "r" => Code::RandomLinear(number.parse().ok()?),
            "c" => Code::Copy(number.parse().ok()?),
            _ => return None,
        })
    };
    let frame = |text: &str| -> Option<&'static [Code]> {
        let codes: Option<Vec<Code>> = match text {
            "-" => Some(Vec::new()),
            codes => codes.split('+').map(code).collect(),
        };
        // A bench runs once.
        Some(codes?.leak())
    };
    let cycle: Option<Vec<&'static [Code]>> = text.split('/').map(frame).collect();
    let name = text.to_owned().leak();
    Some(Box::leak(Box::new(Profile::new(name, cycle?.leak()))))
}
