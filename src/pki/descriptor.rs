//! A node's descriptor: what it says of itself, signed by its identity key.
//!
//! The signature covers the exact bytes that were sent, and they are kept: nothing is ever
//! encoded again to check it.

use super::codec::{self, CodecError, Head};
use super::keys;
use super::{EpochKeys, NodeId, NodeKeys, Role, is_name};
use crate::clock::UnixMicros;
use crate::crypto::kem;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Version of the format.
const VERSION: u32 = 1;
/// More bytes than a descriptor with all its lists full has.
const BYTES_MAX: usize = 8 * 1024;
/// Most addresses of a node.
const ADDRESSES_MAX: usize = 8;
/// Most epochs for which a node publishes keys: the previous, the current and the next ones.
const EPOCHS_MAX: usize = 4;
/// What is signed begins with this, so that the signature means nothing elsewhere.
const DOMAIN: &[u8] = b"mixline descriptor v1\0";

/// Why bytes are no valid descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// The encoding is wrong.
    #[error("{0}")]
    Encoding(#[from] CodecError),
    /// Of a version that this program does not know.
    #[error("format version {0} is not supported: use a newer mixline")]
    UnsupportedVersion(u32),
    /// Of another network.
    #[error("of another network")]
    ForeignNetwork,
    /// Not signed by the identity that it names, or changed since.
    #[error("its signature does not match: it was changed, or another node made it")]
    Changed,
    /// The name is no name.
    #[error("its name is not made of 1 to 63 lowercase letters, digits and hyphens")]
    Name,
    /// Neither a mix nor a gateway.
    #[error("its role is unknown")]
    Role,
    /// No address, too many, or one that nobody can send to.
    #[error("its addresses are none, too many, or not reachable ones")]
    Addresses,
    /// No epoch keys, too many, or not in ascending order.
    #[error("its epoch keys are none, too many, or out of order")]
    Epochs,
}

/// A node's public keys of one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct EpochPublic {
    /// The epoch.
    #[n(0)]
    pub epoch: u64,
    /// X25519: packets are wrapped for it.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub mix: [u8; 32],
    /// ML-KEM-768: handshakes are encapsulated to it.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub kem: [u8; kem::PUBLIC_BYTES],
}

impl EpochPublic {
    /// The public halves of `keys`.
    pub fn of(keys: &EpochKeys) -> Self {
        EpochPublic { epoch: keys.epoch, mix: keys.mix.public(), kem: *keys.kem.public() }
    }
}

/// What a node says of itself, beside its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescriptorFields {
    /// Name of the network.
    pub network: String,
    /// Name of the node.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Where its neighbours reach it.
    pub addresses: Vec<SocketAddr>,
    /// Its public keys of the epochs ahead, in ascending order.
    pub epochs: Vec<EpochPublic>,
    /// When it said so.
    pub published: UnixMicros,
}

/// A descriptor whose signature was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    signed: Box<[u8]>,
    id: NodeId,
    link: [u8; 32],
    fields: DescriptorFields,
}

impl Descriptor {
    /// The descriptor of the node that holds `keys`.
    ///
    /// # Errors
    /// When the fields are not those of a node.
    pub fn sign(fields: &DescriptorFields, keys: &NodeKeys) -> Result<Self, DescriptorError> {
        let body = codec::encode(&Body::of(fields, keys));
        let signature = keys.identity.sign(DOMAIN, &body);
        let signed = codec::encode(&Signed { body: &body, signature });
        Self::verify(&signed, &fields.network)
    }

    /// The descriptor in `bytes`, if it is one of `network` and its node signed it.
    ///
    /// # Errors
    /// A reason, when it is not.
    pub fn verify(bytes: &[u8], network: &str) -> Result<Self, DescriptorError> {
        let signed: Signed<'_> = codec::decode(bytes, BYTES_MAX)?;
        let head = Head::read(signed.body)?;
        if head.version != VERSION {
            return Err(DescriptorError::UnsupportedVersion(head.version));
        }
        if head.network != network {
            return Err(DescriptorError::ForeignNetwork);
        }
        let id = NodeId(head.key_2()?);
        if !keys::is_signed(&id.0, DOMAIN, signed.body, &signed.signature) {
            return Err(DescriptorError::Changed);
        }
        let body: Body = codec::decode(signed.body, BYTES_MAX)?;
        Ok(Descriptor { signed: bytes.into(), id, link: body.link, fields: body.fields()? })
    }

