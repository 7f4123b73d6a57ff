//! Whether datagrams look like noise: each byte, each byte against its neighbours in space and
//! time, and the trace that an ML-KEM ciphertext would leave.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;

use super::statistics::{normal_cdf, uniform_p};

/// ML-KEM-768's u: 3 polynomials of 256 coefficients, ten bits each (FIPS 203, 4.2.1).
const KEM_VALUES: usize = 3 * 256;
const KEM_VALUE_BITS: usize = 10;
const KEM_BYTES: usize = KEM_VALUES * KEM_VALUE_BITS / 8;
const KEM_MODULUS: usize = 3329;

/// What is tested at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The byte.
    Byte,
    /// The byte XOR the one in the flow's datagram before.
    Successive,
    /// The byte XOR the one behind it.
    Neighbour,
    /// The ten-bit values of a ciphertext that would begin here.
    Kem,
}

impl Probe {
    const ALL: [Probe; 4] = [Probe::Byte, Probe::Successive, Probe::Neighbour, Probe::Kem];
}

/// One of the tests of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// What is tested.
    pub probe: Probe,
    /// Where in the datagram it begins.
    pub position: usize,
}

/// What was counted of datagrams of one kind.
pub struct Sample {
    /// Datagrams that were counted.
    pub count: u64,
    /// Datagrams of another length, which were not.
    pub odd: u64,
    datagram_bytes: usize,
    bytes: Histogram,
    successive: Histogram,
    neighbours: Histogram,
    kem: KemTrace,
    last: HashMap<SocketAddr, Vec<u8>>,
}

impl Sample {
    /// Nothing yet of datagrams of `datagram_bytes`, which are at least one.
    pub fn new(datagram_bytes: usize) -> Self {
        Sample {
            count: 0,
            odd: 0,
            datagram_bytes,
            bytes: Histogram::new(datagram_bytes),
            successive: Histogram::new(datagram_bytes),
            neighbours: Histogram::new(datagram_bytes - 1),
            kem: KemTrace::new(datagram_bytes),
            last: HashMap::new(),
        }
    }

    /// Counts the next datagram of `flow`.
    pub fn add(&mut self, flow: SocketAddr, datagram: &[u8]) {
        if datagram.len() != self.datagram_bytes {
            self.odd += 1;
            return;
        }
        self.count += 1;
        self.bytes.add(datagram.iter().copied());
        self.neighbours.add(datagram.windows(2).map(|pair| pair[0] ^ pair[1]));
        self.kem.add(datagram);
        let last = self.last.entry(flow).or_default();
        self.successive.add(datagram.iter().zip(&*last).map(|(byte, before)| byte ^ before));
        last.clear();
        last.extend_from_slice(datagram);
    }

    /// All tests of the sample.
    pub fn places(&self) -> impl Iterator<Item = Place> + use<> {
        let of = |probe, positions| (0..positions).map(move |position| Place { probe, position });
        of(Probe::Byte, self.bytes.0.len())
            .chain(of(Probe::Successive, self.successive.0.len()))
            .chain(of(Probe::Neighbour, self.neighbours.0.len()))
            .chain(of(Probe::Kem, self.kem.counts.len()))
    }

    /// The p-value of one test.
    ///
    /// # Panics
    /// When the place is none of the sample's.
    pub fn p(&self, place: Place) -> f64 {
        match place.probe {
            Probe::Byte => self.bytes.p(place.position),
            Probe::Successive => self.successive.p(place.position),
            Probe::Neighbour => self.neighbours.p(place.position),
            Probe::Kem => self.kem.p(place.position),
        }
    }

    /// The tests whose p-value is below `p_min`.
    pub fn failures(&self, p_min: f64) -> Vec<Place> {
        self.places().filter(|&place| self.p(place) < p_min).collect()
    }

    /// The smallest p-value of all tests.
    pub fn least_p(&self) -> f64 {
        self.places().map(|place| self.p(place)).fold(1.0, f64::min)
    }
}

impl fmt::Debug for Sample {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Sample").field("count", &self.count).finish_non_exhaustive()
    }
}

/// The size of the sample and the smallest p-value of each test.
impl fmt::Display for Sample {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:>6} datagrams; smallest p:", self.count)?;
        for probe in Probe::ALL {
            let places = self.places().filter(|place| place.probe == probe);
            let least = places.map(|place| self.p(place)).fold(1.0, f64::min);
            write!(out, " {probe:?} {least:.1e}")?;
        }
        Ok(())
    }
}

/// How often each value stood at each position.
struct Histogram(Vec<[u32; 256]>);

impl Histogram {
    fn new(positions: usize) -> Self {
        Histogram(vec![[0; 256]; positions])
    }

    fn add(&mut self, values: impl Iterator<Item = u8>) {
        self.0.iter_mut().zip(values).for_each(|(counts, value)| counts[usize::from(value)] += 1);
    }

    /// Where nothing was counted, nothing speaks against chance.
    fn p(&self, position: usize) -> f64 {
        let counts = self.0[position].map(u64::from);
        if counts.iter().all(|&count| count == 0) { 1.0 } else { uniform_p(&counts) }
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
    /// A ciphertext may begin wherever it fits.
    fn new(datagram_bytes: usize) -> Self {
        let mut residues = [0; 1 << KEM_VALUE_BITS];
        for residue in 0..KEM_MODULUS {
            let rounded = (residue * residues.len() + KEM_MODULUS / 2) / KEM_MODULUS;
            residues[rounded % residues.len()] += 1;
        }
        let heavy = residues.map(|count| count == 4);
        let offsets = (datagram_bytes + 1).saturating_sub(KEM_BYTES);
        KemTrace { heavy, counts: vec![0; offsets], datagrams: 0 }
    }

    fn add(&mut self, datagram: &[u8]) {
        self.datagrams += 1;
        // Heavy values that end before each bit, in steps of a value. Values begin at even bits,
        // so each lies within two bytes.
        let bits = 8 * datagram.len();
        let mut heavy_before = vec![0u16; bits + 1];
        for start in (0..=bits.saturating_sub(KEM_VALUE_BITS)).step_by(2) {
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
