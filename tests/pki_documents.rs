//! The documents of the network: each is accepted when whole, and refused with its own reason.

#[path = "pki_documents/network.rs"]
mod network;

use mixline::clock::{Nanos, UnixMicros};
use mixline::crypto::random::Rng;
use mixline::pki::{
    CodecError, Consensus, ConsensusError, Descriptor, DescriptorError, DescriptorFields,
    EpochKeys, EpochPublic, NodeKeys, ParametersError, Role, SigningKey,
};
use mixline::sphinx::Geometry;
use network::{EPOCH, FROM, Fields, NOW, Network, UNTIL, anchor, document, fields};

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let place = bytes.windows(from.len()).position(|window| window == from);
    let place = place.expect("the bytes to replace");
    [&bytes[..place], to, &bytes[place + from.len()..]].concat()
}

#[test]
fn a_whole_consensus_gives_the_network_as_it_was_drafted() {
    let network = Network::new();
    let consensus = network.verify(&network.signed()).unwrap();
    assert_eq!((consensus.network(), consensus.epoch()), ("test", EPOCH));
    assert_eq!(consensus.genesis(), network.anchor.genesis());
    assert_eq!(consensus.parameters(), &network.draft.parameters);
    assert_eq!(consensus.geometry(), Geometry::DEFAULT);
    assert_eq!((consensus.valid_from(), consensus.valid_until()), (FROM, UNTIL));
    assert_eq!(consensus.epoch_length(), Nanos::from_secs(120));
    assert_eq!((consensus.layer(1).len(), consensus.gateways().len()), (2, 2));
    assert!(consensus.layer(0).is_empty() && consensus.layer(2).is_empty());
    for mix in &network.draft.mixes {
        let node = consensus.node(&mix.descriptor.id()).unwrap();
        assert_eq!(node.descriptor(), &mix.descriptor);
        assert_eq!((node.role(), node.layer(), node.weight()), (Role::Mix, Some(1), 1));
        assert_eq!(node.mix_public(EPOCH), Some(&node.epochs()[0].mix));
        assert_eq!(node.kem_public(EPOCH), Some(&node.epochs()[0].kem));
        assert_eq!(node.mix_public(EPOCH + 1), None);
    }
    let gateway = consensus.node_named("gateway-2").unwrap();
    assert_eq!(consensus.node(&gateway.id()), Some(gateway));
    assert_eq!((gateway.role(), gateway.layer()), (Role::Gateway, None));
}

#[test]
fn the_order_of_nodes_and_signers_in_a_draft_does_not_change_what_is_signed() {
    let mut network = Network::new();
    let body = network.draft.body(&network.anchor);
    network.draft.mixes.reverse();
    network.draft.gateways.reverse();
    assert_eq!(network.draft.body(&network.anchor), body);
}

#[test]
fn the_format_is_the_one_that_is_written_out_by_hand_here() {
    let network = Network::new();
    let body = network.draft.body(&network.anchor);
    assert_eq!(network.sign_body(&body), network.signed());
}

#[test]
fn a_majority_of_signatures_is_enough() {
    let network = Network::new();
    assert!(network.verify(&network.signed_by(2)).is_ok());
}

#[test]
fn an_under_signed_consensus_is_refused_with_how_many_of_how_many() {
    let network = Network::new();
    let expected = |valid| ConsensusError::UnderSigned { valid, threshold: 2, authorities: 3 };
    assert_eq!(network.verify(&network.signed_by(1)).unwrap_err(), expected(1));
    assert_eq!(network.verify(&network.signed_by(0)).unwrap_err(), expected(0));
    assert!(expected(1).to_string().starts_with("1 of 3 authorities signed"));
}

#[test]
fn an_authority_that_signs_twice_counts_once() {
    let network = Network::new();
    let key = &network.authorities[0];
    let body = network.draft.body(&network.anchor);
    let signature = (key.public(), key.sign(b"mixline consensus v1\0", &body));
    let refused = network.verify(&document(&body, &[signature, signature])).unwrap_err();
    assert!(matches!(refused, ConsensusError::UnderSigned { valid: 1, .. }), "{refused}");
}

#[test]
fn signatures_of_strangers_do_not_count() {
    let network = Network::new();
    let mut rng = Rng::from_seed([2; 32]);
    let strangers: Vec<_> = (0..3).map(|_| SigningKey::generate(&mut rng)).collect();
    let refused = network.verify(&network.draft.sign(&network.anchor, &strangers)).unwrap_err();
    assert!(matches!(refused, ConsensusError::UnderSigned { valid: 0, .. }), "{refused}");
}