    /// The exact bytes that were signed and sent, signature included.
    pub fn signed_bytes(&self) -> &[u8] {
        &self.signed
    }

    /// The node.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// X25519: authenticates the node's links.
    pub fn link_public(&self) -> &[u8; 32] {
        &self.link
    }

    /// What else the node says of itself.
    pub fn fields(&self) -> &DescriptorFields {
        &self.fields
    }

    /// The node's public keys of `epoch`.
    pub fn epoch(&self, epoch: u64) -> Option<&EpochPublic> {
        self.fields.epochs.iter().find(|keys| keys.epoch == epoch)
    }
}

/// The signed document: its body, exactly as signed, and the signature.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Signed<'b> {
    #[cbor(b(0), with = "minicbor::bytes")]
    body: &'b [u8],
    #[cbor(n(1), with = "minicbor::bytes")]
    signature: [u8; 64],
}

/// The body as it is encoded. [`Head`] reads the first three fields by their keys.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Body {
    #[n(0)]
    version: u32,
    #[n(1)]
    network: String,
    #[cbor(n(2), with = "minicbor::bytes")]
    id: [u8; 32],
    #[n(3)]
    name: String,
    #[n(4)]
    role: u8,
    #[n(5)]
    addresses: Vec<ByteVec>,
    #[cbor(n(6), with = "minicbor::bytes")]
    link: [u8; 32],
    #[n(7)]
    epochs: Vec<EpochPublic>,
    #[n(8)]
    published_us: u64,
}

impl Body {
    fn of(fields: &DescriptorFields, keys: &NodeKeys) -> Self {
        Body {
            version: VERSION,
            network: fields.network.clone(),
            id: keys.identity.public(),
            name: fields.name.clone(),
            role: match fields.role {
                Role::Mix => 0,
                Role::Gateway => 1,
            },
            addresses: fields.addresses.iter().map(address_bytes).collect(),
            link: keys.link.public(),
            epochs: fields.epochs.clone(),
            published_us: fields.published.0,
        }
    }

    fn fields(self) -> Result<DescriptorFields, DescriptorError> {
        if !is_name(&self.name) {
            return Err(DescriptorError::Name);
        }
        let role = match self.role {
            0 => Role::Mix,
            1 => Role::Gateway,
            _ => return Err(DescriptorError::Role),
        };
        let ascending = self.epochs.windows(2).all(|pair| pair[0].epoch < pair[1].epoch);
        if !(1..=EPOCHS_MAX).contains(&self.epochs.len()) || !ascending {
            return Err(DescriptorError::Epochs);
        }
        Ok(DescriptorFields {
            network: self.network,
            name: self.name,
            role,
            addresses: addresses(&self.addresses).ok_or(DescriptorError::Addresses)?,
            epochs: self.epochs,
            published: UnixMicros(self.published_us),
        })
    }
}

/// The address's 4 or 16 bytes, then the port, big-endian.
fn address_bytes(address: &SocketAddr) -> ByteVec {
    let mut bytes = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    bytes.extend_from_slice(&address.port().to_be_bytes());
    bytes.into()
}

fn addresses(encoded: &[ByteVec]) -> Option<Vec<SocketAddr>> {
    if !(1..=ADDRESSES_MAX).contains(&encoded.len()) {
        return None;
    }
    encoded.iter().map(|bytes| address(bytes)).collect()
}

/// The address in `bytes`, if a packet can be sent there.
fn address(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk::<2>()?;
    let ip = match ip.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(ip).ok()?),
        16 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?)),
        _ => return None,
    };
    let address = SocketAddr::new(ip, u16::from_be_bytes(*port));
    is_reachable(&address).then_some(address)
}

/// Whether a packet can be sent to `address`, which is spelled in the one way allowed.
pub fn is_reachable(address: &SocketAddr) -> bool {
    let ip = address.ip();
    let is_mapped = ip.to_canonical() != ip; // an IPv4 address in IPv6 dress
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !is_mapped
}
