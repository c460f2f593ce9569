//! `ringfence ca`: what agents have to trust.
//!
//! Reads the certificate only; the key is neither opened nor printed.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Args, Subcommand};

use super::read_config;
use crate::config;
use crate::io::mint::{KEY_FILE, StoredCertificate, bundle, write_bundle};
use crate::io::tls::Trust;

/// Arguments of `ringfence ca`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct CaArgs {
    #[command(subcommand)]
    command: CaCommand,
}

#[derive(Debug, Subcommand)]
enum CaCommand {
    /// Show whom the authority's certificate names, its fingerprint and its life
    #[command(after_help = "Example:\n  ringfence ca show --config ringfence.yaml\n\n\
        Exit status: 0, 1 when there is no authority yet or it cannot sign now, 2 for wrong use or configuration.")]
    Show {
        #[command(flatten)]
        place: Place,
    },
    /// Print the merged trust bundle: the public roots and the authority
    #[command(after_help = "Example:\n  ringfence ca bundle --out /shared/ca-bundle.crt\n\n\
        Exit status: 0, 1 when there is no authority yet or it cannot sign now, 2 for wrong use or configuration.")]
    Bundle {
        #[command(flatten)]
        place: Place,
        /// Write the file as a whole, readable for everybody, instead of printing
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Print the authority's certificate alone, as PEM; never its key
    #[command(after_help = "Example:\n  ringfence ca export > ringfence-ca.pem\n\n\
        Exit status: 0, 1 when there is no authority yet or it cannot sign now, 2 for wrong use or configuration.")]
    Export {
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
struct Place {
    /// The proxy's configuration file [default: the authority under the state folder]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the subcommand.
pub fn run(args: CaArgs) -> ExitCode {
    let (CaCommand::Show { place } | CaCommand::Bundle { place, .. } | CaCommand::Export { place }) = &args.command;
    let folder = match place.folder() {
        Ok(folder) => folder,
        Err(code) => return code,
    };
    let stored = match StoredCertificate::read(&folder) {
        Ok(Some(stored)) => stored,
        Ok(None) => {
            let folder = folder.display();
            eprintln!(
                "ringfence: there is no authority in {folder} yet: `ringfence proxy` makes one at its first start"
            );
            return ExitCode::FAILURE;
        }
        Err(error) => return fail(&error),
    };
    let checked = stored.check(SystemTime::now());
    let printed = match &args.command {
        CaCommand::Show { .. } => print(show(&stored, &folder).as_bytes()),
        // What nobody should trust any more is not handed out.
        _ if checked.is_err() => Ok(()),
        CaCommand::Export { .. } => print(stored.pem().as_bytes()),
        CaCommand::Bundle { out: None, .. } => print(&bundle(&Trust::system(), &stored.pem())),
        CaCommand::Bundle { out: Some(out), .. } => {
            let out = std::path::absolute(out).unwrap_or_else(|_| out.clone());
            write_bundle(&out, &Trust::system(), &stored.pem()).map_err(io::Error::other)
        }
    };
    if let Err(error) = checked {
        return fail(&error);
    }
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

impl Place {
    fn folder(&self) -> Result<PathBuf, ExitCode> {
        if let Some(file) = &self.config {
            return read_config(file).map(|settings| settings.ca.dir);
        }
        config::state_dir().map(|state| state.join("ca")).map_err(|error| {
            eprintln!("ringfence: {error}");
            ExitCode::from(2)
        })
    }
}

fn show(stored: &StoredCertificate, folder: &Path) -> String {
    let (begins, ends) = stored.validity();
    format!(
        "subject      {}\nfingerprint  SHA-256 {}\nvalid        {begins} to {ends}\ncertificate  {}\nkey          {}\n",
        stored.subject,
        stored.fingerprint(),
        stored.path.display(),
        folder.join(KEY_FILE).display()
    )
}

fn print(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("ringfence: {error}");
    ExitCode::FAILURE
}
