//! The consensus as it is encoded, and how its nodes become a topology.

use super::draft::PlacedMix;
use super::{Consensus, ConsensusError, Node};
use crate::clock::{Nanos, UnixMicros};
use crate::pki::{Descriptor, NodeId, Parameters, Rate, Rates, Role};
use crate::sphinx::Geometry;
use minicbor::{Decode, Encode};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

/// More than four thousand nodes with keys for two epochs each, or two thousand with four.
pub const SIGNED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The signed document: its body, exactly as signed, and the signatures.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct Signed<'b> {
    #[cbor(b(0), with = "minicbor::bytes")]
    pub(super) body: &'b [u8],
    #[n(1)]
    pub(super) signatures: Vec<Signature>,
}

/// One authority's signature.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct Signature {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(super) authority: [u8; 32],
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(super) signature: [u8; 64],
}

/// The body. `Head` reads the first three fields by their keys.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct Body<'b> {
    #[n(0)]
    pub(super) version: u32,
    #[b(1)]
    pub(super) network: &'b str,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub(super) genesis: [u8; 32],
    #[n(3)]
    pub(super) epoch: u64,
    #[n(4)]
    pub(super) epoch_s: u64,
    #[n(5)]
    pub(super) valid_from_s: u64,
    #[n(6)]
    pub(super) valid_until_s: u64,
    #[n(7)]
    pub(super) parameters: BodyParameters,
    #[b(8)]
    pub(super) mixes: Vec<Placed<'b>>,
    #[b(9)]
    pub(super) gateways: Vec<Placed<'b>>,
}

/// The parameters; rates in thousandths per second.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct BodyParameters {
    #[n(0)]
    layers: u8,
    #[n(1)]
    delay_mean_ns: u64,
    #[n(2)]
    payload_milli: u32,
    #[n(3)]
    client_loop_milli: u32,
    #[n(4)]
    client_drop_milli: u32,
    #[n(5)]
    mix_loop_milli: u32,
    #[n(6)]
    gateway_loop_milli: u32,
    #[n(7)]
    payload_bytes: u64,
    #[cbor(n(8), with = "minicbor::bytes")]
    geometry_hash: [u8; 32],
}

/// A node: its place, and its descriptor as it signed it. Gateways are in layer 0.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct Placed<'b> {
    #[n(0)]
    layer: u8,
    #[n(1)]
    weight: u32,
    #[cbor(b(2), with = "minicbor::bytes")]
    descriptor: &'b [u8],
}

impl BodyParameters {
    pub(super) fn of(parameters: &Parameters) -> Self {
        let Parameters { layers, delay_mean, rates, geometry } = parameters;
        BodyParameters {
            layers: *layers,
            delay_mean_ns: delay_mean.0,
            payload_milli: rates.payload.milli,
            client_loop_milli: rates.client_loop.milli,
            client_drop_milli: rates.client_drop.milli,
            mix_loop_milli: rates.mix_loop.milli,
            gateway_loop_milli: rates.gateway_loop.milli,
            payload_bytes: geometry.payload_bytes() as u64,
            geometry_hash: geometry.hash(),
        }
    }

    fn parameters(&self) -> Result<Parameters, ConsensusError> {
        let geometry = usize::try_from(self.payload_bytes)
            .ok()
            .and_then(|payload_bytes| Geometry::new(payload_bytes).ok())
            .filter(|geometry| geometry.hash() == self.geometry_hash)
            .ok_or(ConsensusError::Geometry)?;
        let rates = Rates {
            payload: Rate { milli: self.payload_milli },
            client_loop: Rate { milli: self.client_loop_milli },
            client_drop: Rate { milli: self.client_drop_milli },
            mix_loop: Rate { milli: self.mix_loop_milli },
            gateway_loop: Rate { milli: self.gateway_loop_milli },
        };
        let delay_mean = Nanos(self.delay_mean_ns);
        let parameters = Parameters { layers: self.layers, delay_mean, rates, geometry };
        parameters.check()?;
        Ok(parameters)
    }
}

impl<'b> Placed<'b> {
    pub(super) fn of_mix(mix: &'b PlacedMix) -> Self {
        let descriptor = mix.descriptor.signed_bytes();
        Placed { layer: mix.layer, weight: mix.weight, descriptor }
    }

    pub(super) fn of_gateway(descriptor: &'b Descriptor) -> Self {
        Placed { layer: 0, weight: 1, descriptor: descriptor.signed_bytes() }
    }
}

