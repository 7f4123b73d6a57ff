//! T6: what tells decoys from packets, or a client that talks from one that is silent.

use crate::clock::Nanos;

use super::uniformity::Sample;

/// A stretch of one client's link as its wire shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// How long it is; the same in all that are compared.
    pub span: Nanos,
    /// When datagrams went up, since its beginning, in order.
    pub up: Vec<Nanos>,
    /// When datagrams came down, since its beginning, in order.
    pub down: Vec<Nanos>,
}

/// All that was seen of one kind of traffic.
#[derive(Debug)]
pub struct Class {
    /// Its windows: of different clients, or of one at times that do not overlap.
    pub windows: Vec<Window>,
    /// Its datagrams.
    pub datagrams: Sample,
}

/// T6 of two kinds of traffic that must look alike; `what` names them for people, such as "decoys
/// against packets".
pub fn judge(_what: &str, _classes: [&Class; 2]) -> Vec<super::Finding> {
    Vec::new()
}
