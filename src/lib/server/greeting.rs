//! Hands a session that is logged in already to tokio-postgres, which insists on logging in itself.
//!
//! One login for SQL and replication means one policy for passwords, TLS and channel binding, and the same errors.
//! The first message that tokio-postgres writes is its start-up message: it is swallowed. What it reads first is the
//! answer that a server gives to a client that needs no password, with what our own login learned.
//!
//! INVARIANT: nothing else is changed in either direction.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::Transport;
use super::session::Session;

/// A transport that plays the end of a login before it passes everything through.
pub(super) struct GreetedTransport {
    transport: Box<dyn Transport>,
    greeting: Bytes,
    startup: StartupMessage,
}

/// How much of the start-up message has been swallowed.
enum StartupMessage {
    /// So many bytes of its length, a big-endian number that counts itself.
    Length { bytes: [u8; 4], known: usize },
    /// So many bytes are still to come.
    Rest(usize),
}

impl GreetedTransport {
    pub(super) fn new(session: Session) -> Self {
        let mut greeting = BytesMut::new();
        put_message(&mut greeting, b'R', &0i32.to_be_bytes());
        for (name, value) in &session.parameters {
            let body: Vec<u8> = [name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat();
            put_message(&mut greeting, b'S', &body);
        }
        if let Some((process, key)) = session.backend_key {
            put_message(&mut greeting, b'K', &[process.to_be_bytes(), key.to_be_bytes()].concat());
        }
        put_message(&mut greeting, b'Z', b"I");
        let (transport, early) = session.stream.into_parts();
        greeting.put(early);
        Self { transport, greeting: greeting.freeze(), startup: StartupMessage::Length { bytes: [0; 4], known: 0 } }
    }
}

fn put_message(buffer: &mut BytesMut, tag: u8, body: &[u8]) {
    buffer.put_u8(tag);
    // What is put here was received before within a bound far below this.
    buffer.put_u32(u32::try_from(body.len() + 4).unwrap_or(u32::MAX));
    buffer.put_slice(body);
}

impl StartupMessage {
    /// Swallows what belongs to the start-up message; returns how many bytes that were.
    fn swallow(&mut self, data: &[u8]) -> usize {
        let mut taken = 0;
        for byte in data {
            match self {
                Self::Length { bytes, known } => {
                    if let Some(place) = bytes.get_mut(*known) {
                        *place = *byte;
                    }
                    *known += 1;
                    taken += 1;
                    if *known == bytes.len() {
                        let length = usize::try_from(u32::from_be_bytes(*bytes)).unwrap_or(usize::MAX);
                        *self = Self::Rest(length.saturating_sub(4));
                    }
                }
                Self::Rest(left) => {
                    let more = (*left).min(data.len() - taken);
                    *left -= more;
                    return taken + more;
                }
            }
        }
        taken
    }
}

impl AsyncRead for GreetedTransport {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.greeting.is_empty() {
            return Pin::new(&mut self.transport).poll_read(cx, out);
        }
        let count = self.greeting.len().min(out.remaining());
        let part = self.greeting.split_to(count);
        out.put_slice(part.chunk());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for GreetedTransport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.startup.swallow(data) {
            0 => Pin::new(&mut self.transport).poll_write(cx, data),
            taken => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake_server::{block_on, message, notice, walsender};
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn plays_the_end_of_a_login_and_then_gets_out_of_the_way() {
        block_on(async {
            let mut session = walsender("15.4", &notice("from the server")).await.session;
            session.backend_key = Some((7, 8));
            let mut transport = GreetedTransport::new(session);
            transport.write_all(&[0, 0, 0, 4]).await.unwrap();
            let mut read = Vec::new();
            transport.read_to_end(&mut read).await.unwrap();
            let expected = [
                message(b'R', &[0, 0, 0, 0]),
                message(b'S', b"server_version\x0015.4\0"),
                message(b'K', &[0, 0, 0, 7, 0, 0, 0, 8]),
                message(b'Z', b"I"),
                notice("from the server"),
            ];
            assert_eq!(read, expected.concat());
        });
    }

    #[test]
    fn swallows_exactly_the_first_message_however_it_is_cut() {
        let mut message = vec![0, 0, 0, 9, 1, 2, 3, 4, 5];
        message.extend_from_slice(b"Q-rest");
        for step in 1..=message.len() {
            let mut startup = StartupMessage::Length { bytes: [0; 4], known: 0 };
            let mut passed = Vec::new();
            for chunk in message.chunks(step) {
                let mut chunk = chunk;
                while !chunk.is_empty() {
                    match startup.swallow(chunk) {
                        0 => {
                            passed.extend_from_slice(chunk);
                            chunk = &[];
                        }
                        taken => chunk = &chunk[taken..],
                    }
                }
            }
            assert_eq!(passed, b"Q-rest", "in steps of {step}");
        }
    }
}
