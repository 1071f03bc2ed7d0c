//! What reranking gains: the best by CLIP of more and more candidates.

use super::accuracy::Judged;
use super::{Context, Evaluator, figure};
use crate::error::Result;
use crate::evaluate::each::Each;
use crate::evaluate::oracle::Rule;
use crate::evaluate::results::{RerankCurve, Results};
use crate::inference::Drawn;
use crate::spec::Spec;

/// Best of N against N, over the first set of captions; of kinds that were trained on, where an oracle judges.
pub(super) struct Reranking;

impl Evaluator for Reranking {
    fn run(&self, context: &Context<'_>, results: &mut Results, _: &mut Each) -> Result<()> {
        let sets = context.drawn()?;
        let first = sets.first().filter(|set| set.judged.is_none() || set.name == "seen");
        results.rerank_curve = first.map(|set| curve(&set.drawn, set.judged.as_ref()));
        Ok(())
    }

    fn will_hold(&self, spec: &Spec, results: &mut Results) {
        let judged = spec.data.kind.is_judged();
        if judged && spec.evaluate.seen == 0 {
            return;
        }
        let places = usize::BITS - spec.sample.candidates.leading_zeros();
        let figures = vec![figure(); places as usize];
        let shares = if judged { figures.clone() } else { Vec::new() };
        results.rerank_curve = Some(RerankCurve {
            n: (0..places).map(|place| 1 << place).collect(),
            similarity: figures,
            accuracy: shares.clone(),
            lenient_accuracy: shares,
        });
    }
}

/// What reranking gains: the largest similarity among the first N candidates, and where an oracle judges, how often that
/// candidate is right.
fn curve(drawn: &[Drawn], judged: Option<&Judged>) -> RerankCurve {
    let candidates = drawn.first().map_or(0, |drawn| drawn.pictures.len());
    let counts: Vec<usize> = (0..).map(|i| 1 << i).take_while(|&n| n <= candidates).collect();
    let best_similarity = |n: usize| {
        let best = |drawn: &Drawn| f64::from(drawn.similarities().take(n).fold(f32::NEG_INFINITY, f32::max));
        drawn.iter().map(best).sum::<f64>() / drawn.len().max(1) as f64
    };
    let accuracy = |rule| match judged {
        Some(judged) => counts.iter().map(|&n| judged.best_of(n, rule).alone()).collect(),
        None => Vec::new(),
    };
    RerankCurve {
        similarity: counts.iter().map(|&n| best_similarity(n).into()).collect(),
        accuracy: accuracy(Rule::Strict),
        lenient_accuracy: accuracy(Rule::Lenient),
        n: counts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_drawn_is_no_figure_and_no_panic() {
        assert!(curve(&[], None).n.is_empty());
        let none = Drawn { first: 0, codes: Vec::new(), pictures: Vec::new(), scores: Some(Vec::new()) };
        assert!(curve(&[none], None).similarity.is_empty());
    }
}
