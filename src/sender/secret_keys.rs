//! Secret keys: encryption of signing secrets at rest, with XChaCha20-Poly1305.
//!
//! The keys are in a file of the operator, outside the database. A dump or a copy of the database
//! therefore does not disclose the secrets. An encrypted secret consists of the nonce (24 bytes),
//! the ciphertext and the tag (16 bytes).
//! <https://datatracker.ietf.org/doc/html/draft-irtf-cfrg-xchacha>

use std::fmt;
use std::path::Path;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::StartError;
use crate::files::read_private;

const MAX_KEYS: usize = 100;
const KEY_SIZE: usize = 32;
const NONCE_SIZE: usize = 24;

/// Separates a key ID from any other SHA-256 of the same key.
const KEY_ID_PREFIX: &[u8] = b"webhook_delivery secret key\0";

/// The standard alphabet; padding is optional.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The keys of a key file. The first key encrypts, all keys decrypt. They are wiped from memory
/// when they are dropped.
pub struct SecretKeys {
    /// Never empty.
    keys: Vec<SecretKey>,
}

/// Why an encrypted secret cannot be decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnopenedSecret {
    /// The key file does not contain the key that encrypted the secret.
    UnknownKey,
    /// Authentication failed or the content is too short: key, context or content is not that of
    /// the encryption.
    Altered,
}

impl SecretKeys {
    /// Reads a key file: one key per line, 32 bytes in base64, at most 100 keys. Empty lines and
    /// lines that begin with `#` are ignored.
    pub fn read(path: &Path) -> Result<Self, StartError> {
        let content = Zeroizing::new(read_private(path)?);
        // A vector that grows would leave copies of keys in freed memory. This one does not grow.
        let mut keys = Vec::with_capacity(MAX_KEYS);
        for (text, line) in content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).zip(1..) {
            if text.is_empty() || text.starts_with(b"#") {
                continue;
            }
            if keys.len() == MAX_KEYS {
                return Err(StartError::TooManySecretKeys { path: path.to_owned(), maximum: MAX_KEYS });
            }
            let invalid = || StartError::InvalidSecretKey { path: path.to_owned(), line };
            keys.push(SecretKey::from_base64(text).ok_or_else(invalid)?);
        }
        if keys.is_empty() { Err(StartError::NoSecretKeyIn { path: path.to_owned() }) } else { Ok(Self { keys }) }
    }

    /// The key ID of the first key, which `seal` uses. It is not secret.
    pub fn key_id(&self) -> &str {
        &self.keys[0].id
    }

    /// Encrypts a secret with the first key. `open` needs the same context, for example the row
    /// that the secret belongs to, so that an encrypted secret is not usable in another row.
    pub fn seal(&self, context: &[u8], secret: &[u8]) -> Result<Vec<u8>, getrandom::Error> {
        let mut nonce = [0; NONCE_SIZE];
        getrandom::fill(&mut nonce)?;
        Ok(self.keys[0].seal(&nonce, context, secret))
    }

    /// Decrypts what `seal` returned, with the key that has this key ID.
    pub fn open(&self, context: &[u8], key_id: &str, content: &[u8]) -> Result<Vec<u8>, UnopenedSecret> {
        let key = self.keys.iter().find(|key| key.id == key_id).ok_or(UnopenedSecret::UnknownKey)?;
        key.open(context, content).ok_or(UnopenedSecret::Altered)
    }
}

impl fmt::Debug for SecretKeys {
    /// Omits the keys, which would otherwise get into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKeys").field("key_id", &self.key_id()).finish_non_exhaustive()
    }
}

struct SecretKey {
    id: String,
    /// Wipes the key when dropped.
    cipher: XChaCha20Poly1305,
}

