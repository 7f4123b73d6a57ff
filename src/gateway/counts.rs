//! What became of what a gateway took in.

use crate::metrics::Counter;

/// What the gateway counted; the control thread writes, any thread may read.
#[derive(Debug, Default)]
pub struct Counts {
    /// Bodies stored in a mailbox.
    pub stored: Counter,
    /// Bodies that had been there before.
    pub duplicates: Counter,
    /// Bodies for nobody: decoys.
    pub discarded: Counter,
    /// Bodies for a mailbox that is full.
    pub mailbox_full: Counter,
    /// Bodies for a mailbox that nobody opened here.
    pub unknown_mailbox: Counter,
    /// Payloads changed on their way, or without the form of one.
    pub garbled: Counter,
    /// Bodies, and requests of clients, that found the store too busy.
    pub overloaded: Counter,
    /// Reply blocks released.
    pub acknowledged: Counter,
    /// Replies queued for a client.
    pub replies: Counter,
    /// Replies for a client that was not there, or had too many waiting.
    pub replies_lost: Counter,
    /// Deliveries of letters, again ones too.
    pub letters_sent: Counter,
    /// Letters that are longer than what a frame holds now, and were dropped.
    pub letters_too_long: Counter,
    /// Frames sent to clients, dummies too.
    pub frames: Counter,
    /// Control frames that made no sense.
    pub bad_control: Counter,
    /// Openings of mailboxes that came too fast or were too many, and were not looked at.
    pub openings_ignored: Counter,
}

impl Counts {
    /// What was refused, by reason; but not what was garbled: who changes a packet on purpose
    /// must not be told where it came out.
    pub fn drops(&self) -> [(&'static str, u64); 7] {
        [
            ("unknown_mailbox", self.unknown_mailbox.value()),
            ("mailbox_full", self.mailbox_full.value()),
            ("overloaded", self.overloaded.value()),
            ("replies_lost", self.replies_lost.value()),
            ("bad_control", self.bad_control.value()),
            ("letters_too_long", self.letters_too_long.value()),
            ("openings_ignored", self.openings_ignored.value()),
        ]
    }
}
