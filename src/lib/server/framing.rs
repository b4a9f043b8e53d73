//! Messages of the protocol on a byte stream (`src/interfaces/libpq/fe-protocol3.c`).
//!
//! INVARIANT: a peer can make us hold one message of a bounded length, never more; bodies of CopyData are handed out
//! without being copied. Dropping a pending read loses nothing: what arrived stays in the buffer.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use postgres_protocol::message::backend::{self, Header, Message};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::error::{Classified, ErrorClass};

/// LIMIT: the length of one message; PostgreSQL sends 32 to 64 KiB at a time, rows and errors a little more.
pub(crate) const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// LIMIT: the length of one message of a server that we have not logged in to yet.
pub(crate) const MAX_LOGIN_MESSAGE_BYTES: usize = 64 * 1024;

/// How much is read at a time.
const READ_BUFFER_BYTES: usize = 512 * 1024;

const COPY_BOTH_RESPONSE_TAG: u8 = b'W';
const NEGOTIATE_PROTOCOL_TAG: u8 = b'v';
const HEADER_BYTES: usize = 5;

/// What is needed of a connection to exchange messages on it.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// A connection that does not follow the protocol, or has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The connection failed.
    #[error("the connection to the server was lost")]
    Lost(#[source] io::Error),
    /// The server closed the connection.
    #[error("the server closed the connection unexpectedly")]
    Closed,
    /// The server was silent for too long.
    #[error("the server sent nothing for {} s", limit.as_secs())]
    Silent {
        /// How long it was waited.
        limit: Duration,
    },
    /// A message of a length that no PostgreSQL server sends.
    #[error("the server announced a message of type \"{tag}\" with {length} bytes, more than {limit}")]
    TooLong {
        /// The type of the message.
        tag: char,
        /// Its length.
        length: u64,
        /// The longest that is accepted.
        limit: usize,
    },
    /// A message that cannot be read.
    #[error("the server sent a malformed message of type \"{tag}\"")]
    Malformed {
        /// The type of the message.
        tag: char,
        /// What is wrong with it.
        source: io::Error,
    },
    /// A message that does not belong here.
    #[error("the server sent a message of type \"{tag}\" where {expected} was expected")]
    Unexpected {
        /// The type of the message.
        tag: char,
        /// What was expected.
        expected: &'static str,
    },
    /// A result with other columns or values than it must have.
    #[error("the server sent an invalid result of {what}: {problem}")]
    InvalidResult {
        /// Which result.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl Classified for ProtocolError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Lost(_) | Self::Closed => ErrorClass::Unavailable,
            Self::Silent { .. } => ErrorClass::TimedOut,
            Self::TooLong { .. } | Self::Malformed { .. } | Self::Unexpected { .. } | Self::InvalidResult { .. } => {
                ErrorClass::Corrupt
            }
        }
    }
}

/// A message and the letter it was sent under.
pub(crate) struct Received {
    pub(crate) tag: u8,
    pub(crate) body: Body,
}

pub(crate) enum Body {
    /// What postgres-protocol knows.
    Parsed(Message),
    /// The body of a CopyData message.
    CopyData(Bytes),
    /// Both directions copy from now on; postgres-protocol does not know it.
    CopyBoth,
}

impl Received {
    /// Complains that this message does not belong here.
    pub(crate) fn unexpected(&self, expected: &'static str) -> ProtocolError {
        ProtocolError::Unexpected { tag: shown_tag(self.tag), expected }
    }
}

/// Messages to and from a server.
pub(crate) struct MessageStream<S = Box<dyn Transport>> {
    transport: S,
    incoming: BytesMut,
    outgoing: BytesMut,
    limit: usize,
    idle_timeout: Option<Duration>,
}

impl<S: Transport> MessageStream<S> {
    pub(crate) fn new(transport: S) -> Self {
        Self {
            transport,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            limit: MAX_LOGIN_MESSAGE_BYTES,
            idle_timeout: None,
        }
    }

    /// Accepts messages of the full length from now on: the server is the one that we meant.
    pub(crate) fn trust(&mut self) {
        self.limit = MAX_MESSAGE_BYTES;
    }

