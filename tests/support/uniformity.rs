//! Whether datagrams look like noise: each byte, each byte against its neighbours in space and
//! time, and the trace that an ML-KEM ciphertext would leave.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;

use crate::statistics::{normal_cdf, uniform_p};

/// The length of every datagram.
pub(crate) const DATAGRAM_BYTES: usize = 1408;
/// ML-KEM-768's u: 3 polynomials of 256 coefficients, ten bits each (FIPS 203, 4.2.1).
const KEM_VALUES: usize = 3 * 256;
const KEM_VALUE_BITS: usize = 10;
const KEM_BYTES: usize = KEM_VALUES * KEM_VALUE_BITS / 8;
const KEM_MODULUS: usize = 3329;
/// Where in a datagram a ciphertext could begin.
const KEM_OFFSETS: usize = DATAGRAM_BYTES - KEM_BYTES + 1;

/// What is tested at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    /// The byte.
    Byte,
    /// The byte XOR the one in the flow's datagram before.
    Successive,
    /// The byte XOR the one behind it.
    Neighbour,
    /// The ten-bit values of a ciphertext that would begin here.
    Kem,
}

/// One of the tests of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) test: Test,
    pub(crate) position: usize,
}

impl Place {
    /// All tests of a sample.
    pub(crate) fn all() -> impl Iterator<Item = Place> {
        let of = |test, positions| (0..positions).map(move |position| Place { test, position });
        of(Test::Byte, DATAGRAM_BYTES)
            .chain(of(Test::Successive, DATAGRAM_BYTES))
            .chain(of(Test::Neighbour, DATAGRAM_BYTES - 1))
            .chain(of(Test::Kem, KEM_OFFSETS))
    }
}

/// What was counted of datagrams of one kind.
pub(crate) struct Sample {
    pub(crate) count: u64,
    bytes: Histogram,
    successive: Histogram,
    neighbours: Histogram,
    kem: KemTrace,
    last: HashMap<SocketAddr, Vec<u8>>,
}

impl Sample {
    pub(crate) fn new() -> Self {
        Sample {
            count: 0,
            bytes: Histogram::new(),
            successive: Histogram::new(),
            neighbours: Histogram::new(),
            kem: KemTrace::new(),
            last: HashMap::new(),
        }
    }

    /// Counts the next datagram of `flow`.
    pub(crate) fn add(&mut self, flow: SocketAddr, datagram: &[u8]) {
        assert_eq!(datagram.len(), DATAGRAM_BYTES);
        self.count += 1;
        self.bytes.add(datagram.iter().copied());
        self.neighbours.add(datagram.windows(2).map(|pair| pair[0] ^ pair[1]));
        self.kem.add(datagram);
        let last = self.last.entry(flow).or_default();
        self.successive.add(datagram.iter().zip(&*last).map(|(byte, before)| byte ^ before));
        last.clear();
        last.extend_from_slice(datagram);
    }

    /// The p-value of one test.
    pub(crate) fn p(&self, place: Place) -> f64 {
        match place.test {
            Test::Byte => self.bytes.p(place.position),
            Test::Successive => self.successive.p(place.position),
            Test::Neighbour => self.neighbours.p(place.position),
            Test::Kem => self.kem.p(place.position),
        }
    }

    /// The tests whose p-value is below `p_min`.
    pub(crate) fn failures(&self, p_min: f64) -> Vec<Place> {
        Place::all().filter(|&place| self.p(place) < p_min).collect()
    }
}

/// The size of the sample and the smallest p-value of each test.
impl fmt::Display for Sample {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:>6} datagrams; smallest p:", self.count)?;
        for test in [Test::Byte, Test::Successive, Test::Neighbour, Test::Kem] {
            let places = Place::all().filter(|place| place.test == test);
            let least = places.map(|place| self.p(place)).fold(1.0, f64::min);
            write!(out, " {test:?} {least:.1e}")?;
        }
        Ok(())
    }
}

/// How often each value stood at each position.
struct Histogram(Vec<[u32; 256]>);

impl Histogram {
    fn new() -> Self {
        Histogram(vec![[0; 256]; DATAGRAM_BYTES])
    }

    fn add(&mut self, values: impl Iterator<Item = u8>) {
        self.0.iter_mut().zip(values).for_each(|(counts, value)| counts[usize::from(value)] += 1);
    }

    fn p(&self, position: usize) -> f64 {
        uniform_p(&self.0[position].map(u64::from))
    }
}

/// How many of the ten-bit values behind each offset are heavy.
///
/// Rounding 3329 residues to 1024 values gives 257 of them four residues and the rest three, so in
/// a ciphertext a value is heavy 1028 times in 3329, and in noise 257 times in 1024. The logarithm
/// of the likelihood ratio of the two has one value for heavy and one for light: to count the heavy
/// ones is the likelihood test.
struct KemTrace {
    heavy: [bool; 1 << KEM_VALUE_BITS],
    counts: Vec<u64>,
    datagrams: u64,
}

impl KemTrace {
    fn new() -> Self {
        let mut residues = [0; 1 << KEM_VALUE_BITS];
        for residue in 0..KEM_MODULUS {
            let rounded = (residue * residues.len() + KEM_MODULUS / 2) / KEM_MODULUS;
            residues[rounded % residues.len()] += 1;
        }
        let heavy = residues.map(|count| count == 4);
        KemTrace { heavy, counts: vec![0; KEM_OFFSETS], datagrams: 0 }
    }

    fn add(&mut self, datagram: &[u8]) {
        self.datagrams += 1;
        // Heavy values that end before each bit, in steps of a value. Values begin at even bits,
        // so each lies within two bytes.
        let mut heavy_before = [0u16; 8 * DATAGRAM_BYTES + 1];
        for start in (0..=8 * DATAGRAM_BYTES - KEM_VALUE_BITS).step_by(2) {
            let byte = start / 8;
            let pair =
                u16::from(datagram[byte]) | u16::from(*datagram.get(byte + 1).unwrap_or(&0)) << 8;
            let value = usize::from(pair >> (start % 8)) % self.heavy.len();
            let heavy = u16::from(self.heavy[value]);
            heavy_before[start + KEM_VALUE_BITS] = heavy_before[start] + heavy;
        }
        for (offset, count) in self.counts.iter_mut().enumerate() {
            let heavy = heavy_before[8 * (offset + KEM_BYTES)] - heavy_before[8 * offset];
            *count += u64::from(heavy);
        }
    }

    /// How probable noise makes as many heavy values as there are behind `offset`. The binomial
    /// distribution is as good as normal for the 768 values of a few datagrams.
    fn p(&self, offset: usize) -> f64 {
        let heavy = self.heavy.iter().filter(|&&heavy| heavy).count();
        let share = heavy as f64 / self.heavy.len() as f64;
        let values = self.datagrams as f64 * KEM_VALUES as f64;
        let deviation = (values * share * (1.0 - share)).sqrt();
        normal_cdf((values * share - self.counts[offset] as f64) / deviation)
    }
}
