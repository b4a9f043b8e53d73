//! Reads the two written forms of connection settings, `key = value` strings and URIs, into pairs.
//!
//! Accepts what `conninfo_parse` and `conninfo_uri_parse` of libpq accept (`src/interfaces/libpq/fe-connect.c`).
//! Knows nothing of what the keywords mean.

use super::ConninfoError;

/// One keyword and its value, as written.
pub(super) type Pair = (String, String);

const URI_SCHEMES: [&str; 2] = ["postgresql://", "postgres://"];

/// Whether the value of `-d` is a connection string rather than the name of a database.
pub(crate) fn is_connection_string(text: &str) -> bool {
    uri_rest(text).is_some() || text.contains('=')
}

/// Reads either form.
pub(super) fn parse(text: &str) -> Result<Vec<Pair>, ConninfoError> {
    let pairs = match uri_rest(text) {
        Some(rest) => parse_uri(rest),
        None => parse_keywords(text),
    }?;
    Ok(pairs.into_iter().map(modern).collect())
}

/// COMPAT: the keyword that came before `sslmode`, which libpq still takes.
fn modern((keyword, value): Pair) -> Pair {
    if keyword != "requiressl" {
        return (keyword, value);
    }
    let mode = if value.starts_with('1') { "require" } else { "prefer" };
    ("sslmode".to_owned(), mode.to_owned())
}

/// A keyword and its value as `parse` reads them back.
pub(super) fn pair(keyword: &str, value: &str) -> String {
    let plain = |c: char| !is_blank(c) && c != '\\' && c != '\'';
    if !value.is_empty() && value.chars().all(plain) {
        format!("{keyword}={value}")
    } else {
        format!("{keyword}='{}'", value.replace('\\', r"\\").replace('\'', r"\'"))
    }
}

fn uri_rest(text: &str) -> Option<&str> {
    URI_SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme))
}

fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

fn parse_keywords(text: &str) -> Result<Vec<Pair>, ConninfoError> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start_matches(is_blank);
    while !rest.is_empty() {
        let position = text.len() - rest.len();
        let end = rest.find(|c| c == '=' || is_blank(c)).unwrap_or(rest.len());
        let (keyword, after) = rest.split_at(end);
        let after = after.trim_start_matches(is_blank);
        let value = after.strip_prefix('=').ok_or(ConninfoError::MissingEquals { position })?;
        let (value, after) = parse_value((keyword, position), value.trim_start_matches(is_blank))?;
        pairs.push((keyword.to_owned(), value));
        rest = after.trim_start_matches(is_blank);
    }
    Ok(pairs)
}

/// Reads one value, quoted or bare; returns it and what follows.
fn parse_value<'a>((keyword, position): (&str, usize), text: &'a str) -> Result<(String, &'a str), ConninfoError> {
    let (quoted, body) = match text.strip_prefix('\'') {
        Some(body) => (true, body),
        None => (false, text),
    };
    let mut value = String::new();
    let mut characters = body.chars();
    loop {
        let before = characters.as_str();
        match characters.next() {
            Some('\'') if quoted => return Ok((value, characters.as_str())),
            Some(c) if !quoted && is_blank(c) => return Ok((value, before)),
            // A backslash stands for the next character; at the very end of a bare value it stands for nothing.
            Some('\\') => value.extend(characters.next()),
            Some(c) => value.push(c),
            None if quoted => return Err(ConninfoError::UnterminatedQuote { position, keyword: keyword.to_owned() }),
            None => return Ok((value, "")),
        }
    }
}

fn parse_uri(rest: &str) -> Result<Vec<Pair>, ConninfoError> {
    let (authority_and_path, query) = match rest.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (rest, None),
    };
    let (authority, path) = match authority_and_path.split_once('/') {
        Some((authority, path)) => (authority, Some(path)),
        None => (authority_and_path, None),
    };
    let mut pairs = Vec::new();
    let hosts = match authority.split_once('@') {
        Some((login, hosts)) => {
            push_login(login, &mut pairs)?;
            hosts
        }
        None => authority,
    };
    push_hosts(hosts, &mut pairs)?;
    if let Some(path) = path.filter(|path| !path.is_empty()) {
        pairs.push(("dbname".to_owned(), percent_decode(path)?));
    }
    for parameter in query.iter().flat_map(|query| query.split('&')).filter(|text| !text.is_empty()) {
        pairs.push(parse_parameter(parameter)?);
    }
    Ok(pairs)
}

