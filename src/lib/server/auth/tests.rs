use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::super::fake_server::{self, authentication, block_on, connection, error, message, notice, ready};
use super::super::session::{Purpose, log_in};
use super::*;
use crate::error::{Classified, ErrorClass};

const TLS: fn() -> Protection = || Protection::Tls { certificate_hash: Some(vec![1; 32]) };

fn sasl(mechanisms: &[&str]) -> Vec<u8> {
    let list: String = mechanisms.iter().map(|name| format!("{name}\0")).collect();
    authentication(10, format!("{list}\0").as_bytes())
}

/// Logs in on a server that sends these bytes whatever we say; returns what we said after the start-up message.
fn log_in_to(conninfo: &str, protection: &Protection, bytes: &[u8]) -> (Result<(), ConnectError>, Vec<u8>) {
    block_on(async {
        let (ours, mut theirs) = connection();
        theirs.write_all(bytes).await.unwrap();
        theirs.shutdown().await.unwrap();
        let settings = fake_server::settings(conninfo);
        let endpoint = fake_server::endpoint(&settings);
        let outcome = log_in(Box::new(ours), &settings, Purpose::Sql, &endpoint, protection).await.map(drop);
        let mut said = Vec::new();
        theirs.read_to_end(&mut said).await.unwrap();
        let startup = usize::try_from(u32::from_be_bytes(said[..4].try_into().unwrap())).unwrap();
        (outcome, said[startup..].to_vec())
    })
}

fn welcome() -> Vec<u8> {
    [authentication(0, b""), message(b'S', b"server_version\x0015.4\0"), ready()].concat()
}

#[test]
fn a_clear_text_password_leaves_only_through_sockets_and_tls() {
    let ask = [authentication(3, b""), welcome()].concat();
    for (conninfo, protection, sent) in [
        ("host=/tmp password=canary", Protection::Local, true),
        ("host=h password=canary", TLS(), true),
        ("host=h password=canary", Protection::Open, false),
        ("host=localhost password=canary", Protection::Open, false),
        ("host=h password=canary require_auth=password", Protection::Open, true),
        ("host=h password=canary require_auth=!md5", Protection::Open, false),
        ("host=h password=canary require_auth=scram-sha-256", TLS(), false),
        ("host=h password=canary channel_binding=require", TLS(), false),
    ] {
        let (outcome, said) = log_in_to(conninfo, &protection, &ask);
        assert_eq!(outcome.is_ok(), sent, "{conninfo} {protection:?}");
        let expected = if sent { message(b'p', b"canary\0") } else { Vec::new() };
        assert_eq!(said, expected, "{conninfo} {protection:?}");
    }
}

#[test]
fn no_error_shows_the_password() {
    let ask = [authentication(3, b""), error("FATAL", "28P01", "password authentication failed")].concat();
    let (outcome, _) = log_in_to("host=/tmp password=canary", &Protection::Local, &ask);
    let error = outcome.unwrap_err();
    assert_eq!(error.class(), ErrorClass::PermissionDenied);
    assert_eq!(error.server_message().unwrap().message, "password authentication failed");
    assert!(!format!("{error:?} {error}").contains("canary"));
}

