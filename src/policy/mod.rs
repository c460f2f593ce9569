//! Facts in, decision out.
