//! Why nothing can be sent: a file of the operator, or the system.

use std::fmt;
use std::path::PathBuf;

/// Why the pool could not start, or why a file of the operator is unusable.
#[derive(Debug)]
pub enum StartError {
    /// A file with certificates or a key cannot be read.
    UnreadableFile {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        problem: std::io::Error,
    },
    /// The file can be read, but contains no certificate in PEM form, or a broken one.
    NoCertificateIn {
        /// The file.
        path: PathBuf,
    },
    /// The file has no private key in PEM form, or an unusable one.
    NoKeyIn {
        /// The file.
        path: PathBuf,
    },
    /// Other users of the machine may read a file with a secret.
    NotPrivate {
        /// The file.
        path: PathBuf,
    },
    /// The private key is not that of the client certificate.
    OtherKey {
        /// The file of the key.
        path: PathBuf,
    },
    /// The file has no `user:password`.
    NoCredentialsIn {
        /// The file.
        path: PathBuf,
    },
    /// The file has no key for the encryption of secrets.
    NoSecretKeyIn {
        /// The file.
        path: PathBuf,
    },
    /// A line of the file is not a key for the encryption of secrets.
    InvalidSecretKey {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
    },
    /// The file has more keys for the encryption of secrets than are allowed.
    TooManySecretKeys {
        /// The file.
        path: PathBuf,
        /// How many are allowed.
        maximum: usize,
    },
    /// The proxy's address cannot be called.
    InvalidProxy,
    /// There is a client certificate without a key, or a key without a certificate.
    IncompleteClientCertificate,
    /// The system provides no thread or socket.
    Resources(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnreadableFile { path, problem } => write!(f, "could not read {}: {problem}", path.display()),
            Self::NoCertificateIn { path } => {
                write!(f, "{} contains no PEM certificate, or an invalid one", path.display())
            }
            Self::NoKeyIn { path } => write!(f, "{} contains no PEM private key, or an invalid one", path.display()),
            Self::NotPrivate { path } => {
                write!(f, "other users may read {}: its mode must be 0600, or 0640 if root owns it", path.display())
            }
            Self::OtherKey { path } => {
                write!(f, "the key in {} is not that of the client certificate", path.display())
            }
            Self::NoCredentialsIn { path } => write!(f, "{} has no line user:password", path.display()),
            Self::NoSecretKeyIn { path } => write!(f, "{} contains no secret key", path.display()),
            Self::InvalidSecretKey { path, line } => {
                write!(f, "line {line} of {} is not a secret key: it must be 32 bytes in base64", path.display())
            }
            Self::TooManySecretKeys { path, maximum } => {
                write!(f, "{} contains more than {maximum} secret keys", path.display())
            }
            Self::InvalidProxy => write!(f, "the address of the proxy is invalid"),
            Self::IncompleteClientCertificate => write!(f, "a client certificate needs a file and the file of its key"),
            Self::Resources(problem) => write!(f, "could not create a thread or socket: {problem}"),
        }
    }
}

impl std::error::Error for StartError {}
