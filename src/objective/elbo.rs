//! The evidence lower bound of both stages together (paper §2, equation 1).
//!
//! ln p(x, y) ≥ E_q[ln p(x | y, z)] − β·KL(q(y, z | x), p(y, z)), a bound for β = 1. With the argmax codes z* the posterior is
//! deterministic and the KL is −ln p(y, z*), so
//! −ln p(x, y) ≤ −ln p(x | z*) − ln p(y, z*). The likelihood is a density of φ(x) ∈ (ε, 1 − ε), so its bound may be negative;
//! that of 8-bit values ([`discrete`](super::discrete)) is a code length and never is.

/// One bound, in nats per pair, as a loss (smaller is better).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Elbo {
    /// −ln p(x | z*), nats per picture.
    pub picture: f64,
    /// −ln P(x | z*) of the 8-bit values, nats per picture.
    pub picture_of_8_bits: f64,
    /// −ln p(z* | y), nats per picture.
    pub image_tokens: f64,
    /// −ln p(y), nats per caption.
    pub text_tokens: f64,
    /// Values per picture: height·width·3.
    pub values: usize,
}

impl Elbo {
    /// −ln p(x, y)'s bound with the weight `beta` on the prior's part; the bound itself for β = 1.
    pub fn nats(&self, beta: f64) -> f64 {
        self.picture + beta * (self.image_tokens + self.text_tokens)
    }

    /// The same in bits per value of the picture, as a density of φ(x).
    pub fn bits_per_dim(&self, beta: f64) -> f64 {
        self.nats(beta) / (self.values as f64 * std::f64::consts::LN_2)
    }

    /// The bits that picture and caption can be coded in, per 8-bit value of the picture.
    pub fn bits_per_value(&self) -> f64 {
        let nats = self.picture_of_8_bits + self.image_tokens + self.text_tokens;
        nats / (self.values as f64 * std::f64::consts::LN_2)
    }

    /// The bound as a density of values from 0 to 255, in bits per value: φ's slope is (1−2ε)/255 per step. Where the density is
    /// much wider than a step it is [`Elbo::bits_per_value`]; where it is sharper, it is less than any code needs.
    pub fn bits_per_value_as_density(&self, beta: f64, epsilon: f64) -> f64 {
        self.bits_per_dim(beta) - ((1.0 - 2.0 * epsilon) / 255.0).log2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_adds_its_parts() {
        let elbo =
            Elbo { picture: -100.0, picture_of_8_bits: 900.0, image_tokens: 40.0, text_tokens: 10.0, values: 3 * 64 };
        assert_eq!(elbo.nats(1.0), -50.0);
        assert_eq!(elbo.nats(6.6), -100.0 + 6.6 * 50.0);
        assert!((elbo.bits_per_dim(1.0) + 50.0 / (192.0 * 2f64.ln())).abs() < 1e-12);
        // A uniform density over 256 levels would be 8 bits; the slope of φ shifts by log2(255/0.8).
        assert!((elbo.bits_per_value() - 950.0 / (192.0 * 2f64.ln())).abs() < 1e-12);
        assert!((elbo.bits_per_value_as_density(1.0, 0.1) - elbo.bits_per_dim(1.0) - 8.316).abs() < 1e-3);
    }
}
