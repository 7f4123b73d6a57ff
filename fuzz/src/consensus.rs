//! Documents that come from the directory: the consensus, and the descriptors within.

use minicbor::Encoder;
use mixline::clock::{Nanos, UnixMicros};
use mixline::crypto::random::Rng;
use mixline::pki::{
    Consensus, ConsensusDraft, Descriptor, DescriptorFields, EpochKeys, EpochPublic, NodeKeys,
    Parameters, PlacedMix, Rate, Rates, Role, SigningKey, TrustAnchor,
};
use mixline::sphinx::Geometry;

const NETWORK: &str = "fuzz";
const NOW: UnixMicros = UnixMicros::from_secs(1_800_000_000);
const EPOCH: u64 = 5;

fn authority() -> SigningKey {
    SigningKey::from_secret(&[7; 32])
}

fn anchor() -> TrustAnchor {
    TrustAnchor::new(NETWORK, vec![authority().public()], None).expect("a valid anchor")
}

/// The input as a whole document, as the body of one that the authority signed, and as a
/// descriptor. Accepted when one of them is.
pub fn run(input: &[u8]) -> bool {
    let anchor = anchor();
    let signed = sign(input, &authority());
    let found = [input, &signed]
        .into_iter()
        .filter_map(|document| Consensus::verify(document, &anchor, NOW, Some(EPOCH)).ok())
        .inspect(check)
        .count();
    let descriptor = Descriptor::verify(input, NETWORK);
    if let Ok(descriptor) = &descriptor {
        assert_eq!(descriptor.signed_bytes(), input);
    }
    found > 0 || descriptor.is_ok()
}

fn check(consensus: &Consensus) {
    assert_eq!((consensus.network(), consensus.genesis()), (NETWORK, anchor().genesis()));
    assert!(consensus.epoch() >= EPOCH);
    assert!((consensus.valid_from()..consensus.valid_until()).contains(&NOW));
    assert!(!consensus.gateways().is_empty());
    for layer in 1..=consensus.parameters().layers {
        assert!(!consensus.layer(layer).is_empty());
    }
    for node in consensus.nodes() {
        let found = consensus.node(&node.id()).expect("a node is found by its identity");
        assert_eq!(found.name(), node.name());
        assert!(node.mix_public(consensus.epoch()).is_some());
    }
}

/// The document that a careless authority makes of any body.
fn sign(body: &[u8], authority: &SigningKey) -> Vec<u8> {
    let mut document = vec![];
    let signature = authority.sign(b"mixline consensus v1\0", body);
    Encoder::new(&mut document)
        .map(2)
        .and_then(|map| map.u8(0)?.bytes(body)?.u8(1)?.array(1)?.map(2))
        .and_then(|map| map.u8(0)?.bytes(&authority.public())?.u8(1)?.bytes(&signature))
        .expect("a Vec takes every write");
    document
}

/// A network of one mix and one gateway, whose keys are there; its clients send no decoys.
pub(super) fn small() -> (Consensus, NodeKeys, EpochKeys) {
    let mut rng = Rng::from_seed([3; 32]);
    let (keys, epoch) = (NodeKeys::generate(&mut rng), EpochKeys::generate(EPOCH, &mut rng));
    let mut draft = draft();
    draft.gateways = vec![describe(Role::Gateway, 3, &keys, &epoch)];
    let (client_loop, client_drop) = (Rate::default(), Rate::default());
    let payload = Rate::per_second(100);
    draft.parameters.rates = Rates { payload, client_loop, client_drop, ..Rates::default() };
    let document = draft.sign(&anchor(), &[authority()]);
    let consensus = Consensus::verify(&document, &anchor(), NOW, Some(EPOCH));
    (consensus.expect("a valid document"), keys, epoch)
}

/// A small network: its body, its signed document, a descriptor.
pub fn seeds() -> Vec<Vec<u8>> {
    let draft = draft();
    let body = draft.body(&anchor());
    let document = draft.sign(&anchor(), &[authority()]);
    vec![body, document, draft.mixes[0].descriptor.signed_bytes().to_vec()]
}

fn draft() -> ConsensusDraft {
    ConsensusDraft {
        epoch: EPOCH,
        epoch_s: 3600,
        valid_from: UnixMicros::from_secs(NOW.as_secs() - 10),
        valid_until: UnixMicros::from_secs(NOW.as_secs() + 3600),
        parameters: Parameters {
            layers: 1,
            delay_mean: Nanos::from_millis(50),
            rates: Rates::default(),
            geometry: Geometry::DEFAULT,
        },
        mixes: vec![PlacedMix { layer: 1, weight: 1, descriptor: descriptor(Role::Mix, 1) }],
        gateways: vec![descriptor(Role::Gateway, 2)],
    }
}

fn descriptor(role: Role, seed: u8) -> Descriptor {
    let mut rng = Rng::from_seed([seed; 32]);
    let epoch = EpochKeys::generate(EPOCH, &mut rng);
    describe(role, seed, &NodeKeys::generate(&mut rng), &epoch)
}

fn describe(role: Role, seed: u8, keys: &NodeKeys, epoch: &EpochKeys) -> Descriptor {
    let fields = DescriptorFields {
        network: NETWORK.into(),
        name: format!("node{seed}"),
        role,
        addresses: vec![([127, 0, 0, seed], 4000).into()],
        epochs: vec![EpochPublic::of(epoch)],
        published: NOW,
    };
    Descriptor::sign(&fields, keys).expect("a valid descriptor")
}
