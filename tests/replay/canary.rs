//! What the models are there to catch: a Bloom filter whose bits are spread over several words.
//!
//! Each of its bits is set by one `fetch_or`, and still two threads with the same tag can both be
//! first: each of them finds another one of its bits unset.

use crate::sync::{AtomicU64, Ordering::Relaxed, outcomes, together};
use mixline::replay::Verdict;

/// A line of eight words with some bits of each tag in it.
struct Bloom([AtomicU64; 8]);

impl Bloom {
    fn new() -> Self {
        Bloom(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// Sets the bits of `tag`, nine bits of it for each.
    fn insert(&self, tag: u32) -> Verdict {
        let mut verdict = Verdict::Seen;
        for part in [tag, tag >> 9, tag >> 18] {
            let (word, bit) = (part >> 6 & 7, 1 << (part & 63));
            if self.0[word as usize].fetch_or(bit, Relaxed) & bit == 0 {
                verdict = Verdict::New;
            }
        }
        verdict
    }
}

fn winners(tag: u32) -> Vec<String> {
    let insert: fn(&(Bloom, u32), usize) -> Verdict = |(bloom, tag), _| bloom.insert(*tag);
    let found = outcomes(move || together((Bloom::new(), tag), 2, insert));
    found.into_iter().collect()
}

#[test]
fn bits_over_several_words_have_two_winners() {
    assert_eq!(winners(0o123_456_707), ["[New, New]", "[New, Seen]", "[Seen, New]"]);
}

#[test]
fn a_bit_in_one_word_has_one_winner() {
    assert_eq!(winners(0o111_111_111), ["[New, Seen]", "[Seen, New]"]);
}
