//! A whole network's identities in memory: what `mixline network init` writes to files.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use mixline::clock::{Nanos, UnixMicros};
use mixline::crypto::random::Rng;
use mixline::node::{Custody, Identity};
use mixline::pki::{
    Consensus, ConsensusDraft, Descriptor, DescriptorFields, EpochKeys, EpochPublic, NodeKeys,
    Parameters, PlacedMix, Rate, Rates, Role, SigningKey, TrustAnchor,
};
use mixline::pool::Strategy;
use mixline::sphinx::Geometry;

/// The wall-clock time at which every test network begins.
pub(crate) const WALL: UnixMicros = UnixMicros::from_secs(1_700_000_000);
/// The epoch that every test network is in.
pub(crate) const EPOCH: u64 = 7;

/// What a test network looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) layers: u8,
    pub(crate) mixes_per_layer: u8,
    pub(crate) gateways: u8,
    pub(crate) delay_mean: Nanos,
    pub(crate) messages_per_second: u32,
    /// All other rates.
    pub(crate) rates: Rates,
    pub(crate) geometry: Geometry,
    /// By which every node mixes, where tests run nodes of their own options.
    pub(crate) strategy: Strategy,
    /// The first two bytes of all addresses.
    pub(crate) subnet: [u8; 2],
}

impl Default for Shape {
    fn default() -> Self {
        Shape {
            layers: 3,
            mixes_per_layer: 2,
            gateways: 2,
            delay_mean: Nanos::from_millis(100),
            messages_per_second: 200,
            rates: Rates::default(),
            geometry: Geometry::DEFAULT,
            strategy: Strategy::Poisson,
            subnet: [10, 77],
        }
    }
}

/// The identities of all nodes: mixes first, layer by layer, then gateways.
pub(crate) fn identities(shape: &Shape, now: UnixMicros, rng: &mut Rng) -> Vec<Identity> {
    let mixes = usize::from(shape.layers) * usize::from(shape.mixes_per_layer);
    let count = mixes + usize::from(shape.gateways);
    let keys: Vec<(NodeKeys, EpochKeys)> =
        (0..count).map(|_| (NodeKeys::generate(rng), EpochKeys::generate(EPOCH, rng))).collect();
    let descriptors: Vec<Descriptor> = keys
        .iter()
        .enumerate()
        .map(|(index, keys)| {
            let role = if index < mixes { Role::Mix } else { Role::Gateway };
            descriptor(index, role, shape, keys, now)
        })
        .collect();
    let consensus = Arc::new(consensus(shape, &descriptors, mixes, now, rng));
    keys.into_iter()
        .map(|(keys, epoch)| Identity {
            keys,
            epochs: vec![epoch],
            invitation: None,
            custody: Custody::anonymous(),
            consensus: consensus.clone(),
        })
        .collect()
}

/// The address of the node at `index`.
pub(crate) fn address(shape: &Shape, index: usize) -> SocketAddr {
    let [a, b] = shape.subnet;
    let host = u8::try_from(index + 1).expect("the test network is sound");
    (Ipv4Addr::new(a, b, 1, host), 7700).into()
}

fn descriptor(
    index: usize,
    role: Role,
    shape: &Shape,
    (keys, epoch): &(NodeKeys, EpochKeys),
    now: UnixMicros,
) -> Descriptor {
    let fields = DescriptorFields {
        network: "test".into(),
        name: format!("node-{index}"),
        role,
        addresses: vec![address(shape, index)],
        epochs: vec![EpochPublic::of(epoch)],
        published: now,
    };
    Descriptor::sign(&fields, keys).expect("the test network is sound")
}

fn consensus(
    shape: &Shape,
    descriptors: &[Descriptor],
    mixes: usize,
    now: UnixMicros,
    rng: &mut Rng,
) -> Consensus {
    let authority = SigningKey::generate(rng);
    let anchor = TrustAnchor::new("test", vec![authority.public()], None)
        .expect("the test network is sound");
    let placed = |(index, descriptor): (usize, &Descriptor)| PlacedMix {
        layer: u8::try_from(index / usize::from(shape.mixes_per_layer))
            .expect("the test network is sound")
            + 1,
        weight: 1,
        descriptor: descriptor.clone(),
    };
    let draft = ConsensusDraft {
        epoch: EPOCH,
        epoch_s: 3600,
        valid_from: now,
        valid_until: UnixMicros::from_secs(now.as_secs() + 86_400),
        parameters: Parameters {
            layers: shape.layers,
            delay_mean: shape.delay_mean,
            rates: Rates { payload: Rate::per_second(shape.messages_per_second), ..shape.rates },
            geometry: shape.geometry,
        },
        mixes: descriptors[..mixes].iter().enumerate().map(placed).collect(),
        gateways: descriptors[mixes..].to_vec(),
    };
    let bytes = draft.sign(&anchor, &[authority]);
    Consensus::verify(&bytes, &anchor, now, None).expect("the test network is sound")
}
