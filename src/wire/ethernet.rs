//! Ethernet II, with at most one tag of IEEE 802.1Q.

use super::{Ethernet, Foreign};

/// Destination, source, type.
pub(super) const BYTES: usize = 14;
/// Type and content of a tag.
pub(super) const TAG_BYTES: usize = 4;

const TYPE_IPV4: [u8; 2] = [0x08, 0x00];
const TYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const TYPE_TAG: [u8; 2] = [0x81, 0x00];

/// What ethernet says it carries.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    V4,
    V6,
}

pub(super) fn parse(frame: &[u8]) -> Result<(Ethernet, Kind, &[u8]), Foreign> {
    let (destination, rest) = frame.split_first_chunk().ok_or(Foreign::Short)?;
    let (source, rest) = rest.split_first_chunk().ok_or(Foreign::Short)?;
    let (mut kind, mut packet) = rest.split_first_chunk().ok_or(Foreign::Short)?;
    let mut vlan_tag = None;
    if *kind == TYPE_TAG {
        let (tag, rest) = packet.split_first_chunk().ok_or(Foreign::Short)?;
        vlan_tag = Some(u16::from_be_bytes(*tag));
        (kind, packet) = rest.split_first_chunk().ok_or(Foreign::Short)?;
    }
    let kind = match *kind {
        TYPE_IPV4 => Kind::V4,
        TYPE_IPV6 => Kind::V6,
        TYPE_TAG => return Err(Foreign::SecondTag),
        _ => return Err(Foreign::OtherEthernet),
    };
    Ok((Ethernet { destination: *destination, source: *source, vlan_tag }, kind, packet))
}

impl Ethernet {
    pub(super) fn bytes(&self) -> usize {
        if self.vlan_tag.is_some() { BYTES + TAG_BYTES } else { BYTES }
    }

    /// Fills exactly [`Ethernet::bytes`].
    pub(super) fn write(&self, kind: Kind, header: &mut [u8]) {
        header[..6].copy_from_slice(&self.destination);
        header[6..12].copy_from_slice(&self.source);
        if let Some(tag) = self.vlan_tag {
            header[12..14].copy_from_slice(&TYPE_TAG);
            header[14..16].copy_from_slice(&tag.to_be_bytes());
        }
        let kind = match kind {
            Kind::V4 => TYPE_IPV4,
            Kind::V6 => TYPE_IPV6,
        };
        header[self.bytes() - 2..].copy_from_slice(&kind);
    }
}