impl Body<'_> {
    /// The topology that the body describes, if it is one.
    pub(super) fn consensus(&self) -> Result<Consensus, ConsensusError> {
        let parameters = self.parameters.parameters()?;
        let mut layers = vec![Vec::new(); usize::from(parameters.layers)];
        for node in self.nodes(Role::Mix, &self.mixes)? {
            let layer = node.layer.and_then(|layer| usize::from(layer).checked_sub(1));
            let list = layer.and_then(|layer| layers.get_mut(layer));
            list.ok_or(ConsensusError::Place { node: node.id() })?.push(node);
        }
        let gateways = self.nodes(Role::Gateway, &self.gateways)?;
        check_lists(&layers, &gateways)?;
        Ok(Consensus {
            network: self.network.into(),
            genesis: self.genesis,
            epoch: self.epoch,
            epoch_length: Nanos::from_secs(self.epoch_s),
            valid_from: UnixMicros::from_secs(self.valid_from_s),
            valid_until: UnixMicros::from_secs(self.valid_until_s),
            parameters,
            places: places(&layers, &gateways),
            layers,
            gateways,
        })
    }

    /// The nodes of one list, verified one by one, in the order that they must have.
    fn nodes(&self, role: Role, placed: &[Placed<'_>]) -> Result<Vec<Node>, ConsensusError> {
        let mut nodes = Vec::with_capacity(placed.len());
        for (placed, number) in placed.iter().zip(1..) {
            let descriptor = Descriptor::verify(placed.descriptor, self.network)
                .map_err(|source| ConsensusError::Descriptor { role, number, source })?;
            nodes.push(self.node(role, placed, descriptor)?);
        }
        match nodes.windows(2).find(|pair| rank(&pair[0]) > rank(&pair[1])) {
            Some(pair) => Err(ConsensusError::Place { node: pair[1].id() }),
            None => Ok(nodes),
        }
    }

    fn node(
        &self,
        role: Role,
        placed: &Placed<'_>,
        descriptor: Descriptor,
    ) -> Result<Node, ConsensusError> {
        let node = descriptor.id();
        if descriptor.fields().role != role {
            return Err(ConsensusError::Role { node });
        }
        if placed.weight == 0 || (role == Role::Gateway) != (placed.layer == 0) {
            return Err(ConsensusError::Place { node });
        }
        if descriptor.epoch(self.epoch).is_none() {
            return Err(ConsensusError::MissingKeys { node, epoch: self.epoch });
        }
        let layer = (role == Role::Mix).then_some(placed.layer);
        Ok(Node { descriptor, layer, weight: placed.weight })
    }
}

/// Where a node stands: by layer, then by identity.
fn rank(node: &Node) -> (Option<u8>, NodeId) {
    (node.layer, node.id())
}

/// Checks that every layer and the gateways have a node, and that no two nodes are confused.
fn check_lists(layers: &[Vec<Node>], gateways: &[Node]) -> Result<(), ConsensusError> {
    if let Some((_, layer)) = layers.iter().zip(1..).find(|(nodes, _)| nodes.is_empty()) {
        return Err(ConsensusError::EmptyLayer(layer));
    }
    if gateways.is_empty() {
        return Err(ConsensusError::NoGateway);
    }
    let mut taken = Taken::default();
    for node in layers.iter().flatten().chain(gateways) {
        if let Some(shared) = taken.add(node) {
            return Err(ConsensusError::DuplicateNode { node: node.id(), shared });
        }
    }
    Ok(())
}

/// What must belong to one node alone: packets and handshakes find their node by it.
#[derive(Default)]
struct Taken<'a> {
    ids: HashSet<NodeId>,
    names: HashSet<&'a str>,
    links: HashSet<[u8; 32]>,
    addresses: HashSet<SocketAddr>,
}

impl<'a> Taken<'a> {
    /// Adds a node; says what it shares with an earlier one.
    fn add(&mut self, node: &'a Node) -> Option<&'static str> {
        if !self.ids.insert(node.id()) {
            return Some("identity");
        }
        if !self.names.insert(node.name()) {
            return Some("name");
        }
        if !self.links.insert(*node.link_public()) {
            return Some("link key");
        }
        let fresh = node.addresses().iter().all(|address| self.addresses.insert(*address));
        (!fresh).then_some("address")
    }
}

fn places(layers: &[Vec<Node>], gateways: &[Node]) -> HashMap<NodeId, (usize, usize)> {
    let lists = layers.iter().map(Vec::as_slice).chain([gateways]).enumerate();
    lists
        .flat_map(|(list, nodes)| {
            nodes.iter().enumerate().map(move |(place, node)| (node.id(), (list, place)))
        })
        .collect()
}
