//! Invitations: all that a client must know to reach one gateway, in one string.
//!
//! | bytes | field |
//! | --- | --- |
//! | 32 | the network: hash of its first directory keys |
//! | 2 | bytes of a packet's payload, little endian |
//! | 32 | the gateway's identity |
//! | 32 | its link key |
//! | 1184 | a KEM key that is in force as long as the invitation |
//! | 8 | end of the invitation, seconds since 1970, little endian |
//! | 1, 4 or 16, 2 | 4 or 6, the gateway's address, its port, little endian |
//! | 1, n | length and address of an authority; empty, if none is named |
//! | 4 | checksum: the front of SHA-256 under a label of its own |
//!
//! Who holds it can ask the gateway for a session, and recognise its handshakes: it is for the
//! invited only. It says nothing about who they are.

use super::NodeId;
use crate::clock::UnixMicros;
use crate::crypto::{kem, sha256};
use crate::sphinx::Geometry;
use data_encoding::BASE64URL_NOPAD;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// What an invitation begins with.
const PREFIX: &str = "mixline1-";
/// Bytes of the checksum.
const CHECKSUM_BYTES: usize = 4;
/// Most bytes of an authority's address.
const AUTHORITY_BYTES_MAX: usize = 255;

/// An invitation to one gateway.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The network: [`super::Consensus::genesis`].
    pub genesis: [u8; 32],
    /// The network's sizes.
    pub geometry: Geometry,
    /// The gateway.
    pub gateway: NodeId,
    /// Its link key.
    pub link_public: [u8; 32],
    /// Its KEM key for the invited.
    pub kem_public: Box<[u8; kem::PUBLIC_BYTES]>,
    /// Until when it accepts them.
    pub valid_until: UnixMicros,
    /// Where it is.
    pub address: SocketAddr,
    /// Where an authority is, to fetch documents from; at most 255 bytes.
    pub authority: Option<String>,
}

/// Why a text is no invitation, or none any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvitationError {
    /// Something else, or a part of one.
    #[error("this is no invitation: copy all of it, from {PREFIX:?} to its end")]
    Form,
    /// Every character is allowed, but they do not belong together.
    #[error("the invitation is damaged: its checksum does not match; copy it again")]
    Checksum,
    /// Its time is over.
    #[error("the invitation is no longer valid: ask for a new one")]
    Expired,
    /// It is for another network.
    #[error("the invitation is for another network than the one that is configured")]
    OtherNetwork,
}

impl Invitation {
    /// Whether it can be used at `wall` in the network that `genesis` names.
    ///
    /// # Errors
    /// [`InvitationError::Expired`], [`InvitationError::OtherNetwork`].
    pub fn check(&self, genesis: &[u8; 32], wall: UnixMicros) -> Result<(), InvitationError> {
        if wall >= self.valid_until {
            return Err(InvitationError::Expired);
        }
        (self.genesis == *genesis).then_some(()).ok_or(InvitationError::OtherNetwork)
    }

    fn encode(&self) -> Vec<u8> {
        let payload_bytes = u16::try_from(self.geometry.payload_bytes()).unwrap_or(u16::MAX);
        let mut out = Vec::from(self.genesis);
        out.extend(payload_bytes.to_le_bytes());
        out.extend(self.gateway.0);
        out.extend(self.link_public);
        out.extend(&self.kem_public[..]);
        out.extend(self.valid_until.as_secs().to_le_bytes());
        match self.address.ip() {
            IpAddr::V4(ip) => {
                out.push(4);
                out.extend(ip.octets());
            }
            IpAddr::V6(ip) => {
                out.push(6);
                out.extend(ip.octets());
            }
        }
        out.extend(self.address.port().to_le_bytes());
        let authority = self.authority.as_deref().unwrap_or_default().as_bytes();
        let authority = &authority[..authority.len().min(AUTHORITY_BYTES_MAX)];
        out.push(u8::try_from(authority.len()).unwrap_or(u8::MAX));
        out.extend(authority);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let genesis = fields.take()?;
        let geometry = Geometry::new(u16::from_le_bytes(fields.take()?).into()).ok()?;
        let (gateway, link_public) = (NodeId(fields.take()?), fields.take()?);
        let kem_public = Box::new(fields.take()?);
        let valid_until = UnixMicros::from_secs(u64::from_le_bytes(fields.take()?));
        let ip: IpAddr = match fields.take()? {
            [4] => fields.take::<4>()?.into(),
            [6] => fields.take::<16>()?.into(),
            _ => return None,
        };
        let address = SocketAddr::new(ip, u16::from_le_bytes(fields.take()?));
        let [length] = fields.take()?;
        let authority = std::str::from_utf8(fields.0).ok()?;
        if authority.len() != usize::from(length) {
            return None;
        }
        let authority = (!authority.is_empty()).then(|| authority.to_owned());
        Some(Invitation {
            genesis,
            geometry,
            gateway,
            link_public,
            kem_public,
            valid_until,
            address,
            authority,
        })
    }
}

/// Reads fields from the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let [a, b, c, d, ..] = sha256::digest(&[b"mixline invitation v1", bytes]);
    [a, b, c, d]
}

impl fmt::Display for Invitation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.encode();
        bytes.extend(checksum(&bytes));
        write!(out, "{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
    }
}

impl fmt::Debug for Invitation {
    /// Nothing of it: it is for the invited only.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Invitation")
    }
}

impl FromStr for Invitation {
    type Err = InvitationError;

    fn from_str(text: &str) -> Result<Self, InvitationError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(InvitationError::Form)?;
        let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes());
        let bytes = bytes.map_err(|_| InvitationError::Form)?;
        let (bytes, sum) = bytes.split_last_chunk().ok_or(InvitationError::Form)?;
        if checksum(bytes) != *sum {
            return Err(InvitationError::Checksum);
        }
        Invitation::decode(bytes).ok_or(InvitationError::Form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invitation(address: &str, authority: Option<&str>) -> Invitation {
        Invitation {
            genesis: [1; 32],
            geometry: Geometry::DEFAULT,
            gateway: NodeId([2; 32]),
            link_public: [3; 32],
            kem_public: Box::new([4; kem::PUBLIC_BYTES]),
            valid_until: UnixMicros::from_secs(1000),
            address: address.parse().unwrap(),
            authority: authority.map(str::to_owned),
        }
    }

    #[test]
    fn an_invitation_is_the_same_after_text_and_back() {
        for (address, authority) in
            [("192.0.2.1:7700", None), ("[2001:db8::1]:443", Some("http://192.0.2.7:8080"))]
        {
            let invitation = invitation(address, authority);
            assert_eq!(format!(" {invitation}\n").parse(), Ok(invitation));
        }
    }

    #[test]
    fn a_changed_or_cut_invitation_is_refused() {
        let text = invitation("192.0.2.1:7700", None).to_string();
        for place in (0..text.len()).step_by(7) {
            let mut changed = text.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(changed.parse::<Invitation>().is_err(), "{place}");
            assert!(text[..place].parse::<Invitation>().is_err(), "{place}");
        }
    }

    #[test]
    fn an_invitation_holds_for_its_network_and_its_time_only() {
        let invitation = invitation("192.0.2.1:7700", None);
        let at = UnixMicros::from_secs;
        assert_eq!(invitation.check(&[1; 32], at(999)), Ok(()));
        assert_eq!(invitation.check(&[1; 32], at(1000)), Err(InvitationError::Expired));
        assert_eq!(invitation.check(&[0; 32], at(1)), Err(InvitationError::OtherNetwork));
    }
}
