//! What HMAC and HKDF hash that depends on no secret, prepared once.
//!
//! HMAC hashes twice, each time behind one block that is the key under a pad. HKDF uses the public
//! salt as a key, then hashes the public info again and again. So the states behind the salt's
//! blocks are the same for every secret, and most blocks that follow.

use sha2::block_api::compress256;
use std::slice::from_ref;
use zeroize::{Zeroize, ZeroizeOnDrop, zeroize_bytes};

/// The eight words of a hash between two blocks.
pub(super) type State = [u32; 8];
/// What one compression takes.
pub(super) type Block = [u8; BLOCK_BYTES];
/// FIPS 180-4, 6.2.2: word W(t) of a block's schedule plus the round's constant K(t), for every t.
pub(super) type Schedule = [u32; 64];

/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = 64;
/// Bytes of a digest, and of one output of HKDF's expansion.
pub(super) const DIGEST_BYTES: usize = 32;
/// FIPS 180-4, 5.1.1: what follows a message is this byte, zeros, and the message's bits in as
/// many bytes.
pub(super) const END: u8 = 0x80;
pub(super) const LENGTH_BYTES: usize = size_of::<u64>();
/// RFC 2104, section 2: what the key's block is XORed with in the inner and the outer hash.
pub(super) const INNER_PAD: u8 = 0x36;
pub(super) const OUTER_PAD: u8 = 0x5c;

/// How a message of so many bytes behind a key's block tells its length.
pub(super) const fn length_behind_key(message_bytes: usize) -> [u8; LENGTH_BYTES] {
    let bits = 8 * (BLOCK_BYTES + message_bytes) as u64;
    bits.to_be_bytes()
}

/// The states of HMAC's two hashes behind the key's block.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct Keyed {
    pub(super) inner: State,
    pub(super) outer: State,
}

impl Keyed {
    /// For a `key` of at most one block.
    pub(super) fn new(key: &[u8]) -> Self {
        let mut block = [0; BLOCK_BYTES];
        block[..key.len()].copy_from_slice(key);
        let mut state_behind = |pad: u8| {
            let mut state = INITIAL;
            block.iter_mut().for_each(|byte| *byte ^= pad);
            compress256(&mut state, from_ref(&block));
            state
        };
        let inner = state_behind(INNER_PAD);
        let outer = state_behind(INNER_PAD ^ OUTER_PAD);
        zeroize_bytes(&mut block);
        Keyed { inner, outer }
    }
}

/// The constants of HKDF with one salt, one info and one length of output.
pub(super) struct Constants {
    pub(super) salted: Keyed,
    /// In the order of their outputs.
    pub(super) expansions: Box<[Expansion]>,
}

impl Constants {
    /// For a `salt` of at most one block and an output of `bytes` bytes.
    pub(super) fn new(salt: &[u8], info: &[u8], bytes: usize) -> Self {
        let expansions = (1..=255).take(bytes.div_ceil(DIGEST_BYTES));
        let expansions = expansions.map(|counter| Expansion::new(info, counter)).collect();
        Constants { salted: Keyed::new(salt), expansions }
    }
}

/// What yields one output, T(i) = HMAC(key, T(i-1) | info | i), where T(0) is empty.
pub(super) struct Expansion {
    /// All blocks behind the key's, with zeros where T(i-1) goes, in front.
    pub(super) blocks: Box<[Block]>,
    /// The words of the first block, when T(i-1) goes there.
    pub(super) open: Option<[u32; 16]>,
    /// The schedules of all other blocks, in their order.
    pub(super) schedules: Box<[Schedule]>,
}

impl Expansion {
    fn new(info: &[u8], counter: u8) -> Self {
        let last: &[u8] = if counter == 1 { &[] } else { &[0; DIGEST_BYTES] };
        let blocks = padded([last, info, &[counter]].concat());
        let (open, constant) = blocks.split_at(usize::from(counter > 1));
        let open = open.first().map(words_of);
        let schedules = constant.iter().map(schedule).collect();
        Expansion { blocks, open, schedules }
    }
}

/// FIPS 180-4, 5.1.1: the blocks of `message`, which stands behind a key's block.
fn padded(mut message: Vec<u8>) -> Box<[Block]> {
    let length = length_behind_key(message.len());
    message.push(END);
    message.resize((message.len() + LENGTH_BYTES).next_multiple_of(BLOCK_BYTES), 0);
    let length_offset = message.len() - LENGTH_BYTES;
    message[length_offset..].copy_from_slice(&length);
    message.as_chunks().0.into()
}

/// FIPS 180-4, 5.2.1: the words of a block.
fn words_of(block: &Block) -> [u32; 16] {
    let mut words = [0; 16];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    words
}

/// FIPS 180-4, 6.2.2, steps 1 and 3.
fn schedule(block: &Block) -> Schedule {
    let mut words = [0u32; 64];
    words[..16].copy_from_slice(&words_of(block));
    for t in 16..64 {
        let (near, far) = (words[t - 2], words[t - 15]);
        let sigma_0 = far.rotate_right(7) ^ far.rotate_right(18) ^ (far >> 3);
        let sigma_1 = near.rotate_right(17) ^ near.rotate_right(19) ^ (near >> 10);
        let sum = sigma_1.wrapping_add(words[t - 7]).wrapping_add(sigma_0);
        words[t] = sum.wrapping_add(words[t - 16]);
    }
    for (word, constant) in words.iter_mut().zip(ROUND_CONSTANTS) {
        *word = word.wrapping_add(constant);
    }
    words
}

/// FIPS 180-4, 5.3.3: from the square roots of the first eight primes.
pub(super) const INITIAL: State = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// FIPS 180-4, 4.2.2: from the cube roots of the first 64 primes.
#[rustfmt::skip]
pub(super) const ROUND_CONSTANTS: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5,
    0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3,
    0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc,
    0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7,
    0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13,
    0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3,
    0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5,
    0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208,
    0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];
