//! The I/O engine: the only place that names the I/O runtime.
