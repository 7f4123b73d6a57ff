//! How a message lies in its parts: all of them are full but the last.

use super::MESSAGE_BYTES_MAX;
use std::ops::Range;

/// The one way to cut a message of some length into parts of some length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    message_bytes: u32,
    part_bytes: u32,
}

impl Cut {
    /// For a message of `message_bytes`, from 1 to [`MESSAGE_BYTES_MAX`], in parts of
    /// `part_bytes`; nothing if there is no such message or no such part.
    pub fn new(message_bytes: usize, part_bytes: usize) -> Option<Self> {
        if message_bytes == 0 || message_bytes > MESSAGE_BYTES_MAX || part_bytes == 0 {
            return None;
        }
        let message_bytes = u32::try_from(message_bytes).ok()?;
        let part_bytes = u32::try_from(part_bytes).ok()?;
        Some(Cut { message_bytes, part_bytes })
    }

    /// Bytes of the message.
    pub const fn message_bytes(self) -> usize {
        self.message_bytes as usize
    }

    /// Bytes of every part but the last.
    pub const fn part_bytes(self) -> usize {
        self.part_bytes as usize
    }

    /// How many parts there are; at least one.
    pub const fn parts(self) -> u32 {
        self.message_bytes.div_ceil(self.part_bytes)
    }

    /// Where part `number` lies in the message; nothing if there is no such part.
    pub fn range(self, number: u32) -> Option<Range<usize>> {
        if number >= self.parts() {
            return None;
        }
        let start = number as usize * self.part_bytes();
        Some(start..self.message_bytes().min(start + self.part_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_message_one_after_the_other() {
        for message_bytes in 1..=50 {
            for part_bytes in 1..=12 {
                let cut = Cut::new(message_bytes, part_bytes).unwrap();
                let ranges: Vec<_> = (0..cut.parts()).filter_map(|n| cut.range(n)).collect();
                let joined: Vec<usize> = ranges.iter().cloned().flatten().collect();
                assert!(joined.into_iter().eq(0..message_bytes));
                assert!(ranges.iter().rev().skip(1).all(|range| range.len() == part_bytes));
                assert_eq!(cut.range(cut.parts()), None);
            }
        }
    }

    #[test]
    fn the_longest_message_is_cut_into_fewer_than_twenty_thousand_parts() {
        assert_eq!(Cut::new(MESSAGE_BYTES_MAX, 533).unwrap().parts(), 19_674);
    }

    #[test]
    fn nothing_and_too_much_are_no_messages() {
        assert_eq!(Cut::new(0, 533), None);
        assert_eq!(Cut::new(MESSAGE_BYTES_MAX + 1, 533), None);
        assert_eq!(Cut::new(1, 0), None);
    }
}
