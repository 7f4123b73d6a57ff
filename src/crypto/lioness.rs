//! LIONESS (Anderson, Biham 1996): a wide-block cipher. One flipped bit garbles the whole block,
//! which is what makes tagging a Sphinx payload useless.
//!
//! A block is L, its first 32 bytes, and R, the rest. The stream is ChaCha20 under L xor k1 or k3,
//! the hash BLAKE2b under k2 or k4. It has no backend of its own: it hands groups of blocks to
//! those two.

use super::tier::Tier;
use super::{blake2b, chacha20, field, for_groups, xor_into};
use zeroize::zeroize_bytes;

/// The four keys in order: k1 32 bytes, k2 64, k3 32, k4 64.
pub type Key = [u8; KEY_BYTES];

/// Bytes of a key.
pub const KEY_BYTES: usize = 192;
/// Bytes of the shortest block: L, and an R that is not empty.
pub const BLOCK_BYTES_MIN: usize = LEFT_BYTES + 1;

const LEFT_BYTES: usize = 32;
/// Blocks that go through the rounds together.
const GROUP: usize = 16;

/// Offsets of the round keys.
const K1: usize = 0;
const K2: usize = 32;
const K3: usize = 96;
const K4: usize = 128;

/// For each job (key, block): encrypts the block in place.
///
/// # Panics
/// When a block is shorter than [`BLOCK_BYTES_MIN`].
pub fn encrypt<'a>(tier: Tier, jobs: impl Iterator<Item = (&'a Key, &'a mut [u8])>) {
    for_groups_of_blocks(tier, jobs, |group| {
        group.stream(K1);
        group.hash(K2);
        group.stream(K3);
        group.hash(K4);
    });
}

/// For each job (key, block): decrypts the block in place.
///
/// # Panics
/// When a block is shorter than [`BLOCK_BYTES_MIN`].
pub fn decrypt<'a>(tier: Tier, jobs: impl Iterator<Item = (&'a Key, &'a mut [u8])>) {
    for_groups_of_blocks(tier, jobs, |group| {
        group.hash(K4);
        group.stream(K3);
        group.hash(K2);
        group.stream(K1);
    });
}

/// One block with its key.
struct Block<'a> {
    key: &'a Key,
    left: &'a mut [u8],
    right: &'a mut [u8],
}

struct Group<'g, 'a> {
    tier: Tier,
    blocks: &'g mut [Block<'a>],
    /// What the rounds XOR into the halves: digests, and keys of streams.
    masks: [[u8; LEFT_BYTES]; GROUP],
}

fn for_groups_of_blocks<'a>(
    tier: Tier,
    jobs: impl Iterator<Item = (&'a Key, &'a mut [u8])>,
    rounds: impl Fn(&mut Group<'_, 'a>),
) {
    let blocks = jobs.map(|(key, block)| {
        assert!(block.len() >= BLOCK_BYTES_MIN, "a block has a left and a right part");
        let (left, right) = block.split_at_mut(LEFT_BYTES);
        Block { key, left, right }
    });
    for_groups::<_, GROUP>(blocks, |blocks| {
        let mut group = Group { tier, blocks, masks: [[0; LEFT_BYTES]; GROUP] };
        rounds(&mut group);
        zeroize_bytes(group.masks.as_flattened_mut());
    });
}

impl Group<'_, '_> {
    /// L ^= hash(key, R).
    fn hash(&mut self, key_offset: usize) {
        let blocks = self.blocks.iter().zip(&mut self.masks);
        blake2b::keyed(
            self.tier,
            blocks.map(|(block, digest)| (field(block.key, key_offset), &*block.right, digest)),
        );
        for (block, digest) in self.blocks.iter_mut().zip(&self.masks) {
            xor_into(block.left, digest);
        }
    }

    /// R ^= stream(L ^ key).
    fn stream(&mut self, key_offset: usize) {
        for (block, key) in self.blocks.iter().zip(&mut self.masks) {
            *key = *field(block.key, key_offset);
            xor_into(key, block.left);
        }
        let blocks = self.blocks.iter_mut().zip(&self.masks);
        chacha20::xor(self.tier, blocks.map(|(block, key)| (key, &mut *block.right)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::Rng;

    fn random_blocks(count: usize, bytes: usize) -> Vec<(Key, Vec<u8>)> {
        let mut rng = Rng::from_seed([4; 32]);
        let mut block = vec![0; bytes];
        (0..count)
            .map(|_| {
                rng.fill(&mut block);
                (rng.bytes(), block.clone())
            })
            .collect()
    }

    fn jobs(blocks: &mut [(Key, Vec<u8>)]) -> impl Iterator<Item = (&Key, &mut [u8])> {
        blocks.iter_mut().map(|(key, block)| (&*key, &mut block[..]))
    }

    #[test]
    fn batches_of_every_size_give_what_blocks_alone_give() {
        for tier in Tier::all() {
            for count in 0..=2 * GROUP + 1 {
                let mut alone = random_blocks(count, 100);
                let mut together = alone.clone();
                alone.chunks_mut(1).for_each(|block| encrypt(Tier::SERIAL, jobs(block)));
                encrypt(tier, jobs(&mut together));
                assert_eq!(alone, together);
                decrypt(tier, jobs(&mut together));
                assert_eq!(together, random_blocks(count, 100));
            }
        }
    }

    #[test]
    fn decryption_undoes_encryption_at_every_length() {
        for tier in Tier::all() {
            for bytes in [33, 63, 64, 65, 95, 96, 97, 160, 161, 1024, 2048] {
                let mut blocks = random_blocks(3, bytes);
                encrypt(tier, jobs(&mut blocks));
                assert_ne!(blocks, random_blocks(3, bytes));
                decrypt(Tier::SERIAL, jobs(&mut blocks));
                assert_eq!(blocks, random_blocks(3, bytes));
            }
        }
    }

    #[test]
    fn any_flipped_bit_garbles_the_whole_block() {
        let plain = random_blocks(1, 64);
        for bit in 0..512 {
            let mut blocks = plain.clone();
            encrypt(Tier::SERIAL, jobs(&mut blocks));
            blocks[0].1[bit / 8] ^= 1 << (bit % 8);
            decrypt(Tier::SERIAL, jobs(&mut blocks));
            let halves = blocks[0].1.chunks(16).zip(plain[0].1.chunks(16));
            assert!(halves.into_iter().all(|(garbled, text)| garbled != text));
        }
    }
}
