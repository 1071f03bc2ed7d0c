//! The transpose of 16 × 16 pairs: what rows become where columns are wanted.

/// Of `x`.
#[inline(always)]
pub(super) fn transpose(x: [[u32; 16]; 16]) -> [[u32; 16]; 16] {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the CPU has the instructions.
        return unsafe { transposed(&x) };
    }
    plain(&x)
}

fn plain(x: &[[u32; 16]; 16]) -> [[u32; 16]; 16] {
    std::array::from_fn(|i| std::array::from_fn(|j| x[j][i]))
}

/// By halves: within quarters of the registers first pairs, then fours, then the quarters themselves.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn transposed(x: &[[u32; 16]; 16]) -> [[u32; 16]; 16] {
    use std::arch::x86_64::*;
    // SAFETY: 16 u32 are 64 bytes.
    let x: [__m512i; 16] = std::array::from_fn(|i| unsafe { _mm512_loadu_si512(x[i].as_ptr().cast()) });
    let mut twos = [_mm512_setzero_si512(); 16];
    for i in 0..8 {
        twos[2 * i] = _mm512_unpacklo_epi32(x[2 * i], x[2 * i + 1]);
        twos[2 * i + 1] = _mm512_unpackhi_epi32(x[2 * i], x[2 * i + 1]);
    }
    // Entry 4·q + r: in each quarter the column r of the rows 4·q to 4·q + 3.
    let mut fours = [_mm512_setzero_si512(); 16];
    for q in 0..4 {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| twos[4 * q + i]);
        fours[4 * q] = _mm512_unpacklo_epi64(a, c);
        fours[4 * q + 1] = _mm512_unpackhi_epi64(a, c);
        fours[4 * q + 2] = _mm512_unpacklo_epi64(b, d);
        fours[4 * q + 3] = _mm512_unpackhi_epi64(b, d);
    }
    let mut out = [[0; 16]; 16];
    for r in 0..4 {
        let [a, b, c, d] = [0, 1, 2, 3].map(|q| fours[4 * q + r]);
        let (even_low, even_high) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0x88>(c, d));
        let (odd_low, odd_high) = (_mm512_shuffle_i32x4::<0xdd>(a, b), _mm512_shuffle_i32x4::<0xdd>(c, d));
        let columns = [
            _mm512_shuffle_i32x4::<0x88>(even_low, even_high),
            _mm512_shuffle_i32x4::<0x88>(odd_low, odd_high),
            _mm512_shuffle_i32x4::<0xdd>(even_low, even_high),
            _mm512_shuffle_i32x4::<0xdd>(odd_low, odd_high),
        ];
        for (quarter, column) in columns.into_iter().enumerate() {
            // SAFETY: 16 u32 are 64 bytes.
            unsafe { _mm512_storeu_si512(out[4 * quarter + r].as_mut_ptr().cast(), column) }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns() {
        let x = std::array::from_fn(|i| std::array::from_fn(|j| (16 * i + j) as u32));
        assert_eq!(plain(&x)[3][7], 7 * 16 + 3);
        assert_eq!(transpose(x), plain(&x));
    }
}
