//! The replay window of one receiving key (RFC 6479: a ring of words, cleared as it advances).

/// Which sequence numbers were seen, over the last [`Window::span`] of them.
#[derive(Debug)]
pub(super) struct Window {
    words: Box<[u64]>,
    /// One above the highest number seen.
    next: u64,
}

/// What the window knows of a sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Fresh,
    Seen,
    Behind,
}

impl Window {
    /// A window of `words` words; one of them is always being cleared and does not count.
    pub(super) fn new(words: usize) -> Self {
        assert!(words > 1, "a window has a word to fill and one to clear");
        Window { words: vec![0; words].into_boxed_slice(), next: 0 }
    }

    /// Forgets everything: for the next key.
    pub(super) fn reset(&mut self) {
        self.words.fill(0);
        self.next = 0;
    }

    /// How far below the highest number a new one may be.
    fn span(&self) -> u64 {
        (self.words.len() as u64 - 1) * 64
    }

    /// One above the highest number seen.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// To ask before the datagram is authenticated.
    #[inline]
    pub(super) fn standing(&self, sequence: u64) -> Standing {
        if sequence >= self.next {
            Standing::Fresh
        } else if self.next - sequence > self.span() {
            Standing::Behind
        } else if self.words[self.word(sequence / 64)] >> (sequence % 64) & 1 == 1 {
            Standing::Seen
        } else {
            Standing::Fresh
        }
    }

    /// To tell after it was; `sequence` is fresh.
    #[inline]
    pub(super) fn mark(&mut self, sequence: u64) {
        if sequence >= self.next {
            self.clear(self.next.div_ceil(64), sequence / 64);
            self.next = sequence + 1;
        }
        let word = self.word(sequence / 64);
        self.words[word] |= 1 << (sequence % 64);
    }

    /// Clears the ring's words for the numbers from word `first` up to word `last`.
    fn clear(&mut self, first: u64, last: u64) {
        for word in first.max((last + 1).saturating_sub(self.words.len() as u64))..=last {
            let word = self.word(word);
            self.words[word] = 0;
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the remainder is below a usize")]
    fn word(&self, number: u64) -> usize {
        (number % self.words.len() as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::Rng;
    use std::collections::HashSet;

    /// Near the top, now and then far above it or far below.
    fn draw(rng: &mut Rng, top: u64, span: u64) -> u64 {
        match rng.below(1000) {
            0 => top + rng.next_u64() % (3 * span),
            1..200 => top.saturating_sub(rng.next_u64() % (2 * span)),
            _ => (top + rng.next_u64() % 8).saturating_sub(rng.next_u64() % 40),
        }
    }

    #[test]
    fn it_agrees_with_a_set() {
        for (seed, words) in [(1, 129), (2, 17), (3, 2)] {
            let mut rng = Rng::from_seed([seed; 32]);
            let mut window = Window::new(words);
            let span = window.span();
            let mut seen = HashSet::new();
            for _ in 0..500_000 {
                let number = draw(&mut rng, window.next, span);
                let model = match number {
                    _ if number < window.next && window.next - number > span => Standing::Behind,
                    _ if seen.contains(&number) => Standing::Seen,
                    _ => Standing::Fresh,
                };
                assert_eq!(window.standing(number), model, "{number} below {}", window.next);
                if model == Standing::Fresh {
                    window.mark(number);
                    seen.insert(number);
                }
            }
        }
    }

    #[test]
    fn a_node_window_spans_8192_numbers() {
        let mut window = Window::new(129);
        window.mark(8192);
        assert_eq!(window.standing(0), Standing::Behind);
        assert_eq!(window.standing(1), Standing::Fresh);
        window.reset();
        assert_eq!(window.standing(8192), Standing::Fresh);
    }
}
