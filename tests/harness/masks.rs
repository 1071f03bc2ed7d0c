//! Laws of the attention patterns, for every grid, text and kernel that fits: each mask is causal, leaves no row empty
//! and equals a definition walked from coordinates; tiles and cache reach lose nothing of it.

use dalle::mask::{Edge, Layout, Pattern};
use proptest::prelude::*;
use std::collections::HashSet;

/// The keys that a slot sees, walked from coordinates: what `Pattern::sees` must agree with.
fn seen_by(pattern: Pattern, Layout { text, grid }: Layout, query: usize) -> HashSet<usize> {
    let first = match pattern {
        Pattern::AxialRow | Pattern::AxialColumn | Pattern::ConvLike { .. } => text + 1,
        _ => text,
    };
    let mut seen: HashSet<usize> = (0..first.min(query + 1)).collect();
    if query < first {
        return seen;
    }
    let raster = (query - first) as i64;
    let side = grid as i64;
    let (row, column) = (raster / side, raster % side);
    let mut add = |position: i64| {
        if (0..=raster).contains(&position) {
            seen.insert(first + position as usize);
        }
    };
    match pattern {
        Pattern::Full => (0..=raster).for_each(&mut add),
        Pattern::Row => (0..=side).for_each(|back| add(raster - back)),
        Pattern::Column | Pattern::AxialColumn => (0..=row).for_each(|r| add(r * side + column)),
        Pattern::AxialRow => (0..side).for_each(|c| add(row * side + c)),
        Pattern::Conv { kernel } => {
            let half = (kernel as i64 - 1) / 2;
            for down in -half..=0 {
                for right in -half..=half {
                    add(raster + down * side + right);
                }
            }
        }
        Pattern::Window { kernel, edge } => {
            let half = (kernel as i64 - 1) / 2;
            for down in -half..=half {
                for right in -half..=half {
                    let (mut r, mut c) = (row + down, column + right);
                    if edge != Edge::Clip {
                        c = c.rem_euclid(side);
                    }
                    if edge == Edge::Torus {
                        r = r.rem_euclid(side);
                    }
                    if (0..side).contains(&r) && (0..side).contains(&c) {
                        add(r * side + c);
                    }
                }
            }
        }
        Pattern::ConvLike { kernel } => {
            for up in 0..kernel as i64 {
                for left in 0..kernel as i64 {
                    if row >= up && column >= left {
                        add((row - up) * side + column - left);
                    }
                }
            }
        }
    }
    seen
}

const EDGES: [Edge; 3] = [Edge::Clip, Edge::Cylinder, Edge::Torus];

fn pattern() -> impl Strategy<Value = Pattern> {
    let kernel = || (0..5usize).prop_map(|half| 2 * half + 1);
    prop_oneof![
        Just(Pattern::Full),
        Just(Pattern::Row),
        Just(Pattern::Column),
        Just(Pattern::AxialRow),
        Just(Pattern::AxialColumn),
        kernel().prop_map(|kernel| Pattern::Conv { kernel }),
        kernel().prop_map(|kernel| Pattern::ConvLike { kernel }),
        (kernel(), prop::sample::select(EDGES.to_vec())).prop_map(|(kernel, edge)| Pattern::Window { kernel, edge }),
    ]
}

fn layout() -> impl Strategy<Value = Layout> {
    (1..=12usize, 1..=8usize).prop_map(|(text, grid)| Layout { text, grid })
}

#[test]
fn every_mask_equals_its_definition_by_coordinates() {
    let kernels = [1, 3, 5, 7, 9];
    let patterns = [Pattern::Full, Pattern::Row, Pattern::Column, Pattern::AxialRow, Pattern::AxialColumn]
        .into_iter()
        .chain(kernels.map(|kernel| Pattern::Conv { kernel }))
        .chain(kernels.map(|kernel| Pattern::ConvLike { kernel }))
        .chain(EDGES.into_iter().flat_map(|edge| kernels.map(|kernel| Pattern::Window { kernel, edge })));
    for pattern in patterns {
        for layout in (1..=8).flat_map(|grid| (1..=12).map(move |text| Layout { text, grid })) {
            let sequence = layout.sequence();
            let dense = pattern.dense(layout);
            for query in 0..sequence {
                let row: HashSet<usize> = (0..sequence).filter(|key| dense[query * sequence + key]).collect();
                assert_eq!(row, seen_by(pattern, layout, query), "{pattern} {layout:?} query {query}");
            }
        }
    }
}

proptest! {
    #[test]
    fn masks_are_causal_and_no_row_is_empty(pattern in pattern(), layout in layout()) {
        let sequence = layout.sequence();
        let dense = pattern.dense(layout);
        let full = Pattern::Full.dense(layout);
        for query in 0..sequence {
            for key in 0..sequence {
                let seen = dense[query * sequence + key];
                prop_assert_eq!(full[query * sequence + key], key <= query);
                prop_assert!(!seen || key <= query);
                if key < layout.text || key == query {
                    prop_assert_eq!(seen, key <= query, "text is dense and causal, and a slot sees itself");
                }
            }
        }
    }

    #[test]
    fn tiles_cover_exactly_the_mask(pattern in pattern(), layout in layout(), block in 1..=17usize) {
        let tiles = pattern.tiles(layout, block);
        prop_assert_eq!(tiles.dense(), pattern.dense(layout));
        let mut order = tiles.order.clone();
        order.sort_unstable();
        prop_assert_eq!(order, (0..layout.sequence()).collect::<Vec<_>>());
        for bits in tiles.rows().iter().flatten().filter_map(|tile| tile.bits.as_ref()) {
            prop_assert_eq!(bits.len(), block * block);
            prop_assert!(bits.iter().any(|&bit| bit) && !bits.iter().all(|&bit| bit), "empty or full: needs no bits");
        }
        prop_assert_eq!(pattern.work(layout, block), tiles.counts().iter().sum::<usize>());
    }

    #[test]
    fn reach_keeps_a_key_exactly_as_long_as_it_is_seen(pattern in pattern(), layout in layout()) {
        let sequence = layout.sequence();
        let reach = pattern.reach(layout);
        let held = reach.held();
        for (query, &held) in held.iter().enumerate() {
            let needed: Vec<usize> = (0..=query)
                .filter(|&key| (query..sequence).any(|later| pattern.sees(layout, later, key)))
                .collect();
            prop_assert_eq!(reach.kept(query).collect::<Vec<_>>(), needed);
            prop_assert_eq!(held, reach.kept(query).count());
        }
        prop_assert_eq!(reach.peak(), held.into_iter().max().unwrap());
    }
}