    /// How long a read may wait for the next byte.
    pub(crate) fn set_idle_timeout(&mut self, limit: Option<Duration>) {
        self.idle_timeout = limit;
    }

    /// Writes what `fill` puts into the buffer.
    pub(crate) async fn send(
        &mut self,
        fill: impl FnOnce(&mut BytesMut) -> io::Result<()>,
    ) -> Result<(), ProtocolError> {
        self.outgoing.clear();
        fill(&mut self.outgoing).map_err(ProtocolError::Lost)?;
        self.transport.write_all(&self.outgoing).await.map_err(ProtocolError::Lost)?;
        self.transport.flush().await.map_err(ProtocolError::Lost)
    }

    /// The next message, whatever it is.
    pub(crate) async fn receive(&mut self) -> Result<Received, ProtocolError> {
        loop {
            if let Some(received) = self.take_buffered()? {
                return Ok(received);
            }
            self.fill().await?;
        }
    }

    /// The transport, and what has arrived on it already.
    pub(crate) fn into_parts(self) -> (S, Bytes) {
        (self.transport, self.incoming.freeze())
    }

    async fn fill(&mut self) -> Result<(), ProtocolError> {
        // Asking for a whole buffer only when little room is left lets one allocation serve many messages.
        if self.incoming.capacity() - self.incoming.len() < READ_BUFFER_BYTES / 8 {
            self.incoming.reserve(READ_BUFFER_BYTES);
        }
        let read = self.transport.read_buf(&mut self.incoming);
        let count = match self.idle_timeout {
            None => read.await,
            Some(limit) => match tokio::time::timeout(limit, read).await {
                Ok(result) => result,
                Err(_) => return Err(ProtocolError::Silent { limit }),
            },
        };
        match count {
            Ok(0) => Err(ProtocolError::Closed),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ProtocolError::Closed),
            Err(error) => Err(ProtocolError::Lost(error)),
        }
    }

    fn take_buffered(&mut self) -> Result<Option<Received>, ProtocolError> {
        let Some(tag) = self.incoming.first().copied() else { return Ok(None) };
        let malformed = |source| ProtocolError::Malformed { tag: shown_tag(tag), source };
        let Some(header) = Header::parse(&self.incoming).map_err(malformed)? else { return Ok(None) };
        let length = usize::try_from(header.len()).unwrap_or(usize::MAX);
        if length > self.limit {
            let length = u64::try_from(length).unwrap_or(u64::MAX);
            return Err(ProtocolError::TooLong { tag: shown_tag(tag), length, limit: self.limit });
        }
        let total = length + 1;
        if self.incoming.len() < total {
            return Ok(None);
        }
        let body = match tag {
            backend::COPY_DATA_TAG => Body::CopyData(self.incoming.split_to(total).freeze().slice(HEADER_BYTES..)),
            COPY_BOTH_RESPONSE_TAG => {
                let _ = self.incoming.split_to(total);
                Body::CopyBoth
            }
            NEGOTIATE_PROTOCOL_TAG => {
                let source = io::Error::new(io::ErrorKind::Unsupported, "the server does not know protocol 3.0");
                return Err(malformed(source));
            }
            _ => {
                let mut frame = self.incoming.split_to(total);
                let truncated = || io::Error::new(io::ErrorKind::InvalidData, "truncated message");
                let message = Message::parse(&mut frame).map_err(malformed)?.ok_or_else(|| malformed(truncated()))?;
                Body::Parsed(message)
            }
        };
        Ok(Some(Received { tag, body }))
    }
}

fn shown_tag(tag: u8) -> char {
    if tag.is_ascii_graphic() { char::from(tag) } else { char::REPLACEMENT_CHARACTER }
}

#[cfg(test)]
mod tests {
    use super::super::fake_server::{block_on, connection, copy, message, ready, stream_of};
    use super::*;
    use proptest::prelude::*;

    async fn receive_all(bytes: &[u8]) -> (usize, ProtocolError) {
        let mut stream = stream_of(bytes).await;
        let mut count = 0;
        loop {
            match stream.receive().await {
                Ok(_) => count += 1,
                Err(error) => return (count, error),
            }
        }
    }

