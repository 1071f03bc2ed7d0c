//! How far two figures are apart, with 95 % intervals. A difference is taken for one where its interval leaves out 0; at that level
//! one in twenty of differences that are none does so too.

use super::estimate::{Estimate, Z, moments};

/// The 97.5 % quantiles of Student's t with 1 to 10 degrees of freedom.
const T: [f64; 10] =
    [12.706_205, 4.302_653, 3.182_446, 2.776_445, 2.570_582, 2.446_912, 2.364_624, 2.306_004, 2.262_157, 2.228_139];

/// The 97.5 % quantile of Student's t. Below 11 degrees of freedom they are rounded down, as with a printed table, which makes
/// intervals wider, never narrower.
fn t(degrees: f64) -> f64 {
    let many = degrees >= T.len() as f64 + 1.0;
    if !many {
        // Where nothing spreads they are no number.
        return T[(degrees.max(1.0) as usize - 1).min(T.len() - 1)];
    }
    // Cornish and Fisher's expansion about the normal quantile.
    let (z, n) = (Z, degrees);
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    z + first / n + second / n.powi(2) + third / n.powi(3)
}

/// Whether the values are not all one, whatever a sum of them is rounded to.
fn spreads(values: &[f64]) -> bool {
    values.iter().any(|value| *value != values[0])
}

/// The sample deviation; 0 where all are one.
pub fn deviation(values: &[f64]) -> f64 {
    if spreads(values) { moments(values).1 } else { 0.0 }
}

/// The mean of a few values, such as one of each seed, with Student's interval; without one where there is no spread to see.
pub fn mean(values: &[f64]) -> Estimate {
    let (value, deviation) = moments(values);
    let n = values.len();
    let half = t(n as f64 - 1.0) * deviation / (n as f64).sqrt();
    let interval = (n > 1 && spreads(values)).then_some([value - half, value + half]);
    Estimate { value, interval, n: Some(n) }
}

/// By how much the mean of `b` is above that of `a`, where values are of different things, such as seeds, and spread differently:
/// Welch's interval. Without one where fewer than two of each are known, or nothing spreads.
pub fn welch(a: &[f64], b: &[f64]) -> Estimate {
    let ((x, s), (y, r)) = (moments(a), moments(b));
    let (n, m) = (a.len() as f64, b.len() as f64);
    let (u, v) = (s * s / n, r * r / m);
    let degrees = (u + v).powi(2) / (u * u / (n - 1.0) + v * v / (m - 1.0));
    let half = t(degrees) * (u + v).sqrt();
    let known = a.len() > 1 && b.len() > 1 && (spreads(a) || spreads(b));
    Estimate { value: y - x, interval: known.then_some([y - x - half, y - x + half]), n: Some(a.len().min(b.len())) }
}

/// By how much the second of each pair is above the first, in the mean: Student's interval of the differences.
pub fn paired(pairs: &[(f64, f64)]) -> Estimate {
    mean(&pairs.iter().map(|(a, b)| b - a).collect::<Vec<_>>())
}

/// The same where each of a pair is a hit (1) or none (0): the adjusted interval of Bonett and Price (2012), which holds its level
/// with a dozen pairs too.
pub fn paired_shares(pairs: &[(f64, f64)]) -> Estimate {
    let count = |wanted: (f64, f64)| pairs.iter().filter(|pair| **pair == wanted).count() as f64;
    let (gained, lost, n) = (count((0.0, 1.0)), count((1.0, 0.0)), pairs.len() as f64);
    let (p, q) = ((gained + 1.0) / (n + 2.0), (lost + 1.0) / (n + 2.0));
    let half = Z * ((p + q - (p - q).powi(2)) / (n + 2.0)).sqrt();
    let interval = Some([(p - q - half).max(-1.0), (p - q + half).min(1.0)]);
    Estimate { value: (gained - lost) / n, interval, n: Some(pairs.len()) }
}

