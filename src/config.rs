//! Raw configuration (serde, unknown keys refused) → resolved settings that cannot be invalid.
