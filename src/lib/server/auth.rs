//! Proves to a server who we are: nothing, clear text, MD5, SCRAM-SHA-256 with or without channel binding
//! (`src/interfaces/libpq/fe-auth.c`, `fe-auth-scram.c`).
//!
//! INVARIANT: a password leaves this process in clear text only inside TLS or through a local socket, unless
//! `require_auth=password` asked for it; a server that must prove itself (SCRAM) is not believed before it did.

mod scram;

use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;

use super::conninfo::{AllowedMethods, AuthMethod, ChannelBindingMode, PasswordFileProblem, ScramKeys};
use super::error::{ConnectError, Endpoint};
use super::framing::{Body, MessageStream, ProtocolError, Received, Transport};
use super::message::{NoticeBuffer, ServerMessage, clean_text};
use super::secret::Secret;
use scram::{Binding, Credentials, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramError, ScramExchange};

/// How the connection is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Protection {
    /// A socket of this machine.
    Local,
    /// Nothing.
    Open,
    /// TLS; with the hash of the server's certificate where its signature algorithm defines one.
    Tls { certificate_hash: Option<Vec<u8>> },
}

impl Protection {
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls { .. })
    }
}

/// What an exchange needs to know.
pub(crate) struct Login<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) password: Option<&'a Secret>,
    pub(crate) scram_keys: Option<&'a ScramKeys>,
    pub(crate) passfile_problem: Option<&'a PasswordFileProblem>,
    pub(crate) protection: &'a Protection,
    pub(crate) channel_binding: ChannelBindingMode,
    pub(crate) allowed_methods: Option<&'a AllowedMethods>,
}