fn push_login(login: &str, pairs: &mut Vec<Pair>) -> Result<(), ConninfoError> {
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (login, None),
    };
    if !user.is_empty() {
        pairs.push(("user".to_owned(), percent_decode(user)?));
    }
    if let Some(password) = password.filter(|password| !password.is_empty()) {
        pairs.push(("password".to_owned(), percent_decode(password)?));
    }
    Ok(())
}

fn push_hosts(text: &str, pairs: &mut Vec<Pair>) -> Result<(), ConninfoError> {
    let mut hosts = Vec::new();
    let mut ports = Vec::new();
    for entry in text.split(',') {
        let (host, port) = split_host_and_port(entry)?;
        hosts.push(percent_decode(host)?);
        ports.push(percent_decode(port)?);
    }
    if hosts.iter().any(|host| !host.is_empty()) || hosts.len() > 1 {
        pairs.push(("host".to_owned(), hosts.join(",")));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        pairs.push(("port".to_owned(), ports.join(",")));
    }
    Ok(())
}

fn split_host_and_port(entry: &str) -> Result<(&str, &str), ConninfoError> {
    let Some(bracketed) = entry.strip_prefix('[') else {
        return Ok(entry.split_once(':').unwrap_or((entry, "")));
    };
    let invalid = |problem| ConninfoError::InvalidUri { problem };
    let (host, after) = bracketed.split_once(']').ok_or(invalid("an IPv6 address lacks its closing bracket"))?;
    if host.is_empty() {
        return Err(invalid("an IPv6 address is empty"));
    }
    match after.strip_prefix(':') {
        Some(port) => Ok((host, port)),
        None if after.is_empty() => Ok((host, "")),
        None => Err(invalid("something other than a port follows an IPv6 address")),
    }
}

fn parse_parameter(text: &str) -> Result<Pair, ConninfoError> {
    let (keyword, value) =
        text.split_once('=').ok_or(ConninfoError::InvalidUri { problem: "a query parameter has no \"=\"" })?;
    if value.contains('=') {
        return Err(ConninfoError::InvalidUri { problem: "a query parameter has more than one \"=\"" });
    }
    let (keyword, value) = (percent_decode(keyword)?, percent_decode(value)?);
    // COMPAT: JDBC writes ssl=true where libpq writes sslmode=require.
    if keyword == "ssl" && value == "true" {
        return Ok(("sslmode".to_owned(), "require".to_owned()));
    }
    Ok((keyword, value))
}

