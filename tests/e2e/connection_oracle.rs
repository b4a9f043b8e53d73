//! The same connection string given to psql and to pgv: both get in, or both are refused. Where they differ, the row
//! says so and why.

use std::path::Path;

use pgv::server::conninfo::DEFAULT_CONNECT_TIMEOUT;
use pgv::server::{ConnectionOptions, ConnectionSettings, ConnectionSources, SqlClient};

use crate::support::{PgVersion, TestAccount, TestCluster, TestFolder, run, run_within, wait_until};

const PASSWORD: &str = "canary-oracle-password";

/// Whether psql gets in, with what it said.
fn psql(version: PgVersion, conninfo: &str, variables: &[(&str, &str)]) -> (bool, String) {
    let mut command = crate::support::tool_command(version, "psql");
    command.args(["-X", "-A", "-t", "-w", "-c", "SELECT 1", "-d", conninfo]).envs(variables.iter().copied());
    let outcome = run_within(DEFAULT_CONNECT_TIMEOUT, command);
    (outcome.code() == 0, outcome.stderr)
}

/// Whether pgv gets in, with what it said. The library is asked, as this process.
fn pgv(conninfo: &str, variables: &[(&str, &str)]) -> (bool, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sources = ConnectionSources {
        options: &ConnectionOptions { dbname: Some(conninfo.to_owned()), ..Default::default() },
        conninfo: None,
        variable: &|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()),
        os_user: Some("postgres"),
        home: None,
        application_name: "pgv-test",
    };
    let settings = match ConnectionSettings::resolve(&sources) {
        Ok(settings) => settings,
        Err(error) => return (false, error.to_string()),
    };
    let outcome = runtime.block_on(async {
        let client = SqlClient::connect(&settings).await?;
        client.close().await;
        Ok::<_, pgv::server::ConnectError>(())
    });
    let mut said = String::new();
    let mut next = outcome.as_ref().err().map(|error| error as &dyn std::error::Error);
    while let Some(error) = next {
        said.push_str(&format!("{error}: "));
        next = error.source();
    }
    assert!(!said.contains(PASSWORD), "{said}");
    (outcome.is_ok(), said)
}

/// What both should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    In,
    Refused,
    /// psql refuses what pgv takes.
    OnlyPgv,
    /// pgv refuses what psql takes.
    OnlyPsql,
}

use Expected::{In, OnlyPgv, OnlyPsql, Refused};

fn compare(
    version: PgVersion,
    what: &str,
    conninfo: &str,
    variables: &[(&str, &str)],
    expected: Expected,
) -> Option<String> {
    let (theirs, ours) = (psql(version, conninfo, variables), pgv(conninfo, variables));
    let found = match (theirs.0, ours.0) {
        (true, true) => In,
        (false, false) => Refused,
        (false, true) => OnlyPgv,
        (true, false) => OnlyPsql,
    };
    (found != expected)
        .then(|| format!("{what} ({conninfo}): {found:?}, not {expected:?}\n    psql: {}    pgv: {}", theirs.1, ours.1))
}

fn assert_none(differences: &[String]) {
    assert!(differences.is_empty(), "{} rows differ:\n{}", differences.len(), differences.join("\n"));
}