impl Login<'_> {
    /// Answers whatever the server asks, until it says that we are in.
    pub(crate) async fn run<S: Transport>(
        &self,
        stream: &mut MessageStream<S>,
        notices: &mut NoticeBuffer,
    ) -> Result<(), ConnectError> {
        match self.receive(stream, notices).await? {
            Message::AuthenticationOk => {
                self.require_allowed(AuthMethod::NoExchange, "no proof at all (trust, peer or a client certificate)")?;
                return self.require_no_binding();
            }
            Message::AuthenticationCleartextPassword => {
                self.check_clear_text()?;
                let password = self.password()?;
                self.send(stream, |buffer| frontend::password_message(password.expose(), buffer)).await?;
            }
            Message::AuthenticationMd5Password(body) => {
                self.require_allowed(AuthMethod::Md5, "an MD5 hash")?;
                self.require_no_binding()?;
                let hash = md5_hash(self.endpoint.user.as_bytes(), self.password()?.expose(), body.salt());
                self.send(stream, |buffer| frontend::password_message(hash.as_bytes(), buffer)).await?;
            }
            Message::AuthenticationSasl(body) => self.run_scram(stream, notices, &body).await?,
            Message::AuthenticationGss | Message::AuthenticationSspi => {
                return Err(self.unknown_method("GSSAPI or SSPI"));
            }
            Message::AuthenticationKerberosV5 | Message::AuthenticationScmCredential => {
                return Err(self.unknown_method("a method that PostgreSQL has given up"));
            }
            _ => {
                return Err(
                    self.protocol(ProtocolError::Unexpected { tag: 'R', expected: "an authentication request" })
                );
            }
        }
        match self.receive(stream, notices).await? {
            Message::AuthenticationOk => Ok(()),
            _ => Err(self.protocol(ProtocolError::Unexpected { tag: 'R', expected: "the end of the authentication" })),
        }
    }

    async fn run_scram<S: Transport>(
        &self,
        stream: &mut MessageStream<S>,
        notices: &mut NoticeBuffer,
        offer: &AuthenticationSaslBody,
    ) -> Result<(), ConnectError> {
        self.require_allowed(AuthMethod::Scram, "SCRAM-SHA-256")?;
        let (mechanism, binding) = self.choose_mechanism(offer)?;
        let credentials = match self.scram_keys {
            Some(keys) => Credentials::Keys(keys),
            None => Credentials::Password(self.password()?),
        };
        let exchange = ScramExchange::new(binding).map_err(|error| self.scram_error(&error))?;
        let first = exchange.first_message();
        self.send(stream, |buffer| frontend::sasl_initial_response(mechanism, first.as_bytes(), buffer)).await?;
        let proof = match self.receive(stream, notices).await? {
            Message::AuthenticationSaslContinue(body) => {
                let proof = exchange.answer(body.data(), credentials).await;
                proof.map_err(|error| self.scram_error(&error))?
            }
            _ => return Err(self.protocol(ProtocolError::Unexpected { tag: 'R', expected: "a SCRAM challenge" })),
        };
        self.send(stream, |buffer| frontend::sasl_response(proof.message.as_bytes(), buffer)).await?;
        match self.receive(stream, notices).await? {
            Message::AuthenticationSaslFinal(body) => {
                proof.check(body.data()).map_err(|error| self.scram_error(&error))
            }
            _ => Err(self.protocol(ProtocolError::Unexpected { tag: 'R', expected: "the server's SCRAM proof" })),
        }
    }

    /// Takes channel binding when both sides can, and says so when only we can: a stripped offer is then noticed.
    fn choose_mechanism(&self, offer: &AuthenticationSaslBody) -> Result<(&'static str, Binding), ConnectError> {
        let malformed = |source| self.protocol(ProtocolError::Malformed { tag: 'R', source });
        let (mut plain, mut plus) = (false, false);
        let mut mechanisms = offer.mechanisms();
        while let Some(mechanism) = mechanisms.next().map_err(malformed)? {
            plain |= mechanism == SCRAM_SHA_256;
            plus |= mechanism == SCRAM_SHA_256_PLUS;
        }
        let hash = match self.protection {
            Protection::Tls { certificate_hash } if self.channel_binding != ChannelBindingMode::Disable => {
                certificate_hash.clone()
            }
            _ => None,
        };
        match (hash, plus, plain) {
            (Some(hash), true, _) => Ok((SCRAM_SHA_256_PLUS, Binding::ServerEndPoint(hash))),
            _ if self.channel_binding == ChannelBindingMode::Require => {
                Err(self.binding_missing(match (self.protection, plus) {
                    (Protection::Tls { .. }, true) => "has a certificate whose signature defines no channel binding",
                    (Protection::Tls { .. }, false) => "does not offer it",
                    _ => "is not connected through TLS",
                }))
            }
            (Some(_), false, true) => Ok((SCRAM_SHA_256, Binding::NotOffered)),
            (None, _, true) => Ok((SCRAM_SHA_256, Binding::Unsupported)),
            _ => Err(self.unknown_method("an unknown SASL mechanism")),
        }
    }

    fn check_clear_text(&self) -> Result<(), ConnectError> {
        self.require_allowed(AuthMethod::Password, "a password in clear text")?;
        self.require_no_binding()?;
        let asked_for = self.allowed_methods.is_some_and(|allowed| allowed.names_clear_text);
        if *self.protection == Protection::Open && !asked_for {
            return Err(ConnectError::ClearTextRefused { endpoint: Box::new(self.endpoint.clone()) });
        }
        Ok(())
    }

    fn require_allowed(&self, method: AuthMethod, name: &'static str) -> Result<(), ConnectError> {
        match self.allowed_methods {
            Some(allowed) if !allowed.methods.contains(&method) => {
                let endpoint = Box::new(self.endpoint.clone());
                Err(ConnectError::MethodNotAllowed { endpoint, method: name })
            }
            _ => Ok(()),
        }
    }

    /// Every way in but SCRAM-SHA-256-PLUS leaves the TLS session unproven.
    fn require_no_binding(&self) -> Result<(), ConnectError> {
        match self.channel_binding {
            ChannelBindingMode::Require => Err(self.binding_missing("logs us in without it")),
            ChannelBindingMode::Disable | ChannelBindingMode::Prefer => Ok(()),
        }
    }

    fn password(&self) -> Result<&Secret, ConnectError> {
        self.password.ok_or_else(|| ConnectError::PasswordMissing {
            endpoint: Box::new(self.endpoint.clone()),
            source: self.passfile_problem.cloned(),
        })
    }

    async fn receive<S: Transport>(
        &self,
        stream: &mut MessageStream<S>,
        notices: &mut NoticeBuffer,
    ) -> Result<Message, ConnectError> {
        loop {
            let received = stream.receive().await.map_err(|error| self.protocol(error))?;
            let malformed = |source| self.protocol(ProtocolError::Malformed { tag: char::from(received.tag), source });
            match received.body {
                Body::Parsed(Message::ErrorResponse(body)) => {
                    let source = ServerMessage::decode(body.fields()).map_err(malformed)?;
                    return Err(ConnectError::Rejected { endpoint: Box::new(self.endpoint.clone()), source });
                }
                Body::Parsed(Message::NoticeResponse(body)) => {
                    notices.push(ServerMessage::decode(body.fields()).map_err(malformed)?);
                }
                Body::Parsed(message) if received.tag == b'R' => return Ok(message),
                body => {
                    let received = Received { tag: received.tag, body };
                    return Err(self.protocol(received.unexpected("an authentication request")));
                }
            }
        }
    }

    async fn send<S: Transport>(
        &self,
        stream: &mut MessageStream<S>,
        fill: impl FnOnce(&mut bytes::BytesMut) -> std::io::Result<()>,
    ) -> Result<(), ConnectError> {
        stream.send(fill).await.map_err(|error| self.protocol(error))
    }

    fn unknown_method(&self, method: &'static str) -> ConnectError {
        ConnectError::MethodUnknown { endpoint: Box::new(self.endpoint.clone()), method }
    }

    fn binding_missing(&self, problem: &'static str) -> ConnectError {
        ConnectError::ChannelBindingMissing { endpoint: Box::new(self.endpoint.clone()), problem }
    }

    fn protocol(&self, source: ProtocolError) -> ConnectError {
        ConnectError::Protocol { endpoint: Box::new(self.endpoint.clone()), source }
    }

    fn scram_error(&self, error: &ScramError) -> ConnectError {
        let endpoint = Box::new(self.endpoint.clone());
        ConnectError::Scram { endpoint, problem: clean_text(&error.to_string()) }
    }
}

#[cfg(any(test, feature = "fuzzing"))]
pub(super) use scram::fuzz as fuzz_scram;

#[cfg(test)]
mod tests;