/// By how much `b` is above `a`, which have nothing in common, from the interval of each: of shares Newcombe's (1998) method 10, of
/// means the usual one. Without an interval where one of them has none.
pub fn independent(a: &Estimate, b: &Estimate) -> Estimate {
    let value = b.value - a.value;
    let interval = a.interval.zip(b.interval).map(|([a_low, a_high], [b_low, b_high])| {
        let below = (b.value - b_low).hypot(a_high - a.value);
        let above = (b_high - b.value).hypot(a.value - a_low);
        [value - below, value + above]
    });
    Estimate { value, interval: interval.filter(|[low, high]| low < high), n: a.n.min(b.n) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    fn near(got: f64, expected: f64) {
        assert!((got - expected).abs() < 2e-4 * expected.abs().max(0.1), "{got}, expected {expected}");
    }

    #[test]
    fn quantiles_are_the_tables() {
        for (degrees, expected) in
            [(1.0, 12.7062), (4.0, 2.7764), (10.0, 2.2281), (11.0, 2.2010), (12.0, 2.1788), (30.0, 2.0423)]
        {
            near(t(degrees), expected);
        }
        near(t(1e9), 1.959_964);
        assert_eq!((t(4.9), t(f64::NAN)), (t(4.0), t(1.0)));
    }

    #[test]
    fn welchs_interval_is_the_textbooks() {
        // Two samples of the R documentation's `sleep`: t = -1.8608, df = 17.776, interval -3.3655 to 0.2055.
        let a = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
        let b = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
        let [low, high] = welch(&a, &b).interval.unwrap();
        near(low, -0.205_48);
        near(high, 3.365_48);
        // Paired, the same data: 0.7001 to 2.4599.
        let pairs: Vec<(f64, f64)> = a.into_iter().zip(b).collect();
        let [low, high] = paired(&pairs).interval.unwrap();
        near(low, 0.700_11);
        near(high, 2.459_89);
    }

    #[test]
    fn newcombes_interval_is_the_papers() {
        // Newcombe 1998, table II, (a): 56/70 against 48/80, method 10: 0.0524 to 0.3339.
        let found = independent(&Estimate::of(48, 80), &Estimate::of(56, 70));
        let [low, high] = found.interval.unwrap();
        assert!((low - 0.0524).abs() < 1e-4 && (high - 0.3339).abs() < 1e-4, "{found:?}");
    }

    #[test]
    fn without_spread_there_is_no_interval() {
        assert_eq!(mean(&[1.0]).interval, None);
        assert_eq!(welch(&[1.0, 1.0], &[2.0, 2.0]).interval, None);
        assert_eq!(welch(&[1.0], &[2.0, 3.0]).interval, None);
        assert_eq!(paired(&[(1.0, 2.0), (1.0, 2.0)]).interval, None);
        assert_eq!(independent(&1.0.into(), &Estimate::of(1, 2)).interval, None);
        assert_eq!(mean(&[]).interval, None);
        assert_eq!(mean(&[0.2, 0.2, 0.2]).interval, None, "0.2 three times is no spread, though its mean is rounded");
    }

    /// How often, of 1,000 draws, an interval leaves out what is true.
    fn missed(true_value: f64, mut draw: impl FnMut(&mut Rng) -> Estimate) -> usize {
        let out = |turn: u64| {
            let [low, high] = draw(&mut Rng::new(7, "difference", turn, 0)).interval.unwrap();
            !(low..=high).contains(&true_value)
        };
        (0..1000).map(out).filter(|&out| out).count()
    }

    #[test]
    fn intervals_hold_their_level() {
        let normal = |rng: &mut Rng| (0..12).map(|_| rng.below(1000) as f64 / 1000.0).sum::<f64>();
        let three = |rng: &mut Rng| [(); 3].map(|()| normal(rng));
        let seeds = missed(0.0, |rng| welch(&three(rng), &three(rng)));
        assert!((10..65).contains(&seeds), "{seeds} of 1000");
        // Captions that are as hard for both, and a run that is as good.
        let hit = |rng: &mut Rng, share: usize| f64::from(u8::from(rng.below(100) < share));
        let pairs = |rng: &mut Rng| -> Vec<(f64, f64)> {
            (0..16)
                .map(|_| {
                    let share = [5, 95, 50][rng.below(3)];
                    (hit(rng, share), hit(rng, share))
                })
                .collect()
        };
        let shares = missed(0.0, |rng| paired_shares(&pairs(rng)));
        assert!(shares < 65, "{shares} of 1000");
    }
}
