//! Secrets as the database stores them: encrypted if the operator has provided a key file.
//!
//! The file is read whenever it is needed, so that a changed file takes effect at once, and no key
//! stays in the memory of a session.

use std::cell::OnceCell;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pgrx::prelude::*;
use pgrx::spi::{SpiError, SpiHeapTupleData, SpiResult};
use uuid::Uuid;
use webhook_sender::{SecretKeys, SigningKey, StartError, UnopenedSecret};

use super::fail_without_random_bytes;
use crate::ids::id;
use crate::postgres::errors::refuse;
use crate::postgres::security_context::as_extension_owner;
use crate::postgres::settings;
use crate::postgres::timeouts::LockWait;

/// The values of the type `webhook_signature`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Hmac,
    Ed25519,
}

impl Algorithm {
    fn parse(name: &str) -> Self {
        if name == "ed25519" { Self::Ed25519 } else { Self::Hmac }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Hmac => "hmac",
            Self::Ed25519 => "ed25519",
        }
    }

    /// What an encrypted secret is bound to: it is of no use in the row of another endpoint.
    fn context(self, endpoint_id: &Uuid) -> Vec<u8> {
        [endpoint_id.as_bytes(), self.as_str().as_bytes()].concat()
    }
}

/// What signs the requests of an endpoint: of each kind the present one first.
#[derive(Default)]
pub struct Secrets {
    pub secrets: Vec<String>,
    pub signing_keys: Vec<SigningKey>,
}

/// The key file, which is read when the first encrypted secret needs it.
#[derive(Default)]
pub struct KeyFile(OnceCell<Result<Option<SecretKeys>, StartError>>);

/// Why a secret cannot be decrypted.
pub enum SecretProblem<'a> {
    NoKeyFile,
    UnreadableKeyFile(&'a StartError),
    UnknownKey {
        endpoint_id: Uuid,
        key_id: String,
    },
    /// The secret was altered, comes from the row of another endpoint, or is no private key.
    Altered {
        endpoint_id: Uuid,
    },
}

impl fmt::Display for SecretProblem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKeyFile => f.write_str("secrets are encrypted, and webhook_delivery.secret_key_file is not set"),
            Self::UnreadableKeyFile(problem) => write!(f, "webhook_delivery.secret_key_file: {problem}"),
            Self::UnknownKey { endpoint_id, key_id } => write!(
                f,
                "the secret of endpoint {endpoint_id} is encrypted with the key {key_id}, which webhook_delivery.secret_key_file does not have"
            ),
            Self::Altered { endpoint_id } => {
                write!(f, "the secret of endpoint {endpoint_id} was altered or belongs to another endpoint")
            }
        }
    }
}

impl SecretProblem<'_> {
    const HINT: &'static str =
        "Give the file the key that has encrypted the secrets; any number of keys may be in it, one per line.";

    /// Whether it concerns one endpoint; otherwise all secrets.
    pub fn is_of_one_endpoint(&self) -> bool {
        matches!(self, Self::UnknownKey { .. } | Self::Altered { .. })
    }

    /// For the log only: messages of level LOG reach clients that ask for them.
    fn log(&self) {
        ereport!(
            PgLogLevel::LOG_SERVER_ONLY,
            PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
            format!("webhook_delivery: {self}")
        );
    }

    /// For the operator.
    pub fn raise(&self) -> ! {
        refuse(PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR, self.to_string(), Self::HINT)
    }

    /// For a tenant, who learns nothing of the server's files. The operator finds the problem in
    /// the log.
    pub fn raise_for_tenant(&self) -> ! {
        self.log();
        refuse(
            PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
            "the secret of the endpoint cannot be decrypted",
            "The operator finds the reason in webhook_delivery.status and in the server log.",
        )
    }
}

impl KeyFile {
    fn keys(&self) -> Result<Option<&SecretKeys>, &StartError> {
        let read = || settings::secret_key_file().map(|path| SecretKeys::read(&path)).transpose();
        self.0.get_or_init(read).as_ref().map(Option::as_ref)
    }

    fn open(
        &self,
        endpoint_id: Uuid,
        algorithm: Algorithm,
        key_id: &str,
        secret: &str,
    ) -> Result<String, SecretProblem<'_>> {
        let keys = self.keys().map_err(SecretProblem::UnreadableKeyFile)?.ok_or(SecretProblem::NoKeyFile)?;
        let altered = SecretProblem::Altered { endpoint_id };
        let Ok(content) = STANDARD.decode(secret) else { return Err(altered) };
        match keys.open(&algorithm.context(&endpoint_id), key_id, &content) {
            Ok(secret) => String::from_utf8(secret).map_err(|_| altered),
            Err(UnopenedSecret::UnknownKey) => {
                Err(SecretProblem::UnknownKey { endpoint_id, key_id: key_id.to_owned() })
            }
            Err(UnopenedSecret::Altered) => Err(altered),
        }
    }
}

