//! What the benchmarks share: certificates, child processes that do a job, CPU time.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) type Outcome<T> = Result<T, Box<dyn core::error::Error + Send + Sync>>;

/// First argument of a child process.
pub(crate) const CHILD: &str = "--child-of-the-benchmark";

/// The cryptography that diset-std was built with.
pub(crate) fn crypto() -> rustls::crypto::CryptoProvider {
    #[cfg(feature = "aws-lc-rs")]
    return rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "aws-lc-rs"))]
    return rustls::crypto::ring::default_provider();
}

/// User and system time of all threads of a process (its id, or `self`) that are alive, in nanoseconds from the
/// scheduler.
pub(crate) fn cpu_time(process: impl fmt::Display) -> io::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let first = text.split(' ').next().unwrap_or_default();
        nanoseconds += first.parse::<u64>().map_err(io::Error::other)?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// This program, started again to do a job. It ends with this value.
pub(crate) struct Process {
    pub(crate) child: Child,
    out: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(job: &impl Serialize) -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(CHILD)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(&postcard::to_stdvec(job)?)?;
        }
        let out = child.stdout.take().ok_or("a child without output")?;
        Ok(Self {
            child,
            out: BufReader::new(out),
        })
    }

    /// The rest of the next line, which begins with `key`.
    pub(crate) fn word(&mut self, key: &str) -> Outcome<String> {
        let mut line = String::new();
        self.out.read_line(&mut line)?;
        let rest = line
            .trim()
            .strip_prefix(key)
            .ok_or_else(|| format!("a child said {line:?} instead of {key}"))?;
        Ok(rest.trim().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A child that is done ends by itself; killing it then changes nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The job of this child process, from its parent.
pub(crate) fn receive_job<T: DeserializeOwned>() -> Outcome<T> {
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes)?;
    Ok(postcard::from_bytes(&bytes)?)
}

/// Tells the parent where the server listens.
pub(crate) fn say_listening(address: SocketAddr) {
    println!("listening {address}");
}

/// Certificates in DER: who this process is, and the authority both sides trust.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) authority: Vec<u8>,
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

/// The credentials of both sides.
pub(crate) struct Pair {
    pub(crate) server: Credentials,
    pub(crate) client: Credentials,
}

impl Pair {
    /// Both issued by a new authority.
    pub(crate) fn new() -> Result<Self, rcgen::Error> {
        use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};

        let mut params = CertificateParams::new([])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let issue = |name: &str| {
            let key = KeyPair::generate()?;
            let certificate = CertificateParams::new([name.to_owned()])?.signed_by(&key, &authority)?;
            Ok::<_, rcgen::Error>(Credentials {
                authority: authority.der().to_vec(),
                certificate: certificate.der().to_vec(),
                key: key.serialize_der(),
            })
        };
        Ok(Self {
            server: issue("localhost")?,
            client: issue("client")?,
        })
    }
}

impl Credentials {
    pub(crate) fn roots(&self) -> Result<rustls::RootCertStore, rustls::Error> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from(self.authority.clone()))?;
        Ok(roots)
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from(self.certificate.clone())]
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }
}
