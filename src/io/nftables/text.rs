//! A table in nft's syntax, as `nft list table` shows it and `nft -f` loads it.

use std::fmt;

use super::{Chain, Policy, Table};

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {} {{", self.family.name(), self.name)?;
        for (position, chain) in self.chains.iter().enumerate() {
            if position > 0 {
                writeln!(f)?;
            }
            write!(f, "{chain}")?;
        }
        writeln!(f, "}}")
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tchain {} {{", self.name)?;
        write!(f, "\t\ttype {} hook {} ", self.kind.name(), self.hook.name())?;
        match self.devices.as_slice() {
            [] => (),
            [device] => write!(f, "device \"{device}\" ")?,
            devices => {
                let quoted: Vec<String> = devices.iter().map(|device| format!("\"{device}\"")).collect();
                write!(f, "devices = {{ {} }} ", quoted.join(", "))?;
            }
        }
        let policy = match self.policy {
            Policy::Accept => "accept",
            Policy::Drop => "drop",
        };
        match self.priority {
            0 => writeln!(f, "priority filter; policy {policy};")?,
            priority => writeln!(f, "priority {priority}; policy {policy};")?,
        }
        for rule in &self.rules {
            let terms: Vec<String> = rule.iter().map(ToString::to_string).collect();
            writeln!(f, "\t\t{}", terms.join(" "))?;
        }
        writeln!(f, "\t}}")
    }
}
