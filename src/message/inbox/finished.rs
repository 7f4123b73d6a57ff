//! The messages that the application has, so that none is given to it twice.

use std::collections::{HashSet, VecDeque};

use crate::message::MessageId;

/// Messages remembered at most, the oldest forgotten first: a copy that comes after so many
/// others is not known for one.
pub const FINISHED_MESSAGES_MAX: usize = 65_536;

/// Their ids.
#[derive(Debug, Default)]
pub(super) struct Finished {
    ids: HashSet<MessageId>,
    in_order: VecDeque<MessageId>,
}

impl Finished {
    pub(super) fn contains(&self, id: &MessageId) -> bool {
        self.ids.contains(id)
    }

    pub(super) fn insert(&mut self, id: MessageId) {
        if !self.ids.insert(id) {
            return;
        }
        self.in_order.push_back(id);
        if self.in_order.len() > FINISHED_MESSAGES_MAX
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> MessageId {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_le_bytes());
        id
    }

    #[test]
    fn the_newest_are_remembered_and_a_copy_takes_no_place() {
        let mut finished = Finished::default();
        let max = u32::try_from(FINISHED_MESSAGES_MAX).unwrap();
        for number in 0..max + 10 {
            finished.insert(id(number));
            finished.insert(id(number));
        }
        assert!(!finished.contains(&id(9)) && finished.contains(&id(10)));
        assert!(finished.contains(&id(max + 9)));
        assert_eq!(finished.in_order.len(), FINISHED_MESSAGES_MAX);
    }
}
