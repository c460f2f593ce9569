//! Reading a YAML file of ours with every problem named and placed: what the configuration file shares with the policy.

pub(crate) use super::native::values::{choice, text};
pub(crate) use super::native::{map, refuse_unknown};
pub(crate) use super::problem::Problems;
pub(crate) use super::yaml::{Entry, Node, Value, read};
