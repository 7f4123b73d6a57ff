//! The Internet checksum (RFC 1071).

/// The sum of some 16-bit words; it may be kept in parts and in any order of the words.
///
/// Words are added in the machine's byte order and 32 bits at a time: the carries that end
/// around make both come out the same (RFC 1071, section 2).
#[derive(Clone, Copy, Default)]
pub(super) struct Sum(u64);

impl Sum {
    /// With the words of `bytes`, of which an odd last one is filled up with a zero.
    pub(super) fn with(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        let words: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        Sum(self.0 + words + u64::from(u32::from_ne_bytes(last)))
    }

    /// The checksum as it stands in a header.
    pub(super) fn checksum(self) -> [u8; 2] {
        let mut sum = self.0;
        while sum > u64::from(u16::MAX) {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        #[expect(clippy::cast_possible_truncation, reason = "the loop ends below 2^16")]
        (!(sum as u16)).to_ne_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::Rng;

    /// RFC 1071 by the letter: big-endian words, one at a time, carry around at once.
    fn slow(bytes: &[u8]) -> [u8; 2] {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (!u16::try_from(sum).unwrap()).to_be_bytes()
    }

    #[test]
    fn the_example_of_the_rfc_comes_out() {
        let words = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::default().with(&words).checksum(), (!0xddf2u16).to_be_bytes());
    }

    #[test]
    fn every_length_agrees_with_the_slow_model() {
        let mut rng = Rng::from_seed([1; 32]);
        let mut bytes = [0; 300];
        for length in 0..=bytes.len() {
            rng.fill(&mut bytes);
            assert_eq!(Sum::default().with(&bytes[..length]).checksum(), slow(&bytes[..length]));
        }
        bytes.fill(0xff);
        assert_eq!(Sum::default().with(&bytes).checksum(), slow(&bytes));
    }

    #[test]
    fn parts_of_even_length_add_up_to_the_whole() {
        let bytes: [u8; 101] = Rng::from_seed([2; 32]).bytes();
        for cut in (0..=100).step_by(2) {
            let parts = Sum::default().with(&bytes[..cut]).with(&bytes[cut..]);
            assert_eq!(parts.checksum(), slow(&bytes));
        }
    }
}
