//! The network's documents as nodes and clients get them: asked for over HTTP, believed only
//! when the threshold of the authorities signed them, kept on disk for the next start.
//!
//! No authority is trusted: which one answers makes no difference to what is accepted. What goes
//! wrong is tried again, later and later, at times that differ from everybody else's.

mod address;
mod backoff;
mod follower;
mod http;
mod kept;

use crate::clock::{Nanos, UnixMicros};
use crate::crypto::random::Rng;
use crate::pki::{CONSENSUS_BYTES_MAX, Consensus, ConsensusError, Descriptor, Epochs, TrustAnchor};
use std::path::PathBuf;
use std::sync::Arc;

pub use address::{AuthorityAddress, AuthorityAddressError};
pub use backoff::Backoff;
pub use follower::{Follower, FollowerError, obtain};
pub use http::HttpError;
pub use kept::{current as current_kept, write_whole};

use http::Request;

/// Path of the consensus of an epoch, or of the `current` one.
pub const CONSENSUS_PATH: &str = "/v1/consensus/";
/// Path to which descriptors are posted.
pub const DESCRIPTOR_PATH: &str = "/v1/descriptor";
/// Path that says how the authority stands.
pub const HEALTH_PATH: &str = "/v1/health";

/// The longest answer that is not a consensus.
const ANSWER_BYTES_MAX: usize = 4096;
/// The consensuses at hand: of the epoch before, now and next.
const AT_HAND_MAX: usize = 3;
/// The longest pause between two tries.
const PAUSE_MAX: Nanos = Nanos::from_secs(60);

/// Where documents come from and what they are checked against.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who must have signed.
    pub anchor: TrustAnchor,
    /// Who is asked, in random order.
    pub authorities: Vec<AuthorityAddress>,
    /// The file that keeps the last consensus; that of the next epoch is kept beside it.
    pub kept: PathBuf,
}

/// Why there is no newer consensus.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No authority is configured.
    #[error("no authority to ask: name one in `directory.authorities`")]
    NobodyToAsk,
    /// An authority does not answer, or not in HTTP.
    #[error("authority {authority}: {source}")]
    Http {
        /// Who was asked.
        authority: AuthorityAddress,
        /// What went wrong.
        source: HttpError,
    },
    /// An authority has nothing for us, or does not take what we sent.
    #[error("authority {authority} answers {status}: {reason}")]
    Refused {
        /// Who was asked.
        authority: AuthorityAddress,
        /// The HTTP status.
        status: u16,
        /// What it says about it.
        reason: String,
    },
    /// An authority sent a document that is not to be followed.
    #[error("authority {authority}: {source}")]
    Document {
        /// Who was asked.
        authority: AuthorityAddress,
        /// Why not.
        source: ConsensusError,
    },
    /// An authority has only what is at hand already.
    #[error("authority {authority} has no consensus after that of epoch {epoch} yet")]
    NothingNewer {
        /// Who was asked.
        authority: AuthorityAddress,
        /// The newest epoch at hand.
        epoch: u64,
    },
}

/// The documents at hand, and how newer ones are fetched.
#[derive(Debug)]
pub struct Directory {
    options: Options,
    /// In ascending order of their epochs.
    at_hand: Vec<Arc<Consensus>>,
    backoff: Backoff,
    /// How long after its publication the next consensus is asked for.
    delay: Nanos,
    rng: Rng,
}

impl Directory {
    /// The directory with what the last run kept, if that is still valid at `wall`.
    pub fn open(options: Options, wall: UnixMicros, rng: Rng) -> Self {
        let at_hand = kept::read(&options.kept, &options.anchor, wall);
        let delay = Nanos::ZERO;
        Directory { options, at_hand, backoff: Backoff::default(), delay, rng }
    }

    /// The consensus to follow at `wall`: that of the epoch, else the last one before it, else
    /// the first one ahead.
    pub fn current(&self, wall: UnixMicros) -> Option<&Arc<Consensus>> {
        self.begun(wall).or(self.at_hand.first())
    }

    /// The newest consensus, perhaps of the next epoch.
    pub fn newest(&self) -> Option<&Arc<Consensus>> {
        self.at_hand.last()
    }

    /// The consensuses at hand: at most three, in ascending order of their epochs.
    pub fn at_hand(&self) -> &[Arc<Consensus>] {
        &self.at_hand
    }

    /// Whether the consensus of the epoch at `wall` is at hand.
    pub fn is_up_to_date(&self, wall: UnixMicros) -> bool {
        self.begun(wall).is_some_and(|begun| {
            Epochs::of(begun).is_none_or(|epochs| begun.epoch() >= epochs.at(wall))
        })
    }

    /// The span after which [`Directory::fetch`] is to be called.
    pub fn fetch_in(&self, now: Nanos, wall: UnixMicros) -> Nanos {
        let pause = self.backoff.pause(now);
        let Some(newest) = self.newest().filter(|_| self.is_up_to_date(wall)) else {
            return pause;
        };
        let Some(epochs) = Epochs::of(newest) else { return Nanos::NEVER };
        let published = epochs.publication(newest.epoch() + 1);
        pause.max(wall.until(published + self.delay))
    }

