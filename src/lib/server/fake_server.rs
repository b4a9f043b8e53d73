//! A server made of prepared bytes, for tests: what no real server would send.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::framing::MessageStream;
use super::made_session;
pub(super) use super::made_session::{endpoint, settings};
use super::walsender::Walsender;

/// Room for everything that a test writes without anybody reading.
const DUPLEX_BYTES: usize = 32 * 1024 * 1024;

/// Runs a test on a current-thread runtime.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// One message.
pub(super) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag], &length.to_be_bytes()[..], body].concat()
}

pub(super) fn authentication(kind: u32, body: &[u8]) -> Vec<u8> {
    message(b'R', &[&kind.to_be_bytes()[..], body].concat())
}

pub(super) fn error(severity: &str, code: &str, text: &str) -> Vec<u8> {
    message(b'E', format!("S{severity}\0V{severity}\0C{code}\0M{text}\0\0").as_bytes())
}

pub(super) fn notice(text: &str) -> Vec<u8> {
    message(b'N', format!("SWARNING\0VWARNING\0C01000\0M{text}\0\0").as_bytes())
}

/// A row description without columns, which nobody looks at, the rows, and the end.
pub(super) fn result(rows: &[&[Option<&str>]]) -> Vec<u8> {
    let mut bytes = message(b'T', &[0, 0]);
    for row in rows {
        let mut body = u16::try_from(row.len()).unwrap().to_be_bytes().to_vec();
        for column in *row {
            match column {
                None => body.extend_from_slice(&(-1i32).to_be_bytes()),
                Some(text) => {
                    body.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
                    body.extend_from_slice(text.as_bytes());
                }
            }
        }
        bytes.extend(message(b'D', &body));
    }
    bytes.extend(message(b'C', b"SELECT\0"));
    bytes
}

pub(super) fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

pub(super) fn copy(body: &[u8]) -> Vec<u8> {
    message(b'd', body)
}

/// A stream on which these bytes arrive, then the end.
pub(super) async fn stream_of(bytes: &[u8]) -> MessageStream {
    let (ours, mut theirs) = duplex(DUPLEX_BYTES);
    theirs.write_all(bytes).await.unwrap();
    theirs.shutdown().await.unwrap();
    // What we write must not fail for want of a reader.
    tokio::spawn(async move { theirs.read_to_end(&mut Vec::new()).await });
    MessageStream::new(Box::new(ours))
}

/// Both ends of a connection.
pub(super) fn connection() -> (DuplexStream, DuplexStream) {
    duplex(DUPLEX_BYTES)
}

/// A walsender of that version that is logged in, sends these bytes and closes the connection.
pub(super) async fn walsender(version: &str, bytes: &[u8]) -> Walsender {
    made_session::walsender(version, stream_of(bytes).await)
}

/// The programs may run any of this on a runtime of several threads.
#[test]
fn futures_may_move_between_threads() {
    fn check<T: Send>(_: T) {}
    let settings = settings("host=h");
    check(Walsender::connect(&settings));
    check(super::SqlClient::connect(&settings));
    block_on(async {
        let mut walsender = walsender("15.4", b"").await;
        check(walsender.identify_system());
        check(walsender.base_backup(&super::BaseBackupOptions::default()));
    });
}
