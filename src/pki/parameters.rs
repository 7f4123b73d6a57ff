//! The parameters that a whole network shares: what the consensus says beside its nodes.

use crate::clock::Nanos;
use crate::sphinx::Geometry;
use crate::sphinx::geometry::HOPS_MAX;

/// The most layers a path has room for, beside its two gateways.
const LAYERS_MAX: usize = HOPS_MAX - 2;
/// The longest mean delay of a hop.
const DELAY_MEAN_MAX: Nanos = Nanos::from_secs(3600);
/// The highest rate of one kind of packet: 100 000 a second.
const RATE_MILLI_MAX: u32 = 100_000_000;

/// How often something is sent, in thousandths per second: exact in a signed document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate {
    /// Thousandths per second.
    pub milli: u32,
}

impl Rate {
    /// `count` in a second.
    pub const fn per_second(count: u32) -> Self {
        Rate { milli: count.saturating_mul(1000) }
    }

    /// The mean span between two of a Poisson process of this rate; never, for a rate of zero.
    pub const fn gap_mean(self) -> Nanos {
        match 1_000_000_000_000_u64.checked_div(self.milli as u64) {
            Some(nanos) => Nanos(nanos),
            None => Nanos::NEVER,
        }
    }
}

/// The rates of real and decoy traffic (Loopix, USENIX Security 2017, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// lambda_P: a client's packets, real or decoy.
    pub payload: Rate,
    /// lambda_L: a client's loops to itself.
    pub client_loop: Rate,
    /// lambda_D: a client's drops, to random gateways.
    pub client_drop: Rate,
    /// lambda_M: a mix's loops to itself.
    pub mix_loop: Rate,
    /// lambda_G: a gateway's loops to itself.
    pub gateway_loop: Rate,
}

impl Default for Rates {
    /// The rates of the test networks.
    fn default() -> Self {
        Rates {
            payload: Rate::per_second(20),
            client_loop: Rate::per_second(1),
            client_drop: Rate::per_second(1),
            mix_loop: Rate::per_second(1),
            gateway_loop: Rate::per_second(1),
        }
    }
}

impl Rates {
    /// lambda_K: a client's control frames, a tenth of its packets.
    pub const fn client_control(&self) -> Rate {
        Rate { milli: self.payload.milli.div_ceil(10) }
    }

    /// All that a client sends to its gateway.
    pub const fn client_up(&self) -> Rate {
        let packets = self.payload.milli.saturating_add(self.client_loop.milli);
        let packets = packets.saturating_add(self.client_drop.milli);
        Rate { milli: packets.saturating_add(self.client_control().milli) }
    }

    /// All that a gateway sends to a client: an acknowledgement for each of its packets, and one
    /// and a half times as much for deliveries and objects.
    pub const fn client_down(&self) -> Rate {
        Rate { milli: self.payload.milli.saturating_mul(5) / 2 }
    }

    const fn all(&self) -> [Rate; 5] {
        [self.payload, self.client_loop, self.client_drop, self.mix_loop, self.gateway_loop]
    }
}

/// Why parameters make no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParametersError {
    /// No layer, or more than a packet has hops for.
    #[error("{0} layers of mixes: allowed are 1 to {LAYERS_MAX}")]
    Layers(u8),
    /// No delay does not mix; an endless one does not deliver.
    #[error("mean delay of {} s: allowed is more than 0, up to {} s", .0.as_secs_f64(),
        DELAY_MEAN_MAX.as_secs_f64())]
    DelayMean(Nanos),
    /// A rate beyond what any link carries, or clients that never send.
    #[error("a rate of {}.{:03}/s: allowed are 0 (not for clients' packets) to {}/s",
        .0.milli / 1000, .0.milli % 1000, RATE_MILLI_MAX / 1000)]
    Rate(Rate),
}

/// What all nodes and clients of a network agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Layers of mixes between two gateways.
    pub layers: u8,
    /// Mean of the exponential delay at a hop.
    pub delay_mean: Nanos,
    /// How often clients and nodes send.
    pub rates: Rates,
    /// The sizes of all packets.
    pub geometry: Geometry,
}

impl Parameters {
    /// Checks what the types leave open.
    ///
    /// # Errors
    /// When layers, delay or a rate lie outside what a network can do.
    pub fn check(&self) -> Result<(), ParametersError> {
        if !(1..=LAYERS_MAX).contains(&usize::from(self.layers)) {
            return Err(ParametersError::Layers(self.layers));
        }
        if self.delay_mean == Nanos::ZERO || self.delay_mean > DELAY_MEAN_MAX {
            return Err(ParametersError::DelayMean(self.delay_mean));
        }
        let mute = self.rates.payload.milli == 0;
        let excessive = self.rates.all().into_iter().find(|rate| rate.milli > RATE_MILLI_MAX);
        match excessive.or(mute.then_some(self.rates.payload)) {
            Some(rate) => Err(ParametersError::Rate(rate)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> Parameters {
        Parameters {
            layers: 3,
            delay_mean: Nanos::from_millis(100),
            rates: Rates::default(),
            geometry: Geometry::DEFAULT,
        }
    }

    #[test]
    fn parameters_outside_what_a_network_can_do_are_refused() {
        assert_eq!(parameters().check(), Ok(()));
        assert!(Parameters { layers: 0, ..parameters() }.check().is_err());
        assert!(Parameters { layers: 4, ..parameters() }.check().is_err());
        assert!(Parameters { delay_mean: Nanos::ZERO, ..parameters() }.check().is_err());
        let mut mute = parameters();
        mute.rates.payload = Rate::default();
        assert_eq!(mute.check(), Err(ParametersError::Rate(Rate::default())));
    }

    #[test]
    fn the_mean_gap_is_the_inverse_of_the_rate() {
        assert_eq!(Rate::per_second(20).gap_mean(), Nanos::from_millis(50));
        assert_eq!(Rate { milli: 100 }.gap_mean(), Nanos::from_secs(10));
        assert_eq!(Rate::default().gap_mean(), Nanos::NEVER);
    }
}
