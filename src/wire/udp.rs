//! UDP (RFC 768).

use super::checksum::Sum;
use super::{Foreign, length_bytes};

pub(super) const BYTES: usize = 8;

pub(super) struct Ports {
    pub(super) source: u16,
    pub(super) destination: u16,
}

pub(super) fn parse(segment: &[u8]) -> Result<(Ports, &[u8]), Foreign> {
    let (header, payload) = segment.split_first_chunk::<BYTES>().ok_or(Foreign::Short)?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    if usize::from(word(4)) != segment.len() {
        return Err(Foreign::Length);
    }
    Ok((Ports { source: word(0), destination: word(2) }, payload))
}

/// Fills the first [`BYTES`] of a segment whose payload stands behind them.
pub(super) fn write(segment: &mut [u8], source: u16, destination: u16, pseudo: Sum) {
    let length = length_bytes(segment.len());
    segment[..2].copy_from_slice(&source.to_be_bytes());
    segment[2..4].copy_from_slice(&destination.to_be_bytes());
    segment[4..6].copy_from_slice(&length);
    segment[6..8].fill(0);
    let checksum = match pseudo.with(segment).checksum() {
        // 0 would say that there is none; all ones are the same number.
        [0, 0] => [0xff, 0xff],
        checksum => checksum,
    };
    segment[6..8].copy_from_slice(&checksum);
}
