//! The published size.

crate::rudalle!(
    /// ruDALL-E Malevich (XL): 1.3 billion parameters; 16,384 BPE tokens and 128 pads, pictures of 256 pixels at an eighth.
    /// Its first stage is built like [`gumbel_f8_8192`](crate::models::vqgan::Config::gumbel_f8_8192) and its loss weighs the
    /// image by 7. Which [`Version`](super::Version) a checkpoint is of, its shapes do not say.
    Malevich in malevich: layers 24, vocab 16512, width 2048, heads 16, text 128, grid 32, codes 8192, sandwich true);

const _: () = <Malevich as crate::shape::RudalleShape>::CHECK;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::rudalle::Rudalle;
    use crate::nn;
    use dfdx::prelude::Cpu;

    #[test]
    fn malevich_has_the_published_number_of_parameters() {
        let count = nn::size::<Rudalle<Malevich, f32, Cpu>, f32, Cpu>();
        assert_eq!(count / 10_000_000, 131, "{count}");
    }
}
