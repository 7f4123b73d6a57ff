//! The packet format against `sphinx-packet` 0.8: byte for byte, both ways, and what it refuses.

use curve25519_dalek::MontgomeryPoint;
use mixline::crypto::random::Rng;
use mixline::crypto::tier::{self, Tier};
use mixline::crypto::x25519::Secret;
use mixline::sphinx::{
    BuildError, Geometry, Itinerary, Order, Packet, Recovery, Refusal, RouteHop, Surb, Unwrapper,
    Version, build, build_each, payload,
};
use peer::{HEADER_BYTES, IDENTIFIER, Path, message, unwrap, unwrap_with};
use sphinx_packet::{SURB, SphinxPacket};
use std::process::Command;
use x25519_dalek::StaticSecret;

#[cfg(test)]
#[path = "sphinx_interop/naive.rs"]
mod naive;
#[cfg(test)]
#[path = "sphinx_interop/peer.rs"]
mod peer;

const VERSIONS: [Version; 3] = [Version::FullKey, Version::Seeds, Version::SingleSeed];
/// u = 2: there is no v with v^2 = u^3 + 486662 u^2 + u.
const TWIST_POINT: [u8; 32] = {
    let mut point = [0; 32];
    point[0] = 2;
    point
};
const PAYLOADS_BYTES: [usize; 11] = [33, 48, 64, 65, 97, 555, 1024, 1500, 2065, 4001, 8209];

/// Every path length, payload size and version.
fn for_every_shape(mut test: impl FnMut(&mut Rng, Path, Version, usize)) {
    let mut rng = Rng::from_seed([11; 32]);
    for hops in 1..=5 {
        for payload_bytes in PAYLOADS_BYTES {
            for version in VERSIONS {
                let path = Path::new(&mut rng, hops);
                test(&mut rng, path, version, payload_bytes);
            }
        }
    }
}

#[test]
fn what_is_built_here_is_processed_there() {
    for_every_shape(|rng, path, version, payload_bytes| {
        let delivered = path.walk(path.build(rng, version, payload_bytes));
        assert_eq!(payload::open(&delivered), Some(&message(payload_bytes)[..]));
    });
}

#[test]
fn what_is_built_there_is_processed_here() {
    for_every_shape(|rng, path, version, payload_bytes| {
        let secret = StaticSecret::from(rng.bytes::<32>());
        let packet = path.build_there(&secret, version as u16, payload_bytes);
        let delivered = path.walk(packet);
        assert_eq!(payload::open(&delivered), Some(&message(payload_bytes)[..]));
    });
}

#[test]
fn the_fast_sender_gives_the_bytes_of_the_naive_one() {
    for_every_shape(|rng, path, version, payload_bytes| {
        let seed = rng.bytes();
        let packet = path.build(&mut Rng::from_seed(seed), version, payload_bytes);
        let mut drawn = Rng::from_seed(seed);
        let secret = drawn.bytes();
        let mut padding = vec![0; naive::padding_bytes(path.route.len())];
        drawn.fill(&mut padding);
        let message = message(payload_bytes);
        let order = naive::Order::new(&message, &path.route, version as u16, &padding);
        let order = naive::Order { secret, ..order };
        assert_eq!(packet, naive::packet(&order, payload_bytes));
    });
}