#[test]
fn a_signature_for_another_purpose_does_not_count() {
    let network = Network::new();
    let body = network.draft.body(&network.anchor);
    let sign = |key: &SigningKey| (key.public(), key.sign(b"mixline descriptor v1\0", &body));
    let signatures: Vec<_> = network.authorities.iter().map(sign).collect();
    let refused = network.verify(&document(&body, &signatures)).unwrap_err();
    assert!(matches!(refused, ConsensusError::Changed { .. }), "{refused}");
}

#[test]
fn a_consensus_of_another_network_is_refused_by_name() {
    let network = Network::new();
    let other = anchor("other", &network.authorities);
    let refused = network.verify(&network.draft.sign(&other, &network.authorities)).unwrap_err();
    let (found, expected) = ("other".into(), "test".into());
    assert_eq!(refused, ConsensusError::ForeignNetwork { found, expected });
}

#[test]
fn a_consensus_of_a_namesake_with_other_authorities_is_refused() {
    let network = Network::new();
    let mut rng = Rng::from_seed([3; 32]);
    let others = [SigningKey::generate(&mut rng)];
    let document = network.draft.sign(&anchor("test", &others), &others);
    let refused = network.verify(&document).unwrap_err();
    assert_eq!(refused, ConsensusError::ForeignAuthorities("test".into()));
}

#[test]
fn an_expired_consensus_is_refused_from_the_first_second_on() {
    let network = Network::new();
    let at = |secs| {
        let wall = UnixMicros::from_secs(secs);
        Consensus::verify(&network.signed(), &network.anchor, wall, None)
    };
    assert!(at(1_119).is_ok());
    let expired = at(1_125).unwrap_err();
    assert_eq!(expired, ConsensusError::Expired { epoch: EPOCH, seconds: 5 });
    assert_eq!(expired.exit_code(), 75);
    assert!(matches!(at(1_120), Err(ConsensusError::Expired { seconds: 0, .. })));
}

#[test]
fn a_consensus_that_is_not_yet_valid_is_refused() {
    let network = Network::new();
    let wall = UnixMicros::from_secs(999);
    let early = Consensus::verify(&network.signed(), &network.anchor, wall, None).unwrap_err();
    assert_eq!(early, ConsensusError::NotYetValid { epoch: EPOCH, seconds: 1 });
}

#[test]
fn a_consensus_older_than_the_one_at_hand_is_refused() {
    let network = Network::new();
    let knowing = |newest| Consensus::verify(&network.signed(), &network.anchor, NOW, Some(newest));
    let older = knowing(EPOCH + 1).unwrap_err();
    assert_eq!(older, ConsensusError::Older { epoch: EPOCH, newest: EPOCH + 1 });
    assert!(knowing(EPOCH).is_ok(), "the same epoch is not older");
}

#[test]
fn a_consensus_without_any_valid_time_is_refused() {
    let mut network = Network::new();
    network.draft.valid_until = FROM;
    assert_eq!(network.refusal(), ConsensusError::Times);
    network = Network::new();
    network.draft.epoch_s = 0;
    assert_eq!(network.refusal(), ConsensusError::Times);
}

#[test]
fn an_unknown_version_is_refused_as_such_even_with_unknown_fields() {
    let network = Network::new();
    let body = network.draft.body(&network.anchor);
    assert_eq!(body[..3], [0xaa, 0, 1], "a map of ten, key 0, version 1");
    let newer = [&[0xab, 0, 2], &body[3..], &[10, 0]].concat();
    let refused = network.verify(&network.sign_body(&newer)).unwrap_err();
    assert_eq!(refused, ConsensusError::UnsupportedVersion(2));
}

#[test]
fn packets_of_another_geometry_are_refused() {
    let network = Network::new();
    let body = network.draft.body(&network.anchor);
    let (ours, mut theirs) = (Geometry::DEFAULT.hash(), Geometry::DEFAULT.hash());
    theirs[31] ^= 1;
    let body = replaced(&body, &ours, &theirs);
    let refused = network.verify(&network.sign_body(&body)).unwrap_err();
    assert_eq!(refused, ConsensusError::Geometry);
}

#[test]
fn parameters_that_no_network_can_have_are_refused() {
    let mut network = Network::new();
    network.draft.parameters.delay_mean = Nanos::ZERO;
    let expected = ParametersError::DelayMean(Nanos::ZERO);
    assert_eq!(network.refusal(), ConsensusError::Parameters(expected));
}