    /// The span after which [`Directory::current`] changes by itself.
    pub fn change_in(&self, wall: UnixMicros) -> Nanos {
        let starts = self.at_hand.iter().filter_map(|consensus| {
            let span = wall.until(Epochs::of(consensus)?.start(consensus.epoch()));
            (span > Nanos::ZERO).then_some(span)
        });
        starts.min().unwrap_or(Nanos::NEVER)
    }

    /// Asks the authorities, one after the other in random order, for a newer consensus.
    ///
    /// # Errors
    /// Why the last one asked had none; the next try is due after [`Directory::fetch_in`].
    pub async fn fetch(
        &mut self,
        now: Nanos,
        wall: UnixMicros,
    ) -> Result<Arc<Consensus>, FetchError> {
        let mut authorities = self.options.authorities.clone();
        self.rng.shuffle(&mut authorities);
        let mut outcome = Err(FetchError::NobodyToAsk);
        for authority in &authorities {
            outcome = self.fetch_from(authority, wall).await;
            if outcome.is_ok() {
                break;
            }
        }
        match outcome {
            Ok(consensus) => Ok(self.keep(consensus, wall)),
            Err(error) => {
                let pause_max = self.pause_max();
                self.backoff.fail(now, pause_max, &mut self.rng);
                Err(error)
            }
        }
    }

    /// The authorities that are asked.
    pub fn authorities(&self) -> &[AuthorityAddress] {
        &self.options.authorities
    }

    async fn fetch_from(
        &self,
        authority: &AuthorityAddress,
        wall: UnixMicros,
    ) -> Result<(Consensus, Vec<u8>), FetchError> {
        let begun = self.begun(wall).map(|begun| begun.epoch());
        let request = Request::get(format!("{CONSENSUS_PATH}{}", self.wanted(wall)));
        let bytes = ask(authority, request, CONSENSUS_BYTES_MAX).await?;
        let authority = || authority.clone();
        let consensus = Consensus::verify(&bytes, &self.options.anchor, wall, begun)
            .map_err(|source| FetchError::Document { authority: authority(), source })?;
        let epoch = consensus.epoch();
        if self.at_hand.iter().any(|at_hand| at_hand.epoch() == epoch) {
            return Err(FetchError::NothingNewer { authority: authority(), epoch });
        }
        Ok((consensus, bytes))
    }

    /// The newest consensus whose epoch has begun.
    fn begun(&self, wall: UnixMicros) -> Option<&Arc<Consensus>> {
        self.at_hand.iter().rev().find(|consensus| kept::has_begun(consensus, wall))
    }

    /// The epoch to ask for: the next one if that of `wall` is at hand.
    fn wanted(&self, wall: UnixMicros) -> String {
        match self.newest() {
            Some(newest) if self.is_up_to_date(wall) => (newest.epoch() + 1).to_string(),
            _ => "current".to_owned(),
        }
    }

    fn keep(
        &mut self,
        (consensus, bytes): (Consensus, Vec<u8>),
        wall: UnixMicros,
    ) -> Arc<Consensus> {
        let Options { kept, anchor, .. } = &self.options;
        if let Err(error) = kept::write(kept, anchor, wall, (&consensus, &bytes)) {
            tracing::warn!("cannot keep the consensus for the next start: {error}");
        }
        self.backoff = Backoff::default();
        let lead = Epochs::of(&consensus).map_or(Nanos::ZERO, Epochs::lead);
        self.delay = self.rng.between(Nanos::ZERO, Nanos(lead.0 / 4));
        if self.at_hand.len() == AT_HAND_MAX {
            self.at_hand.remove(0);
        }
        let consensus = Arc::new(consensus);
        // It may be that of now after that of the next epoch.
        let place = self.at_hand.partition_point(|other| other.epoch() < consensus.epoch());
        self.at_hand.insert(place, consensus.clone());
        consensus
    }

    /// The longest pause: an eighth of an epoch, as soon as its length is known.
    fn pause_max(&self) -> Nanos {
        let epochs = self.newest().and_then(|newest| Epochs::of(newest));
        epochs.map_or(PAUSE_MAX, |epochs| Nanos(epochs.length().0 / 8).min(PAUSE_MAX))
    }
}

/// Hands `descriptor` to an authority.
///
/// # Errors
/// When it does not answer, or refuses the descriptor; it says why.
pub async fn register(
    authority: &AuthorityAddress,
    descriptor: &Descriptor,
) -> Result<(), FetchError> {
    let body = descriptor.signed_bytes().to_vec();
    let request = Request::post(DESCRIPTOR_PATH.to_owned(), body);
    ask(authority, request, ANSWER_BYTES_MAX).await.map(drop)
}

/// The body of a successful answer.
async fn ask(
    authority: &AuthorityAddress,
    request: Request,
    bytes_max: usize,
) -> Result<Vec<u8>, FetchError> {
    let answer = http::ask(authority, request, bytes_max).await;
    let answer =
        answer.map_err(|source| FetchError::Http { authority: authority.clone(), source })?;
    if answer.status == 200 {
        return Ok(answer.body);
    }
    // The reason may be shown on a terminal, and comes from anywhere.
    let text = String::from_utf8_lossy(&answer.body);
    let reason = text.trim().chars().filter(|c| !c.is_control()).take(200).collect();
    Err(FetchError::Refused { authority: authority.clone(), status: answer.status, reason })
}
