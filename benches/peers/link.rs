//! The link cipher: a packet's frame sealed once and opened once, against `aes-gcm`.

use crate::sampling::{Comparison, Work, work};
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use mixline::crypto::aead;
use mixline::link::datagram::{Head, Keys};
use mixline::sphinx::Geometry;
use std::hint::black_box;
use zeroize::Zeroizing;

/// Frames of one run.
const FRAMES: usize = 8;
const FRAME_BYTES: usize = Geometry::DEFAULT.frame_bytes();
const PLAIN: [u8; FRAME_BYTES] = [9; FRAME_BYTES];
const KEY: [u8; 32] = [5; 32];
const NONCE: [u8; 12] = [6; 12];

const _: () = assert!(FRAME_BYTES == 1376);

/// The cipher alone, and the whole datagram: with its header, which is a cipher block of its own
/// and which the peer's side does not have.
pub(crate) fn comparisons() -> Vec<Comparison> {
    let compare = |name, ours| Comparison::new(name, "aes-gcm", [ours, theirs()]);
    vec![compare("link_seal_open_1376", cipher()), compare("link_datagram_1408", datagram())]
}

/// Out of place: the two encryptions of a packet are also its two copies.
fn cipher() -> Box<dyn Work> {
    let key = aead::Key::new(&KEY);
    let (plain, mut tag) = (PLAIN, [0; aead::TAG_BYTES]);
    let (mut sealed, mut opened) = ([0; FRAME_BYTES], [0; FRAME_BYTES]);
    key.seal(&NONCE, &[], &plain, &mut sealed, &mut tag);
    assert_peer_opens(sealed, tag);
    work(FRAMES, move || {
        for _ in 0..FRAMES {
            key.seal(&NONCE, &[], black_box(&plain), &mut sealed, &mut tag);
            let result = key.open(&NONCE, &[], black_box(&sealed), &tag, &mut opened);
            assert!(result.is_ok(), "what was sealed is opened");
            black_box(&mut opened);
        }
    })
}

fn datagram() -> Box<dyn Work> {
    let keys = Keys { header: Zeroizing::new([4; 32]), body: Zeroizing::new(KEY) };
    let (sealer, opener) = (keys.sealer(), keys.opener());
    let head = Head { sequence: 1, kind: 1, length: 1372 };
    let (plain, mut opened) = (PLAIN, [0; FRAME_BYTES]);
    let mut sealed = [0; Geometry::DEFAULT.datagram_bytes()];
    work(FRAMES, move || {
        for _ in 0..FRAMES {
            sealer.seal(head, black_box(&plain), &mut sealed);
            let head = opener.head(black_box(&sealed)).expect("its own key");
            opener.open(head, &sealed, &mut opened).expect("what was sealed is opened");
            black_box(&mut opened);
        }
    })
}

/// The peer opens the frame that every run seals.
fn assert_peer_opens(mut sealed: [u8; FRAME_BYTES], tag: [u8; aead::TAG_BYTES]) {
    let key = Aes256Gcm::new(&KEY.into());
    let text = &mut sealed[..];
    let opened = key.decrypt_inout_detached(&NONCE.into(), &[], text.into(), &tag.into());
    assert!(opened.is_ok() && sealed == PLAIN, "the peer cannot open it");
}

/// In place, the tag apart: the fastest call that the crate has.
fn theirs() -> Box<dyn Work> {
    let key = Aes256Gcm::new(&KEY.into());
    let nonce = Nonce::from(NONCE);
    let mut text = PLAIN;
    work(FRAMES, move || {
        for _ in 0..FRAMES {
            let tag = key.encrypt_inout_detached(&nonce, &[], black_box(&mut text[..]).into());
            let tag = tag.expect("a text of fair length");
            let text = black_box(&mut text[..]);
            key.decrypt_inout_detached(&nonce, &[], text.into(), &tag).expect("its own tag");
        }
        black_box(&mut text);
    })
}