#[test]
fn a_node_that_stands_twice_is_refused() {
    let mut network = Network::new();
    let twice = network.draft.mixes[0].clone();
    let node = twice.descriptor.id();
    network.draft.mixes.push(twice);
    assert_eq!(network.refusal(), ConsensusError::DuplicateNode { node, shared: "identity" });
}

#[test]
fn nodes_that_share_a_name_an_address_or_a_link_key_are_refused() {
    let mut rng = Rng::from_seed([4; 32]);
    let shared_with = |extra: Descriptor| {
        let mut network = Network::new();
        network.draft.gateways.push(extra);
        match network.refusal() {
            ConsensusError::DuplicateNode { shared, .. } => shared,
            other => panic!("{other}"),
        }
    };
    assert_eq!(shared_with(fields("mix-1", Role::Gateway, 30).sign(&mut rng)), "name");
    assert_eq!(shared_with(fields("gateway-3", Role::Gateway, 1).sign(&mut rng)), "address");
    let mut keys = NodeKeys::generate(&mut rng);
    let first = fields("gateway-3", Role::Gateway, 30).sign_for(EPOCH, &keys, &mut rng);
    keys.identity = SigningKey::generate(&mut rng);
    let second = fields("gateway-4", Role::Gateway, 31).sign_for(EPOCH, &keys, &mut rng);
    let mut network = Network::new();
    network.draft.gateways.extend([first, second]);
    let refused = network.refusal();
    assert!(matches!(refused, ConsensusError::DuplicateNode { shared: "link key", .. }));
}

#[test]
fn a_node_without_keys_for_the_epoch_is_refused() {
    let mut network = Network::new();
    let mut rng = Rng::from_seed([5; 32]);
    let keys = NodeKeys::generate(&mut rng);
    let late = fields("gateway-3", Role::Gateway, 30).sign_for(EPOCH + 1, &keys, &mut rng);
    network.draft.gateways.push(late);
    let node = keys.identity.id();
    assert_eq!(network.refusal(), ConsensusError::MissingKeys { node, epoch: EPOCH });
}

#[test]
fn a_mix_among_the_gateways_is_refused() {
    let mut network = Network::new();
    let mix = network.draft.mixes[0].descriptor.clone();
    let node = mix.id();
    network.draft.gateways = vec![mix];
    assert_eq!(network.refusal(), ConsensusError::Role { node });
}

#[test]
fn mixes_in_no_layer_or_of_no_weight_are_refused() {
    for (layer, weight) in [(0, 1), (2, 1), (255, 1), (1, 0)] {
        let mut network = Network::new();
        let mix = &mut network.draft.mixes[1];
        (mix.layer, mix.weight) = (layer, weight);
        let node = mix.descriptor.id();
        assert_eq!(network.refusal(), ConsensusError::Place { node }, "{layer} {weight}");
    }
}

#[test]
fn nodes_in_another_order_than_the_one_allowed_are_refused() {
    let network = Network::new();
    let body = network.draft.body(&network.anchor);
    let mut gateways: Vec<_> = network.draft.gateways.iter().collect();
    gateways.sort_by_key(|descriptor| descriptor.id());
    let (first, second) = (gateways[0].signed_bytes(), gateways[1].signed_bytes());
    let marker = vec![0xff; first.len()];
    let turned = replaced(&replaced(&body, first, &marker), second, first);
    let turned = replaced(&turned, &marker, second);
    let refused = network.verify(&network.sign_body(&turned)).unwrap_err();
    assert_eq!(refused, ConsensusError::Place { node: gateways[0].id() });
}

#[test]
fn a_layer_without_a_mix_and_a_network_without_gateways_are_refused() {
    let mut network = Network::new();
    network.draft.parameters.layers = 2;
    assert_eq!(network.refusal(), ConsensusError::EmptyLayer(2));
    network = Network::new();
    network.draft.gateways.clear();
    assert_eq!(network.refusal(), ConsensusError::NoGateway);
}

#[test]
fn a_descriptor_that_its_node_did_not_sign_is_refused_inside_a_signed_consensus() {
    let network = Network::new();
    let body = network.draft.body(&network.anchor);
    let forged = replaced(&body, b"gateway-2", b"gateway-3");
    let refused = network.verify(&network.sign_body(&forged)).unwrap_err();
    let source = DescriptorError::Changed;
    assert!(matches!(refused, ConsensusError::Descriptor { role: Role::Gateway, source: s, .. }
        if s == source));
}

