//! What several specs cost together. Runs of one name take over from each other what they have in common ([`crate::harness::shared`]):
//! of all of them a stage costs what one training of it costs.

use super::table::{bytes, duration};
use super::{Machine, Plan, StagePlan, plan_on};
use crate::Result;
use crate::harness::shared::Stage;
use crate::harness::table::Table;
use crate::spec::Spec;
use serde::Serialize;
use serde_json::Value;
use std::collections::HashSet;
use std::fmt::{self, Display, Formatter};

/// The cost of several specs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plans {
    /// Of each, as if it were alone.
    pub specs: Vec<OneOf>,
    /// Stages that all of them ask for.
    pub stages: usize,
    /// Those that are trained: each that several have in common once.
    pub trained: usize,
    /// Of everything, such a stage once; `None` where the machine was not measured.
    pub seconds: Option<f64>,
    /// The most bytes of any of them.
    pub peak: f64,
}

/// One of several specs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OneOf {
    /// What it says otherwise than the others.
    pub says: String,
    /// What it costs.
    pub plan: Plan,
}

/// The cost of each of several specs and of all of them, with what each says; the machine is measured once.
///
/// # Errors
/// Those of [`plan`](super::plan).
pub fn of_many<'a>(specs: impl Iterator<Item = (&'a str, &'a Spec)>) -> Result<Plans> {
    let machine = Machine::measure();
    let mut all = Plans { specs: Vec::new(), stages: 0, trained: 0, seconds: Some(0.0), peak: 0.0 };
    let mut known = HashSet::new();
    for (says, spec) in specs {
        let plan = plan_on(spec, machine)?;
        all.add(plan.sampling.in_all());
        for (stage, of) in plan.stages.iter().zip([Stage::First, Stage::Transformer, Stage::Clip]) {
            if stage.steps == 0 {
                continue; // it is taken from elsewhere
            }
            all.stages += 1;
            // Program, device and data are the same for all of them.
            if known.insert((stage.name, of.hash(spec, &Value::Null)?)) {
                all.trained += 1;
                all.add(StagePlan::in_all(stage));
            }
        }
        all.peak = all.peak.max(plan.peak());
        all.specs.push(OneOf { says: says.to_owned(), plan });
    }
    Ok(all)
}

impl Plans {
    fn add(&mut self, seconds: Option<f64>) {
        self.seconds = self.seconds.zip(seconds).map(|(all, more)| all + more);
    }

    /// A row for each, and what all of them cost.
    pub fn table(&self) -> Table {
        let time = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), duration);
        let mut table = Table::new(["index", "time", "memory", "says"]);
        for (index, OneOf { says, plan }) in self.specs.iter().enumerate() {
            table.row([index.to_string(), time(plan.seconds()), bytes(plan.peak()), says.clone()]);
        }
        let shared = match self.stages - self.trained {
            0 => String::new(),
            shared => format!(", {shared} of {} stages taken over, not trained again", self.stages),
        };
        let says = format!("{} specs{shared}; the most memory of any", self.specs.len());
        table.row(["all".to_owned(), time(self.seconds), bytes(self.peak), says]);
        table
    }
}

impl Display for Plans {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.table().fmt(f)
    }
}
