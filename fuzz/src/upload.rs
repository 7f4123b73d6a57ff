//! Descriptors that anybody posts to an authority.

use minicbor::Encoder;
use mixline::authority::{Kept, Policy, Register, Seat};
use mixline::clock::{Nanos, UnixMicros};
use mixline::crypto::random::Rng;
use mixline::pki::{
    Descriptor, DescriptorFields, EpochKeys, EpochPublic, Epochs, NodeKeys, Parameters, Rates,
    Role, SigningKey, TrustAnchor,
};
use mixline::sphinx::Geometry;

const NETWORK: &str = "fuzz";
const EPOCH_S: u64 = 60;
const EPOCH: u64 = 30_000_000;
const NOW: UnixMicros = UnixMicros::from_secs(EPOCH * EPOCH_S + 10);

/// A mix and a gateway, whose keys the fuzzer has.
fn nodes() -> [NodeKeys; 2] {
    [1, 2].map(|seed| NodeKeys::generate(&mut Rng::from_seed([seed; 32])))
}

/// A network of the two nodes, in which the gateway has registered.
fn register() -> Register {
    let key = SigningKey::from_secret(&[7; 32]);
    let anchor = TrustAnchor::new(NETWORK, vec![key.public()], None).expect("a valid anchor");
    let seats = nodes().into_iter().zip([Some(1), None]);
    let seats = seats.map(|(keys, layer)| (keys.identity.id(), Seat { layer, weight: 1 }));
    let parameters = Parameters {
        layers: 1,
        delay_mean: Nanos::from_millis(50),
        rates: Rates::default(),
        geometry: Geometry::DEFAULT,
    };
    let epochs = Epochs::new(EPOCH_S).expect("a valid length");
    let policy = Policy { epochs, parameters, seats: Some(seats.collect()) };
    let mut register = Register::new(anchor, policy, Kept::default(), NOW);
    enter(&mut register, descriptor(1).signed_bytes());
    register
}

fn enter(register: &mut Register, bytes: &[u8]) -> bool {
    let Ok(descriptor) = Descriptor::verify(bytes, NETWORK) else { return false };
    assert_eq!(descriptor.signed_bytes(), bytes);
    if register.check(&descriptor, NOW).is_err() {
        return false;
    }
    register.enter(descriptor, NOW);
    true
}

/// The input as a descriptor, and as the body of one that the mix signs. Whatever is entered,
/// a consensus in which the mix has keys of the epoch is one to follow.
pub fn run(input: &[u8]) -> bool {
    let (mut register, key) = (register(), SigningKey::from_secret(&[7; 32]));
    let signed = sign(input, &nodes()[0].identity);
    let entered = [input, &signed].into_iter().filter(|bytes| enter(&mut register, bytes)).count();
    assert!(register.nodes() <= 2, "the network has two seats");
    let complete = register.due(NOW) == Some(EPOCH);
    let consensus = register.sign(EPOCH, &key, NOW);
    assert!(!complete || consensus.is_ok(), "{:?}", consensus.err());
    entered > 0
}

/// The document that the holder of `identity` makes of any body.
fn sign(body: &[u8], identity: &SigningKey) -> Vec<u8> {
    let mut document = vec![];
    let signature = identity.sign(b"mixline descriptor v1\0", body);
    Encoder::new(&mut document)
        .map(2)
        .and_then(|map| map.u8(0)?.bytes(body)?.u8(1)?.bytes(&signature))
        .expect("a Vec takes every write");
    document
}

/// The mix's descriptor, its body, and the gateway's again.
pub fn seeds() -> Vec<Vec<u8>> {
    let [mix, gateway] = [0, 1].map(|node| descriptor(node).signed_bytes().to_vec());
    let mut decoder = minicbor::Decoder::new(&mix);
    let body = decoder.map().and_then(|_| decoder.u8()).and_then(|_| decoder.bytes());
    let body = body.expect("a descriptor holds its body").to_vec();
    vec![mix, body, gateway]
}

fn descriptor(node: usize) -> Descriptor {
    let keys =
        [EPOCH, EPOCH + 1].map(|epoch| EpochKeys::generate(epoch, &mut Rng::from_seed([9; 32])));
    let fields = DescriptorFields {
        network: NETWORK.into(),
        name: ["mix", "gateway"][node].into(),
        role: [Role::Mix, Role::Gateway][node],
        addresses: vec![([127, 0, 0, 1], [4000, 4001][node]).into()],
        epochs: keys.iter().map(EpochPublic::of).collect(),
        published: NOW,
    };
    Descriptor::sign(&fields, &nodes()[node]).expect("a valid descriptor")
}
