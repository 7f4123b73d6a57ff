//! Datagrams of a session.

use super::pair::{DATAGRAM_BYTES, Pair};
use mixline::clock::Nanos;
use mixline::link::{Close, Delivery, Frame};

const FRAMES: [Frame; 5] =
    [Frame::Dummy, Frame::Sphinx, Frame::Control, Frame::Deliver, Frame::Close];

/// The input's first byte is the kind of a frame, the rest its body. Accepted when the node
/// opens it.
pub fn run(input: &[u8]) -> bool {
    let mut pair = Pair::dialling();
    assert!(pair.run(Nanos::from_secs(1), |_| {}), "an undisturbed handshake succeeds");

    let mut raw = input.to_vec();
    raw.resize(DATAGRAM_BYTES, 0);
    let (client, now) = (pair.client.address, pair.now);
    assert!(pair.node.receive(client, &raw, now).is_err(), "opened without a key");

    let (kind, body) = input.split_first().unwrap_or((&0, &[]));
    let frame = FRAMES[usize::from(*kind) % FRAMES.len()];
    let link = pair.client.up.expect("the link is up");
    let mut datagram = vec![0; DATAGRAM_BYTES];
    if pair.client.sessions.seal(link, frame, body, &mut datagram, now).is_err() {
        return false;
    }
    for place in [0, 15, 16, body.len() + 16, DATAGRAM_BYTES - 1] {
        let mut changed = datagram.clone();
        changed[place.min(DATAGRAM_BYTES - 1)] ^= 1 << (kind % 8);
        assert!(pair.node.receive(client, &changed, now).is_err(), "opened though changed");
    }
    let opened = pair.node.receive(client, &datagram, now);
    if let Ok((opened, text)) = &opened {
        assert_eq!((opened.frame, &text[..]), (frame, body));
    }
    assert!(pair.node.receive(client, &datagram, now).is_err(), "opened twice");
    opened.is_ok()
}

/// One frame of each kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let echo = [1, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let acknowledgement = [3, 8, 0, 9, 0, 0, 0, 0, 0, 0, 0];
    let control = [echo, acknowledgement].concat();
    let close = Close { reason: Close::STOPPING, retry_after_s: 7 }.encode().to_vec();
    let sphinx = vec![6; mixline::sphinx::Geometry::DEFAULT.frame_bytes()];
    let mut deliver = vec![0; Delivery::HEADER_BYTES + 100];
    deliver[0] = 1;
    let bodies = [vec![], sphinx, control, deliver, close];
    (0..).zip(&bodies).map(|(kind, body)| [&[kind], &body[..]].concat()).collect()
}
