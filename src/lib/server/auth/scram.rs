//! The client's side of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS: RFC 5802, RFC 7677
//! (`src/interfaces/libpq/fe-auth-scram.c`, `src/common/scram-common.c`).
//!
//! INVARIANT: whatever number of rounds a server asks for, the work stops at every pause, so that a time limit of the
//! caller ends it; no secret outlives the exchange in memory.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac};
use zeroize::Zeroizing;

use crate::server::conninfo::ScramKeys;
use crate::server::secret::Secret;

/// The mechanism without channel binding.
pub(super) const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
/// The mechanism with channel binding.
pub(super) const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// Random bytes of a nonce, as many as libpq takes.
const NONCE_BYTES: usize = 18;

/// Rounds between two pauses: about a millisecond.
const ROUNDS_AT_ONCE: u32 = 4096;

type Key = Zeroizing<[u8; digest::SHA256_OUTPUT_LEN]>;

/// What there is to say about the TLS session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Binding {
    /// We cannot bind.
    Unsupported,
    /// We could, and the server says that it cannot.
    NotOffered,
    /// Bound to a certificate with this hash.
    ServerEndPoint(Vec<u8>),
}

/// What proves who we are.
#[derive(Clone, Copy)]
pub(super) enum Credentials<'a> {
    Password(&'a Secret),
    Keys(&'a ScramKeys),
}

/// Why an exchange failed; the server is to blame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ScramError {
    #[error("{0}")]
    Broken(&'static str),
    #[error("the server says \"{0}\"")]
    Refused(String),
}

/// An exchange that has begun.
pub(super) struct ScramExchange {
    binding: Binding,
    nonce: String,
}

/// The second message, and what the server must answer it with.
pub(super) struct ScramProof {
    pub(super) message: String,
    authenticated: String,
    server_key: Key,
}

impl ScramExchange {
    pub(super) fn new(binding: Binding) -> Result<Self, ScramError> {
        let mut bytes = [0; NONCE_BYTES];
        let filled = SystemRandom::new().fill(&mut bytes);
        filled.map_err(|_| ScramError::Broken("the system has no random numbers"))?;
        Ok(Self { binding, nonce: STANDARD.encode(bytes) })
    }

    /// The first message. The server knows the role from the start of the session.
    pub(super) fn first_message(&self) -> String {
        format!("{}{}", self.header(), self.first_message_bare())
    }

    fn first_message_bare(&self) -> String {
        format!("n=,r={}", self.nonce)
    }

    fn header(&self) -> &'static str {
        match self.binding {
            Binding::Unsupported => "n,,",
            Binding::NotOffered => "y,,",
            Binding::ServerEndPoint(_) => "p=tls-server-end-point,,",
        }
    }

    /// Answers the server's challenge. Takes long when the server wants many rounds; pauses on the way.
    pub(super) async fn answer(
        &self,
        challenge: &[u8],
        credentials: Credentials<'_>,
    ) -> Result<ScramProof, ScramError> {
        let broken = ScramError::Broken;
        let challenge = std::str::from_utf8(challenge).map_err(|_| broken("the server's challenge is not UTF-8"))?;
        let (nonce, salt, rounds) = parse_challenge(challenge)?;
        if nonce.strip_prefix(self.nonce.as_str()).is_none_or(str::is_empty) {
            return Err(broken("the server's nonce does not continue ours"));
        }
        let (client_key, server_key) = match credentials {
            Credentials::Keys(keys) => (key(keys.client.expose())?, key(keys.server.expose())?),
            Credentials::Password(password) => {
                let salted = salted_password(&normalized(password.expose()), &salt, rounds).await;
                (sign(salted.as_ref(), b"Client Key"), sign(salted.as_ref(), b"Server Key"))
            }
        };
        let mut bound = self.header().as_bytes().to_vec();
        if let Binding::ServerEndPoint(hash) = &self.binding {
            bound.extend_from_slice(hash);
        }
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(bound));
        let authenticated = format!("{},{challenge},{without_proof}", self.first_message_bare());
        let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
        let mut proof = sign(stored_key.as_ref(), authenticated.as_bytes());
        proof.iter_mut().zip(client_key.iter()).for_each(|(proof, key)| *proof ^= key);
        let message = format!("{without_proof},p={}", STANDARD.encode(proof.as_ref()));
        Ok(ScramProof { message, authenticated, server_key })
    }
}

