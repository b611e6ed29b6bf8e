//! Who we say that we are.
//!
//! Three kinds, as Dolt has them: nobody; a user name with the password of `DOLT_REMOTE_PASSWORD`; a key pair, whose
//! token is made anew for each call and good for 30 seconds.

use std::fmt;

use data_encoding::{BASE64, BASE64URL, BASE64URL_NOPAD};
use ring::signature::Ed25519KeyPair;
use serde_json::json;

use holdfast_chunkstore::address::BASE32;

/// How long a token is good, in seconds.
const TOKEN_SECONDS: u64 = 30;

/// Who makes the tokens, as servers of Dolt's remotes API demand it.
const ISSUER: &str = "dolt-client.dolthub.com";

/// The version of the form of a token.
const TOKEN_VERSION: &str = "2023.01";

/// What is sent with each call.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Nothing.
    Nobody,
    /// A user name and a password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token signed with a key.
    Key(SigningKey),
}

/// Text that is never shown.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A key pair that is none. What is wrong is told without anything that stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not the JSON of a key.
    #[error("it is not a key file")]
    Form,
    /// Keys of other lengths.
    #[error("it does not hold a public key of 32 bytes and a private key of 64")]
    Length,
    /// Two halves of different pairs.
    #[error("the private and the public key do not belong together")]
    Pair,
}

/// How a key file names what it holds.
const KEY_TYPE: &str = "OKP";
const CURVE: &str = "Ed25519";

/// A key file. Dolt's fields are the other way round than RFC 8037 has them: `d` holds the public key, and `x` the
/// seed of the private one with the public one behind it.
#[derive(serde::Deserialize)]
struct KeyFile {
    d: String,
    x: String,
}

/// A new key pair and the text of its file, which holds the private key and is never shown.
pub struct NewKey {
    /// The pair.
    pub key: SigningKey,
    /// The text of the file, as `dolt creds new` writes it.
    pub file: Vec<u8>,
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl NewKey {
    /// Makes a key pair of a random seed.
    pub fn of_seed(seed: &[u8; 32]) -> Result<Self, KeyError> {
        use ring::signature::KeyPair as _;
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Pair)?;
        let public = pair.public_key().as_ref();
        let public = <[u8; 32]>::try_from(public).map_err(|_| KeyError::Length)?;
        let private = [seed.as_slice(), &public].concat();
        // In the order in which Dolt writes the fields.
        let file = format!(
            "{{\"d\":\"{}\",\"x\":\"{}\",\"kty\":\"{KEY_TYPE}\",\"crv\":\"{CURVE}\"}}",
            BASE64URL.encode(&public),
            BASE64URL.encode(&private),
        );
        Ok(Self {
            key: SigningKey::new(seed, &public)?,
            file: file.into_bytes(),
        })
    }
}

/// A user's key pair.
#[derive(Clone)]
pub struct SigningKey {
    pair: std::sync::Arc<Ed25519KeyPair>,
    id: String,
}

impl SigningKey {
    /// Takes the seed of a private key and the public key that belongs to it.
    pub fn new(seed: &[u8; 32], public: &[u8; 32]) -> Result<Self, KeyError> {
        let pair =
            Ed25519KeyPair::from_seed_and_public_key(seed, public).map_err(|_| KeyError::Pair)?;
        Ok(Self {
            pair: std::sync::Arc::new(pair),
            id: key_id(public),
        })
    }

    /// Reads a key file, as `dolt creds new` writes them.
    pub fn decode_file(text: &[u8]) -> Result<Self, KeyError> {
        let file: KeyFile = serde_json::from_slice(text).map_err(|_| KeyError::Form)?;
        let decode = |text: &str| BASE64URL.decode(text.as_bytes());
        let public = decode(&file.d).map_err(|_| KeyError::Form)?;
        let private = decode(&file.x).map_err(|_| KeyError::Form)?;
        let public = <[u8; 32]>::try_from(public).map_err(|_| KeyError::Length)?;
        let private = <[u8; 64]>::try_from(private).map_err(|_| KeyError::Length)?;
        let (seed, _) = private.split_first_chunk().ok_or(KeyError::Length)?;
        Self::new(seed, &public)
    }

    /// The id under which a server knows the public key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public key.
    pub fn public_key(&self) -> &[u8] {
        use ring::signature::KeyPair as _;
        self.pair.public_key().as_ref()
    }

    /// The public key as people and servers are told it.
    pub fn public_text(&self) -> String {
        BASE32.encode(self.public_key())
    }

