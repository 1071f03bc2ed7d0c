//! The one loop of every byte-pair encoding: of all merges that apply to a word the lowest rank goes first, and of its places
//! the leftmost. A heap finds it, so a word takes time with its length and no more than a logarithm beside.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Two neighbouring tokens.
pub(super) type Pair = (u32, u32);
/// The rank of each merge and the token that it makes.
pub(super) type Merges = HashMap<Pair, (u32, u32)>;

/// Merges the tokens of one word. Of the possible merges the lowest rank that `skip` spares is taken, the leftmost of
/// equals, until all that are left are skipped in one step. Asking in order of rank, and only as far as the first that is
/// spared, has the same distribution as drawing for all of them.
pub(super) fn merge(mut tokens: Vec<u32>, merges: &Merges, mut skip: impl FnMut() -> bool) -> Vec<u32> {
    // A linked list over the places of `tokens`: `next` is the place after a token, `previous` the one before it.
    let end = tokens.len();
    let mut next: Vec<usize> = (1..=end).collect();
    let mut previous: Vec<usize> = (0..end).map(|place| place.wrapping_sub(1)).collect();
    let mut alive = vec![true; end];
    // (rank, place, pair): an entry whose pair is no longer at its place is stale.
    let mut possible: BinaryHeap<Reverse<(u32, usize, Pair)>> = BinaryHeap::new();
    let entry = |tokens: &[u32], left: usize, right: usize| {
        let pair = (tokens[left], tokens[right]);
        merges.get(&pair).map(|&(rank, _)| Reverse((rank, left, pair)))
    };
    possible.extend((1..end).filter_map(|right| entry(&tokens, right - 1, right)));
    let mut skipped = Vec::new();
    while let Some(candidate) = possible.pop() {
        let Reverse((_, left, pair)) = candidate;
        let right = next[left];
        if !alive[left] || right == end || (tokens[left], tokens[right]) != pair {
            continue;
        }
        if skip() {
            skipped.push(candidate);
            continue;
        }
        possible.extend(skipped.drain(..));
        tokens[left] = merges[&pair].1;
        alive[right] = false;
        next[left] = next[right];
        if next[left] != end {
            previous[next[left]] = left;
            possible.extend(entry(&tokens, left, next[left]));
        }
        if left != 0 {
            possible.extend(entry(&tokens, previous[left], left));
        }
    }
    tokens.into_iter().zip(alive).filter_map(|(token, alive)| alive.then_some(token)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition.
    fn slowly(mut tokens: Vec<u32>, merges: &Merges) -> Vec<u32> {
        let applies =
            |(at, pair): (usize, &[u32])| merges.get(&(pair[0], pair[1])).map(|&(rank, made)| (rank, at, made));
        while let Some((_, at, made)) = tokens.windows(2).enumerate().filter_map(applies).min() {
            tokens.splice(at..at + 2, [made]);
        }
        tokens
    }

    proptest! {
        #[test]
        fn the_heap_does_what_the_definition_says(
            word in prop::collection::vec(0u32..4, 0..40),
            pairs in prop::collection::vec((0u32..12, 0u32..12), 0..12),
        ) {
            let merges: Merges = pairs.into_iter().zip(0..).map(|(pair, rank)| (pair, (rank, 4 + rank))).collect();
            prop_assert_eq!(merge(word.clone(), &merges, || false), slowly(word, &merges));
        }
    }

    #[test]
    fn a_long_word_takes_time_with_its_length() {
        let merges: Merges = [((0, 1), (0, 2)), ((2, 2), (1, 3)), ((3, 3), (2, 4))].into_iter().collect();
        let start = std::time::Instant::now();
        assert_eq!(merge([0, 1].repeat(160_000), &merges, || false).len(), 40_000);
        let mut turn = 0u32;
        merge([0, 1].repeat(160_000), &merges, || {
            turn += 1;
            turn.is_multiple_of(10)
        });
        assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed()); // the square of it took minutes
    }
}