impl ScramProof {
    /// Whether the server knows what a server must know.
    pub(super) fn check(&self, answer: &[u8]) -> Result<(), ScramError> {
        let broken = ScramError::Broken;
        let answer = std::str::from_utf8(answer).map_err(|_| broken("the server's proof is not UTF-8"))?;
        if let Some(error) = answer.strip_prefix("e=") {
            return Err(ScramError::Refused(error.to_owned()));
        }
        let signature = answer.strip_prefix("v=").and_then(|text| STANDARD.decode(text).ok());
        let signature = signature.ok_or_else(|| broken("the server's proof cannot be read"))?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.server_key.as_ref());
        hmac::verify(&key, self.authenticated.as_bytes(), &signature)
            .map_err(|_| broken("the server's proof is wrong: it does not know the password either"))
    }
}

/// Nonce, salt and rounds. Anything more is an extension that we would have to understand.
fn parse_challenge(text: &str) -> Result<(&str, Vec<u8>, u32), ScramError> {
    let broken = ScramError::Broken("the server's challenge cannot be read");
    let mut fields = text.split(',');
    let mut field = |prefix: &str| fields.next().and_then(|field| field.strip_prefix(prefix));
    let (Some(nonce), Some(salt), Some(rounds)) = (field("r="), field("s="), field("i=")) else { return Err(broken) };
    let salt = STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty());
    let digits = rounds.bytes().all(|byte| byte.is_ascii_digit());
    let rounds = rounds.parse().ok().filter(|rounds| *rounds > 0 && digits);
    match (salt, rounds, fields.next()) {
        (Some(salt), Some(rounds), None) => Ok((nonce, salt, rounds)),
        _ => Err(broken),
    }
}

/// SASLprep where it applies; a password that it forbids counts as it is, as with the server.
fn normalized(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let prepared = std::str::from_utf8(password).ok().and_then(|text| stringprep::saslprep(text).ok());
    Zeroizing::new(prepared.map_or_else(|| password.to_vec(), |text| text.into_owned().into_bytes()))
}

/// PBKDF2 with one block, with pauses.
async fn salted_password(password: &[u8], salt: &[u8], rounds: u32) -> Key {
    let password = hmac::Key::new(hmac::HMAC_SHA256, password);
    let mut last = copied(&hmac::sign(&password, &[salt, &1u32.to_be_bytes()].concat()));
    let mut result = last.clone();
    for round in 1..rounds {
        last = copied(&hmac::sign(&password, last.as_ref()));
        result.iter_mut().zip(last.iter()).for_each(|(result, last)| *result ^= last);
        if round % ROUNDS_AT_ONCE == 0 {
            tokio::task::yield_now().await;
        }
    }
    result
}

fn sign(key: &[u8], message: &[u8]) -> Key {
    copied(&hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message))
}

fn copied(tag: &hmac::Tag) -> Key {
    let mut key = Key::default();
    key.iter_mut().zip(tag.as_ref()).for_each(|(key, byte)| *key = *byte);
    key
}

fn key(bytes: &[u8]) -> Result<Key, ScramError> {
    bytes.try_into().map(Zeroizing::new).map_err(|_| ScramError::Broken("a key of ours has the wrong length"))
}

