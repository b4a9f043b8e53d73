//! Whether a server is the one that was meant: its role (`target_session_attrs`), the account it runs as
//! (`requirepeer`), whether it is PostgreSQL itself; and in which order several are tried (`load_balance_hosts`).
//!
//! The shape of the first two is that of `PQconnectPoll` in `src/interfaces/libpq/fe-connect.c`.

use std::path::Path;

use ring::rand::{SecureRandom, SystemRandom};

use super::conninfo::{ConnectionSettings, TargetSession};
use super::error::{ConnectError, Endpoint};
use super::message::column_text;
use super::session::Session;
use crate::fs::read_at_most;

/// LIMIT: bytes of /etc/passwd that are read.
const PASSWD_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The list as it is, or shuffled when that was asked for.
pub(super) fn in_order<'a, T>(settings: &ConnectionSettings, list: &'a [T]) -> Vec<&'a T> {
    let mut list: Vec<&T> = list.iter().collect();
    if settings.random_order {
        for last in (1..list.len()).rev() {
            let mut bytes = [0; 4];
            // Without random numbers the order that was given is as good as any.
            let _ = SystemRandom::new().fill(&mut bytes);
            let number = usize::try_from(u32::from_ne_bytes(bytes)).unwrap_or(last);
            list.swap(last, number % (last + 1));
        }
    }
    list
}

/// Refuses a server behind a local socket that does not run as that account.
pub(super) fn check_peer(required: &str, uid: u32, endpoint: &Endpoint) -> Result<(), ConnectError> {
    let passwd = read_at_most(Path::new("/etc/passwd"), PASSWD_BYTES_MAX).unwrap_or_default();
    let name = account_name(&passwd, uid);
    if name.as_deref() == Some(required) {
        return Ok(());
    }
    let found = name.map_or_else(|| uid.to_string(), |name| format!("\"{name}\""));
    Err(ConnectError::WrongPeer { endpoint: Box::new(endpoint.clone()), required: required.to_owned(), found })
}

/// The first account of that number in the text of /etc/passwd.
pub(super) fn account_name(passwd: &[u8], uid: u32) -> Option<String> {
    passwd.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        let number: u32 = std::str::from_utf8(number).ok()?.parse().ok()?;
        (number == uid).then(|| String::from_utf8_lossy(name).into_owned())
    })
}

impl Session {
    /// Refuses a server that is not of the wanted kind.
    pub(super) async fn check_role(&mut self, wanted: TargetSession) -> Result<(), ConnectError> {
        use TargetSession::{Any, PreferStandby, Primary, ReadOnly, ReadWrite, Standby};
        let fits = match wanted {
            Any => true,
            ReadWrite => self.accepts_writes().await?,
            ReadOnly => !self.accepts_writes().await?,
            Primary => !self.is_standby().await?,
            Standby | PreferStandby => self.is_standby().await?,
        };
        if fits {
            return Ok(());
        }
        Err(ConnectError::WrongRole { endpoint: Box::new(self.endpoint.clone()), wanted })
    }

    async fn is_standby(&mut self) -> Result<bool, ConnectError> {
        if let Some(reported) = self.parameters.get("in_hot_standby") {
            return Ok(reported == "on");
        }
        // COMPAT: servers before 14 do not report it, and a walsender takes no SELECT; a standby is always read-only.
        if self.endpoint.database.is_none() {
            return Ok(!self.accepts_writes().await?);
        }
        Ok(self.value_of("SELECT pg_catalog.pg_is_in_recovery()").await?.as_deref() == Some("t"))
    }

    async fn accepts_writes(&mut self) -> Result<bool, ConnectError> {
        if self.parameters.get("in_hot_standby").is_some_and(|value| value == "on") {
            return Ok(false);
        }
        Ok(self.value_of("SHOW transaction_read_only").await?.as_deref() == Some("off"))
    }

    /// Refuses a connection pooler: what a session was set to, and whom it talks to, is not lasting there.
    ///
    /// A server names its own process when a session begins, and every pooler that gives sessions to other clients
    /// must name something else, since it does not know yet which process it will be.
    pub(super) async fn refuse_pooler(&mut self) -> Result<(), ConnectError> {
        self.refuse_bouncer_console()?;
        let named = self.backend_key.map(|(process, _)| process.to_string());
        let Some(named) = named else { return Ok(()) };
        let actual = self.value_of("SELECT pg_catalog.pg_backend_pid()").await?;
        if actual.is_none_or(|actual| actual == named) {
            return Ok(());
        }
        Err(self.pooler("the process that serves the session is not the one that was named at its start"))
    }

    /// Refuses the administrative database of PgBouncer, which every version gives this version number.
    pub(super) fn refuse_bouncer_console(&self) -> Result<(), ConnectError> {
        match self.parameters.get("server_version") {
            Some(version) if version.ends_with("/bouncer") => Err(self.pooler("it calls itself PgBouncer")),
            _ => Ok(()),
        }
    }

