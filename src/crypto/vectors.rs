//! What the kernels of 512 bits share: the proof that they may run, loads and stores of what a
//! slice has, and the transposes between memory and lanes.
//!
//! A kernel works on many jobs at once: vector i holds word i of every job, lane j belongs to job
//! j. Memory holds the words of one job side by side, as one row of the matrix whose columns the
//! kernel wants.

#![allow(unsafe_code)]

pub(super) mod wide;

use super::tier::{Name, Tier};
use std::arch::x86_64::*;
use std::ops::Range;
use wide::Wide;

/// Sixteen words of 32 bits, or eight of 64.
pub(super) type Vector = __m512i;

/// Bytes of a vector.
pub(super) const VECTOR_BYTES: usize = size_of::<Vector>();

/// Proof that this machine has AVX-512 F, BW, DQ, VL and IFMA: whoever holds it may call a kernel
/// that needs no more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512(());

impl Avx512 {
    /// The proof that lies in the tier itself: it exists only where the machine can run it.
    pub(super) fn of(tier: Tier) -> Option<Self> {
        (tier.name() == Name::Avx512).then_some(Avx512(()))
    }
}

/// Defines loads and stores of words of one size, of which a vector has so many.
macro_rules! rows {
    ($lanes:literal, $load:ident, $store:ident, $transpose:ident) => {
        /// Word i of all rows side by side, for every i: row j goes to lane j. Of each row these
        /// bytes are loaded, at most 64, with zeros behind them; rows that are missing are zeros.
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        pub(super) fn $load<const G: usize>(
            rows: &[&[u8]],
            bytes: Range<usize>,
        ) -> [Wide<G>; $lanes] {
            let mut words = [[_mm512_setzero_si512(); G]; $lanes];
            for (g, rows) in rows.chunks($lanes).take(G).enumerate() {
                let mut vectors = [_mm512_setzero_si512(); $lanes];
                for (vector, row) in vectors.iter_mut().zip(rows) {
                    *vector = load(&row[bytes.clone()]);
                }
                for (word, column) in words.iter_mut().zip($transpose(vectors)) {
                    word[g] = column;
                }
            }
            words
        }

        /// Undoes the load: writes to each row from `start` on, as far as it reaches.
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        pub(super) fn $store<const G: usize>(
            words: &[Wide<G>; $lanes],
            rows: &mut [&mut [u8]],
            start: usize,
        ) {
            for (g, rows) in rows.chunks_mut($lanes).take(G).enumerate() {
                let mut columns = [_mm512_setzero_si512(); $lanes];
                for (column, word) in columns.iter_mut().zip(words) {
                    *column = word[g];
                }
                for (row, vector) in rows.iter_mut().zip($transpose(columns)) {
                    store(&mut row[start..], vector);
                }
            }
        }
    };
}

rows!(16, load_u32, store_u32, transpose_u32);
rows!(8, load_u64, store_u64, transpose_u64);

/// The first 64 bytes of `bytes`, with zeros behind them when there are fewer.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn load(bytes: &[u8]) -> Vector {
    match bytes.first_chunk::<VECTOR_BYTES>() {
        // SAFETY: the array has all bytes that are read.
        Some(whole) => unsafe { _mm512_loadu_si512(whole.as_ptr().cast()) },
        // SAFETY: the mask leaves out what lies behind the slice.
        None => unsafe { _mm512_maskz_loadu_epi8(mask(bytes.len()), bytes.as_ptr().cast()) },
    }
}

/// Writes the first bytes of `vector` to `bytes`, as far as both reach.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn store(bytes: &mut [u8], vector: Vector) {
    const HALF: usize = VECTOR_BYTES / 2;
    if let Some(whole) = bytes.first_chunk_mut::<VECTOR_BYTES>() {
        // SAFETY: the array has all bytes that are written.
        unsafe { _mm512_storeu_si512(whole.as_mut_ptr().cast(), vector) }
    } else if let Ok(half) = <&mut [u8; HALF]>::try_from(&mut *bytes) {
        // Digests and keys; a store under a mask takes several times as long.
        let low = _mm512_castsi512_si256(vector);
        // SAFETY: the array has all bytes that are written.
        unsafe { _mm256_storeu_si256(half.as_mut_ptr().cast(), low) }
    } else {
        // SAFETY: the mask leaves out what lies behind the slice.
        unsafe { _mm512_mask_storeu_epi8(bytes.as_mut_ptr().cast(), mask(bytes.len()), vector) }
    }
}

/// One bit for each of the first `bytes` bytes of a vector; fewer than 64.
#[inline]
fn mask(bytes: usize) -> __mmask64 {
    (1 << bytes) - 1
}

/// Rows to columns, 16 x 16 words of 32 bits: word j of vector i becomes word i of vector j.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn transpose_u32(rows: [Vector; 16]) -> [Vector; 16] {
    let mut columns = [_mm512_setzero_si512(); 16];
    for (quarter, four) in columns.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        // Within each quarter of 128 bits a 4 x 4 transpose: vector k has words k, 4 + k, 8 + k
        // and 12 + k of these four rows.
        let rows = &rows[4 * quarter..];
        let low =
            [_mm512_unpacklo_epi32(rows[0], rows[1]), _mm512_unpacklo_epi32(rows[2], rows[3])];
        let high =
            [_mm512_unpackhi_epi32(rows[0], rows[1]), _mm512_unpackhi_epi32(rows[2], rows[3])];
        *four = [
            _mm512_unpacklo_epi64(low[0], low[1]),
            _mm512_unpackhi_epi64(low[0], low[1]),
            _mm512_unpacklo_epi64(high[0], high[1]),
            _mm512_unpackhi_epi64(high[0], high[1]),
        ];
    }
    for k in 0..4 {
        let four = [columns[k], columns[4 + k], columns[8 + k], columns[12 + k]];
        [columns[k], columns[4 + k], columns[8 + k], columns[12 + k]] = transpose_quarters(four);
    }
    columns
}

