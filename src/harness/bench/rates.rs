//! What GPUs can do at the most, by the name their driver gives them, and which share of it a work reached.

use super::counts::Count;
use crate::kernels::MatmulPrecision;
use serde::Serialize;

/// A card by its maker's data sheet: TFLOP/s of dense products (those in f32 are not on the tensor cores), TB/s of its memory.
struct Card {
    name: &'static str,
    f32: f64,
    tf32: f64,
    bf16: f64,
    memory: f64,
}

/// Full names: an H200 NVL or an H100 PCIe has other rates than these.
const CARDS: [Card; 4] = [
    Card { name: "NVIDIA H200", f32: 67.0, tf32: 495.0, bf16: 989.0, memory: 4.8 },
    Card { name: "NVIDIA H100 80GB HBM3", f32: 67.0, tf32: 495.0, bf16: 989.0, memory: 3.35 },
    Card { name: "NVIDIA A100-SXM4-80GB", f32: 19.5, tf32: 156.0, bf16: 312.0, memory: 2.039 },
    Card { name: "NVIDIA A100-SXM4-40GB", f32: 19.5, tf32: 156.0, bf16: 312.0, memory: 1.555 },
];

/// The bounds of a work, where they are known.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Peaks {
    /// Of the arithmetic, in TFLOP/s.
    pub tflops: Option<f64>,
    /// Of the memory, in TB/s.
    pub tb_per_s: Option<f64>,
}

impl Peaks {
    /// Those of the card of this name, which rounds the factors of products so; none for a card that is not in the table.
    pub fn of_card(name: &str, products: MatmulPrecision) -> Peaks {
        let card = CARDS.iter().find(|card| card.name == name);
        let tflops = |card: &Card| match products {
            MatmulPrecision::F32 => card.f32,
            MatmulPrecision::Tf32 => card.tf32,
            MatmulPrecision::Bf16 => card.bf16,
        };
        Peaks { tflops: card.map(tflops), tb_per_s: card.map(|card| card.memory) }
    }

    /// These, and `others` where there are none.
    pub fn or(self, others: Peaks) -> Peaks {
        Peaks { tflops: self.tflops.or(others.tflops), tb_per_s: self.tb_per_s.or(others.tb_per_s) }
    }
}

/// How near a work came to its bounds; the larger share is that of what bounds it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Reached {
    /// 10¹² operations a second of those that the work asks for.
    pub tflops: f64,
    /// 10¹² bytes a second of the least that it must read and write.
    pub tb_per_s: f64,
    /// `tflops` over the arithmetic's peak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_of_flops_bound: Option<f64>,
    /// `tb_per_s` over the memory's peak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_of_bytes_bound: Option<f64>,
}

impl Reached {
    /// Of `rate` a second.
    pub fn new(rate: Count, peaks: Peaks) -> Reached {
        let (tflops, tb_per_s) = (rate.flops / 1e12, rate.bytes / 1e12);
        Reached {
            tflops,
            tb_per_s,
            share_of_flops_bound: peaks.tflops.map(|peak| tflops / peak),
            share_of_bytes_bound: peaks.tb_per_s.map(|peak| tb_per_s / peak),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_known_by_its_whole_name_and_what_is_given_comes_first() {
        let h200 = |products| Peaks::of_card("NVIDIA H200", products);
        assert_eq!(h200(MatmulPrecision::F32), Peaks { tflops: Some(67.0), tb_per_s: Some(4.8) });
        assert_eq!(
            (h200(MatmulPrecision::Tf32).tflops, h200(MatmulPrecision::Bf16).tflops),
            (Some(495.0), Some(989.0))
        );
        assert_eq!(Peaks::of_card("NVIDIA H200 NVL", MatmulPrecision::F32), Peaks::default());
        let given = Peaks { tflops: Some(50.0), tb_per_s: None };
        assert_eq!(given.or(h200(MatmulPrecision::F32)), Peaks { tflops: Some(50.0), tb_per_s: Some(4.8) });
    }

    #[test]
    fn shares_are_of_the_bounds_that_are_known() {
        let rate = Count { flops: 33.5e12, bytes: 1.2e12 };
        let reached = Reached::new(rate, Peaks { tflops: Some(67.0), tb_per_s: None });
        let json = serde_json::to_string(&reached).unwrap();
        assert_eq!(json, r#"{"tflops":33.5,"tb_per_s":1.2,"share_of_flops_bound":0.5}"#);
        let of_memory = Peaks { tflops: None, tb_per_s: Some(4.8) };
        assert_eq!(Reached::new(rate, of_memory).share_of_bytes_bound, Some(0.25));
    }
}