/// A challenge and a final message, each behind its length, answered for a nonce that is known.
#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::server) async fn fuzz(mut data: &[u8]) {
    use crate::fuzz_check::{split_piece, text};
    let key = || Secret::new([0; digest::SHA256_OUTPUT_LEN]);
    let keys = ScramKeys { client: key(), server: key() };
    let exchange = ScramExchange { binding: Binding::ServerEndPoint(vec![1]), nonce: "nonce".to_owned() };
    let challenge = split_piece(&mut data);
    match exchange.answer(challenge, Credentials::Keys(&keys)).await {
        Ok(proof) => {
            assert!(proof.message.starts_with("c="));
            if let Err(error) = proof.check(split_piece(&mut data)) {
                text(&crate::server::message::clean_text(&error.to_string()));
            }
        }
        Err(error) => text(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fake_server::block_on;
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";

    fn exchange(binding: Binding) -> ScramExchange {
        ScramExchange { binding, nonce: NONCE.to_owned() }
    }

    fn answer(exchange: &ScramExchange, challenge: &str, password: &str) -> Result<ScramProof, ScramError> {
        let password = Secret::new(password);
        block_on(exchange.answer(challenge.as_bytes(), Credentials::Password(&password)))
    }

    /// The example of RFC 7677, whose client names a user: the first message differs by that, and so does the proof.
    #[test]
    fn salted_passwords_are_those_of_the_rfc() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let salted = block_on(salted_password(b"pencil", &salt, 4096));
        let authenticated = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                             s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,\
                             r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let server_key = sign(salted.as_ref(), b"Server Key");
        let signature = sign(server_key.as_ref(), authenticated.as_bytes());
        assert_eq!(STANDARD.encode(signature.as_ref()), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    /// Against an implementation of others.
    #[test]
    fn many_rounds_are_those_of_pbkdf2() {
        for rounds in [1u32, 2, 4096, 4097, 200_000] {
            let mut expected = [0; 32];
            let count = std::num::NonZeroU32::new(rounds).unwrap();
            ring::pbkdf2::derive(ring::pbkdf2::PBKDF2_HMAC_SHA256, count, b"salt", b"p", &mut expected);
            assert_eq!(*block_on(salted_password(b"p", b"salt", rounds)), expected, "{rounds}");
        }
    }

    #[test]
    fn a_server_cannot_keep_us_busy_beyond_the_time_limit() {
        let exchange = exchange(Binding::Unsupported);
        let password = Secret::new("p");
        let challenge = format!("r={NONCE}x,s=c2FsdA==,i=4294967295");
        let outcome = block_on(async {
            let work = exchange.answer(challenge.as_bytes(), Credentials::Password(&password));
            tokio::time::timeout(Duration::from_millis(50), work).await
        });
        assert!(outcome.is_err());
    }

    #[test]
    fn challenges_that_break_the_rules_are_refused() {
        let exchange = exchange(Binding::Unsupported);
        assert!(answer(&exchange, &format!("r={NONCE}x,s=c2FsdA==,i=1"), "p").is_ok());
        for challenge in [
            "",
            "r=other,s=c2FsdA==,i=1",
            "r=rOprNGfwEbeRWgbNEkqO,s=c2FsdA==,i=1",
            "r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=0",
            "r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=-1",
            "r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=+1",
            "r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=4294967296",
            "r=rOprNGfwEbeRWgbNEkqOx,s=,i=1",
            "r=rOprNGfwEbeRWgbNEkqOx,s=!,i=1",
            "r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==",
            "r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=1,x=y",
            "m=ext,r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=1",
        ] {
            assert!(answer(&exchange, challenge, "p").is_err(), "{challenge}");
        }
    }

    #[test]
    fn only_the_right_proof_of_the_server_counts() {
        let proof = answer(&exchange(Binding::NotOffered), &format!("r={NONCE}x,s=c2FsdA==,i=2"), "p").unwrap();
        assert!(proof.message.starts_with("c=eSws,r="), "{}", proof.message);
        let right = sign(proof.server_key.as_ref(), proof.authenticated.as_bytes());
        assert_eq!(proof.check(format!("v={}", STANDARD.encode(right.as_ref())).as_bytes()), Ok(()));
        let refused = ScramError::Refused("other-error".to_owned());
        assert_eq!(proof.check(b"e=other-error"), Err(refused));
        for wrong in [&b"v="[..], b"v=AAAA", b"", b"\xff", b"v=!"] {
            assert!(matches!(proof.check(wrong), Err(ScramError::Broken(_))), "{wrong:?}");
        }
    }

    #[test]
    fn keys_prove_the_same_as_the_password_that_they_come_from() {
        let challenge = format!("r={NONCE}x,s=c2FsdA==,i=3");
        for binding in [Binding::Unsupported, Binding::ServerEndPoint(vec![7; 32])] {
            let exchange = exchange(binding);
            let by_password = answer(&exchange, &challenge, "p").unwrap();
            let salted = block_on(salted_password(b"p", b"salt", 3));
            let secret = |name: &[u8]| Secret::new(sign(salted.as_ref(), name).to_vec());
            let keys = ScramKeys { client: secret(b"Client Key"), server: secret(b"Server Key") };
            let by_keys = block_on(exchange.answer(challenge.as_bytes(), Credentials::Keys(&keys))).unwrap();
            assert_eq!(by_keys.message, by_password.message);
            assert_eq!(by_keys.server_key, by_password.server_key);
        }
    }

    #[test]
    fn passwords_are_normalized_where_that_is_defined() {
        assert_eq!(normalized("I\u{AD}X".as_bytes()).as_slice(), b"IX");
        assert_eq!(normalized("\u{2168}".as_bytes()).as_slice(), b"IX");
        assert_eq!(normalized(b"\x07").as_slice(), b"\x07");
        assert_eq!(normalized(b"\xff").as_slice(), b"\xff");
    }

    proptest! {
        #[test]
        fn arbitrary_challenges_never_panic(text in "(r=rOprNGfwEbeRWgbNEkqO)?.{0,40}") {
            let _ = parse_challenge(&text);
        }
    }
}
