//! In which form a device is opened: the best of what it offers, with a period as asked for.

use std::time::Duration;

use confab_voice::SAMPLE_RATE;

/// A device's own choice of period may be seconds; one that is longer than this is not asked for.
const LONGEST_PERIOD: Duration = Duration::from_millis(200);

/// Forms of a device that are tried.
const TRIES: usize = 6;

/// Something that a device offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer<F> {
    pub channels: u16,
    /// Lowest and highest rate, frames a second.
    pub rates: (u32, u32),
    /// Form of a sample.
    pub format: F,
    /// Cost of this sample format in the choice of a form; 0 for the best.
    pub loss: u32,
    /// Shortest and longest period in frames, if the device says.
    pub periods: Option<(u32, u32)>,
}

/// A form to open a device in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form<F> {
    pub channels: u16,
    /// Frames a second.
    pub rate: u32,
    /// Form of a sample.
    pub format: F,
    /// Frames of a period; `None` leaves it to the device.
    pub period: Option<u32>,
}

/// The configurations to try, the best first: a device may refuse what it offers.
pub fn forms<F: Copy>(offers: &[Offer<F>], period: Duration) -> Vec<Form<F>> {
    let mut ranked: Vec<_> = offers.iter().map(|offer| (cost(offer), offer)).collect();
    ranked.sort_by_key(|(cost, _)| *cost);
    let each = ranked.into_iter().flat_map(|(_, offer)| {
        let rate = best_rate(offer.rates);
        let form = |period| Form {
            channels: offer.channels,
            rate,
            format: offer.format,
            period,
        };
        let asked = frames(period, rate);
        let asked = offer
            .periods
            .map(|(least, most)| asked.clamp(least, most.max(least)));
        let asked = asked.filter(|asked| *asked <= frames(LONGEST_PERIOD, rate));
        let own = Some(form(None));
        asked.map(|asked| form(Some(asked))).into_iter().chain(own)
    });
    each.take(TRIES).collect()
}

/// The rate that needs no resampling, or the one next to it.
fn best_rate((least, most): (u32, u32)) -> u32 {
    SAMPLE_RATE.clamp(least, most.max(least))
}

fn cost<F>(offer: &Offer<F>) -> u32 {
    let rate = match best_rate(offer.rates) {
        SAMPLE_RATE => 0,
        44_100.. => 2,
        32_000.. => 8,
        16_000.. => 20,
        _ => 40,
    };
    // Two channels: a system that makes one out of two halves a voice that is on one of them.
    let channels = match offer.channels {
        2 => 0,
        1 => 1,
        more => 1 + u32::from(more),
    };
    (rate + offer.loss) * 100 + channels
}

fn frames(time: Duration, rate: u32) -> u32 {
    (time.as_secs_f64() * f64::from(rate)).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(10);

    fn offer(channels: u16, rates: (u32, u32), format: &'static str) -> Offer<&'static str> {
        let loss = match format {
            "f32" => 0,
            "s16" => 4,
            _ => 30,
        };
        Offer {
            channels,
            rates,
            format,
            loss,
            periods: Some((32, 8192)),
        }
    }

    fn best(offers: &[Offer<&'static str>]) -> (u16, u32, &'static str, Option<u32>) {
        let form = forms(offers, PERIOD)[0];
        (form.channels, form.rate, form.format, form.period)
    }

    #[test]
    fn the_best_of_what_is_offered_is_tried_first() {
        let all = [
            offer(8, (48_000, 48_000), "f32"),
            offer(1, (8_000, 192_000), "f32"),
            offer(2, (8_000, 192_000), "u8"),
            offer(2, (8_000, 192_000), "s16"),
            offer(2, (8_000, 192_000), "f32"),
            offer(2, (44_100, 44_100), "f32"),
        ];
        assert_eq!(best(&all), (2, 48_000, "f32", Some(480)));
        assert_eq!(best(&all[..4]), (1, 48_000, "f32", Some(480)));
        assert_eq!(
            best(&[all[0].clone(), all[3].clone()]),
            (8, 48_000, "f32", Some(480))
        );
        // Better 44.1 kHz than 8 bits, better 16 bits than 8 kHz.
        assert_eq!(
            best(&[all[2].clone(), all[5].clone()]),
            (2, 44_100, "f32", Some(441))
        );
        let low = offer(2, (8_000, 8_000), "f32");
        assert_eq!(
            best(&[low.clone(), all[3].clone()]),
            (2, 48_000, "s16", Some(480))
        );
        assert_eq!(best(&[low]), (2, 8_000, "f32", Some(80)));
        assert_eq!(
            best(&[offer(2, (96_000, 192_000), "f32")]),
            (2, 96_000, "f32", Some(960))
        );
    }

    #[test]
    fn a_period_is_asked_for_as_near_as_the_device_has_it_and_then_left_to_it() {
        let mut one = offer(2, (48_000, 48_000), "f32");
        for (periods, asked) in [
            (Some((32, 8192)), vec![Some(480), None]),
            (Some((1024, 1024)), vec![Some(1024), None]),
            (Some((64, 256)), vec![Some(256), None]),
            // It would be more than anybody wants to wait: then its own may be less.
            (Some((96_000, 96_000)), vec![None]),
            (None, vec![None]),
        ] {
            one.periods = periods;
            let tried: Vec<_> = forms(&[one.clone()], PERIOD)
                .iter()
                .map(|f| f.period)
                .collect();
            assert_eq!(tried, asked, "{periods:?}");
        }
    }

    #[test]
    fn nothing_offered_is_nothing_to_try_and_much_is_not_tried_for_ever() {
        assert!(forms::<()>(&[], PERIOD).is_empty());
        let many: Vec<_> = (1..60).map(|n| offer(n, (8_000, 96_000), "f32")).collect();
        assert_eq!(forms(&many, PERIOD).len(), TRIES);
    }
}
