//! Is this log what was written?