/// The secrets of an endpoint from the columns `algorithms`, `key_ids` and `secrets` of
/// `endpoint_targets`, of which this is the number of the first; `None` if it has none.
pub fn in_row<'a>(
    row: &SpiHeapTupleData<'_>,
    first: usize,
    endpoint_id: Uuid,
    file: &'a KeyFile,
) -> SpiResult<Result<Option<Secrets>, SecretProblem<'a>>> {
    let algorithms: Vec<String> = row.get(first)?.unwrap_or_default();
    let key_ids: Vec<Option<String>> = row.get(first + 1)?.unwrap_or_default();
    let secrets: Vec<String> = row.get(first + 2)?.unwrap_or_default();
    if secrets.is_empty() {
        return Ok(Ok(None));
    }
    let mut opened = Secrets::default();
    for ((algorithm, key_id), secret) in algorithms.iter().zip(key_ids).zip(secrets) {
        let algorithm = Algorithm::parse(algorithm);
        let secret = match key_id {
            Some(key_id) => match file.open(endpoint_id, algorithm, &key_id, &secret) {
                Ok(secret) => secret,
                Err(problem) => return Ok(Err(problem)),
            },
            None => secret,
        };
        match algorithm {
            Algorithm::Hmac => opened.secrets.push(secret),
            Algorithm::Ed25519 => match SigningKey::from_secret(&secret) {
                Some(key) => opened.signing_keys.push(key),
                None => return Ok(Err(SecretProblem::Altered { endpoint_id })),
            },
        }
    }
    Ok(Ok(Some(opened)))
}

fn seal(file: &KeyFile, endpoint_id: Uuid, algorithm: Algorithm, secret: String) -> (Option<String>, String) {
    let keys = match file.keys() {
        Ok(Some(keys)) => keys,
        Ok(None) => return (None, secret),
        Err(problem) => {
            SecretProblem::UnreadableKeyFile(problem).log();
            refuse(
                PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
                "the secret of the endpoint cannot be encrypted",
                "The operator finds the reason in the server log.",
            )
        }
    };
    let content = keys.seal(&algorithm.context(&endpoint_id), secret.as_bytes());
    let content = content.unwrap_or_else(|problem| fail_without_random_bytes(problem));
    (Some(keys.key_id().to_owned()), STANDARD.encode(content))
}

/// The secret as it is stored: encrypted with the first key of the key file, or as it is, with a
/// null key_id, if there is no such file.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn seal_secret(
    endpoint_id: pgrx::Uuid,
    algorithm: &str,
    secret: String,
) -> TableIterator<'static, (name!(key_id, Option<String>), name!(secret, String))> {
    TableIterator::once(seal(&KeyFile::default(), id(endpoint_id), Algorithm::parse(algorithm), secret))
}

/// Encrypts all secrets with the first key of the key file, or with `plain` decrypts them. Returns
/// the number of those that were not stored so before.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn reencrypt_secrets(plain: default!(bool, "false")) -> Result<i64, SpiError> {
    let file = KeyFile::default();
    let target = match file.keys() {
        _ if plain => None,
        Ok(Some(keys)) => Some(keys.key_id()),
        Ok(None) => refuse(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "webhook_delivery.secret_key_file is not set",
            "Make a key with openssl rand -base64 32, name its file in the setting, and reload the configuration.",
        ),
        Err(problem) => SecretProblem::UnreadableKeyFile(problem).raise(),
    };
    // SAFETY: a setting of this transaction.
    if unsafe { pg_sys::XactIsoLevel } >= pg_sys::XACT_REPEATABLE_READ as i32 {
        refuse(
            PgSqlErrorCode::ERRCODE_INVALID_TRANSACTION_STATE,
            "secrets cannot be encrypted again in a transaction that does not see later commits",
            "Use a transaction with isolation level READ COMMITTED.",
        );
    }
    let _owner = as_extension_owner();
    let _lock_wait = LockWait::bounded();
    Spi::connect_mut(|client| {
        // Transactions that have written a secret with an old key must end first.
        client.update("lock table webhook_delivery.endpoint_secrets in share row exclusive mode", None, &[])?;
        let read = include_str!("../../sql/statements/endpoint/secrets_to_reencrypt.sql");
        let write = include_str!("../../sql/statements/endpoint/store_reencrypted.sql");
        let mut number = 0;
        for row in client.update(read, None, &[target.into()])? {
            let (Some(endpoint_id), Some(algorithm)) = (row.get::<pgrx::Uuid>(1)?, row.get::<String>(2)?) else {
                continue;
            };
            let (is_previous, key_id): (Option<bool>, Option<String>) = (row.get(3)?, row.get(4)?);
            let (of, kind) = (id(endpoint_id), Algorithm::parse(&algorithm));
            let secret: String = row.get(5)?.unwrap_or_default();
            let secret = match key_id {
                Some(key_id) => file.open(of, kind, &key_id, &secret).unwrap_or_else(|problem| problem.raise()),
                None => secret,
            };
            let (key_id, secret) = if plain { (None, secret) } else { seal(&file, of, kind, secret) };
            let arguments = [endpoint_id.into(), algorithm.into(), is_previous.into(), key_id.into(), secret.into()];
            client.update(write, None, &arguments)?;
            number += 1;
        }
        Ok(number)
    })
}