#[test]
fn packets_built_together_are_processed_there_and_a_bad_order_disturbs_no_other() {
    let mut rng = Rng::from_seed([26; 32]);
    for count in [1, 2, 7, 8, 9, 16, 17, 33] {
        let paths: Vec<_> = (0..count).map(|index| Path::new(&mut rng, 1 + index % 5)).collect();
        let mut packets = vec![vec![0; HEADER_BYTES + 100]; count];
        let bad = rng.below(u32::try_from(count).unwrap()) as usize;
        packets[bad].truncate(HEADER_BYTES);
        let orders = paths.iter().zip(&mut packets).zip(VERSIONS.into_iter().cycle());
        let mut orders: Vec<_> = orders
            .map(|((path, packet), version)| Order {
                message: &[7; 60],
                itinerary: path.itinerary(version),
                packet,
            })
            .collect();
        let outcomes = build_each(Tier::chosen(), &mut orders, &mut rng);
        for (index, (path, packet)) in paths.iter().zip(packets).enumerate() {
            if index == bad {
                let refusal = BuildError::Packet { packet_bytes: HEADER_BYTES };
                assert_eq!(outcomes[index], Err(refusal));
                assert!(packet.iter().all(|&byte| byte == 0));
            } else {
                assert_eq!(outcomes[index], Ok(()));
                assert_eq!(payload::open(&path.walk(packet)), Some(&[7; 60][..]));
            }
        }
    }
}

#[test]
fn the_other_tiers_of_this_machine_pass_these_tests_too() {
    let others = Tier::all().filter(|tier| *tier != Tier::chosen());
    for tier in others.take_while(|_| std::env::var_os(tier::VARIABLE).is_none()) {
        let program = std::env::current_exe().unwrap();
        let name = tier.name().as_str();
        let run = Command::new(program).env(tier::VARIABLE, name).output().unwrap();
        assert!(run.status.success(), "{name}: {}", String::from_utf8_lossy(&run.stdout));
    }
}

#[test]
fn unknown_versions_grow_payload_keys_from_seeds() {
    let mut rng = Rng::from_seed([12; 32]);
    for version in [0, 2, 256, 261, 1000, u16::MAX] {
        let path = Path::new(&mut rng, 3);
        let secret = StaticSecret::from(rng.bytes::<32>());
        let delivered = path.walk(path.build_there(&secret, version, 200));
        assert_eq!(payload::open(&delivered), Some(&message(200)[..]));
    }
}

#[test]
fn reply_blocks_made_here_are_used_there() {
    let mut rng = Rng::from_seed([13; 32]);
    for hops in 1..=5 {
        let path = Path::new(&mut rng, hops);
        let (surb, recovery) =
            Surb::create(&path.itinerary(Version::SingleSeed), &mut rng).unwrap();
        assert_eq!(recovery.identifier(), &IDENTIFIER);
        let encoded = surb.encode();
        assert_eq!(encoded.len(), 396);
        let theirs = SURB::from_bytes(&encoded).unwrap();
        let (packet, first_hop) = theirs.use_surb(&message(500), 500).unwrap();
        assert_eq!(first_hop.to_bytes(), path.route[0].address);
        let mut sealed = path.walk(packet.to_bytes());
        // A lone hop takes off the very layer that the replier put on.
        assert_eq!(payload::open(&sealed).is_some(), hops == 1);
        assert_eq!(recovery.open(&mut sealed), Some(&message(500)[..]));
    }
}

#[test]
fn reply_blocks_made_there_are_used_here() {
    let mut rng = Rng::from_seed([14; 32]);
    for hops in 1..=5 {
        let path = Path::new(&mut rng, hops);
        let (surb, recovery) =
            path.surb_there(Version::SingleSeed).construct_recoverable_SURB().unwrap();
        let sealed = path.walk(reply_both_sides(&surb.to_bytes(), &path));
        let sealed = sphinx_packet::payload::Payload::from_bytes(&sealed).unwrap();
        assert_eq!(recovery.recover_plaintext(sealed).unwrap(), message(333));

        let surb = path.surb_there(Version::Seeds).construct_SURB().unwrap();
        assert_eq!(surb.to_bytes().len(), 348 + 32 + 16 * hops);
        let delivered = path.walk(reply_both_sides(&surb.to_bytes(), &path));
        assert_eq!(payload::open(&delivered), Some(&message(333)[..]));
    }
}

