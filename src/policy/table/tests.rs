use proptest::prelude::*;

use crate::policy::properties;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn decides_as_the_reference_evaluator(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        properties::decides_as_the_reference(&bytes);
    }

    #[test]
    fn loads_any_text_or_says_why(text in "(ringfence: v1\n)?(rules:\n)?([ -~\n\t]|é|☃|- allow: |host: |path: |    ){0,120}") {
        properties::loads_or_says_why(&text);
    }
}