#[test]
fn every_flipped_bit_of_a_consensus_is_refused() {
    let mut network = Network::new();
    network.draft.mixes.truncate(1);
    network.draft.gateways.truncate(1);
    let mut bytes = network.signed_by(2);
    assert!(network.verify(&bytes).is_ok());
    for place in 0..bytes.len() {
        for bit in 0..8 {
            bytes[place] ^= 1 << bit;
            assert!(network.verify(&bytes).is_err(), "byte {place} bit {bit}");
            bytes[place] ^= 1 << bit;
        }
    }
}

#[test]
fn a_consensus_that_is_cut_off_or_followed_by_more_is_malformed() {
    let network = Network::new();
    let bytes = network.signed();
    for end in (0..bytes.len()).step_by(7) {
        let refused = network.verify(&bytes[..end]).unwrap_err();
        assert_eq!(refused, ConsensusError::Malformed(CodecError::Malformed), "{end}");
    }
    let refused = network.verify(&[&bytes[..], &[0]].concat()).unwrap_err();
    assert_eq!(refused, ConsensusError::Malformed(CodecError::NotDeterministic));
    let refused = network.verify(&vec![0; 16 * 1024 * 1024 + 1]).unwrap_err();
    assert_eq!(refused, ConsensusError::Malformed(CodecError::TooLong));
}

/// Authorities are trusted for what the network is, not for our memory safety.
#[test]
fn no_changed_body_makes_the_reader_panic_even_when_it_is_signed() {
    let mut network = Network::new();
    network.authorities.truncate(1);
    network.anchor = anchor("test", &network.authorities);
    let body = network.draft.body(&network.anchor);
    let mut rng = Rng::from_seed([6; 32]);
    for _ in 0..4_000 {
        let mut changed = body.clone();
        for _ in 0..=rng.below(3) {
            let place = rng.below(u32::try_from(body.len()).unwrap()) as usize;
            changed[place] = rng.bytes::<1>()[0];
        }
        let _ = network.verify(&network.sign_body(&changed));
    }
}

#[test]
fn a_descriptor_keeps_the_bytes_that_its_node_signed() {
    let mut rng = Rng::from_seed([7; 32]);
    let descriptor = fields("mix-1", Role::Mix, 1).sign(&mut rng);
    let again = Descriptor::verify(descriptor.signed_bytes(), "test").unwrap();
    assert_eq!(again, descriptor);
    let foreign = Descriptor::verify(descriptor.signed_bytes(), "other");
    assert_eq!(foreign, Err(DescriptorError::ForeignNetwork));
}

#[test]
fn every_flipped_bit_of_a_descriptor_is_refused() {
    let mut rng = Rng::from_seed([8; 32]);
    let mut bytes = fields("mix-1", Role::Mix, 1).sign(&mut rng).signed_bytes().to_vec();
    for place in 0..bytes.len() {
        for bit in 0..8 {
            bytes[place] ^= 1 << bit;
            assert!(Descriptor::verify(&bytes, "test").is_err(), "byte {place} bit {bit}");
            bytes[place] ^= 1 << bit;
        }
    }
}

#[test]
fn a_descriptor_that_says_what_no_node_can_be_is_refused() {
    let mut rng = Rng::from_seed([9; 32]);
    let keys = NodeKeys::generate(&mut rng);
    let epochs: Vec<_> =
        (0..5).map(|epoch| EpochPublic::of(&EpochKeys::generate(epoch, &mut rng))).collect();
    let refusal = |change: &dyn Fn(&mut DescriptorFields)| {
        let Fields(mut fields) = fields("mix-1", Role::Mix, 1);
        fields.epochs = epochs[..1].to_vec();
        change(&mut fields);
        Descriptor::sign(&fields, &keys).unwrap_err()
    };
    let addresses =
        |text: &'static str| refusal(&move |fields| fields.addresses = vec![text.parse().unwrap()]);
    assert_eq!(refusal(&|fields| fields.name = "Mix 1".into()), DescriptorError::Name);
    assert_eq!(refusal(&|fields| fields.epochs.clear()), DescriptorError::Epochs);
    assert_eq!(refusal(&|fields| fields.epochs = epochs.clone()), DescriptorError::Epochs);
    let turned = [epochs[1].clone(), epochs[0].clone()];
    assert_eq!(refusal(&|fields| fields.epochs = turned.to_vec()), DescriptorError::Epochs);
    assert_eq!(refusal(&|fields| fields.addresses.clear()), DescriptorError::Addresses);
    for bad in ["127.0.0.1:0", "0.0.0.0:1", "224.0.0.1:1", "[::]:1", "[::ffff:127.0.0.1]:1"] {
        assert_eq!(addresses(bad), DescriptorError::Addresses, "{bad}");
    }
}