fn percent_decode(text: &str) -> Result<String, ConninfoError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        let number = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        match number {
            Some(0) => return Err(ConninfoError::InvalidUri { problem: "it holds \"%00\"" }),
            Some(number) => decoded.push(number),
            None => {
                return Err(ConninfoError::InvalidUri { problem: "a \"%\" is not followed by two hexadecimal digits" });
            }
        }
    }
    String::from_utf8(decoded).map_err(|_| ConninfoError::InvalidUri { problem: "it is not UTF-8 when decoded" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap()
    }

    fn expected(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn reads_keyword_strings_as_libpq_does() {
        for (text, list) in [
            ("", &[][..]),
            ("  ", &[]),
            ("host=a port=1", &[("host", "a"), ("port", "1")]),
            ("host = a\n port\t=\r1", &[("host", "a"), ("port", "1")]),
            (r"password='it\'s \\ here' user=x", &[("password", r"it's \ here"), ("user", "x")]),
            (r"password=a\ b\'c", &[("password", "a b'c")]),
            (r"password=a\", &[("password", "a")]),
            ("password= user", &[("password", "user")]),
            ("user='' dbname=d", &[("user", ""), ("dbname", "d")]),
            ("dbname=a=b", &[("dbname", "a=b")]),
            ("requiressl=1", &[("sslmode", "require")]),
            ("requiressl=0", &[("sslmode", "prefer")]),
            ("user=日本", &[("user", "日本")]),
        ] {
            assert_eq!(pairs(text), expected(list), "{text}");
        }
    }

    #[test]
    fn rejects_broken_keyword_strings_without_showing_them() {
        let error = parse("password=my secret").unwrap_err();
        assert_eq!(error, ConninfoError::MissingEquals { position: 12 });
        assert!(!error.to_string().contains("secret"));
        assert_eq!(parse("user='it''").unwrap_err(), ConninfoError::MissingEquals { position: 9 });
        let error = parse("password='secret").unwrap_err();
        assert_eq!(error, ConninfoError::UnterminatedQuote { position: 0, keyword: "password".to_owned() });
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn reads_uris_as_libpq_does() {
        for (text, list) in [
            ("postgresql://", &[][..]),
            ("postgres://localhost", &[("host", "localhost")]),
            ("postgresql://localhost:5433", &[("host", "localhost"), ("port", "5433")]),
            ("postgresql://localhost/mydb", &[("host", "localhost"), ("dbname", "mydb")]),
            (
                "postgresql://user:p%40ss@h/db",
                &[("user", "user"), ("password", "p@ss"), ("host", "h"), ("dbname", "db")],
            ),
            ("postgresql://user@", &[("user", "user")]),
            (
                "postgresql://h1:1,h2:2/d?target_session_attrs=any&sslmode=require",
                &[
                    ("host", "h1,h2"),
                    ("port", "1,2"),
                    ("dbname", "d"),
                    ("target_session_attrs", "any"),
                    ("sslmode", "require"),
                ],
            ),
            ("postgresql://h1,h2:2", &[("host", "h1,h2"), ("port", ",2")]),
            ("postgresql://[2001:db8::1]:7/x", &[("host", "2001:db8::1"), ("port", "7"), ("dbname", "x")]),
            ("postgresql://[::1]", &[("host", "::1")]),
            ("postgresql:///d?host=/tmp&port=3", &[("dbname", "d"), ("host", "/tmp"), ("port", "3")]),
            ("postgresql://%2Fvar%2Frun:9/d", &[("host", "/var/run"), ("port", "9"), ("dbname", "d")]),
            ("postgresql://h/?ssl=true", &[("host", "h"), ("sslmode", "require")]),
            ("postgresql://h?user=a%20b", &[("host", "h"), ("user", "a b")]),
        ] {
            assert_eq!(pairs(text), expected(list), "{text}");
        }
    }

    #[test]
    fn rejects_broken_uris() {
        for text in [
            "postgresql://[::1",
            "postgresql://[]/x",
            "postgresql://[::1]x",
            "postgresql://h?x",
            "postgresql://h?x=y=z",
            "postgresql://h%zz",
            "postgresql://h%0",
            "postgresql://h%00",
            "postgresql://h%ff",
        ] {
            assert!(matches!(parse(text), Err(ConninfoError::InvalidUri { .. })), "{text}");
        }
    }

    #[test]
    fn tells_a_connection_string_from_a_database_name() {
        for text in ["postgres://", "postgresql://h", "host=a", "a=b"] {
            assert!(is_connection_string(text), "{text}");
        }
        for text in ["app", "postgres", "postgresql:", ""] {
            assert!(!is_connection_string(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_written_pair_is_read_back(values in proptest::collection::vec("\\PC{0,12}|[ '\\\\\t=]{0,6}", 1..4)) {
            let written: Vec<String> = values.iter().map(|value| pair("host", value)).collect();
            let expected: Vec<Pair> = values.into_iter().map(|value| ("host".to_owned(), value)).collect();
            prop_assert_eq!(parse_keywords(&written.join(" ")).unwrap(), expected);
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            let _ = parse(&text);
            let _ = parse(&format!("postgresql://{text}"));
        }

        #[test]
        fn quoted_values_come_back(value in ".*") {
            let quoted = value.replace('\\', r"\\").replace('\'', r"\'");
            prop_assert_eq!(pairs(&format!("a='{quoted}' b=c")), vec![
                ("a".to_owned(), value), ("b".to_owned(), "c".to_owned())
            ]);
        }
    }
}
