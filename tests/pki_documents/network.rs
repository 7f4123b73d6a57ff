//! A network in memory, whose documents are drafted, signed, and written out by hand.

use minicbor::Encode;
use mixline::clock::{Nanos, UnixMicros};
use mixline::crypto::random::Rng;
use mixline::pki::{
    Consensus, ConsensusDraft, ConsensusError, Descriptor, DescriptorFields, EpochKeys,
    EpochPublic, NodeKeys, Parameters, PlacedMix, Rates, Role, SigningKey, TrustAnchor,
};
use mixline::sphinx::Geometry;
use std::net::{Ipv4Addr, SocketAddr};

pub(crate) const EPOCH: u64 = 40;
pub(crate) const FROM: UnixMicros = UnixMicros::from_secs(1_000);
pub(crate) const NOW: UnixMicros = UnixMicros::from_secs(1_060);
pub(crate) const UNTIL: UnixMicros = UnixMicros::from_secs(1_120);

/// A network in memory: one layer with two mixes, two gateways, three authorities.
pub(crate) struct Network {
    pub(crate) authorities: Vec<SigningKey>,
    pub(crate) anchor: TrustAnchor,
    pub(crate) draft: ConsensusDraft,
}

impl Network {
    pub(crate) fn new() -> Self {
        let mut rng = Rng::from_seed([1; 32]);
        let authorities: Vec<_> = (0..3).map(|_| SigningKey::generate(&mut rng)).collect();
        let anchor = anchor("test", &authorities);
        let mixes = (1..=2).map(|n| PlacedMix {
            layer: 1,
            weight: 1,
            descriptor: fields(&format!("mix-{n}"), Role::Mix, n).sign(&mut rng),
        });
        let mixes = mixes.collect();
        let gateways =
            (1..=2).map(|n| fields(&format!("gateway-{n}"), Role::Gateway, 10 + n).sign(&mut rng));
        let gateways = gateways.collect();
        let parameters = Parameters {
            layers: 1,
            delay_mean: Nanos::from_millis(100),
            rates: Rates::default(),
            geometry: Geometry::DEFAULT,
        };
        let (epoch_s, valid_from, valid_until) = (120, FROM, UNTIL);
        let epoch = EPOCH;
        let draft =
            ConsensusDraft { epoch, epoch_s, valid_from, valid_until, parameters, mixes, gateways };
        Network { authorities, anchor, draft }
    }

    pub(crate) fn signed(&self) -> Vec<u8> {
        self.draft.sign(&self.anchor, &self.authorities)
    }

    /// What the first `count` authorities sign.
    pub(crate) fn signed_by(&self, count: usize) -> Vec<u8> {
        self.draft.sign(&self.anchor, &self.authorities[..count])
    }

    pub(crate) fn verify(&self, bytes: &[u8]) -> Result<Consensus, ConsensusError> {
        Consensus::verify(bytes, &self.anchor, NOW, None)
    }

    /// Why the draft, signed by all, is refused.
    pub(crate) fn refusal(&self) -> ConsensusError {
        self.verify(&self.signed()).expect_err("a draft with a fault")
    }

    /// A document with `body`, whatever it says, signed by all.
    pub(crate) fn sign_body(&self, body: &[u8]) -> Vec<u8> {
        let domain = b"mixline consensus v1\0";
        let signatures = self.authorities.iter();
        let signatures: Vec<_> =
            signatures.map(|key| (key.public(), key.sign(domain, body))).collect();
        document(body, &signatures)
    }
}

/// The document as it is specified, apart from the program: a map of the body and a list of maps.
#[derive(Encode)]
#[cbor(map)]
struct Document<'a> {
    #[cbor(n(0), with = "minicbor::bytes")]
    body: &'a [u8],
    #[n(1)]
    signatures: Vec<DocumentSignature>,
}

#[derive(Encode)]
#[cbor(map)]
struct DocumentSignature {
    #[cbor(n(0), with = "minicbor::bytes")]
    authority: [u8; 32],
    #[cbor(n(1), with = "minicbor::bytes")]
    signature: [u8; 64],
}

pub(crate) fn document(body: &[u8], signatures: &[([u8; 32], [u8; 64])]) -> Vec<u8> {
    let signatures = signatures
        .iter()
        .map(|&(authority, signature)| DocumentSignature { authority, signature })
        .collect();
    minicbor::to_vec(Document { body, signatures }).expect("memory takes every write")
}

pub(crate) fn anchor(name: &str, authorities: &[SigningKey]) -> TrustAnchor {
    let keys = authorities.iter().map(SigningKey::public).collect();
    TrustAnchor::new(name, keys, None).expect("a trust anchor")
}

/// A node to be: what it says, before it has keys.
pub(crate) struct Fields(pub(crate) DescriptorFields);

pub(crate) fn fields(name: &str, role: Role, host: u8) -> Fields {
    Fields(DescriptorFields {
        network: "test".into(),
        name: name.into(),
        role,
        addresses: vec![SocketAddr::from((Ipv4Addr::new(127, 77, 0, host), 7700))],
        epochs: Vec::new(),
        published: FROM,
    })
}

impl Fields {
    pub(crate) fn sign(self, rng: &mut Rng) -> Descriptor {
        self.sign_for(EPOCH, &NodeKeys::generate(rng), rng)
    }

    pub(crate) fn sign_for(mut self, epoch: u64, keys: &NodeKeys, rng: &mut Rng) -> Descriptor {
        self.0.epochs = vec![EpochPublic::of(&EpochKeys::generate(epoch, rng))];
        Descriptor::sign(&self.0, keys).expect("a descriptor")
    }
}
