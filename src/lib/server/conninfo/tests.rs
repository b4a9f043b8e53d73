use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

#[derive(Default)]
struct Case {
    options: ConnectionOptions,
    conninfo: Option<&'static str>,
    variables: &'static [(&'static str, &'static str)],
}

impl Case {
    fn d(text: &str) -> Self {
        Self { options: ConnectionOptions { dbname: Some(text.to_owned()), ..Default::default() }, ..Self::default() }
    }

    fn with_sources<T>(&self, use_them: impl FnOnce(&ConnectionSources<'_>) -> T) -> T {
        use_them(&ConnectionSources {
            options: &self.options,
            conninfo: self.conninfo,
            variable: &|name| self.variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()),
            os_user: Some("osuser"),
            home: Some(Path::new("/home/osuser")),
            application_name: "pgv-test",
        })
    }

    fn resolve(&self) -> Result<ConnectionSettings, ConninfoError> {
        self.with_sources(ConnectionSettings::resolve)
    }

    fn said(&self) -> String {
        self.with_sources(ConnectionSettings::said).unwrap()
    }

    fn settings(&self) -> ConnectionSettings {
        self.resolve().unwrap()
    }
}

fn shown(settings: &ConnectionSettings) -> Vec<String> {
    settings.hosts.iter().map(ToString::to_string).collect()
}

#[test]
fn defaults_are_those_of_libpq_with_both_socket_directories() {
    let settings = Case::default().settings();
    assert_eq!(shown(&settings), ["\"/var/run/postgresql/.s.PGSQL.5432\"", "\"/tmp/.s.PGSQL.5432\""]);
    assert_eq!((settings.user.as_str(), settings.dbname.as_str()), ("osuser", "osuser"));
    assert!(!settings.dbname_given);
    assert_eq!(settings.passfile, Some(PathBuf::from("/home/osuser/.pgpass")));
    assert_eq!(settings.application_name, "pgv-test");
    assert_eq!(settings.connect_timeout, Some(DEFAULT_CONNECT_TIMEOUT));
    assert_eq!(settings.tls.mode_for(&settings.hosts[0].address), SslMode::Disable);
}

#[test]
fn what_was_said_leads_to_the_same_server_without_the_password() {
    assert_eq!(Case::default().said(), "");
    let mut case = Case::d("postgresql://u:secret@db1:5433/my%20db?sslmode=require");
    case.variables = &[("PGPASSWORD", "secret"), ("PGPORT", "1"), ("PGAPPNAME", "x"), ("PGPASSFILE", "/etc/p")];
    let said = case.said();
    assert_eq!(said, "dbname='my db' host=db1 passfile=/etc/p port=5433 sslmode=require user=u");
    let again = Case::d(&said).settings();
    let settings = case.settings();
    assert_eq!((again.hosts, again.user, again.dbname), (settings.hosts, settings.user, settings.dbname));
    assert_eq!((again.tls, again.password), (settings.tls, None));
}

#[test]
fn sources_follow_the_order_of_precedence() {
    let variables: &[_] = &[("PGHOST", "env"), ("PGPORT", "1"), ("PGUSER", "envuser"), ("PGDATABASE", "envdb")];
    let mut case = Case { variables, ..Default::default() };
    assert_eq!(shown(&case.settings()), ["\"env\", port 1"]);
    assert_eq!(case.settings().user, "envuser");

    case.conninfo = Some("host=configured user=c");
    let settings = case.settings();
    assert_eq!(shown(&settings), ["\"configured\", port 1"]);
    assert_eq!((settings.user.as_str(), settings.dbname.as_str()), ("c", "envdb"));

    case.options =
        ConnectionOptions { host: Some("typed".to_owned()), dbname: Some("db".to_owned()), ..Default::default() };
    let settings = case.settings();
    assert_eq!(shown(&settings), ["\"typed\", port 1"]);
    assert_eq!((settings.user.as_str(), settings.dbname.as_str()), ("c", "db"));

    case.options.dbname = Some("postgresql://string/other".to_owned());
    let settings = case.settings();
    assert_eq!(shown(&settings), ["\"string\", port 1"]);
    assert_eq!(settings.dbname, "other");
}

