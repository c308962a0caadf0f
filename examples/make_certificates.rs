//! Writes throw-away certificates for `ping_service` and `ping_client` into a folder.
//!
//! ```sh
//! cargo run --example make_certificates -- certificates
//! ```

use diset_examples::println;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use diset_std::tls::Certificate;
use diset_std::tls::throwaway::{ThrowawayCa, to_pem};

type Failed = Box<dyn core::error::Error>;

/// Writes an authority (ca.pem), a service (service.pem, service.key) and clients (NAME.pem, NAME.key). They are valid
/// for a month and for tests only: the authority's own key is not kept.
#[derive(Parser)]
#[command(after_help = "Then: cargo run --example ping_service -- --folder FOLDER\n\
    For a station on a chip: cargo run --example station_page -- --folder FOLDER --name CLIENT")]
struct Options {
    /// The folder; it is made if it is missing. Files in it are replaced.
    folder: PathBuf,
    /// A name or address at which clients will call the service; may be given several times. Those given stand in
    /// place of the default ones: name localhost, too, if it is to stay.
    #[arg(long = "service-name", default_values = ["localhost", "127.0.0.1", "::1"])]
    service_names: Vec<String>,
    /// A client: letters, digits, _, - and .; may be given several times, in place of the default ones.
    #[arg(long = "client", default_values = ["alice", "bob"])]
    clients: Vec<String>,
}

/// A file that is to be written.
struct File {
    name: String,
    text: String,
    is_private: bool,
}

fn main() -> ExitCode {
    match write_all(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("make_certificates: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Everything is made before the first file is touched.
fn write_all(options: &Options) -> Result<(), Failed> {
    let folder = &options.folder;
    let files = make(options)?;
    fs::create_dir_all(folder).map_err(|error| format!("cannot make the folder {}: {error}", folder.display()))?;
    for file in &files {
        let path = folder.join(&file.name);
        replace(&path, file).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

fn make(options: &Options) -> Result<Vec<File>, Failed> {
    let ca = ThrowawayCa::new()?;
    let mut files = vec![File {
        name: "ca.pem".to_owned(),
        text: ca.pem(),
        is_private: false,
    }];
    let names: Vec<&str> = options.service_names.iter().map(String::as_str).collect();
    files.extend(pair("service", &ca.server(&names)?));
    for name in &options.clients {
        check(name)?;
        files.extend(pair(name, &ca.client(name)?));
        if files.iter().filter(|file| file.name == format!("{name}.pem")).count() > 1 {
            return Err(format!("`{name}.pem` would be written twice: choose another name for the client").into());
        }
    }
    Ok(files)
}

/// The name of a client becomes that of its files.
fn check(name: &str) -> Result<(), Failed> {
    let fits = |character: char| character.is_ascii_alphanumeric() || "_-.".contains(character);
    if name.is_empty() || name.starts_with(['.', '-']) || !name.chars().all(fits) {
        return Err(format!("`{name}` cannot be the name of a client: use letters, digits, _, - and .").into());
    }
    if ["service", "ca", "crl"].contains(&name.to_ascii_lowercase().as_str()) {
        return Err(format!("`{name}` cannot be the name of a client: {name}.pem is another file").into());
    }
    Ok(())
}

fn pair(name: &str, certificate: &Certificate) -> [File; 2] {
    let (chain, key) = to_pem(certificate);
    let file = |ending, text, is_private| File {
        name: format!("{name}.{ending}"),
        text,
        is_private,
    };
    [file("pem", chain, false), file("key", key, true)]
}

/// Written beside the old file and moved there: nobody reads half of it, and a key is never for others' eyes.
fn replace(path: &Path, file: &File) -> io::Result<()> {
    let beside = path.with_file_name(format!("{}.new", file.name));
    // What an earlier run left, perhaps readable by others.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if file.is_private {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    options.open(&beside)?.write_all(file.text.as_bytes())?;
    fs::rename(&beside, path)
}