/// Makes every certificate of the table below.
const MAKE_CERTIFICATES: &str = r#"
set -eu
cd "$1"
names='subjectAltName=DNS:localhost'
ca='basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign'
request() { openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$2" -out "$1.csr" -keyout "$1.key"; }
root() { # name, extensions
    request "$1" "pgv $1"
    printf '%s\n' "$2" >"$1.ext"
    openssl x509 -req -in "$1.csr" -days 30 -extfile "$1.ext" -signkey "$1.key" -out "$1.crt"
}
signed() { # name, common name, signer, extensions
    request "$1" "$2"
    printf '%s\n' "$4" >"$1.ext"
    openssl x509 -req -in "$1.csr" -days 30 -CA "$3.crt" -CAkey "$3.key" -CAcreateserial -extfile "$1.ext" -out "$1.crt"
}
self() { # name, options of openssl req
    self_name=$1
    shift
    openssl req -new -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost \
        -out "$self_name.crt" -keyout "$self_name.key" "$@"
}
root root "$ca"
root other "$ca"
root path0 'basicConstraints=critical,CA:TRUE,pathlen:0
keyUsage=critical,keyCertSign,cRLSign'
root nosign 'basicConstraints=critical,CA:TRUE
keyUsage=critical,digitalSignature'
root notca 'basicConstraints=critical,CA:FALSE'
root usage-only 'keyUsage=critical,keyCertSign'
root for-mail "$ca
extendedKeyUsage=emailProtection"
root for-servers "$ca
extendedKeyUsage=serverAuth"
root constrained "$ca
nameConstraints=permitted;DNS:elsewhere.test"
signed intermediate 'pgv intermediate' root "$ca"
signed intermediate-mail 'pgv intermediate mail' root "$ca
extendedKeyUsage=emailProtection"
signed intermediate-nosign 'pgv intermediate nosign' root 'basicConstraints=critical,CA:TRUE
keyUsage=critical,digitalSignature'
signed intermediate-path0 'pgv intermediate path0' path0 "$ca"
for signer in root path0 nosign notca usage-only for-mail for-servers constrained intermediate intermediate-mail \
    intermediate-nosign intermediate-path0; do
    signed "leaf-$signer" localhost $signer "$names"
    signed "ca-leaf-$signer" localhost $signer "$names
basicConstraints=CA:TRUE"
done
signed below-leaf localhost leaf-root "$names"
signed ku-sign localhost root "$names
keyUsage=critical,keyCertSign"
signed ku-serve localhost root "$names
keyUsage=critical,digitalSignature"
signed eku-client localhost root "$names
extendedKeyUsage=clientAuth"
signed eku-any localhost root "$names
extendedKeyUsage=anyExtendedKeyUsage"
signed eku-both localhost root "$names
extendedKeyUsage=clientAuth,serverAuth"
signed critical localhost root "$names
1.2.3.4=critical,ASN1:UTF8String:x"
signed cn-only localhost root 'basicConstraints=CA:FALSE'
signed cn-hidden localhost root 'subjectAltName=DNS:elsewhere.test'
signed cn-mail localhost root 'subjectAltName=email:a@b.test'
signed cn-latin-san localhost root '2.5.29.17=DER:30:06:82:04:e4:62:2e:63'
signed ip elsewhere root 'subjectAltName=IP:127.0.0.1'
signed ip-as-name elsewhere root 'subjectAltName=DNS:127.0.0.1'
signed ip-cn 127.0.0.1 root 'subjectAltName=DNS:elsewhere.test'
signed ip-hidden 127.0.0.1 root 'subjectAltName=IP:127.0.0.2'
signed wild elsewhere root 'subjectAltName=DNS:*.example.test'
signed wild-top elsewhere root 'subjectAltName=DNS:*'
self self-ca -addext "$names"
self self-plain -addext "$names" -addext basicConstraints=critical,CA:FALSE
self self-client -addext "$names" -addext extendedKeyUsage=clientAuth
openssl req -new -x509 -newkey ed25519 -nodes -days 30 -subj /CN=localhost -out ed25519.crt -keyout ed25519.key
request expired localhost
printf '%s\n' "$names" >expired.ext
openssl x509 -req -in expired.csr -days -1 -CA root.crt -CAkey root.key -CAcreateserial -extfile expired.ext -out expired.crt
request old-root 'pgv old root'
printf '%s\n' "$ca" >old-root.ext
openssl x509 -req -in old-root.csr -days -1 -extfile old-root.ext -signkey old-root.key -out old-root.crt
signed leaf-old-root localhost old-root "$names"
cat root.crt intermediate.crt >root+intermediate.crt
cat root.crt other.crt >root+other.crt
for name in leaf-intermediate ca-leaf-intermediate; do
    cat $name.crt intermediate.crt >$name+.crt; cp $name.key $name+.key
done
for name in mail nosign; do
    cat leaf-intermediate-$name.crt intermediate-$name.crt >leaf-$name+.crt; cp leaf-intermediate-$name.key leaf-$name+.key
    cat ca-leaf-intermediate-$name.crt intermediate-$name.crt >ca-leaf-$name+.crt
    cp ca-leaf-intermediate-$name.key ca-leaf-$name+.key
done
cat leaf-intermediate-path0.crt intermediate-path0.crt >leaf-path0+.crt; cp leaf-intermediate-path0.key leaf-path0+.key
cat ca-leaf-intermediate-path0.crt intermediate-path0.crt >ca-leaf-path0+.crt
cp ca-leaf-intermediate-path0.key ca-leaf-path0+.key
cat below-leaf.crt leaf-root.crt >below-leaf+.crt; cp below-leaf.key below-leaf+.key
list() { # name, signer, certificate to revoke or -, more options
    list_name=$1 list_signer=$2 list_revoked=$3
    shift 3
    : >index.$list_name
    printf '[ca]\ndefault_ca=c\n[c]\ndatabase=%s/index.%s\ndefault_md=sha256\n' "$PWD" "$list_name" >ca.$list_name
    if [ "$list_revoked" != - ]; then
        openssl ca -config ca.$list_name -cert $list_signer.crt -keyfile $list_signer.key -revoke "$list_revoked.crt"
    fi
    openssl ca -config ca.$list_name -cert $list_signer.crt -keyfile $list_signer.key -gencrl -out "$list_name.crl" "$@"
}
list clean root - -crldays 30
list revoked root leaf-root -crldays 30
list revoked-intermediate root intermediate -crldays 30
list foreign other - -crldays 30
list intermediate-clean intermediate - -crldays 30
list self-ca self-ca - -crldays 30
list stale root - -crl_lastupdate 20200101000000Z -crl_nextupdate 20200201000000Z
cat clean.crl intermediate-clean.crl >both.crl
cat revoked-intermediate.crl intermediate-clean.crl >revoked-both.crl
mkdir lists && cp both.crl lists/by-name.crl && mkdir hashed && cp clean.crl "hashed/$(openssl crl -hash -noout -in clean.crl).r0"
mkdir hashed-revoked && cp revoked.crl "hashed-revoked/$(openssl crl -hash -noout -in clean.crl).r0"
chmod 0600 ./*.key
"#;

/// A server whose certificate is changed from row to row.
pub(crate) struct TlsSite {
    pub(crate) server: TestCluster,
    certificates: std::path::PathBuf,
}

impl TlsSite {
    pub(crate) fn new(version: PgVersion, folder: &TestFolder) -> Self {
        let certificates = folder.make("certificates");
        let mut shell = TestAccount::get().command("/bin/sh");
        shell.args(["-c", MAKE_CERTIFICATES, "sh"]).arg(&certificates);
        run(shell).success();
        let server = TestCluster::builder(version, folder).start();
        let hba = "local all all trust\nhostssl all postgres 127.0.0.1/32 trust\n\
                   hostssl all scram 127.0.0.1/32 scram-sha-256\n\
                   hostssl all md5 127.0.0.1/32 md5\nhostssl all clear 127.0.0.1/32 password\n";
        std::fs::write(server.data.join("pg_hba.conf"), hba).unwrap();
        let site = Self { server, certificates };
        site.install("leaf-root");
        site.server.configure(&["ssl = on"]);
        site.serve("leaf-root");
        site
    }

    fn install(&self, name: &str) {
        for kind in ["crt", "key"] {
            let mut copy = TestAccount::get().command("cp");
            copy.arg(self.certificates.join(format!("{name}.{kind}")));
            copy.arg(self.server.data.join(format!("server.{kind}")));
            run(copy).success();
        }
    }

    /// Puts a certificate into use and waits until it is.
    fn serve(&self, name: &str) {
        self.install(name);
        self.server.reload();
        let pem = std::fs::read_to_string(self.certificates.join(format!("{name}.crt"))).unwrap();
        let first = pem.split_inclusive("-----END CERTIFICATE-----").next().unwrap().replace("\r", "");
        let begin = first.find("-----BEGIN").unwrap();
        let expected = first[begin..].to_owned();
        wait_until("the server uses its new certificate", std::time::Duration::from_secs(20), || {
            let mut client = TestAccount::get().command("openssl");
            client.args(["s_client", "-starttls", "postgres", "-connect"]);
            client.arg(format!("127.0.0.1:{}", self.server.port)).stdin(std::process::Stdio::null());
            run(client).stdout.contains(&expected)
        });
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.certificates.join(name).display().to_string()
    }

    pub(crate) fn conninfo(&self, host: &str, mode: &str, root: &str) -> String {
        format!(
            "host={host} hostaddr=127.0.0.1 port={} user=postgres dbname=postgres sslmode={mode} sslrootcert={}",
            self.server.port,
            self.path(root)
        )
    }
}

/// Rows: the server's certificate, the file of roots, the host that is meant, what both do.
#[test]
fn certificates_are_judged_as_psql_judges_them() {
    let folder = TestFolder::new("connection-oracle");
    let site = TlsSite::new(PgVersion::V15, &folder);
    let rows: &[(&str, &str, &str, Expected)] = &[
        ("leaf-root", "root.crt", "localhost", In),
        ("leaf-root", "root+other.crt", "localhost", In),
        ("leaf-root", "other.crt", "localhost", Refused),
        ("leaf-root", "root.crt", "elsewhere.test", Refused),
        ("ca-leaf-root", "root.crt", "localhost", In),
        // Roots: what they say of themselves counts.
        ("leaf-path0", "path0.crt", "localhost", In),
        ("leaf-path0+", "path0.crt", "localhost", Refused),
        ("ca-leaf-path0+", "path0.crt", "localhost", Refused),
        ("leaf-nosign", "nosign.crt", "localhost", Refused),
        ("ca-leaf-nosign", "nosign.crt", "localhost", Refused),
        ("leaf-notca", "notca.crt", "localhost", Refused),
        ("ca-leaf-notca", "notca.crt", "localhost", Refused),
        ("leaf-usage-only", "usage-only.crt", "localhost", In),
        ("ca-leaf-usage-only", "usage-only.crt", "localhost", In),
        ("leaf-for-mail", "for-mail.crt", "localhost", Refused),
        ("ca-leaf-for-mail", "for-mail.crt", "localhost", Refused),
        ("leaf-for-servers", "for-servers.crt", "localhost", In),
        ("ca-leaf-for-servers", "for-servers.crt", "localhost", In),
        ("leaf-constrained", "constrained.crt", "localhost", Refused),
        ("ca-leaf-constrained", "constrained.crt", "localhost", Refused),
        ("leaf-old-root", "old-root.crt", "localhost", Refused),
        // Authorities between.
        ("leaf-intermediate+", "root.crt", "localhost", In),
        ("ca-leaf-intermediate+", "root.crt", "localhost", In),
        ("leaf-intermediate", "root.crt", "localhost", Refused),
        ("leaf-intermediate", "root+intermediate.crt", "localhost", In),
        ("ca-leaf-intermediate", "root+intermediate.crt", "localhost", In),
        ("leaf-intermediate", "intermediate.crt", "localhost", Refused),
        ("leaf-intermediate+", "intermediate.crt", "localhost", Refused),
        ("leaf-mail+", "root.crt", "localhost", Refused),
        ("ca-leaf-mail+", "root.crt", "localhost", Refused),
        ("leaf-nosign+", "root.crt", "localhost", Refused),
        ("ca-leaf-nosign+", "root.crt", "localhost", Refused),
        ("below-leaf+", "root.crt", "localhost", Refused),
        ("below-leaf", "leaf-root.crt", "localhost", Refused),
        // The server's own.
        ("ku-sign", "root.crt", "localhost", Refused),
        ("ku-serve", "root.crt", "localhost", In),
        ("eku-client", "root.crt", "localhost", Refused),
        ("eku-any", "root.crt", "localhost", Refused),
        ("eku-both", "root.crt", "localhost", In),
        ("critical", "root.crt", "localhost", Refused),
        ("expired", "root.crt", "localhost", Refused),
        ("self-ca", "self-ca.crt", "localhost", In),
        ("self-plain", "self-plain.crt", "localhost", In),
        ("self-client", "self-client.crt", "localhost", Refused),
        ("self-ca", "root.crt", "localhost", Refused),
        ("ed25519", "ed25519.crt", "localhost", In),
        // A certificate that was named byte for byte needs no authority: OpenSSL asks for one all the same.
        ("leaf-root", "leaf-root.crt", "localhost", OnlyPgv),
        // Names.
        ("cn-only", "root.crt", "localhost", In),
        ("cn-hidden", "root.crt", "localhost", Refused),
        ("cn-mail", "root.crt", "localhost", In),
        ("cn-latin-san", "root.crt", "localhost", Refused),
        ("ip", "root.crt", "127.0.0.1", In),
        ("ip-as-name", "root.crt", "127.0.0.1", In),
        ("ip-cn", "root.crt", "127.0.0.1", In),
        ("ip-hidden", "root.crt", "127.0.0.1", Refused),
        ("wild", "root.crt", "db.example.test", In),
        ("wild", "root.crt", "a.db.example.test", Refused),
        ("wild", "root.crt", "example.test", Refused),
        ("wild-top", "root.crt", "localhost", Refused),
        // The dot that ends a full name is no part of it.
        ("wild", "root.crt", "db.example.test.", OnlyPgv),
    ];
    let mut differences = Vec::new();
    let mut served = "";
    for (certificate, roots, host, expected) in rows {
        if served != *certificate {
            site.serve(certificate);
            served = certificate;
        }
        let conninfo = site.conninfo(host, "verify-full", roots);
        differences.extend(compare(PgVersion::V15, certificate, &conninfo, &[], *expected));
    }
    assert_none(&differences);
}

/// Rows: the server's certificate, the file of roots, what is said of lists, what both do.
#[test]
fn revocation_lists_are_read_as_psql_reads_them() {
    let folder = TestFolder::new("connection-revoked");
    let site = TlsSite::new(PgVersion::V15, &folder);
    let rows: &[(&str, &str, &str, Expected)] = &[
        ("leaf-root", "root.crt", "sslcrl=@clean.crl", In),
        ("leaf-root", "root.crt", "sslcrl=@revoked.crl", Refused),
        ("leaf-root", "root.crt", "sslcrl=@foreign.crl", Refused),
        ("leaf-root", "root.crt", "sslcrl=@stale.crl", Refused),
        ("leaf-root", "root.crt", "sslcrldir=@hashed", In),
        ("leaf-root", "root.crt", "sslcrldir=@hashed-revoked", Refused),
        ("leaf-root", "root.crt", "sslcrldir=@lists", Refused),
        // libpq goes on without the list that it was told to use.
        ("leaf-root", "root.crt", "sslcrl=@absent.crl", OnlyPsql),
        ("leaf-root", "root.crt", "sslcrl=@root.key", OnlyPsql),
        ("ca-leaf-root", "root.crt", "sslcrl=@clean.crl", In),
        ("leaf-intermediate+", "root.crt", "sslcrl=@both.crl", In),
        ("leaf-intermediate+", "root.crt", "sslcrl=@clean.crl", Refused),
        ("leaf-intermediate+", "root.crt", "sslcrl=@revoked-both.crl", Refused),
        ("leaf-intermediate", "root+intermediate.crt", "sslcrl=@revoked-both.crl", Refused),
        ("ca-leaf-intermediate+", "root.crt", "sslcrl=@revoked-both.crl", Refused),
        ("self-ca", "self-ca.crt", "sslcrl=@self-ca.crl", In),
        ("self-ca", "self-ca.crt", "sslcrl=@clean.crl", Refused),
    ];
    let mut differences = Vec::new();
    for (certificate, roots, lists, expected) in rows {
        site.serve(certificate);
        let lists = lists.replace('@', &format!("{}/", site.certificates.display()));
        let conninfo = format!("{} {lists}", site.conninfo("localhost", "verify-ca", roots));
        differences.extend(compare(PgVersion::V15, certificate, &conninfo, &[], *expected));
    }
    assert_none(&differences);
}

/// A connection string, variables, what both do.
type SettingsRow<'a> = (&'a str, &'a [(&'a str, &'a str)], Expected);

fn scram_role(server: &TestCluster) {
    server.query(&format!("CREATE ROLE scram LOGIN PASSWORD '{PASSWORD}'"));
    server.query(&format!("SET password_encryption = md5; CREATE ROLE md5 LOGIN PASSWORD '{PASSWORD}'"));
    server.query(&format!("CREATE ROLE clear LOGIN PASSWORD '{PASSWORD}'"));
}

/// Rows: more settings, what both do. On 17, whose psql knows them all.
#[test]
fn settings_mean_what_they_mean_to_psql() {
    let folder = TestFolder::new("connection-settings");
    let site = TlsSite::new(PgVersion::V17, &folder);
    scram_role(&site.server);
    let port = site.server.port;
    let tls = site.conninfo("localhost", "verify-full", "root.crt");
    let scram = format!("{} password={PASSWORD}", tls.replace("user=postgres", "user=scram"));
    let [md5, clear] = ["md5", "clear"].map(|role| scram.replace("user=scram", &format!("user={role}")));
    let services = format!(
        "[tls]\nhost=localhost\nhostaddr=127.0.0.1\nport={port}\nuser=postgres\ndbname=postgres\n\
         sslrootcert={}\nsslmode=verify-full\n[scram]\nhost=localhost\nhostaddr=127.0.0.1\nport={port}\nuser=scram\n\
         dbname=postgres\npassword={PASSWORD}\nsslmode=require\n[broken]\n{PASSWORD}\n[nested]\nservice=tls\n\
         [unknown]\nhots=localhost\n",
        site.path("root.crt")
    );
    let services = folder.write("services.conf", services).display().to_string();
    folder.make("system");
    let system = folder.write("system/pg_service.conf", "[tls]\nhost=127.0.0.2\nport=1\n[other]\nport=1\n");
    let system = system.parent().unwrap().display().to_string();
    let file = ("PGSERVICEFILE", services.as_str());
    let socket = site.server.conninfo();
    let account = &TestAccount::get().name;
    let rows: &[SettingsRow<'_>] = &[
        ("service=tls", &[file], In),
        ("", &[file, ("PGSERVICE", "tls")], In),
        ("", &[file, ("PGSERVICE", "tls"), ("PGPORT", "1"), ("PGUSER", "nobody")], In),
        ("service=tls port=1", &[file], Refused),
        ("service=tls", &[file, ("PGSERVICE", "broken")], In),
        ("service=scram", &[file], In),
        ("service=scram password=wrong", &[file], Refused),
        ("service=tls", &[file, ("PGSYSCONFDIR", &system)], In),
        ("service=tls", &[("PGSYSCONFDIR", &system)], Refused),
        ("service=broken", &[file], Refused),
        ("service=nested", &[file], Refused),
        ("service=unknown", &[file], Refused),
        ("service=absent", &[file], Refused),
        ("service=tls", &[("PGSERVICEFILE", "/no/such/file")], Refused),
        (&format!("{tls} sslnegotiation=direct"), &[], In),
        (&format!("{} sslnegotiation=direct", tls.replace("verify-full", "prefer")), &[], Refused),
        (&format!("{tls} sslnegotiation=direct sslmode=require"), &[], In),
        (&tls, &[("PGSSLNEGOTIATION", "direct")], In),
        (&scram, &[], In),
        (&format!("{scram} channel_binding=require"), &[], In),
        (&format!("{scram} channel_binding=require sslnegotiation=direct"), &[], In),
        (&format!("{scram} channel_binding=disable"), &[], In),
        (&format!("{scram} require_auth=scram-sha-256"), &[], In),
        (&format!("{scram} require_auth=md5"), &[], Refused),
        (&md5, &[], In),
        (&format!("{md5} require_auth=md5"), &[], In),
        (&format!("{md5} require_auth=scram-sha-256"), &[], Refused),
        (&md5.replace(PASSWORD, "wrong"), &[], Refused),
        (&clear, &[], In),
        (&format!("{clear} require_auth=password"), &[], In),
        (&format!("{clear} require_auth=!password"), &[], Refused),
        (&clear.replace(PASSWORD, "wrong"), &[], Refused),
        (&format!("{tls} channel_binding=require"), &[], Refused),
        (&format!("{tls} require_auth=none"), &[], In),
        (&format!("{tls} sslcertmode=disable"), &[], In),
        (&format!("{tls} sslcertmode=require"), &[], Refused),
        (&format!("{tls} sslrootcert=system"), &[], Refused),
        ("host=localhost sslrootcert=system sslmode=require", &[], Refused),
        (&format!("{socket} requirepeer={account}"), &[], In),
        (&format!("{socket} requirepeer=daemon"), &[], Refused),
        (&format!("{socket} sslcertmode=require"), &[], Refused),
        (&format!("{tls} target_session_attrs=read-write"), &[], In),
        (&format!("{tls} target_session_attrs=primary"), &[], In),
        (&format!("{tls} target_session_attrs=prefer-standby"), &[], In),
        (&format!("{tls} target_session_attrs=standby"), &[], Refused),
        (&format!("{tls} target_session_attrs=read-only"), &[], Refused),
        (&format!("{tls} target_session_attrs=read-only options='-c default_transaction_read_only=on'"), &[], In),
        (&format!("{tls} target_session_attrs=read-write options='-c default_transaction_read_only=on'"), &[], Refused),
        (&format!("{tls} target_session_attrs=nearest"), &[], Refused),
        (&format!("{tls} load_balance_hosts=random"), &[], In),
        (
            &format!(
                "host=localhost,localhost hostaddr=127.0.0.1,127.0.0.1 port=1,{port} user=postgres dbname=postgres"
            ),
            &[],
            In,
        ),
        (&format!("{tls} requiressl=1"), &[], In),
        (&format!("{} requiressl=1", tls.replace("sslmode=verify-full", "")), &[], In),
        (&format!("{tls} keepalives_idle=5 keepalives_interval=1 keepalives_count=2 tcp_user_timeout=900"), &[], In),
        (&format!("{tls} connect_timeout=five"), &[], Refused),
        (&format!("{tls} hots=x"), &[], Refused),
    ];
    let mut differences = Vec::new();
    for (conninfo, variables, expected) in rows {
        differences.extend(compare(PgVersion::V17, "", conninfo, variables, *expected));
    }
    assert_none(&differences);
}

/// Rows: the settings of our certificate, what both do, when the server asks for one.
#[test]
fn client_certificates_are_shown_as_psql_shows_them() {
    let folder = TestFolder::new("connection-client");
    let site = TlsSite::new(PgVersion::V17, &folder);
    let hba = "local all all trust\nhostssl all localhost 127.0.0.1/32 cert\nhostssl all postgres 127.0.0.1/32 trust\n";
    std::fs::write(site.server.data.join("pg_hba.conf"), hba).unwrap();
    site.server.query("CREATE ROLE localhost LOGIN");
    site.server.configure(&[&format!("ssl_ca_file = '{}'", site.path("root.crt"))]);
    site.serve("ku-serve");
    let with = |role: &str, name: &str, more: &str| {
        let (certificate, key) = (site.path(&format!("{name}.crt")), site.path(&format!("{name}.key")));
        let conninfo = site.conninfo("localhost", "verify-full", "root.crt");
        let conninfo = conninfo.replace("user=postgres", &format!("user={role}"));
        format!("{conninfo} sslcert={certificate} sslkey={key} {more}")
    };
    let rows = [
        (with("localhost", "leaf-root", ""), In),
        (with("localhost", "leaf-root", "sslcertmode=require"), In),
        (with("localhost", "leaf-root", "sslcertmode=require sslnegotiation=direct"), In),
        (with("localhost", "leaf-root", "sslcertmode=disable"), Refused),
        (with("localhost", "leaf-root", "require_auth=none"), In),
        (with("localhost", "leaf-root", "channel_binding=require"), Refused),
        (with("localhost", "ip", ""), Refused),
        (with("localhost", "absent", ""), Refused),
        (with("postgres", "leaf-root", "sslcertmode=require"), In),
        (with("postgres", "leaf-root", "sslcertmode=disable"), In),
        (with("postgres", "leaf-root", "").replace("leaf-root.key", "root.key"), Refused),
    ];
    let mut differences: Vec<String> =
        rows.iter().filter_map(|(conninfo, expected)| compare(PgVersion::V17, "", conninfo, &[], *expected)).collect();
    for (conninfo, expected) in encrypted_keys(&site, &with("localhost", "leaf-root", "")) {
        differences.extend(compare(PgVersion::V17, "", &conninfo, &[], expected));
    }
    assert_none(&differences);
}

/// The key behind a passphrase, as openssl has written it through the years.
fn encrypted_keys(site: &TlsSite, conninfo: &str) -> Vec<(String, Expected)> {
    let key = site.path("leaf-root.key");
    let openssl = |words: &[&str]| {
        let mut openssl = TestAccount::get().command("openssl");
        openssl.args(words);
        run(openssl).success();
    };
    let mut rows = Vec::new();
    for (name, options) in [
        ("aes", &["-v2", "aes256"] as &[&str]),
        ("aes-sha1", &["-v2", "aes128", "-v2prf", "hmacWithSHA1"]),
        ("sha512", &["-v2", "aes256", "-v2prf", "hmacWithSHA512", "-iter", "100000"]),
        ("des3", &["-v2", "des3"]),
        ("scrypt", &["-scrypt"]),
    ] {
        let locked = site.path(&format!("{name}.locked"));
        let always = ["pkcs8", "-topk8", "-in", &key, "-out", &locked, "-passout", &format!("pass:{PASSWORD}")];
        openssl(&[&always, options].concat());
        let conninfo = conninfo.replace(&key, &locked);
        rows.push((format!("{conninfo} sslpassword={PASSWORD}"), In));
        rows.push((format!("{conninfo} sslpassword=wrong"), Refused));
        rows.push((conninfo, Refused));
    }
    // Of a key in the clear it is not looked at.
    rows.push((format!("{conninfo} sslpassword={PASSWORD}"), In));

    // psql reads the traditional form, pgv says how to leave it.
    let traditional = site.path("traditional.locked");
    let pass = format!("pass:{PASSWORD}");
    openssl(&["ec", "-aes256", "-in", &key, "-out", &traditional, "-passout", &pass]);
    let conninfo = format!("{} sslpassword={PASSWORD}", conninfo.replace(&key, &traditional));
    assert!(psql(PgVersion::V17, &conninfo, &[]).0);
    let (is_in, said) = pgv(&conninfo, &[]);
    assert!(!is_in && said.contains("is encrypted: pgv does not read the traditional form"), "{said}");
    assert!(!said.contains(PASSWORD), "{said}");
    rows
}

/// A role with more iterations than postgres-protocol computes; on 15, which has no setting for it, the verifier is
/// written by hand.
#[test]
fn scram_with_many_iterations() {
    let folder = TestFolder::new("connection-iterations");
    let site = TlsSite::new(PgVersion::V17, &folder);
    site.server.query(&format!("SET scram_iterations = 200000; CREATE ROLE scram LOGIN PASSWORD '{PASSWORD}'"));
    let verifier = site.server.query("SELECT rolpassword FROM pg_authid WHERE rolname = 'scram'");
    assert!(verifier.starts_with("SCRAM-SHA-256$200000:"), "{verifier}");
    let conninfo = site.conninfo("localhost", "verify-full", "root.crt").replace("user=postgres", "user=scram");
    let rows = [(PASSWORD, In), ("wrong", Refused)];
    let mut differences: Vec<String> = rows
        .iter()
        .filter_map(|(password, expected)| {
            let conninfo = format!("{conninfo} password={password} channel_binding=require");
            compare(PgVersion::V17, "17", &conninfo, &[], *expected)
        })
        .collect();
    let folder = TestFolder::new("connection-iterations-15");
    let site = TlsSite::new(PgVersion::V15, &folder);
    site.server.query(&format!("CREATE ROLE scram LOGIN PASSWORD '{verifier}'"));
    let conninfo = site.conninfo("localhost", "verify-full", "root.crt").replace("user=postgres", "user=scram");
    for (password, expected) in rows {
        let conninfo = format!("{conninfo} password={password} channel_binding=require");
        differences.extend(compare(PgVersion::V15, "15", &conninfo, &[], expected));
    }
    assert_none(&differences);
}

/// Through PgBouncer psql gets in, and what it sets is not lasting: pgv refuses by name.
#[test]
fn a_pooler_is_refused_by_name() {
    let folder = TestFolder::new("connection-pooler");
    let server = TestCluster::builder(PgVersion::V15, &folder).start();
    let pooler = Path::new("/usr/sbin/pgbouncer");
    assert!(pooler.exists(), "{pooler:?} is missing: run scripts/install");
    let run_folder = folder.make("pooler");
    for mode in ["session", "transaction"] {
        let text = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\nunix_socket_dir = {}\n\
             auth_type = any\npool_mode = {mode}\nadmin_users = postgres\nlogfile = {}\n",
            server.socket_folder.display(),
            server.port,
            run_folder.display(),
            run_folder.join("log").display()
        )
        // Without a user file, everybody is the user of the connection string.
        .replace("port=", "user=postgres port=");
        let file = folder.write(format!("{mode}.ini"), text);
        let mut command = TestAccount::get().command_that_dies_with_us("TERM", pooler);
        command.arg("-q").arg(&file);
        let mut child = command.spawn().unwrap();
        let conninfo = format!("host={} port=6432 user=postgres", run_folder.display());
        let in_postgres = format!("{conninfo} dbname=postgres");
        wait_until("PgBouncer answers", std::time::Duration::from_secs(20), || {
            psql(PgVersion::V15, &in_postgres, &[]).0
        });
        let (ours, said) = pgv(&in_postgres, &[]);
        let (console, console_said) = pgv(&format!("{conninfo} dbname=pgbouncer"), &[]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!ours && said.contains("is a connection pooler, not PostgreSQL itself"), "{mode}: {said}");
        assert!(!console && console_said.contains("PgBouncer"), "{mode}: {console_said}");
    }
    // The server itself is none.
    assert_eq!(pgv(&server.conninfo(), &[]), (true, String::new()));
}