    /// Signs bytes with Ed25519.
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.pair.sign(bytes).as_ref().to_vec()
    }

    /// A token for a server, named by its host without the port.
    fn token(&self, audience: &str, now_seconds: u64) -> String {
        let header = json!({
            "alg": "EdDSA",
            "kid": self.id,
            "dolt_token_version": TOKEN_VERSION,
        });
        let claims = json!({
            "iss": ISSUER,
            "sub": format!("doltClientCredentials/{}", self.id),
            "aud": [audience],
            "exp": now_seconds + TOKEN_SECONDS,
        });
        let part = |value: serde_json::Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.pair.sign(signed.as_bytes());
        format!("{signed}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The id of the key that a user names: by that id, or by the public key.
pub fn named_key_id(text: &str) -> Option<String> {
    let bytes = BASE32.decode(text.as_bytes()).ok()?;
    match <[u8; 32]>::try_from(bytes.as_slice()) {
        Ok(public) => Some(key_id(&public)),
        Err(_) => (bytes.len() == 28).then(|| text.to_owned()),
    }
}

/// The id of a public key: its SHA-512/224 in the alphabet of addresses.
pub fn key_id(public: &[u8; 32]) -> String {
    use sha2::Digest as _;
    BASE32.encode(&sha2::Sha512_224::digest(public))
}

impl Credentials {
    /// The value of the `authorization` header for a call, if one is sent. `host` is the server's, without the port.
    pub fn authorization(&self, host: &str, now_seconds: u64) -> Option<String> {
        match self {
            Self::Nobody => None,
            Self::Password { user, password } => {
                let both = format!("{user}:{}", password.0);
                Some(format!("Basic {}", BASE64.encode(both.as_bytes())))
            }
            Self::Key(key) => Some(format!("Bearer {}", key.token(host, now_seconds))),
        }
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, KeyPair as _, UnparsedPublicKey};

    use super::*;

    fn key() -> (SigningKey, [u8; 32]) {
        let seed = [7; 32];
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let public: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
        (SigningKey::new(&seed, &public).unwrap(), public)
    }

    #[test]
    fn key_ids_are_dolts() {
        assert_eq!(
            key_id(&[0; 32]),
            "jpum106uujgspt5elb3ffumg138619mfgs320e6m2pjn8"
        );
        let counting = std::array::from_fn(|at| u8::try_from(at).unwrap());
        assert_eq!(
            key_id(&counting),
            "psnshcg42gt4ir21a48j0qb3dck8gt6ipmdukeuk3e29a"
        );
    }

    #[test]
    fn a_strict_verifier_takes_a_token() {
        let (key, public) = key();
        let header = Credentials::Key(key.clone()).authorization("forge.example.org", 1000);
        let token = header.unwrap();
        let token = token.strip_prefix("Bearer ").unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
        let verifier = UnparsedPublicKey::new(&ED25519, public);
        verifier.verify(signed.as_bytes(), &signature).unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let part = |text: &str| -> serde_json::Value {
            serde_json::from_slice(&BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()).unwrap()
        };
        assert_eq!(
            part(header),
            json!({"alg": "EdDSA", "kid": key.id(), "dolt_token_version": "2023.01"})
        );
        assert_eq!(
            part(claims),
            json!({
                "iss": "dolt-client.dolthub.com",
                "sub": format!("doltClientCredentials/{}", key.id()),
                "aud": ["forge.example.org"],
                "exp": 1030,
            })
        );
    }

    #[test]
    fn a_password_is_sent_as_it_is_and_never_shown() {
        let credentials = Credentials::Password {
            user: "admin".to_owned(),
            password: Secret::new("pass:word"),
        };
        let header = credentials.authorization("h", 0).unwrap();
        assert_eq!(header, "Basic YWRtaW46cGFzczp3b3Jk");
        assert!(!format!("{credentials:?}").contains("pass:"));
    }

    #[test]
    fn keys_that_do_not_belong_together_are_refused() {
        let error = SigningKey::new(&[7; 32], &[8; 32]).unwrap_err();
        assert_eq!(error, KeyError::Pair);
    }

    #[test]
    fn a_new_key_is_read_from_its_file_and_named_by_both_of_its_names() {
        let new = NewKey::of_seed(&[7; 32]).unwrap();
        assert_eq!(new.key.id(), key().0.id());
        let read = SigningKey::decode_file(&new.file).unwrap();
        assert_eq!(read.public_key(), new.key.public_key());
        for name in [new.key.id(), &new.key.public_text()] {
            assert_eq!(named_key_id(name).as_deref(), Some(new.key.id()));
        }
        for wrong in ["", "main", "0000", "../../etc/passwd"] {
            assert_eq!(named_key_id(wrong), None, "{wrong}");
        }
        let shown = format!("{new:?}");
        assert!(!shown.contains("file"), "{shown}");
    }

    #[test]
    fn a_key_file_has_the_halves_the_other_way_round() {
        let (key, public) = key();
        let file = |public: &[u8], private: &[u8]| {
            let [d, x] = [public, private].map(|bytes| BASE64URL.encode(bytes));
            json!({"d": d, "x": x, "kty": "OKP", "crv": "Ed25519"}).to_string()
        };
        let private = [[7; 32], public].concat();
        let read = SigningKey::decode_file(file(&public, &private).as_bytes()).unwrap();
        assert_eq!(read.id(), key.id());
        let error = |text: &str| SigningKey::decode_file(text.as_bytes()).unwrap_err();
        assert_eq!(error(&file(&private, &public)), KeyError::Length);
        assert_eq!(error(&file(&[8; 32], &private)), KeyError::Pair);
        assert_eq!(error("{}"), KeyError::Form);
        assert_eq!(error(r#"{"d":"!","x":"!"}"#), KeyError::Form);
    }
}
