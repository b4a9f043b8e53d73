//! Opens the byte stream to a server: a local socket, or TCP with the settings that find dead peers
//! (`src/interfaces/libpq/fe-connect.c`).

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpStream, UnixStream, lookup_host};

use super::conninfo::{HostAddress, ServerHost, TcpSettings};
use super::framing::Transport;

/// LIMIT: addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;

/// One place where a server may answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Socket(PathBuf),
    Tcp(SocketAddr),
}

/// The places that a host stands for, in the order in which to try them.
pub(crate) async fn look_up(host: &ServerHost) -> io::Result<Vec<Place>> {
    match &host.address {
        HostAddress::Socket(directory) => Ok(vec![Place::Socket(socket_path(directory, host.port))]),
        HostAddress::Tcp { address: Some(address), .. } => Ok(vec![Place::Tcp(SocketAddr::new(*address, host.port))]),
        HostAddress::Tcp { name, address: None } => {
            let places: Vec<_> =
                lookup_host((name.as_str(), host.port)).await?.take(MAX_ADDRESSES).map(Place::Tcp).collect();
            if places.is_empty() {
                return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
            }
            Ok(places)
        }
    }
}

/// The socket of the server at that port; a leading `@` stands for the zero byte of abstract names.
fn socket_path(directory: &Path, port: u16) -> PathBuf {
    let path = directory.join(format!(".s.PGSQL.{port}"));
    match path.to_str().and_then(|text| text.strip_prefix('@')) {
        Some(rest) => PathBuf::from(format!("\0{rest}")),
        None => path,
    }
}

/// A stream that is open.
pub(crate) struct Opened {
    pub(crate) transport: Box<dyn Transport>,
    /// The account at the other end of a local socket.
    pub(crate) peer_uid: Option<u32>,
}

/// Connects, and sets what finds dead peers.
pub(crate) async fn open(place: &Place, settings: &TcpSettings) -> io::Result<Opened> {
    match place {
        Place::Socket(path) => {
            let stream = UnixStream::connect(path).await?;
            let peer_uid = Some(stream.peer_cred()?.uid());
            Ok(Opened { transport: Box::new(stream), peer_uid })
        }
        Place::Tcp(address) => Ok(Opened { transport: Box::new(connect(*address, settings).await?), peer_uid: None }),
    }
}

async fn connect(address: SocketAddr, settings: &TcpSettings) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    watch_peer(&stream, settings)?;
    Ok(stream)
}

fn watch_peer(stream: &TcpStream, settings: &TcpSettings) -> io::Result<()> {
    if settings.keepalives {
        sockopt::set_socket_keepalive(stream, true)?;
        if let Some(idle) = settings.keepalives_idle {
            sockopt::set_tcp_keepidle(stream, idle)?;
        }
        if let Some(interval) = settings.keepalives_interval {
            sockopt::set_tcp_keepintvl(stream, interval)?;
        }
        if let Some(count) = settings.keepalives_count {
            sockopt::set_tcp_keepcnt(stream, count)?;
        }
    }
    if let Some(limit) = settings.user_timeout {
        set_user_timeout(stream, limit)?;
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn set_user_timeout(stream: &TcpStream, limit: Duration) -> io::Result<()> {
    let milliseconds = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
    Ok(sockopt::set_tcp_user_timeout(stream, milliseconds)?)
}

/// COMPAT: the option exists on Linux only; libpq ignores it elsewhere too.
#[cfg(not(target_os = "linux"))]
fn set_user_timeout(_stream: &TcpStream, _limit: Duration) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection to a listener here.
    fn connected(settings: &TcpSettings) -> TcpStream {
        super::super::fake_server::block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            connect(listener.local_addr().unwrap(), settings).await.unwrap()
        })
    }

    #[test]
    fn the_socket_has_the_options_that_find_a_dead_peer() {
        let settings = TcpSettings {
            keepalives: true,
            keepalives_idle: Some(Duration::from_secs(5)),
            keepalives_interval: Some(Duration::from_secs(1)),
            keepalives_count: Some(2),
            user_timeout: Some(Duration::from_millis(900)),
        };
        let socket = connected(&settings);
        assert!(socket.nodelay().unwrap());
        assert!(sockopt::socket_keepalive(&socket).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&socket).unwrap(), Duration::from_secs(5));
        assert_eq!(sockopt::tcp_keepintvl(&socket).unwrap(), Duration::from_secs(1));
        assert_eq!(sockopt::tcp_keepcnt(&socket).unwrap(), 2);
        #[cfg(target_os = "linux")]
        assert_eq!(sockopt::tcp_user_timeout(&socket).unwrap(), 900);
    }

    #[test]
    fn the_socket_has_no_option_that_was_not_asked_for() {
        let settings = TcpSettings { keepalives: false, user_timeout: None, ..TcpSettings::default() };
        let socket = connected(&settings);
        assert!(!sockopt::socket_keepalive(&socket).unwrap());
        assert_ne!(sockopt::tcp_keepidle(&socket).unwrap(), TcpSettings::default().keepalives_idle.unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(sockopt::tcp_user_timeout(&socket).unwrap(), 0);
    }

    #[test]
    fn socket_names_carry_the_port() {
        assert_eq!(socket_path(Path::new("/run/pg"), 5433), Path::new("/run/pg/.s.PGSQL.5433"));
        assert_eq!(socket_path(Path::new("@pg"), 1), Path::new("\0pg/.s.PGSQL.1"));
    }
}