    fn pooler(&self, sign: &'static str) -> ConnectError {
        ConnectError::Pooler { endpoint: Box::new(self.endpoint.clone()), sign }
    }

    async fn value_of(&mut self, sql: &str) -> Result<Option<String>, ConnectError> {
        let rows = self.execute(sql).await?;
        Ok(rows.first().and_then(|row| row.first()).and_then(column_text))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake_server::{block_on, endpoint, ready, result, settings, walsender};
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_order_is_random_only_when_that_was_asked_for() {
        let list: Vec<u32> = (0..8).collect();
        let orders = |conninfo: &str| -> BTreeSet<Vec<u32>> {
            let settings = settings(conninfo);
            (0..50).map(|_| in_order(&settings, &list).into_iter().copied().collect()).collect()
        };
        assert_eq!(orders("host=a"), BTreeSet::from([list.clone()]));
        let shuffled = orders("host=a load_balance_hosts=random");
        assert!(shuffled.len() > 40, "{}", shuffled.len());
        assert!(shuffled.iter().all(|order| order.iter().collect::<BTreeSet<_>>().len() == 8));
    }

    #[test]
    fn accounts_are_found_by_number() {
        let passwd =
            b"root:x:0:0:root:/root:/bin/sh\nbroken\n\xff:x:5:5::/:\npostgres:x:101:101::/:\nother:x:101:1::/:\n";
        assert_eq!(account_name(passwd, 0).as_deref(), Some("root"));
        assert_eq!(account_name(passwd, 101).as_deref(), Some("postgres"));
        assert_eq!(account_name(passwd, 102), None);
        let endpoint = endpoint(&settings("host=/tmp"));
        assert!(check_peer("root", 0, &endpoint).is_ok());
        let error = check_peer("postgres", 0, &endpoint).unwrap_err();
        assert!(
            error.to_string().ends_with("runs as account \"root\", and requirepeer demands \"postgres\""),
            "{error}"
        );
        let error = check_peer("postgres", u32::MAX - 7, &endpoint).unwrap_err();
        assert!(error.to_string().contains("account 4294967288"), "{error}");
    }

    /// Rows: what the server reports at the start, what it answers when it is asked, the kinds that it is.
    #[test]
    fn servers_are_of_the_kinds_that_libpq_says() {
        use TargetSession::{Any, PreferStandby, Primary, ReadOnly, ReadWrite, Standby};
        let all = [Any, ReadWrite, ReadOnly, Primary, Standby, PreferStandby];
        let answer = |value: &str| [result(&[&[Some(value)]]), ready()].concat();
        for (reported, in_database, value, kinds) in [
            (Some("off"), true, "off", &[Any, ReadWrite, Primary][..]),
            (Some("off"), true, "on", &[Any, ReadOnly, Primary]),
            (Some("on"), true, "off", &[Any, ReadOnly, Standby, PreferStandby]),
            (None, false, "off", &[Any, ReadWrite, Primary]),
            (None, false, "on", &[Any, ReadOnly, Standby, PreferStandby]),
        ] {
            for wanted in all {
                let fits = block_on(async {
                    let mut session = walsender("15.4", &answer(value)).await.session;
                    session.endpoint.database = in_database.then(|| "d".to_owned());
                    session.parameters.extend(reported.map(|value| ("in_hot_standby".to_owned(), value.to_owned())));
                    session.check_role(wanted).await.is_ok()
                });
                assert_eq!(fits, kinds.contains(&wanted), "{reported:?} {value} {wanted:?}");
            }
        }
        for (value, standby) in [("t", true), ("f", false)] {
            let found = block_on(async {
                let mut session = walsender("13.4", &answer(value)).await.session;
                session.endpoint.database = Some("d".to_owned());
                session.check_role(Standby).await.is_ok()
            });
            assert_eq!(found, standby);
        }
    }

    #[test]
    fn a_session_that_another_process_serves_is_one_of_a_pooler() {
        let refused = |version: &str, key: Option<(i32, i32)>, pid: &str| {
            let bytes = [result(&[&[Some(pid)]]), ready()].concat();
            block_on(async {
                let mut session = walsender(version, &bytes).await.session;
                session.backend_key = key;
                match session.refuse_pooler().await {
                    Ok(()) => false,
                    Err(ConnectError::Pooler { .. }) => true,
                    Err(error) => panic!("{error}"),
                }
            })
        };
        assert!(!refused("15.4", Some((77, 1)), "77"));
        assert!(!refused("15.4", None, "77"));
        assert!(refused("15.4", Some((78, 1)), "77"));
        assert!(refused("15.4", Some((-78, 1)), "77"));
        assert!(refused("1.18.0/bouncer", Some((77, 1)), "77"));
    }
}
