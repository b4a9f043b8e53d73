//! One simple query and its rows, on a bare session: all that the walsender's own commands need.
//!
//! INVARIANT: a walsender takes one command in each query; after an error the session is ready again, unless the
//! error is one of the connection.

use bytes::Bytes;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{DataRowBody, Message};
use postgres_protocol::message::frontend;

use super::framing::{Body, MessageStream, ProtocolError, Received, Transport};
use super::message::{NoticeBuffer, ServerMessage};

/// LIMIT: bytes that all rows of one result take, what holds them included: a row without columns is sent in seven.
const MAX_RESULT_BYTES: usize = 64 * 1024 * 1024;

/// One row: its columns in text form.
pub(crate) type Row = Vec<Option<Bytes>>;

/// A query that failed.
#[derive(Debug)]
pub(crate) enum QueryError {
    Server(Box<ServerMessage>),
    Protocol(ProtocolError),
}

impl From<ProtocolError> for QueryError {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

/// Runs one command and waits until the server is ready for the next.
pub(crate) async fn run<S: Transport>(
    stream: &mut MessageStream<S>,
    notices: &mut NoticeBuffer,
    command: &str,
) -> Result<Vec<Row>, QueryError> {
    stream.send(|buffer| frontend::query(command, buffer)).await?;
    let rows = rows(stream, notices).await;
    if let Err(QueryError::Protocol(_)) = rows {
        return rows;
    }
    match (rows, await_ready(stream, notices).await) {
        (Ok(rows), Ok(())) => Ok(rows),
        (Ok(_), Err(error)) => Err(error),
        // What the server said matters more than that it hung up afterwards.
        (Err(error), _) => Err(error),
    }
}

/// One result: its rows up to CommandComplete.
pub(crate) async fn rows<S: Transport>(
    stream: &mut MessageStream<S>,
    notices: &mut NoticeBuffer,
) -> Result<Vec<Row>, QueryError> {
    let mut rows = Vec::new();
    let mut size = 0;
    loop {
        let received = next(stream, notices).await?;
        match received.body {
            Body::Parsed(Message::RowDescription(_)) if rows.is_empty() => {}
            Body::Parsed(Message::DataRow(body)) => {
                let row = columns(&body).map_err(|source| ProtocolError::Malformed { tag: 'D', source })?;
                size += body.buffer().len() + size_of::<Row>() + row.len() * size_of::<Option<Bytes>>();
                if size > MAX_RESULT_BYTES {
                    let problem = format!("it is larger than {MAX_RESULT_BYTES} bytes");
                    return Err(ProtocolError::InvalidResult { what: "a command", problem }.into());
                }
                rows.push(row);
            }
            Body::Parsed(Message::CommandComplete(_) | Message::EmptyQueryResponse) => return Ok(rows),
            body => return Err(Received { tag: received.tag, body }.unexpected("the rows of a result").into()),
        }
    }
}

/// Waits until the server is ready for a command.
pub(crate) async fn await_ready<S: Transport>(
    stream: &mut MessageStream<S>,
    notices: &mut NoticeBuffer,
) -> Result<(), QueryError> {
    loop {
        let received = next(stream, notices).await?;
        match received.body {
            Body::Parsed(Message::ReadyForQuery(_)) => return Ok(()),
            Body::Parsed(Message::CommandComplete(_)) => {}
            body => return Err(Received { tag: received.tag, body }.unexpected("the end of a command").into()),
        }
    }
}

/// The next message that is neither a notice nor a changed parameter; an error of the server is an error.
pub(crate) async fn next<S: Transport>(
    stream: &mut MessageStream<S>,
    notices: &mut NoticeBuffer,
) -> Result<Received, QueryError> {
    loop {
        let received = stream.receive().await?;
        let malformed = |source| ProtocolError::Malformed { tag: char::from(received.tag), source };
        match &received.body {
            Body::Parsed(Message::NoticeResponse(body)) => {
                notices.push(ServerMessage::decode(body.fields()).map_err(malformed)?);
            }
            Body::Parsed(Message::ParameterStatus(_) | Message::NotificationResponse(_)) => {}
            Body::Parsed(Message::ErrorResponse(body)) => {
                return Err(QueryError::Server(ServerMessage::decode(body.fields()).map_err(malformed)?));
            }
            _ => return Ok(received),
        }
    }
}

fn columns(body: &DataRowBody) -> std::io::Result<Row> {
    let buffer = body.buffer_bytes();
    body.ranges().map(|range| Ok(range.map(|range| buffer.slice(range)))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fake_server::{block_on, error, message, notice, ready, result, stream_of};
    use super::*;
    use proptest::prelude::*;

    /// What a command yields, and whether the session took another one afterwards.
    fn run_on(bytes: &[u8]) -> (Result<Vec<Row>, QueryError>, NoticeBuffer) {
        block_on(async {
            let mut stream = stream_of(bytes).await;
            stream.trust();
            let mut notices = NoticeBuffer::default();
            let outcome = run(&mut stream, &mut notices, "SHOW x").await;
            (outcome, notices)
        })
    }

    #[test]
    fn rows_come_as_they_are_and_notices_beside_them() {
        let bytes = [notice("one"), result(&[&[Some("a"), None], &[Some("")]]), notice("two"), ready()].concat();
        let (outcome, mut notices) = run_on(&bytes);
        let text = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        assert_eq!(outcome.unwrap(), [vec![text("a"), None], vec![text("")]]);
        assert_eq!(notices.take().len(), 2);
    }

    #[test]
    fn what_the_server_says_goes_before_that_it_hung_up() {
        for tail in [Vec::new(), ready(), b"garbage".to_vec()] {
            let (outcome, _) = run_on(&[error("ERROR", "42601", "syntax error"), tail].concat());
            assert!(matches!(outcome, Err(QueryError::Server(message)) if message.has_code("42601")));
        }
    }

    #[test]
    fn a_result_that_is_cut_or_out_of_order_is_an_error() {
        let row = message(b'D', &[0, 1, 0, 0, 0, 9, b'x']);
        for bytes in [
            result(&[&[Some("a")]]),
            ready(),
            row,
            message(b'D', &[0, 2, 0xff, 0xff, 0xff, 0xff]),
            message(b'H', &[0, 0, 0]),
            message(b'E', b"no end"),
        ] {
            let (outcome, _) = run_on(&bytes);
            assert!(matches!(outcome, Err(QueryError::Protocol(_))), "{bytes:?}");
        }
    }

    /// A column without a value takes four bytes to send and eight times as much to hold; a row without columns none.
    #[test]
    fn a_result_is_bounded_by_what_it_takes_to_hold() {
        let nulls = [&u16::MAX.to_be_bytes()[..], &[0xff; 4 * u16::MAX as usize]].concat();
        let row = message(b'D', &nulls);
        let (outcome, _) = run_on(&[row.repeat(40), message(b'C', b"SELECT\0"), ready()].concat());
        assert!(
            matches!(outcome, Err(QueryError::Protocol(ProtocolError::InvalidResult { .. }))),
            "{:?}",
            outcome.err()
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bodies_never_panic(
            tag in proptest::sample::select(&b"ENDTCSZAR"[..]),
            body in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let _ = run_on(&[message(tag, &body), ready()].concat());
        }
    }
}