#[test]
fn a_service_stands_between_what_was_said_and_the_variables() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("services");
    std::fs::write(
        &file,
        "[s]\nhost=service\nport=7\nuser=service\npassword=canary\n[bad]\nhots=x\n[no]\nsslkeylogfile=x\n",
    )
    .unwrap();
    let file = file.to_str().unwrap().to_owned();
    let resolve = |conninfo: Option<&str>, variables: &[(&str, &str)]| {
        let variable = |name: &str| match name {
            "PGSERVICEFILE" => Some(file.clone()),
            name => variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()),
        };
        let sources = ConnectionSources {
            options: &ConnectionOptions { user: Some("typed".to_owned()), ..Default::default() },
            conninfo,
            variable: &variable,
            os_user: None,
            home: None,
            application_name: "pgv-test",
        };
        let said = ConnectionSettings::said(&sources);
        ConnectionSettings::resolve(&sources).map(|settings| (settings, said.unwrap()))
    };
    let variables = [("PGSERVICE", "s"), ("PGPORT", "1"), ("PGUSER", "env"), ("PGDATABASE", "env")];
    let (settings, said) = resolve(None, &variables).unwrap();
    assert_eq!(shown(&settings), ["\"service\", port 7"]);
    assert_eq!((settings.user.as_str(), settings.dbname.as_str()), ("typed", "env"));
    assert_eq!(settings.password, Some(Secret::new("canary")));
    assert_eq!(said, "dbname=env host=service port=7 user=typed");
    // The service of the connection string goes before the variable, and what stands beside it before the service.
    let (settings, _) = resolve(Some("service=s host=said"), &[("PGSERVICE", "absent")]).unwrap();
    assert_eq!(shown(&settings), ["\"said\", port 7"]);
    assert!(matches!(resolve(Some("service=absent"), &variables), Err(ConninfoError::UnknownService { .. })));
    assert!(matches!(resolve(Some("service=bad"), &[]), Err(ConninfoError::UnknownKeyword { .. })));
    assert!(matches!(resolve(Some("service=no"), &[]), Err(ConninfoError::UnsupportedKeyword { .. })));
}

#[test]
fn what_replaces_or_restricts_a_password_is_kept() {
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let text = format!("scram_client_key={key} scram_server_key={key} requirepeer=postgres sslcertmode=require");
    let case = Case { conninfo: Some(Box::leak(text.into_boxed_str())), ..Default::default() };
    let settings = case.settings();
    assert_eq!(settings.scram_keys.unwrap().client.expose(), [0; 32]);
    assert_eq!(settings.required_peer.as_deref(), Some("postgres"));
    assert_eq!(settings.tls.certificate_mode, ClientCertificateMode::Require);
    assert_eq!(case.said(), "requirepeer=postgres sslcertmode=require");
    for alone in ["scram_client_key", "scram_server_key"] {
        let outcome = Case::d(&format!("{alone}={key}")).resolve();
        assert!(matches!(outcome, Err(ConninfoError::Incomplete { keyword, .. }) if keyword == alone));
    }
}

#[test]
fn tls_without_asking_is_never_left_to_chance() {
    for (text, mode) in [
        ("host=db sslnegotiation=direct", SslMode::VerifyFull),
        ("host=localhost sslnegotiation=direct", SslMode::Require),
        ("host=db sslnegotiation=direct sslmode=require", SslMode::Require),
        ("host=/tmp sslnegotiation=direct", SslMode::Disable),
    ] {
        let settings = Case::d(text).settings();
        assert!(settings.tls.direct);
        assert_eq!(settings.tls.mode_for(&settings.hosts[0].address), mode, "{text}");
    }
    for mode in ["disable", "allow", "prefer"] {
        let outcome = Case::d(&format!("sslnegotiation=direct sslmode={mode}")).resolve();
        assert!(matches!(outcome, Err(ConninfoError::Contradiction { .. })), "{mode}");
    }
    let case = Case { variables: &[("PGREQUIRESSL", "1")], ..Case::d("host=localhost") };
    assert_eq!(case.settings().tls.mode, Some(SslMode::Require));
}

#[test]
fn an_empty_value_means_the_default_and_hides_weaker_sources() {
    let case = Case { conninfo: Some("host='' user=u"), variables: &[("PGHOST", "env")], ..Default::default() };
    assert_eq!(case.settings().hosts.len(), 2);
    let case = Case { variables: &[("PGPORT", "")], ..Default::default() };
    assert_eq!(case.settings().hosts[0].port, DEFAULT_PORT);
}

#[test]
fn hosts_addresses_and_ports_pair_up() {
    for (text, list) in [
        ("host=a,b port=1,2", &["\"a\", port 1", "\"b\", port 2"][..]),
        ("host=a,b port=7", &["\"a\", port 7", "\"b\", port 7"]),
        ("host=a,b port=,2", &["\"a\", port 5432", "\"b\", port 2"]),
        ("host=a hostaddr=10.0.0.1", &["\"a\" (10.0.0.1), port 5432"]),
        ("hostaddr=::1", &["\"::1\", port 5432"]),
        ("host=/run/pg port=3", &["\"/run/pg/.s.PGSQL.3\""]),
        ("postgresql://[::1]:3,h/d", &["\"::1\", port 3", "\"h\", port 5432"]),
    ] {
        assert_eq!(shown(&Case::d(text).settings()), list, "{text}");
    }
    for text in ["host=a,b port=1,2,3", "host=a,b hostaddr=10.0.0.1", "host=a port=1,2"] {
        assert!(matches!(Case::d(text).resolve(), Err(ConninfoError::ListLength { .. })), "{text}");
    }
    let many = format!("host={}", vec!["h"; 33].join(","));
    assert!(matches!(Case::d(&many).resolve(), Err(ConninfoError::TooManyHosts { .. })));
    assert!(matches!(Case::d("host=run/pg").resolve(), Err(ConninfoError::RelativeSocketDirectory { .. })));
    assert!(matches!(Case::d("hostaddr=db").resolve(), Err(ConninfoError::InvalidValue { .. })));
}