/// The reply by an encoded block, which comes out the same here and there.
fn reply_both_sides(encoded: &[u8], path: &Path) -> Vec<u8> {
    let surb = Surb::decode(encoded).expect("a whole block");
    assert_eq!(surb.encode(), encoded);
    let mut packet = vec![0; HEADER_BYTES + 333];
    let first_hop = surb.reply(&message(333), &mut packet).expect("the message fits");
    assert_eq!(first_hop, path.route[0].address);
    let theirs = SURB::from_bytes(encoded).and_then(|surb| surb.use_surb(&message(333), 333));
    assert_eq!(packet, theirs.expect("the message fits").0.to_bytes());
    packet
}

#[test]
fn reply_blocks_of_a_wrong_length_are_none() {
    let mut rng = Rng::from_seed([15; 32]);
    let path = Path::new(&mut rng, 5);
    let encoded = path.surb_there(Version::Seeds).construct_SURB().unwrap().to_bytes();
    let longer = [&encoded[..], &[0; 32]].concat();
    for bytes in 0..longer.len() {
        let whole = [396, 412, 428, 444, 460].contains(&bytes);
        assert_eq!(Surb::decode(&longer[..bytes]).is_some(), whole, "{bytes} bytes");
    }
}

#[test]
fn what_the_format_cannot_carry_is_not_built() {
    let mut rng = Rng::from_seed([16; 32]);
    let path = Path::new(&mut rng, 6);
    let five = Itinerary { route: &path.route[..5], ..path.itinerary(Version::SingleSeed) };
    let six = path.itinerary(Version::SingleSeed);
    let none = Itinerary { route: &[], ..six };
    let unnamed = Itinerary { identifier: [0; 16], ..five };
    let mut deaf = path.route[..5].to_vec();
    deaf[3].public_key = [0; 32];
    let deaf = Itinerary { route: &deaf, ..five };
    let mut out = [0; HEADER_BYTES + 64];
    let mut built = |message: &[u8], itinerary, bytes: usize| {
        build(message, itinerary, &mut rng, &mut out[..bytes])
    };
    let overlong = BuildError::Message { message_bytes: 48, message_bytes_max: 47 };
    assert_eq!(built(&[1; 47], &five, 412), Ok(()));
    assert_eq!(built(&[1; 48], &five, 412), Err(overlong));
    assert_eq!(built(&[], &five, 380), Err(BuildError::Packet { packet_bytes: 380 }));
    assert_eq!(built(&[], &six, 412), Err(BuildError::Route { hops: 6 }));
    assert_eq!(built(&[], &none, 412), Err(BuildError::Route { hops: 0 }));
    assert_eq!(built(&[], &deaf, 412), Err(BuildError::PublicKey { hop: 3 }));
    assert_eq!(Surb::create(&unnamed, &mut rng).err(), Some(BuildError::Identifier));
}

#[test]
fn every_flipped_header_bit_is_refused_but_the_one_that_x25519_masks() {
    let mut rng = Rng::from_seed([17; 32]);
    let path = Path::new(&mut rng, 3);
    let sent = path.build(&mut rng, Version::SingleSeed, 64);
    let (mut tag, mut next) = ([0; 32], sent.clone());
    let hop = unwrap_with(&mut next, &path.secrets[0], |seen| tag = *seen);
    for bit in 0..8 * HEADER_BYTES {
        let mut packet = sent.clone();
        packet[bit / 8] ^= 1 << (bit % 8);
        let flipped = packet.clone();
        let mut tags = Vec::new();
        let outcome = unwrap_with(&mut packet, &path.secrets[0], |tag| tags.push(*tag));
        if bit == 255 {
            assert_eq!((outcome, tags, &packet), (hop, vec![tag], &next));
        } else {
            let alpha = MontgomeryPoint(flipped[..32].try_into().unwrap());
            let refusal = match alpha.to_edwards(0) {
                Some(_) => Refusal::Authentication,
                None => Refusal::OffCurve,
            };
            assert_eq!((outcome, tags), (Err(refusal), vec![]), "bit {bit}");
            assert_eq!(packet, flipped);
        }
    }
}