#[test]
fn requests_that_cannot_be_met_have_their_own_errors() {
    let password = "host=h password=p";
    for (conninfo, bytes, class, text) in [
        (password, authentication(7, b""), ErrorClass::Unsupported, "GSSAPI"),
        (password, authentication(9, b""), ErrorClass::Unsupported, "GSSAPI or SSPI"),
        (password, authentication(2, b""), ErrorClass::Unsupported, "given up"),
        (password, authentication(99, b""), ErrorClass::Corrupt, "failed"),
        (password, sasl(&["OAUTHBEARER"]), ErrorClass::Unsupported, "unknown SASL mechanism"),
        (password, sasl(&[]), ErrorClass::Unsupported, "unknown SASL mechanism"),
        (password, authentication(11, b"x"), ErrorClass::Corrupt, "failed"),
        ("host=h", authentication(5, b"salt"), ErrorClass::PermissionDenied, "none is known"),
        ("host=h", sasl(&["SCRAM-SHA-256"]), ErrorClass::PermissionDenied, "none is known"),
        ("host=h require_auth=md5", authentication(0, b""), ErrorClass::Refused, "no proof at all"),
        (password, error("FATAL", "53300", "too many"), ErrorClass::Unavailable, "refused the connection"),
        (password, message(b'Z', b"I"), ErrorClass::Corrupt, "failed"),
        (password, Vec::new(), ErrorClass::Unavailable, "failed"),
    ] {
        let (outcome, _) = log_in_to(conninfo, &TLS(), &bytes);
        let error = outcome.unwrap_err();
        assert_eq!(error.class(), class, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn required_channel_binding_is_never_given_up() {
    let conninfo = "host=h password=p channel_binding=require";
    for (protection, bytes) in [
        (TLS(), welcome()),
        (TLS(), authentication(5, b"salt")),
        (TLS(), sasl(&["SCRAM-SHA-256"])),
        (Protection::Tls { certificate_hash: None }, sasl(&["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"])),
        (Protection::Open, sasl(&["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"])),
        (Protection::Local, welcome()),
    ] {
        let (outcome, said) = log_in_to(conninfo, &protection, &bytes);
        assert!(matches!(outcome, Err(ConnectError::ChannelBindingMissing { .. })), "{protection:?}");
        assert!(said.is_empty());
    }
}

/// Reads one message of a client.
async fn read_message(stream: &mut DuplexStream) -> Vec<u8> {
    let mut header = [0; 5];
    stream.read_exact(&mut header).await.unwrap();
    let length = u32::from_be_bytes(header[1..].try_into().unwrap());
    let mut body = vec![0; usize::try_from(length).unwrap() - 4];
    stream.read_exact(&mut body).await.unwrap();
    body
}

/// Plays a SCRAM server that knows the client's nonce; `first` and `last` make its two answers.
fn run_scram(
    conninfo: &str,
    mechanisms: &[&str],
    first: impl Fn(&str) -> Vec<u8>,
    last: Vec<u8>,
) -> (Result<(), ConnectError>, String) {
    block_on(async {
        let (ours, mut theirs) = connection();
        let settings = fake_server::settings(conninfo);
        let endpoint = fake_server::endpoint(&settings);
        let protection = TLS();
        let client = log_in(Box::new(ours), &settings, Purpose::Sql, &endpoint, &protection);
        let offer = sasl(mechanisms);
        let server = async move {
            let length = theirs.read_u32().await.unwrap();
            theirs.read_exact(&mut vec![0; usize::try_from(length).unwrap() - 4]).await.unwrap();
            theirs.write_all(&[notice("hello"), offer].concat()).await.unwrap();
            let hello = String::from_utf8_lossy(&read_message(&mut theirs).await).into_owned();
            let nonce = hello.rsplit_once("r=").unwrap().1.to_owned();
            theirs.write_all(&first(&nonce)).await.unwrap();
            theirs.write_all(&last).await.unwrap();
            theirs.shutdown().await.unwrap();
            let mut rest = Vec::new();
            let _ = theirs.read_to_end(&mut rest).await;
            hello
        };
        let (outcome, hello) = futures_util::future::join(client, server).await;
        (outcome.map(drop), hello)
    })
}

fn challenge(nonce: &str, iterations: u32) -> Vec<u8> {
    authentication(11, format!("r={nonce}server,s=c2FsdA==,i={iterations}").as_bytes())
}

#[test]
fn a_server_that_skips_its_proof_is_not_believed() {
    let conninfo = "host=h password=p";
    for last in [welcome(), [authentication(12, b"v=AAAA"), welcome()].concat()] {
        let (outcome, _) = run_scram(conninfo, &["SCRAM-SHA-256"], |nonce| challenge(nonce, 4096), last);
        assert_eq!(outcome.unwrap_err().class(), ErrorClass::Corrupt);
    }
    let (outcome, _) = run_scram(conninfo, &["SCRAM-SHA-256"], |_| challenge("other", 4096), welcome());
    assert!(matches!(outcome, Err(ConnectError::Scram { .. })));
    let (outcome, _) = run_scram(conninfo, &["SCRAM-SHA-256"], |_| welcome(), Vec::new());
    assert_eq!(outcome.unwrap_err().class(), ErrorClass::Corrupt);
}

#[test]
fn many_iterations_are_computed() {
    let last = authentication(12, b"v=AAAA");
    let (outcome, _) = run_scram("host=h password=p", &["SCRAM-SHA-256"], |nonce| challenge(nonce, 200_000), last);
    let error = outcome.unwrap_err();
    // As far as the server's own proof, which this server cannot give.
    assert!(error.to_string().contains("the server's proof is wrong"), "{error}");
}

#[test]
fn keys_take_the_place_of_a_password_for_scram_alone() {
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let conninfo = format!("host=h scram_client_key={key} scram_server_key={key}");
    let last = authentication(12, b"v=AAAA");
    let (outcome, _) = run_scram(&conninfo, &["SCRAM-SHA-256"], |nonce| challenge(nonce, 4096), last);
    assert!(matches!(outcome, Err(ConnectError::Scram { .. })));
    for request in [authentication(3, b""), authentication(5, b"salt")] {
        let (outcome, said) = log_in_to(&conninfo, &TLS(), &request);
        assert!(matches!(outcome, Err(ConnectError::PasswordMissing { .. })));
        assert!(said.is_empty());
    }
}

#[test]
fn the_mechanism_tells_what_we_could_have_done() {
    let first = |nonce: &str| challenge(nonce, 4096);
    for (conninfo, mechanisms, start) in [
        ("host=h password=p", &["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"][..], "SCRAM-SHA-256-PLUS\0"),
        ("host=h password=p", &["SCRAM-SHA-256"], "SCRAM-SHA-256\0"),
        ("host=h password=p channel_binding=disable", &["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"], "SCRAM-SHA-256\0"),
    ] {
        let (_, hello) = run_scram(conninfo, mechanisms, first, Vec::new());
        assert!(hello.starts_with(start), "{hello:?}");
        let header = match (conninfo.contains("disable"), start) {
            (_, "SCRAM-SHA-256-PLUS\0") => "p=tls-server-end-point,,",
            (true, _) => "n,,",
            // We could have, the server says that it cannot: a stripped offer shows.
            (false, _) => "y,,",
        };
        assert!(hello.contains(header), "{hello:?}");
    }
}
