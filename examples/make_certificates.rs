//! Writes throw-away certificates for `ping_service` and `ping_client` into a folder.
//!
//! ```sh
//! cargo run --release --example make_certificates -- certificates
//! ```

use core::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Parser;
use diset_std::tls::Certificate;
use diset_std::tls::throwaway::{ThrowawayCa, to_pem};

/// Writes an authority (ca.pem), a service (service.pem, service.key) and clients (NAME.pem, NAME.key). They are valid
/// for a month and for tests only: the authority's own key is not kept.
#[derive(Parser)]
struct Options {
    /// The folder; it is made if it is missing. Files in it are replaced.
    folder: PathBuf,
    /// A name or address at which clients will call the service; may be given several times.
    #[arg(long = "service-name", default_values = ["localhost", "127.0.0.1", "::1"])]
    service_names: Vec<String>,
    /// A client; may be given several times.
    #[arg(long = "client", default_values = ["alice", "bob"])]
    clients: Vec<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let folder = &options.folder;
    fs::create_dir_all(folder).map_err(|error| format!("cannot make the folder {}: {error}", folder.display()))?;
    let ca = ThrowawayCa::new()?;
    write(&folder.join("ca.pem"), &ca.pem(), false)?;
    let names: Vec<&str> = options.service_names.iter().map(String::as_str).collect();
    pair(folder, "service", &ca.server(&names)?)?;
    for client in &options.clients {
        pair(folder, client, &ca.client(client)?)?;
    }
    Ok(())
}

fn pair(folder: &Path, name: &str, certificate: &Certificate) -> Result<(), Box<dyn Error>> {
    let (chain, key) = to_pem(certificate);
    write(&folder.join(format!("{name}.pem")), &chain, false)?;
    write(&folder.join(format!("{name}.key")), &key, true)
}

/// A private key is for its owner's eyes only.
fn write(path: &Path, text: &str, private: bool) -> Result<(), Box<dyn Error>> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    if private {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    let mut file = options
        .open(path)
        .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    file.write_all(text.as_bytes())?;
    println!("wrote {}", path.display());
    Ok(())
}
