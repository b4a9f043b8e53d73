//! Settings and sessions that no server took part in, for tests and for fuzzing.

use std::collections::BTreeMap;

use super::conninfo::{ConnectionOptions, ConnectionSettings, ConnectionSources};
use super::error::Endpoint;
use super::framing::MessageStream;
use super::message::NoticeBuffer;
use super::session::Session;
use super::walsender::Walsender;

/// Settings from a connection string.
pub(super) fn settings(conninfo: &str) -> ConnectionSettings {
    let sources = ConnectionSources {
        options: &ConnectionOptions::default(),
        conninfo: Some(conninfo),
        variable: &|_| None,
        os_user: Some("tester"),
        home: None,
        application_name: "pgv-test",
    };
    ConnectionSettings::resolve(&sources).expect("our own settings")
}

/// The endpoint of the first host of some settings.
pub(super) fn endpoint(settings: &ConnectionSettings) -> Endpoint {
    let host = settings.hosts.first().expect("a host").clone();
    Endpoint {
        address: None,
        user: settings.user.clone(),
        database: None,
        ssl_mode: settings.tls.mode_for(&host.address),
        ssl_mode_given: settings.tls.mode.is_some(),
        host,
    }
}

/// A walsender of that version that is logged in over that stream.
pub(super) fn walsender(version: &str, mut stream: MessageStream) -> Walsender {
    stream.trust();
    let session = Session {
        stream,
        endpoint: endpoint(&settings("host=fake.test sslmode=disable")),
        parameters: BTreeMap::from([("server_version".to_owned(), version.to_owned())]),
        backend_key: None,
        notices: NoticeBuffer::default(),
        passfile_problem: None,
    };
    Walsender { session }
}