/// Rows to columns, 8 x 8 words of 64 bits: word j of vector i becomes word i of vector j.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn transpose_u64(rows: [Vector; 8]) -> [Vector; 8] {
    let [a, b, c, d, e, f, g, h] = rows;
    let even = transpose_quarters([
        _mm512_unpacklo_epi64(a, b),
        _mm512_unpacklo_epi64(c, d),
        _mm512_unpacklo_epi64(e, f),
        _mm512_unpacklo_epi64(g, h),
    ]);
    let odd = transpose_quarters([
        _mm512_unpackhi_epi64(a, b),
        _mm512_unpackhi_epi64(c, d),
        _mm512_unpackhi_epi64(e, f),
        _mm512_unpackhi_epi64(g, h),
    ]);
    [even[0], odd[0], even[1], odd[1], even[2], odd[2], even[3], odd[3]]
}

/// Rows to columns, 4 x 4 quarters of 128 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn transpose_quarters([a, b, c, d]: [Vector; 4]) -> [Vector; 4] {
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;
    let even = [_mm512_shuffle_i32x4::<EVEN>(a, b), _mm512_shuffle_i32x4::<EVEN>(c, d)];
    let odd = [_mm512_shuffle_i32x4::<ODD>(a, b), _mm512_shuffle_i32x4::<ODD>(c, d)];
    [
        _mm512_shuffle_i32x4::<EVEN>(even[0], even[1]),
        _mm512_shuffle_i32x4::<EVEN>(odd[0], odd[1]),
        _mm512_shuffle_i32x4::<ODD>(even[0], even[1]),
        _mm512_shuffle_i32x4::<ODD>(odd[0], odd[1]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Option<Avx512> {
        Tier::of(Name::Avx512).and_then(Avx512::of)
    }

    /// `ROWS` rows of 64 bytes, no two words alike.
    fn matrix<const ROWS: usize>() -> [[u8; VECTOR_BYTES]; ROWS] {
        let mut index = 0u16;
        [[0; 32]; ROWS].map(|row: [u16; 32]| {
            let bytes = row.map(|_| {
                index += 1;
                index.to_le_bytes()
            });
            *bytes.as_flattened().first_chunk().unwrap()
        })
    }

    /// `rows` through loads, `transpose` and stores.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn through<const ROWS: usize>(
        rows: &mut [[u8; VECTOR_BYTES]; ROWS],
        transpose: unsafe fn([Vector; ROWS]) -> [Vector; ROWS],
    ) {
        let mut vectors = [_mm512_setzero_si512(); ROWS];
        for (vector, row) in vectors.iter_mut().zip(&*rows) {
            *vector = load(row);
        }
        // SAFETY: it needs the features of this function.
        let columns = unsafe { transpose(vectors) };
        for (row, column) in rows.iter_mut().zip(columns) {
            store(row, column);
        }
    }

    #[test]
    fn a_transpose_of_32_bit_words_makes_rows_of_columns() {
        let Some(Avx512(())) = here() else { return };
        let before: [_; 16] = matrix();
        let mut after = before;
        // SAFETY: the machine has the features.
        unsafe { through(&mut after, transpose_u32) };
        for (i, j) in (0..16).flat_map(|i| (0..16).map(move |j| (i, j))) {
            assert_eq!(after[j][4 * i..4 * i + 4], before[i][4 * j..4 * j + 4]);
        }
    }

    #[test]
    fn a_transpose_of_64_bit_words_makes_rows_of_columns() {
        let Some(Avx512(())) = here() else { return };
        let before: [_; 8] = matrix();
        let mut after = before;
        // SAFETY: the machine has the features.
        unsafe { through(&mut after, transpose_u64) };
        for (i, j) in (0..8).flat_map(|i| (0..8).map(move |j| (i, j))) {
            assert_eq!(after[j][8 * i..8 * i + 8], before[i][8 * j..8 * j + 8]);
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn copy(from: &[u8], to: &mut [u8]) {
        store(to, load(from));
    }

    #[test]
    fn loads_fill_up_with_zeros_and_stores_keep_what_lies_behind() {
        let Some(Avx512(())) = here() else { return };
        let [row] = matrix::<1>();
        for bytes in 0..=VECTOR_BYTES {
            let mut loaded = [0xff; VECTOR_BYTES];
            let mut stored = [0xff; VECTOR_BYTES];
            // SAFETY: the machine has the features.
            unsafe { copy(&row[..bytes], &mut loaded) };
            // SAFETY: as above.
            unsafe { copy(&row, &mut stored[..bytes]) };
            assert_eq!(loaded[..bytes], row[..bytes]);
            assert!(loaded[bytes..].iter().all(|&byte| byte == 0));
            assert_eq!(stored[..bytes], row[..bytes]);
            assert!(stored[bytes..].iter().all(|&byte| byte == 0xff));
        }
    }
}
