//! What is wrong with a member just now, so that each fault is said once and not every second.

/// Kinds of faults that come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Keys of an epoch cannot be made or read.
    Rotation,
    /// An authority does not take the descriptor.
    Registration,
    /// There is no newer consensus.
    Consensus,
    /// A replay table cannot be made.
    ReplayTable,
    /// The key of the invited cannot be read.
    Invitation,
}

/// The faults that were said and are not over.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    /// Says `what`, unless a fault of this kind has been said and is not over.
    pub(super) fn warn(&mut self, fault: Fault, what: &str) {
        if !self.0.contains(&fault) {
            self.0.push(fault);
            tracing::warn!("{what}");
        }
    }

    /// The fault is over; returns whether there was one.
    pub(super) fn end(&mut self, fault: Fault) -> bool {
        let before = self.0.len();
        self.0.retain(|of| *of != fault);
        self.0.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hides_no_fault_of_another_kind_and_is_said_again_after_its_end() {
        let mut faults = Faults::default();
        faults.warn(Fault::Consensus, "none");
        faults.warn(Fault::Consensus, "none");
        faults.warn(Fault::ReplayTable, "none");
        assert_eq!(faults.0, [Fault::Consensus, Fault::ReplayTable]);
        assert!(faults.end(Fault::Consensus) && !faults.end(Fault::Consensus));
        faults.warn(Fault::Consensus, "none");
        assert_eq!(faults.0, [Fault::ReplayTable, Fault::Consensus]);
    }
}
