//! A model of free slots on their way between threads, over the lines of
//! `src/worker/slab/depot.rs`.

#[path = "../../src/worker/slab/depot.rs"]
mod product;

use crate::sync::{Arc, outcomes, together};
use product::{CACHE_TOKENS_MAX, Cache, Depot, MAGAZINE_TOKENS};

/// Two magazines and a part of a third.
const TOKENS: usize = CACHE_TOKENS_MAX + 2;

fn take_all(cache: &mut Cache<usize>) -> Vec<usize> {
    std::iter::from_fn(|| cache.take()).collect()
}

/// Takes more than a magazine, or what there is, gives it back, and takes all that there is: more
/// than a cache may hold, so that some of it goes home through the depot, and the rest at the end.
fn use_tokens(depot: &Arc<Depot<usize>>, _: usize) -> usize {
    let mut cache = Cache::new(depot.clone());
    let some: Vec<_> = (0..=MAGAZINE_TOKENS).map_while(|_| cache.take()).collect();
    some.into_iter().for_each(|token| cache.give(token));
    let all = take_all(&mut cache);
    let count = all.len();
    all.into_iter().for_each(|token| cache.give(token));
    count
}

#[test]
fn whatever_two_threads_take_and_give_no_token_is_lost_or_doubled() {
    let counts = outcomes(|| {
        let depot = Depot::new(0..TOKENS);
        let counts = together(depot.clone(), 2, use_tokens);
        assert!(counts.iter().all(|&count| count <= TOKENS));
        let mut all = take_all(&mut Cache::new(depot));
        all.sort_unstable();
        assert!(all.into_iter().eq(0..TOKENS));
        counts
    });
    // One behind the other, and in each other's way.
    assert!(counts.contains(&format!("[{TOKENS}, {TOKENS}]")) && counts.len() > 2, "{counts:?}");
}
