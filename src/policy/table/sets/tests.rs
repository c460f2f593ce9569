use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Enough rules for several words of summary.
const RULES: u32 = 150_000;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn holds_exactly_what_was_added(
        few in proptest::collection::btree_set(0..RULES, 0..40),
        start in 0..RULES,
        step in 1u32..700,
        count in 0u32..3_000,
    ) {
        let many: BTreeSet<u32> = (0..count).map(|n| start.saturating_add(n * step)).filter(|rule| *rule < RULES).collect();
        let mut builder = SetsBuilder::new(RULES);
        let both = [few, many].map(|rules| {
            let list: Vec<u32> = rules.iter().copied().collect();
            (builder.add(&list), builder.add(&list), rules)
        });
        let sets = builder.finish();
        for (set, again, rules) in both {
            prop_assert_eq!(set, again);
            prop_assert_eq!(sets.len(set) as usize, rules.len());
            let near = rules.iter().flat_map(|rule| [*rule, rule + 1, rule.saturating_sub(1)]);
            for rule in near.chain((0..RULES).step_by(977)) {
                prop_assert_eq!(sets.contains(set, rule), rules.contains(&rule));
            }
            for block in 0..RULES.div_ceil(BLOCK_RULES) {
                let range = block * BLOCK_RULES..(block + 1) * BLOCK_RULES;
                let held = rules.range(range.clone()).next().is_some();
                prop_assert_eq!(sets.summary(set, block / 64) >> (block % 64) & 1 == 1, held);
                prop_assert_eq!(sets.reaches(set, range.start, range.end), held);
                let mut words = [0; 8];
                sets.unite_block(set, block, &mut words);
                let ones: u32 = words.iter().map(|word| word.count_ones()).sum();
                prop_assert_eq!(ones as usize, rules.range(range).count());
            }
        }
    }
}
