//! A node makes itself known: every authority is handed its descriptor, and another one whenever
//! the keys in it have changed.

use tokio::task::JoinSet;

use crate::clock::Nanos;
use crate::config::Membership;
use crate::crypto::random::Rng;
use crate::directory::{self, AuthorityAddress, Backoff, FetchError};
use crate::pki::{Descriptor, EpochPublic};

/// The longest pause between two tries.
const PAUSE_MAX: Nanos = Nanos::from_secs(60);

/// An authority, and how far it has heard of us.
#[derive(Debug)]
struct Registration {
    authority: AuthorityAddress,
    /// The keys that it has taken from us last.
    taken: Option<Vec<EpochPublic>>,
    backoff: Backoff,
}

impl Registration {
    fn lacks(&self, keys: &[EpochPublic]) -> bool {
        self.taken.as_deref() != Some(keys)
    }
}

/// All authorities that are to hear of this node.
#[derive(Debug)]
pub(super) struct Registrations {
    all: Vec<Registration>,
    pause_max: Nanos,
    rng: Rng,
}

impl Registrations {
    /// Nobody has heard of us yet.
    pub(super) fn new(membership: &Membership, rng: Rng) -> Self {
        let all = membership.authorities.iter().map(|authority| Registration {
            authority: authority.clone(),
            taken: None,
            backoff: Backoff::default(),
        });
        // Several tries fit into an epoch.
        let pause_max = Nanos(membership.epochs.length().0 / 8).min(PAUSE_MAX);
        Registrations { all: all.collect(), pause_max, rng }
    }

    /// The span after which an authority that lacks `keys` may be asked to take them.
    pub(super) fn due_in(&self, keys: &[EpochPublic], now: Nanos) -> Nanos {
        let lacking = self.all.iter().filter(|one| one.lacks(keys));
        lacking.map(|one| one.backoff.pause(now)).min().unwrap_or(Nanos::NEVER)
    }

    /// Hands `descriptor`, which has `keys`, to all authorities that lack it and may be asked, at
    /// the same time: a slow one holds up no other.
    ///
    /// # Errors
    /// Why one of them did not take it; it is asked again later.
    pub(super) async fn hand_in(
        &mut self,
        descriptor: &Descriptor,
        keys: &[EpochPublic],
        now: Nanos,
    ) -> Result<(), FetchError> {
        let mut asked = JoinSet::new();
        for (place, one) in self.all.iter().enumerate() {
            if one.lacks(keys) && one.backoff.pause(now) == Nanos::ZERO {
                let (authority, descriptor) = (one.authority.clone(), descriptor.clone());
                asked.spawn(
                    async move { (place, directory::register(&authority, &descriptor).await) },
                );
            }
        }
        let mut outcome = Ok(());
        // A task that panics ends the process.
        while let Some(Ok((place, answer))) = asked.join_next().await {
            let one = &mut self.all[place];
            match answer {
                Ok(()) => {
                    one.taken = Some(keys.to_vec());
                    one.backoff = Backoff::default();
                    tracing::debug!("registered at {}", one.authority);
                }
                Err(error) => {
                    one.backoff.fail(now, self.pause_max, &mut self.rng);
                    outcome = Err(error);
                }
            }
        }
        outcome
    }

    /// Puts every registration off, after a fault of our own.
    pub(super) fn put_off(&mut self, now: Nanos) {
        self.all.iter_mut().for_each(|one| one.backoff.fail(now, self.pause_max, &mut self.rng));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMicros;
    use crate::pki::{DescriptorFields, EpochKeys, Epochs, NodeKeys, Role};
    use std::time::Duration;

    fn keys(epoch: u64, seed: u8) -> Vec<EpochPublic> {
        vec![EpochPublic::of(&EpochKeys::generate(epoch, &mut Rng::from_seed([seed; 32])))]
    }

    fn membership(authorities: Vec<AuthorityAddress>) -> Membership {
        Membership {
            authorities,
            epochs: Epochs::new(60).unwrap(),
            name: "mix".into(),
            role: Role::Mix,
            addresses: vec![([127, 0, 0, 1], 7700).into()],
        }
    }

    /// An authority that takes connections and says nothing, and its address.
    fn silent() -> (std::net::TcpListener, AuthorityAddress) {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        (listener, address.parse().unwrap())
    }

    #[test]
    fn a_slow_authority_does_not_keep_others_from_being_asked() {
        let [(first, slow), (second, other)] = [silent(), silent()];
        let mut rng = Rng::from_seed([4; 32]);
        let (node, epoch) = (NodeKeys::generate(&mut rng), EpochKeys::generate(7, &mut rng));
        let keys = vec![EpochPublic::of(&epoch)];
        let fields = DescriptorFields {
            network: "test".into(),
            name: "mix".into(),
            role: Role::Mix,
            addresses: vec![([127, 0, 0, 1], 7700).into()],
            epochs: keys.clone(),
            published: UnixMicros::from_secs(1_700_000_000),
        };
        let descriptor = Descriptor::sign(&fields, &node).unwrap();
        let mut registrations = Registrations::new(&membership(vec![slow, other]), rng);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let asked = registrations.hand_in(&descriptor, &keys, Nanos::from_secs(1));
            // Both are asked long before the first one has had its time.
            assert!(tokio::time::timeout(Duration::from_secs(3), asked).await.is_err());
        });
        for authority in [first, second] {
            authority.set_nonblocking(true).unwrap();
            assert!(authority.accept().is_ok());
        }
    }

    #[test]
    fn an_authority_lacks_keys_that_changed_within_their_epoch() {
        let membership = membership(vec!["http://127.0.0.1:1".parse().unwrap()]);
        let mut registrations = Registrations::new(&membership, Rng::from_seed([1; 32]));
        let (before, after, now) = (keys(7, 2), keys(7, 3), Nanos::from_secs(1));
        assert_eq!(registrations.due_in(&before, now), Nanos::ZERO);
        registrations.all[0].taken = Some(before.clone());
        assert_eq!(registrations.due_in(&before, now), Nanos::NEVER);
        assert_eq!(registrations.due_in(&after, now), Nanos::ZERO);
        registrations.put_off(now);
        assert!(registrations.due_in(&after, now) > Nanos::ZERO);
    }
}
