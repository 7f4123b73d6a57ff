//! The tier: which backends of the primitives this process runs, chosen once.
//!
//! A [`Tier`] exists only where the machine can run it, so whoever holds one may call its kernels.
//! It is passed to every batched primitive, which makes the choice visible and lets one process
//! compare two tiers.

use std::sync::OnceLock;

/// The environment variable that forces a tier.
pub const VARIABLE: &str = "MIXLINE_CRYPTO";

/// The name of a tier, whether this machine has it or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// The reference: portable code of well-kept crates, packet by packet.
    Serial,
    /// The fastest code for single packets: assembly of `aws-lc`, SHA extensions where they are.
    Scalar,
    /// Eight or sixteen packets at a time in vectors of 512 bits.
    Avx512,
}

impl Name {
    /// Every name, from the plainest to the fastest.
    pub const ALL: [Name; 3] = [Name::Serial, Name::Scalar, Name::Avx512];

    /// As the environment variable, the log and the metrics have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Name::Serial => "serial",
            Name::Scalar => "scalar",
            Name::Avx512 => "avx512",
        }
    }
}

/// A tier that this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier(Name);

/// Why the tier that was asked for cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TierError {
    /// No tier has this name.
    #[error("{VARIABLE}={0:?}: no such tier; say serial, scalar or avx512, or leave it unset")]
    Unknown(String),
    /// The processor lacks an extension that the tier needs.
    #[error(
        "{VARIABLE}={}: this processor has not all of AVX-512 F, BW, DQ, VL and IFMA; \
         leave {VARIABLE} unset for the best that it has", .0.as_str()
    )]
    NotHere(Name),
}

impl Tier {
    /// The reference, which every machine has.
    pub const SERIAL: Tier = Tier(Name::Serial);
    /// The best without vectors of 512 bits, which every machine has.
    pub const SCALAR: Tier = Tier(Name::Scalar);

    /// The tier `name`, if this machine has it.
    pub fn of(name: Name) -> Option<Self> {
        let is_here = match name {
            Name::Serial | Name::Scalar => true,
            Name::Avx512 => has_avx512(),
        };
        is_here.then_some(Tier(name))
    }

    /// Every tier of this machine, from the plainest to the fastest.
    pub fn all() -> impl Iterator<Item = Self> {
        Name::ALL.into_iter().filter_map(Tier::of)
    }

    /// What the environment asks for, else the fastest of this machine. Looked up once a process.
    ///
    /// # Errors
    /// When the environment asks for a tier that does not exist, or not here.
    pub fn of_process() -> Result<Self, TierError> {
        static CHOICE: OnceLock<Result<Tier, TierError>> = OnceLock::new();
        CHOICE.get_or_init(|| choose(std::env::var_os(VARIABLE).as_deref())).clone()
    }

    /// As [`Tier::of_process`], for what runs after the process has checked it.
    ///
    /// # Panics
    /// When the environment asks for a tier that cannot be had.
    #[expect(clippy::panic, reason = "the command line has refused it before")]
    pub fn chosen() -> Self {
        Self::of_process().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Its name.
    pub const fn name(self) -> Name {
        self.0
    }
}

fn choose(wish: Option<&std::ffi::OsStr>) -> Result<Tier, TierError> {
    let Some(wish) = wish.filter(|wish| !wish.is_empty()) else {
        return Ok(Tier::of(Name::Avx512).unwrap_or(Tier::SCALAR));
    };
    let name = Name::ALL.into_iter().find(|name| wish == name.as_str());
    let name = name.ok_or_else(|| TierError::Unknown(wish.to_string_lossy().into_owned()))?;
    Tier::of(name).ok_or(TierError::NotHere(name))
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512ifma")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx512() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_wish_the_fastest_tier_of_the_machine_is_chosen() {
        let fastest = Tier::all().last();
        assert_eq!(choose(None).ok(), fastest);
        assert_eq!(choose(Some("".as_ref())).ok(), fastest);
    }

    #[test]
    fn every_tier_of_the_machine_is_had_by_its_name() {
        for tier in Tier::all() {
            assert_eq!(choose(Some(tier.name().as_str().as_ref())), Ok(tier));
        }
    }

    #[test]
    fn a_tier_that_does_not_exist_is_an_error_that_names_those_that_do() {
        let error = choose(Some("avx2".as_ref())).unwrap_err();
        assert_eq!(error, TierError::Unknown("avx2".into()));
        assert!(error.to_string().contains("serial, scalar or avx512"));
    }
}
