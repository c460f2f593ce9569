//! Bytes in, facts out. See each file.