#[test]
fn without_a_word_only_remote_hosts_are_verified() {
    for (text, mode) in [
        ("host=db.example.org", SslMode::VerifyFull),
        ("host=10.1.2.3", SslMode::VerifyFull),
        ("host=localhost hostaddr=10.1.2.3", SslMode::VerifyFull),
        ("host=localhost", SslMode::Prefer),
        ("host=LocalHost", SslMode::Prefer),
        ("host=127.0.0.1", SslMode::Prefer),
        ("host=127.9.9.9", SslMode::Prefer),
        ("host=::1", SslMode::Prefer),
        ("host=db hostaddr=127.0.0.1", SslMode::Prefer),
        ("host=localhost.example.org", SslMode::VerifyFull),
        ("host=/tmp", SslMode::Disable),
        ("host=/tmp sslmode=verify-full", SslMode::Disable),
        ("host=db sslmode=prefer", SslMode::Prefer),
        ("host=localhost sslmode=verify-full", SslMode::VerifyFull),
        ("host=localhost sslrootcert=system", SslMode::VerifyFull),
    ] {
        let settings = Case::d(text).settings();
        assert_eq!(settings.tls.mode_for(&settings.hosts[0].address), mode, "{text}");
    }
    let error = Case::d("host=db sslrootcert=system sslmode=require").resolve().unwrap_err();
    assert!(matches!(error, ConninfoError::Contradiction { .. }));
}

#[test]
fn unknown_and_unsupported_keywords_are_named() {
    let error = Case::d("host=a hots=b").resolve().unwrap_err();
    assert_eq!(error, ConninfoError::UnknownKeyword { keyword: "hots".to_owned() });
    for text in ["gssencmode=require", "sslkeylogfile=x", "oauth_issuer=x", "min_protocol_version=3.2"] {
        assert!(matches!(Case::d(text).resolve(), Err(ConninfoError::UnsupportedKeyword { .. })), "{text}");
    }
    for text in ["gssencmode=prefer", "krbsrvname=x", "client_encoding=LATIN1", "load_balance_hosts=random"] {
        assert!(Case::d(text).resolve().is_ok(), "{text}");
    }
    for text in ["sslmode=on", "channel_binding=yes", "port=x", "connect_timeout=soon", "gssencmode=x"] {
        assert!(matches!(Case::d(text).resolve(), Err(ConninfoError::InvalidValue { .. })), "{text}");
    }
    let error = Case::d("ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2").resolve();
    assert!(matches!(error, Err(ConninfoError::Contradiction { .. })));
}

#[test]
fn timeouts_and_keepalives_have_defaults_that_find_dead_peers() {
    let settings = Case::d("connect_timeout=0 keepalives_idle=0 keepalives_count=3 tcp_user_timeout=1500").settings();
    assert_eq!(settings.connect_timeout, None);
    assert_eq!(settings.tcp.keepalives_idle, None);
    assert_eq!(settings.tcp.keepalives_count, Some(3));
    assert_eq!(settings.tcp.user_timeout, Some(Duration::from_millis(1500)));
    assert!(!Case::d("keepalives=0").settings().tcp.keepalives);
    assert!(TcpSettings::default().keepalives);
}

#[test]
fn no_password_in_debug_or_errors() {
    let settings = Case::d("postgresql://u:canary-secret@h/d").settings();
    assert_eq!(settings.password, Some(Secret::new("canary-secret")));
    assert!(!format!("{settings:?}").contains("canary"));
    for text in ["postgresql://u:canary@h:0/d", "password=canary port=x", "password='canary", "password=x canary"] {
        let error = Case::d(text).resolve().unwrap_err();
        assert!(!error.to_string().contains("canary") && !format!("{error:?}").contains("canary"), "{error:?}");
    }
}

#[test]
fn zero_bytes_are_refused() {
    assert!(matches!(Case::d("user=a\0b").resolve(), Err(ConninfoError::ZeroByte { keyword: "user" })));
}

#[test]
fn loopback_is_decided_by_what_was_written() {
    let tcp = |name: &str, address: Option<&str>| HostAddress::Tcp {
        name: name.to_owned(),
        address: address.map(|text| text.parse::<IpAddr>().unwrap()),
    };
    assert!(tcp("localhost", None).is_loopback());
    assert!(tcp("db", Some("127.0.0.1")).is_loopback());
    assert!(!tcp("localhost", Some("192.0.2.1")).is_loopback());
    assert!(!tcp("127.0.0.1.example.org", None).is_loopback());
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in ".*", conninfo in "[a-z]{0,12}=.{0,20}") {
        let _ = Case::d(&text).resolve();
        let _ = Case::d(&conninfo).resolve();
        let _ = Case::d(&format!("host={text}")).resolve();
    }
}