#[test]
fn a_payload_flipped_anywhere_on_its_way_is_never_delivered() {
    let mut rng = Rng::from_seed([18; 32]);
    let path = Path::new(&mut rng, 3);
    let sent = path.build(&mut rng, Version::SingleSeed, 64);
    let (surb, recovery) = Surb::create(&path.itinerary(Version::SingleSeed), &mut rng).unwrap();
    let mut reply = sent.clone();
    surb.reply(b"reply", &mut reply).unwrap();
    assert!(delivered(&path, sent.clone(), 0, None).is_some());
    assert_eq!(delivered(&path, reply.clone(), 0, Some(&recovery)), Some(b"reply".to_vec()));
    for bit in 0..8 * 64 {
        let flip = 8 * HEADER_BYTES + bit;
        assert_eq!(delivered(&path, sent.clone(), flip, None), None);
        assert_eq!(delivered(&path, reply.clone(), flip, Some(&recovery)), None);
    }
}

/// What the recipient reads after `bit` was flipped before one of the hops; bit 0 is left alone.
fn delivered(
    path: &Path,
    mut packet: Vec<u8>,
    bit: usize,
    recovery: Option<&Recovery>,
) -> Option<Vec<u8>> {
    for (hop, secret) in path.secrets.iter().enumerate() {
        if bit > 0 && hop == bit % path.secrets.len() {
            packet[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(unwrap(&mut packet, secret).is_ok());
    }
    let delta = &mut packet[HEADER_BYTES..];
    let message = match recovery {
        Some(recovery) => recovery.open(delta),
        None => payload::open(delta),
    };
    message.map(<[u8]>::to_vec)
}

/// The little-endian bytes of 2^255 - `below`.
fn power_minus(below: u8) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    (bytes[0], bytes[31]) = (0u8.wrapping_sub(below), 0x7f);
    bytes
}

#[test]
fn an_authentic_header_under_a_low_order_alpha_is_refused() {
    let keys = naive::keys(&[0; 32]);
    let gamma = naive::gamma(&keys, &[7; 300]);
    let secret = Secret::random(&mut Rng::from_seed([19; 32]));
    let torsion = curve25519_dalek::constants::EIGHT_TORSION;
    let canonical = torsion.iter().map(|point| point.to_montgomery().to_bytes());
    // p = 2^255 - 19 is 0 once reduced, p + 1 is 1.
    let points = canonical.chain([power_minus(19), power_minus(18)]);
    let either = |point| [0, 0x80].map(|top_bit| (point, top_bit));
    for (mut alpha, top_bit) in points.flat_map(either) {
        alpha[31] |= top_bit;
        let mut packet = [&alpha[..], &gamma, &[7; 300], &[0; 64]].concat();
        let header = SphinxPacket::from_bytes(&packet).unwrap().header;
        let theirs = StaticSecret::from(*secret.as_bytes());
        let expanded = header.compute_expanded_shared_secret(&theirs);
        assert!(header.ensure_header_integrity(&expanded).is_ok());
        assert_eq!(unwrap(&mut packet, &secret), Err(Refusal::Authentication));
    }
}

#[test]
fn an_alpha_that_is_not_reduced_means_the_reduced_one() {
    // 5l - 1, l the order of the base point, is a clamped scalar: it takes the base point to its
    // negative, whose u is 9, one of the few u that have a second encoding below 2^255.
    let mut scalar = [0; 32];
    let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let order = data_encoding::HEXLOWER.decode(order.as_bytes()).unwrap();
    let mut carry = 0;
    for (byte, &order) in scalar.iter_mut().zip(&order) {
        carry += 5 * u32::from(order);
        (*byte, carry) = ((carry & 0xff) as u8, carry >> 8);
    }
    scalar[0] -= 1;

    let path = Path::new(&mut Rng::from_seed([20; 32]), 3);
    let mut reduced = path.build_there(&StaticSecret::from(scalar), 260, 64);
    assert_eq!(reduced[0], 9);
    assert_eq!(reduced[1..32], [0; 31]);
    let mut other = reduced.clone();
    other[..32].copy_from_slice(&power_minus(10));
    let mut tags = Vec::new();
    let hop = unwrap_with(&mut reduced, &path.secrets[0], |tag| tags.push(*tag));
    let same = unwrap_with(&mut other, &path.secrets[0], |tag| tags.push(*tag));
    assert!(hop.is_ok());
    assert_eq!((hop, reduced, tags[0]), (same, other, tags[1]));
}

#[test]
fn packets_of_any_other_length_are_refused() {
    let mut rng = Rng::from_seed([21; 32]);
    let path = Path::new(&mut rng, 2);
    let mut packet = path.build(&mut rng, Version::SingleSeed, 64);
    packet.extend([0; 40]);
    let mut unwrapper = Unwrapper::new(Tier::chosen(), Geometry::new(64).unwrap(), 1);
    for bytes in 0..packet.len() {
        let mut packet = packet[..bytes].to_vec();
        let mut packets = [Packet { bytes: &mut packet, secret: &path.secrets[0] }];
        let outcome = unwrapper.check(&mut packets).finish()[0];
        assert_eq!(outcome.err(), (bytes != 412).then_some(Refusal::Length), "{bytes} bytes");
    }
}

/// A packet of one hop whose authentic routing information begins with `flag` and `version`.
fn forged(secret: &Secret, flag: u8, version: u16) -> Vec<u8> {
    let route = [RouteHop { address: [0; 32], public_key: secret.public(), delay_ns: 0 }];
    let mut last = naive::routing(flag, version);
    last.extend([0; 296]);
    let order = naive::Order { message: b"", route: &route, last, version, secret: [9; 32] };
    naive::packet(&order, 64)
}

#[test]
fn authentic_headers_with_unknown_flags_or_old_versions_are_refused() {
    let secret = Secret::random(&mut Rng::from_seed([22; 32]));
    for flag in 0..=255 {
        let mut packet = forged(&secret, flag, 260);
        let before = packet.clone();
        let refusal = unwrap(&mut packet, &secret).err();
        assert_eq!(refusal, (![1, 2].contains(&flag)).then_some(Refusal::Flag));
        assert_eq!(refusal.is_some(), packet == before);
    }
    for version in [1, 257] {
        let mut packet = forged(&secret, 2, version);
        assert_eq!(unwrap(&mut packet, &secret), Err(Refusal::Version));
    }
}

/// Spoils the packet at `position` in one of seven ways and says what refuses it.
fn spoil(packets: &mut [Vec<u8>], position: usize, way: usize, secret: &Secret) -> Refusal {
    let packet = &mut packets[position];
    let refusals = [
        Refusal::Authentication,
        Refusal::Authentication,
        Refusal::OffCurve,
        Refusal::Length,
        Refusal::Flag,
        Refusal::Version,
        Refusal::Replay,
    ];
    match way % refusals.len() {
        0 => packet[40] ^= 1,
        1 => packet[..32].fill(0),
        2 => packet[..32].copy_from_slice(&TWIST_POINT),
        3 => packet.truncate(200),
        4 => *packet = forged(secret, 3, 260),
        5 => *packet = forged(secret, 1, 257),
        _ => (), // the screen refuses it
    }
    refusals[way % refusals.len()]
}

#[test]
fn a_bad_packet_anywhere_in_a_batch_leaves_the_others_untouched() {
    const BATCH_MAX: usize = 32;
    let mut rng = Rng::from_seed([23; 32]);
    let mut paths: Vec<_> = (0..BATCH_MAX).map(|lane| Path::new(&mut rng, 1 + lane % 3)).collect();
    let secret = Secret::random(&mut rng);
    for path in &mut paths {
        path.secrets[0] = secret.clone();
        path.route[0].public_key = secret.public();
    }
    let sent: Vec<_> = paths
        .iter()
        .zip(VERSIONS.into_iter().cycle())
        .map(|(path, version)| path.build(&mut rng, version, 64))
        .collect();
    let mut next = sent.clone();
    let hops: Vec<_> = next.iter_mut().map(|packet| unwrap(packet, &secret)).collect();

    let mut unwrapper = Unwrapper::new(Tier::chosen(), Geometry::new(64).unwrap(), BATCH_MAX);
    for count in 1..=BATCH_MAX {
        for position in 0..count {
            let mut batch = sent[..count].to_vec();
            let refusal = spoil(&mut batch, position, count + position, &secret);
            let spoilt = batch[position].clone();
            let mut expected: Vec<_> = hops[..count].to_vec();
            expected[position] = Err(refusal);

            let bytes = batch.iter_mut();
            let mut packets: Vec<_> =
                bytes.map(|bytes| Packet { bytes, secret: &secret }).collect();
            let mut checked = unwrapper.check(&mut packets);
            checked.screen(|index, _| match refusal {
                Refusal::Replay if index == position => Err(Refusal::Replay),
                _ => Ok(()),
            });
            assert_eq!(checked.finish(), expected);
            let untouched = &mut next[..count].to_vec();
            untouched[position] = spoilt;
            assert_eq!(&batch, untouched, "{count} packets, the bad one at {position}");
        }
    }
}

#[test]
fn only_authentic_packets_are_screened_in_order_and_a_replay_is_left_as_it_came() {
    let mut rng = Rng::from_seed([24; 32]);
    let path = Path::new(&mut rng, 2);
    let secret = &path.secrets[0];
    let mut sent: Vec<_> = (0..6).map(|_| path.build(&mut rng, Version::Seeds, 64)).collect();
    sent[2] = sent[0].clone();
    sent[4][300] ^= 1;
    let mut batch = sent.clone();
    let mut packets: Vec<_> = batch.iter_mut().map(|bytes| Packet { bytes, secret }).collect();
    let mut unwrapper = Unwrapper::new(Tier::chosen(), Geometry::new(64).unwrap(), 8);
    let (mut seen, mut asked) = (Vec::new(), Vec::new());
    let mut checked = unwrapper.check(&mut packets);
    checked.screen(|index, tag| {
        asked.push(index);
        let replayed = seen.contains(tag);
        seen.push(*tag);
        if replayed { Err(Refusal::Replay) } else { Ok(()) }
    });
    let refusals: Vec<_> = checked.finish().iter().map(|outcome| outcome.err()).collect();
    assert_eq!(asked, [0, 1, 2, 3, 5]);
    let (replay, forgery) = (Some(Refusal::Replay), Some(Refusal::Authentication));
    assert_eq!(refusals, [None, None, replay, None, forgery, None]);
    assert_eq!((&batch[2], &batch[4]), (&sent[2], &sent[4]));
}

#[test]
fn a_batch_may_mix_the_keys_of_two_epochs() {
    let mut rng = Rng::from_seed([25; 32]);
    let paths = [Path::new(&mut rng, 1), Path::new(&mut rng, 1)];
    let mut batch: Vec<_> =
        paths.iter().map(|path| path.build(&mut rng, Version::SingleSeed, 64)).collect();
    batch.push(batch[0].clone());
    let secrets = [&paths[0].secrets[0], &paths[1].secrets[0], &paths[1].secrets[0]];
    let pairs = batch.iter_mut().zip(secrets);
    let mut packets: Vec<_> = pairs.map(|(bytes, secret)| Packet { bytes, secret }).collect();
    let mut unwrapper = Unwrapper::new(Tier::chosen(), Geometry::new(64).unwrap(), 3);
    let outcomes = unwrapper.check(&mut packets).finish();
    assert!(outcomes[0].is_ok() && outcomes[1].is_ok());
    assert_eq!(outcomes[2], Err(Refusal::Authentication));
}

#[test]
fn every_refusal_has_its_place_and_name_in_a_table_of_counters() {
    for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
        assert_eq!(refusal.index(), index);
        let same_name = Refusal::ALL.iter().filter(|other| other.name() == refusal.name());
        assert_eq!(same_name.count(), 1);
    }
}
