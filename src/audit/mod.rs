//! One record per decision.