    #[test]
    fn a_message_cut_anywhere_is_the_same_message() {
        let bytes = [copy(b"some data"), message(b'W', &[0, 0, 0]), ready()].concat();
        for cut in 0..bytes.len() {
            block_on(async {
                let (ours, mut theirs) = connection();
                let mut stream = MessageStream::new(ours);
                let (head, tail) = bytes.split_at(cut);
                theirs.write_all(head).await.unwrap();
                let received = tokio::time::timeout(Duration::from_millis(1), stream.receive()).await;
                theirs.write_all(tail).await.unwrap();
                let first = match received {
                    Ok(received) => received.unwrap(),
                    // INVARIANT under test: a dropped read loses nothing.
                    Err(_) => stream.receive().await.unwrap(),
                };
                assert!(matches!(first.body, Body::CopyData(data) if data.as_ref() == b"some data"), "cut at {cut}");
                assert!(matches!(stream.receive().await.unwrap().body, Body::CopyBoth), "cut at {cut}");
                assert_eq!(stream.receive().await.unwrap().tag, b'Z', "cut at {cut}");
            });
        }
    }

    #[test]
    fn hostile_frames_are_errors() {
        let over = |length: usize| u32::try_from(length + 1).unwrap().to_be_bytes();
        let with_length = |length: [u8; 4]| [&b"d"[..], &length].concat();
        block_on(async {
            for (bytes, class) in [
                (with_length(over(MAX_LOGIN_MESSAGE_BYTES)), ErrorClass::Corrupt),
                (with_length([0xff; 4]), ErrorClass::Corrupt),
                (with_length([0x7f, 0xff, 0xff, 0xff]), ErrorClass::Corrupt),
                (with_length([0, 0, 0, 3]), ErrorClass::Corrupt),
                (message(b'?', b""), ErrorClass::Corrupt),
                (message(b'v', &[0; 8]), ErrorClass::Corrupt),
                (message(b'Z', b""), ErrorClass::Corrupt),
                (message(b'R', &[0, 0, 0, 99]), ErrorClass::Corrupt),
                (message(b'S', b"no end"), ErrorClass::Corrupt),
                (with_length([0, 0, 0, 9]), ErrorClass::Unavailable),
                (b"d\0".to_vec(), ErrorClass::Unavailable),
                (Vec::new(), ErrorClass::Unavailable),
            ] {
                let (count, error) = receive_all(&bytes).await;
                assert_eq!((count, error.class()), (0, class), "{bytes:?}: {error}");
            }
        });
    }

    #[test]
    fn only_a_trusted_server_may_send_long_messages() {
        block_on(async {
            let long = copy(&vec![7; MAX_LOGIN_MESSAGE_BYTES]);
            assert!(matches!(receive_all(&long).await, (0, ProtocolError::TooLong { tag: 'd', .. })));
            let mut stream = stream_of(&long).await;
            stream.trust();
            assert!(stream.receive().await.is_ok());
            let mut stream = stream_of(&[b"d", &[0x7f, 0xff, 0xff, 0xff][..]].concat()).await;
            stream.trust();
            assert!(matches!(stream.receive().await, Err(ProtocolError::TooLong { .. })));
        });
    }

    #[test]
    fn bodies_of_copy_data_are_not_copied() {
        block_on(async {
            let mut stream = stream_of(&[copy(&[1; 1000]), copy(&[2; 1000])].concat()).await;
            let mut next = async || match stream.receive().await.unwrap().body {
                Body::CopyData(data) => data,
                _ => unreachable!(),
            };
            let (first, second) = (next().await, next().await);
            assert_eq!(second.as_ptr() as usize - first.as_ptr() as usize, 1000 + HEADER_BYTES);
        });
    }

    #[test]
    fn a_silent_server_is_not_waited_for_beyond_the_limit() {
        block_on(async {
            let (ours, _theirs) = connection();
            let mut stream = MessageStream::new(ours);
            stream.set_idle_timeout(Some(Duration::from_millis(20)));
            assert!(matches!(stream.receive().await, Err(ProtocolError::Silent { .. })));
        });
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            block_on(receive_all(&bytes));
        }

        #[test]
        fn arbitrary_bodies_never_panic(tag in any::<u8>(), body in proptest::collection::vec(any::<u8>(), 0..100)) {
            block_on(receive_all(&message(tag, &body)));
        }
    }
}
