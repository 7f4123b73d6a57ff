//! Why a datagram, or a request to send one, was turned away: one value for each counter.

/// A reason of the link layer. Nobody is told it; it only moves a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Refusal {
    /// No session has this source address.
    UnknownSource,
    /// The header decrypts under no key that this source may use.
    NotThisKey,
    /// A header that was accepted, and a body that was forged.
    BadTag,
    /// Seen before: a sequence number, or a first flight.
    Replay,
    /// Behind the replay window.
    TooOld,
    /// A kind that this peer does not send.
    BadKind,
    /// A size that its kind does not have.
    BadLength,
    /// Made for a KEM key that this node does not hold (any more).
    UnknownKemId,
    /// A first flight from another time.
    ClockSkew,
    /// A node whose key or address is not in the directory.
    NotInDirectory,
    /// A first flight from the side that does not start handshakes.
    WrongRole,
    /// Too many handshake datagrams from this source.
    RateLimited,
    /// The ring to the control thread is full (counted by the worker).
    RingFull,
    /// No place for another session, or for its first flight.
    TableFull,
    /// The responder is loaded and the first flight carries no valid token: it got one.
    BadToken,
    /// The Noise handshake failed.
    BadNoise,
    /// A retry that answers no outstanding first flight, or one already answered.
    BadRetry,
    /// Nothing is sent on this link: it has no session, or another worker owns it.
    NoSession,
    /// The sending key has served its time or its datagrams.
    KeyExpired,
}

impl Refusal {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Refusal; 19] = [
        Refusal::UnknownSource,
        Refusal::NotThisKey,
        Refusal::BadTag,
        Refusal::Replay,
        Refusal::TooOld,
        Refusal::BadKind,
        Refusal::BadLength,
        Refusal::UnknownKemId,
        Refusal::ClockSkew,
        Refusal::NotInDirectory,
        Refusal::WrongRole,
        Refusal::RateLimited,
        Refusal::RingFull,
        Refusal::TableFull,
        Refusal::BadToken,
        Refusal::BadNoise,
        Refusal::BadRetry,
        Refusal::NoSession,
        Refusal::KeyExpired,
    ];

    /// The reason as a label of a counter.
    pub const fn name(self) -> &'static str {
        match self {
            Refusal::UnknownSource => "unknown_source",
            Refusal::NotThisKey => "not_this_key",
            Refusal::BadTag => "bad_tag",
            Refusal::Replay => "replay",
            Refusal::TooOld => "too_old",
            Refusal::BadKind => "bad_kind",
            Refusal::BadLength => "bad_length",
            Refusal::UnknownKemId => "unknown_kem_id",
            Refusal::ClockSkew => "clock_skew",
            Refusal::NotInDirectory => "not_in_directory",
            Refusal::WrongRole => "wrong_role",
            Refusal::RateLimited => "rate_limited",
            Refusal::RingFull => "ring_full",
            Refusal::TableFull => "table_full",
            Refusal::BadToken => "bad_token",
            Refusal::BadNoise => "bad_noise",
            Refusal::BadRetry => "bad_retry",
            Refusal::NoSession => "no_session",
            Refusal::KeyExpired => "key_expired",
        }
    }

    /// Whether the datagram belongs to no session, so that it may be a handshake's: ask
    /// [`super::Sessions::gate`].
    pub const fn may_be_handshake(self) -> bool {
        matches!(self, Refusal::UnknownSource | Refusal::NotThisKey)
    }

    /// The reason's place in [`Refusal::ALL`], for an array of counters.
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::Refusal;

    #[test]
    fn every_reason_stands_in_the_list_under_its_number_and_a_name_of_its_own() {
        let mut names = std::collections::BTreeSet::new();
        for (at, reason) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), at);
            assert!(names.insert(reason.name()));
        }
    }
}