impl SecretKey {
    fn from_base64(text: &[u8]) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; KEY_SIZE]);
        let length = BASE64.decode_slice(text, &mut *bytes).ok()?;
        (length == KEY_SIZE).then(|| Self::new(&bytes))
    }

    fn new(bytes: &[u8; KEY_SIZE]) -> Self {
        let hash = Sha256::new().chain_update(KEY_ID_PREFIX).chain_update(bytes).finalize();
        Self { id: hex::encode(&hash[..8]), cipher: XChaCha20Poly1305::new(bytes.into()) }
    }

    fn seal(&self, nonce: &[u8; NONCE_SIZE], context: &[u8], secret: &[u8]) -> Vec<u8> {
        let sealed = self.cipher.encrypt(nonce.into(), Payload { msg: secret, aad: context });
        [&nonce[..], &sealed.expect("a secret is shorter than 256 GiB")].concat()
    }

    fn open(&self, context: &[u8], content: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = content.split_first_chunk::<NONCE_SIZE>()?;
        self.cipher.decrypt(nonce.into(), Payload { msg: sealed, aad: context }).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use base64::engine::general_purpose::STANDARD;
    use tempfile::NamedTempFile;

    use super::*;

    fn file(content: &str) -> NamedTempFile {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        file
    }

    fn read(content: &str) -> Result<SecretKeys, StartError> {
        SecretKeys::read(file(content).path())
    }

    fn line(byte: u8) -> String {
        STANDARD.encode([byte; KEY_SIZE])
    }

    fn keys(bytes: &[u8]) -> SecretKeys {
        read(&bytes.iter().map(|byte| line(*byte) + "\n").collect::<String>()).unwrap()
    }

    /// The message of the error, without the path.
    fn problem(content: &str) -> String {
        let file = file(content);
        let problem = SecretKeys::read(file.path()).unwrap_err().to_string();
        problem.replace(file.path().to_str().unwrap(), "FILE")
    }

    #[test]
    fn content_is_that_of_the_published_test_vector() {
        // draft-irtf-cfrg-xchacha-03, section A.3.1.
        let hex = |text: &str| hex::decode(text).unwrap();
        let bytes = hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f");
        let nonce = hex("404142434445464748494a4b4c4d4e4f5051525354555657");
        let context = hex("50515253c0c1c2c3c4c5c6c7");
        let secret = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                       sunscreen would be it.";
        let ciphertext = "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb\
                          731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452\
                          2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9\
                          21f9664c97637da9768812f615c68b13b52e";
        let tag = "c0875924c1c7987947deafd8780acf49";
        let key = SecretKey::new(bytes.as_slice().try_into().unwrap());
        let content = key.seal(nonce.as_slice().try_into().unwrap(), &context, secret);
        assert_eq!(hex::encode(&content), hex::encode(&nonce) + ciphertext + tag);
        assert_eq!(key.open(&context, &content).unwrap(), secret);
    }

    #[test]
    fn key_id_is_the_start_of_the_prefixed_hash() {
        // printf 'webhook_delivery secret key\0%s' 11111111111111111111111111111111 | sha256sum
        assert_eq!(keys(b"12").key_id(), "c83fa1010c223057");
    }

    #[test]
    fn sealed_secret_opens_with_the_same_context() {
        let keys = keys(b"1");
        for secret in [&b""[..], b"whsec_c2VjcmV0", &[0xff; 1000]] {
            let content = keys.seal(b"row 1", secret).unwrap();
            assert_eq!(keys.open(b"row 1", keys.key_id(), &content).unwrap(), secret);
        }
    }

    #[test]
    fn secret_is_never_sealed_twice_alike() {
        let seal = || keys(b"1").seal(b"row 1", b"secret").unwrap();
        assert_ne!(seal()[..NONCE_SIZE], seal()[..NONCE_SIZE]);
    }

    #[test]
    fn altered_secret_does_not_open() {
        let keys = keys(b"1");
        let content = keys.seal(b"row 1", b"secret").unwrap();
        let open = |context, content: &[u8]| keys.open(context, keys.key_id(), content);
        assert_eq!(open(b"row 2", &content), Err(UnopenedSecret::Altered));
        for position in 0..content.len() {
            let mut flipped = content.clone();
            flipped[position] ^= 1;
            assert_eq!(open(b"row 1", &flipped), Err(UnopenedSecret::Altered), "byte {position}");
            assert_eq!(open(b"row 1", &content[..position]), Err(UnopenedSecret::Altered), "length {position}");
        }
    }

    #[test]
    fn secret_of_an_unknown_key_does_not_open() {
        let (ours, theirs) = (keys(b"1"), keys(b"2"));
        let content = theirs.seal(b"", b"secret").unwrap();
        assert_eq!(ours.open(b"", theirs.key_id(), &content), Err(UnopenedSecret::UnknownKey));
        assert_eq!(ours.open(b"", ours.key_id(), &content), Err(UnopenedSecret::Altered));
    }

    #[test]
    fn second_key_of_the_file_decrypts() {
        let (before, after) = (keys(b"1"), keys(b"21"));
        let content = before.seal(b"", b"secret").unwrap();
        assert_ne!(before.key_id(), after.key_id());
        assert_eq!(after.open(b"", before.key_id(), &content).unwrap(), b"secret");
    }

    #[test]
    fn comments_empty_lines_and_padding_are_optional() {
        let (padded, bare) = (line(b'1'), line(b'2').trim_end_matches('=').to_owned());
        let read = read(&format!("# current\r\n\r\n{bare}\r\n  \n# former\n{padded}")).unwrap();
        assert_eq!(read.key_id(), keys(b"2").key_id());
        assert_eq!(read.keys[1].id, keys(b"1").key_id());
        assert_eq!(read.keys.len(), 2);
    }

    #[test]
    fn invalid_line_is_named_by_its_number() {
        let invalid = ["not base64", &STANDARD.encode([1; 31]), &STANDARD.encode([1; 33]), &STANDARD.encode([1; 64])];
        for text in invalid {
            let problem = problem(&format!("# keys\n{}\n{text}\n", line(1)));
            assert_eq!(problem, "line 3 of FILE is not a secret key: it must be 32 bytes in base64");
        }
    }

    #[test]
    fn file_must_have_between_1_and_100_keys() {
        assert_eq!(problem("# none\n\n"), "FILE contains no secret key");
        assert_eq!(problem(&(line(1) + "\n").repeat(101)), "FILE contains more than 100 secret keys");
        assert_eq!(keys(&[1; 100]).keys.len(), 100);
    }

    #[test]
    fn key_file_that_others_may_read_is_refused() {
        let file = file(&line(1));
        file.as_file().set_permissions(PermissionsExt::from_mode(0o644)).unwrap();
        assert!(matches!(SecretKeys::read(file.path()), Err(StartError::NotPrivate { .. })));
    }

    #[test]
    fn debug_output_omits_the_secret_keys() {
        let keys = keys(b"1");
        assert_eq!(format!("{keys:?}"), format!("SecretKeys {{ key_id: {:?}, .. }}", keys.key_id()));
    }
}
