//! A consensus in the making: what authorities agree on before they sign it.

use super::document::{Body, BodyParameters, Placed, Signature, Signed};
use super::{DOMAIN, VERSION};
use crate::clock::UnixMicros;
use crate::pki::{Descriptor, Parameters, SigningKey, TrustAnchor, codec};

/// A mix, and the place that it gets.
#[derive(Clone, Debug)]
pub struct PlacedMix {
    /// Its layer, the first being 1.
    pub layer: u8,
    /// How often paths lead through it, relative to the others of its layer.
    pub weight: u32,
    /// What it signed.
    pub descriptor: Descriptor,
}

/// All that a consensus says. Nothing is checked here: whoever follows it verifies it.
#[derive(Clone, Debug)]
pub struct ConsensusDraft {
    /// The epoch that it is for.
    pub epoch: u64,
    /// Seconds of an epoch.
    pub epoch_s: u64,
    /// The first moment at which it is in force, in whole seconds.
    pub valid_from: UnixMicros,
    /// The first moment at which it no longer is, in whole seconds.
    pub valid_until: UnixMicros,
    /// What the whole network agrees on.
    pub parameters: Parameters,
    /// The mixes, in any order.
    pub mixes: Vec<PlacedMix>,
    /// The gateways, in any order.
    pub gateways: Vec<Descriptor>,
}

impl ConsensusDraft {
    /// The bytes that each authority signs: the same for all of them, whatever the order of the
    /// nodes in the draft.
    pub fn body(&self, anchor: &TrustAnchor) -> Vec<u8> {
        let mut mixes: Vec<_> = self.mixes.iter().collect();
        mixes.sort_by_key(|mix| (mix.layer, mix.descriptor.id()));
        let mut gateways: Vec<_> = self.gateways.iter().collect();
        gateways.sort_by_key(|descriptor| descriptor.id());
        codec::encode(&Body {
            version: VERSION,
            network: anchor.network(),
            genesis: anchor.genesis(),
            epoch: self.epoch,
            epoch_s: self.epoch_s,
            valid_from_s: self.valid_from.as_secs(),
            valid_until_s: self.valid_until.as_secs(),
            parameters: BodyParameters::of(&self.parameters),
            mixes: mixes.into_iter().map(Placed::of_mix).collect(),
            gateways: gateways.into_iter().map(Placed::of_gateway).collect(),
        })
    }

    /// The document that all holders of `keys` sign.
    pub fn sign(&self, anchor: &TrustAnchor, keys: &[SigningKey]) -> Vec<u8> {
        let body = self.body(anchor);
        let signatures = keys
            .iter()
            .map(|key| Signature { authority: key.public(), signature: key.sign(DOMAIN, &body) })
            .collect();
        codec::encode(&Signed { body: &body, signatures })
    }
}
