//! The first stage's bound over some pictures, term by term.

use crate::Result;
use crate::inference::{Geometry, Reconstruction};
use crate::notebook::show::{Rich, Show, shown};
use crate::notebook::table::Table;
use std::fmt::{self, Display, Formatter};

/// Both terms of the first stage's bound, in nats per dimension (pixels × channels): means over some pictures.
#[derive(Clone, Copy, PartialEq)]
pub struct Bound {
    /// The temperature of the relaxation; none with hard codes.
    pub temperature: Option<f64>,
    /// −ln p(x | z), of the density of pixels mapped to (0.1, 0.9).
    pub reconstruction: f64,
    /// KL to the uniform prior; with hard codes, grid²·ln V.
    pub kl: f64,
}

impl Bound {
    pub(super) fn of(found: &Reconstruction, temperature: Option<f64>, g: Geometry) -> Bound {
        let values = (g.side * g.side * 3) as f64;
        let mean = |xs: &[f64]| xs.iter().sum::<f64>() / xs.len().max(1) as f64;
        // One code of V at each position takes all of ln V to name.
        let hard = (g.grid * g.grid) as f64 * (g.codes as f64).ln();
        let kl = if temperature.is_some() { mean(&found.kl) } else { hard };
        Bound { temperature, reconstruction: mean(&found.nll) / values, kl: kl / values }
    }

    /// −(reconstruction + kl): larger is better.
    pub fn elbo(&self) -> f64 {
        -(self.reconstruction + self.kl)
    }
}

impl Display for Bound {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.table().fmt(f)
    }
}

impl Bound {
    fn table(&self) -> Table {
        let codes = self.temperature.map_or("hard".into(), |tau| format!("relaxed, τ = {tau}"));
        let mut table = Table::new(["codes", "−ln p(x | z)", "KL", "ELBO"]);
        table.row([codes].into_iter().chain([self.reconstruction, self.kl, self.elbo()].map(|x| format!("{x:.4}"))));
        table
    }
}

impl Show for Bound {
    fn rich(&self) -> Result<Rich> {
        self.table().rich()
    }
}

shown!(Bound);
