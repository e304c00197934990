//! `confab-control check`: what keeps a server of this configuration from starting, from going on, or from being reached. Changes
//! nothing but a file that it writes into the data folder and removes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use confab_console::{Finding, open_files};
use jiff::civil::Date;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::config::{Config, StoreConfig};
use super::storage::TOKEN_KEY_FILE;
use super::{LOCK_FILE, owner, socket, storage};
use crate::disk::free_space;
use crate::mail::with_causes;
use crate::store::cql::CqlStore;
use crate::store::sqlite::{self, Inspected};
use crate::tls::TlsError;
use crate::tls::authority::{Authority, CA_FILE};
use crate::tls::certificate;
use crate::tls::certificates::OwnCertificate;

/// Time for a name to resolve.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(5);
/// Time for the mail server to answer.
const MAIL_DEADLINE: Duration = Duration::from_secs(10);
/// Free space that a server should have: its log and its store grow.
const WANTED_FREE: u64 = 1 << 30;
/// File descriptors that a server should be allowed: sockets, files, and connections to a database.
const WANTED_FILES: u64 = 1024;
/// Days that a certificate should last.
const WANTED_DAYS: i32 = 30;
/// Length of the cluster's key in bytes.
const TOKEN_KEY_LEN: usize = 32;
/// The file that is written.
const TRIAL_FILE: &str = ".check";

/// All findings, those with a remedy first. `relay_listen` is the address of the relay inside, if there is one.
pub async fn check(config: &Config, relay_listen: Option<SocketAddr>) -> Vec<Finding> {
    let is_running = is_running(&config.data_dir);
    let mut findings = vec![
        folder(&config.data_dir),
        disk(&config.data_dir),
        files(Path::new("/proc/self/limits")),
        clock(config),
    ];
    if is_running {
        let what = "a server runs on the data folder: its ports were not tried";
        findings.push(Finding::good(what));
    } else {
        findings.push(udp(config.listen, "--listen"));
        findings.extend(relay_listen.map(|address| udp(address, "--relay-listen")));
        findings.extend(config.metrics.map(tcp));
    }
    findings.extend(keys(config));
    findings.extend(audit_log(config));
    findings.push(store(config).await);
    for name in &config.public_names {
        findings.push(public_name(name, config.listen.port()).await);
    }
    findings.extend(mail(config).await);
    findings.sort_by_key(|finding| finding.remedy.is_none());
    findings
}

/// True if a server holds the folder's lock.
fn is_running(folder: &Path) -> bool {
    File::open(folder.join(LOCK_FILE)).is_ok_and(|file| file.try_lock().is_err())
}

fn folder(folder: &Path) -> Finding {
    let shown = folder.display();
    if !folder.exists() {
        return match existing_parent(folder) {
            Some(parent) if can_write(&parent).is_ok() => Finding::good(format!(
                "there is no data folder {shown} yet: `serve` makes it"
            )),
            _ => Finding::bad(
                format!("there is no data folder {shown}, and it cannot be made"),
                "make it for the user that runs the server, or choose another with --data-dir",
            ),
        };
    }
    match can_write(folder) {
        Ok(()) => Finding::good(format!("the data folder {shown} can be written")),
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Finding::bad(
            format!("the disk of the data folder {shown} is full"),
            "make room there: nothing is stored meanwhile",
        ),
        Err(error) => Finding::bad(
            format!("the data folder {shown} cannot be written: {error}"),
            format!("give it to the user that runs the server: chown -R USER {shown}"),
        ),
    }
}

/// The nearest folder above that exists; `None` if something else is in its place.
fn existing_parent(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    let nearest = absolute.ancestors().skip(1).find(|parent| parent.exists());
    nearest.filter(|parent| parent.is_dir()).map(Path::to_owned)
}

fn can_write(folder: &Path) -> io::Result<()> {
    let path = folder.join(TRIAL_FILE);
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&[0; 4096])?;
        file.sync_all()
    });
    let _ = fs::remove_file(&path);
    written
}

fn disk(folder: &Path) -> Finding {
    let there = match folder.is_dir() {
        true => Some(folder.to_owned()),
        false => existing_parent(folder),
    };
    let Some(free) = there.and_then(|there| free_space(&there)) else {
        return Finding::good("the free space of the data folder cannot be read here");
    };
    let what = format!("{} MB are free in the data folder", free / 1_000_000);
    match free >= WANTED_FREE {
        true => Finding::good(what),
        false => Finding::bad(what, "make room there, or move the folder to a larger disk"),
    }
}

fn files(limits: &Path) -> Finding {
    let limits = fs::read_to_string(limits).unwrap_or_default();
    open_files(&limits, WANTED_FILES)
}

/// The clock against what was made by it before.
fn clock(config: &Config) -> Finding {
    let now = config.clock.now();
    let today = now.day();
    let made = config.data_dir.join(CA_FILE);
    let made = fs::metadata(&made).and_then(|data| data.modified());
    let made = made
        .ok()
        .and_then(|time| jiff::Timestamp::try_from(time).ok());
    let made = made.map(|time| time.to_zoned(jiff::tz::TimeZone::UTC).date());
    match made {
        Some(made) if today < made => Finding::bad(
            format!("the clock says {today}, and {CA_FILE} was made on {made}"),
            "set the clock: certificates are refused, and sessions end at the wrong time",
        ),
        _ => Finding::good(format!(
            "the clock says {today}; keep it right by NTP (timedatectl set-ntp true)"
        )),
    }
}

fn udp(address: SocketAddr, flag: &str) -> Finding {
    if address.port() == 0 {
        return Finding::good(format!("UDP {address} ({flag}): any free port"));
    }
    tried(socket::bind(address).map(drop), "UDP", address, flag)
}

fn tcp(address: SocketAddr) -> Finding {
    let bound = std::net::TcpListener::bind(address).map(drop);
    tried(bound, "TCP", address, "--metrics")
}

fn tried(bound: io::Result<()>, kind: &str, address: SocketAddr, flag: &str) -> Finding {
    let what = |state: &str| format!("{kind} {address} ({flag}) {state}");
    match bound {
        Ok(()) => Finding::good(what("is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Finding::bad(
            what("is taken by another program"),
            format!(
                "`ss -lnp | grep :{}` names it: end it, or choose another port with {flag}",
                address.port()
            ),
        ),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Finding::bad(
            what("is no address of this machine"),
            format!("`ip address` lists them: choose one with {flag}, or [::] for all"),
        ),
        Err(error) => Finding::bad(
            what(&format!("cannot be used: {error}")),
            format!("choose another with {flag}; a port below 1024 needs a privilege"),
        ),
    }
}

/// The keys in the data folder, and the certificates.
fn keys(config: &Config) -> Vec<Finding> {
    let folder = &config.data_dir;
    let (mut findings, today) = (Vec::new(), config.clock.now().day());
    findings.extend(whole(folder));
    if folder.join(CA_FILE).exists() {
        match Authority::open(folder) {
            Ok(authority) => findings.push(Finding::good(format!(
                "the cluster CA is {}{}",
                authority.fingerprint(),
                match authority.can_sign() {
                    true => "",
                    false => "; its key is elsewhere",
                }
            ))),
            Err(error) => findings.push(Finding::bad(
                format!("the cluster CA cannot be used: {error}"),
                "restore ca.crt and ca.key from the same backup",
            )),
        }
    }
    let own = folder.join("server.crt");
    if own.exists() {
        let renewal = "it is renewed at a start or a SIGHUP, where ca.key is; else make another with `node-identity`";
        findings.push(certificate_of(&own, today, renewal));
    }
    if let Some(own) = &config.own_certificate {
        let OwnCertificate { certificate, key } = own;
        let renewal = "renew it, and send the server a SIGHUP";
        findings.push(certificate_of(certificate, today, renewal));
        if let Err(error) = File::open(key) {
            findings.push(Finding::bad(
                format!("{} (--key) cannot be read: {error}", key.display()),
                "name the private key of --certificate, readable by the user that runs the server",
            ));
        } else if let Err(TlsError::KeyOfAnother { .. }) = own.check() {
            findings.push(Finding::bad(
                format!(
                    "{} is not the key of {}",
                    key.display(),
                    certificate.display()
                ),
                "give the two that were made together, with --certificate and --key",
            ));
        }
    }
    findings
}

/// Whether the files of a server in use are all there.
fn whole(folder: &Path) -> Option<Finding> {
    let owner = owner::Owner::read(folder).ok()?;
    if let Err(error) = owner::check_keys(owner, folder, &[CA_FILE, TOKEN_KEY_FILE]) {
        return Some(Finding::bad("a key is missing", error.to_string()));
    }
    let path = folder.join(TOKEN_KEY_FILE);
    let key = fs::read(&path).ok()?;
    (key.len() != TOKEN_KEY_LEN).then(|| {
        Finding::bad(
            format!("{} is not a key of {TOKEN_KEY_LEN} bytes", path.display()),
            "restore it from a backup of the data folder",
        )
    })
}

/// Whether the audit log can be written.
fn audit_log(config: &Config) -> Option<Finding> {
    let path = &config.audit.as_ref()?.path;
    let shown = path.display();
    let tried = match path.exists() {
        true => OpenOptions::new().append(true).open(path).map(drop),
        false => match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => can_write(folder),
            _ => can_write(Path::new(".")),
        },
    };
    Some(match tried {
        Ok(()) => Finding::good(format!(
            "the audit log {shown} can be written (--audit-log)"
        )),
        Err(error) => Finding::bad(
            format!("the audit log {shown} cannot be written (--audit-log): {error}"),
            "make its folder, for the user that runs the server, or name another file",
        ),
    })
}

fn certificate_of(path: &Path, today: Date, renewal: &str) -> Finding {
    let shown = path.display();
    if !path.exists() {
        return Finding::bad(
            format!("there is no file {shown}"),
            "name another file, or restore it",
        );
    }
    let first = CertificateDer::pem_file_iter(path)
        .ok()
        .and_then(|mut chain| chain.next()?.ok());
    let Some(ends) = first.as_ref().and_then(certificate::ends) else {
        return Finding::bad(
            format!("{shown} is not a certificate chain in PEM"),
            "name another file, or restore it",
        );
    };
    let days = today.until(ends).map_or(0, |left| left.get_days());
    let what = format!("{shown} is valid until {ends}");
    match days >= WANTED_DAYS {
        true => Finding::good(what),
        false => Finding::bad(what, renewal),
    }
}

/// Whether the store is there, can be written, and is this server's.
async fn store(config: &Config) -> Finding {
    let folder = &config.data_dir;
    let owner = match owner::Owner::read(folder) {
        Ok(owner) => owner,
        Err(error) => return Finding::bad(error.to_string(), "restore server.id from a backup"),
    };
    match &config.store {
        StoreConfig::Sqlite(path) => {
            let path = path.clone().unwrap_or_else(|| storage::in_folder(folder));
            if let Err(error) = owner::check_file(owner, folder, &path) {
                return Finding::bad("the store is missing", error.to_string());
            }
            if owner::is_of_another(owner, &path) {
                return Finding::bad(
                    format!(
                        "the store {} belongs to another server than the keys",
                        path.display()
                    ),
                    "give the right ones with --store and --data-dir",
                );
            }
            sqlite_store(&path)
        }
        StoreConfig::Cql(cql) => match Box::pin(CqlStore::reach(cql)).await {
            Ok(()) => Finding::good(format!(
                "the database answers, for the keyspace {}",
                cql.address.keyspace
            )),
            Err(error) => Finding::bad("the database does not answer", error.to_string()),
        },
        StoreConfig::Shared(_) => Finding::good("the store is shared in this process"),
    }
}

fn sqlite_store(path: &Path) -> Finding {
    let shown = path.display();
    if !path.exists() {
        return Finding::good(format!("there is no store {shown} yet: `serve` makes it"));
    }
    if let Err(error) = OpenOptions::new().append(true).open(path) {
        return Finding::bad(
            format!("the store {shown} cannot be written: {error}"),
            format!("give it to the user that runs the server: chown USER {shown}"),
        );
    }
    if !path.parent().is_none_or(sqlite::has_space) {
        return Finding::bad(
            format!("the store {shown} cannot be written: its disk is full"),
            "make room there: nothing is stored meanwhile",
        );
    }
    match sqlite::inspect(path) {
        Ok(Inspected::Current) => {
            Finding::good(format!("the store {shown} can be read and written"))
        }
        Ok(Inspected::Older) => Finding::good(format!(
            "the store {shown} is of an older version: the next start changes it, so back it up before"
        )),
        Ok(Inspected::Newer) => Finding::bad(
            format!("the store {shown} is of a newer version than this program"),
            "start the newer program, or restore a backup from before it",
        ),
        Err(error) => Finding::bad(
            format!("the store {shown} cannot be read: {error}"),
            "restore it from a backup: docs/operating.md",
        ),
    }
}

/// Whether the mail server answers and knows this server's user.
async fn mail(config: &Config) -> Option<Finding> {
    let mail = config.mail.as_ref()?;
    let url = &mail.url;
    let shown = url.shown();
    let tried = tokio::time::timeout(MAIL_DEADLINE, url.try_out(&mail.server)).await;
    Some(match tried {
        Ok(Ok(())) => Finding::good(format!("the mail server {shown} answers (--smtp-url)")),
        Ok(Err(error)) => Finding::bad(
            format!(
                "the mail server {shown} cannot be used (--smtp-url): {}",
                with_causes(&error)
            ),
            "correct host, port, user and password of the URL; smtps:// is for port 465, smtp://…?tls=required for port 587",
        ),
        Err(_) => Finding::bad(
            format!("the mail server {shown} does not answer (--smtp-url)"),
            "correct host and port of the URL; many networks let nobody reach port 25: use 465 or 587",
        ),
    })
}

/// Whether the name leads to this machine.
async fn public_name(name: &str, port: u16) -> Finding {
    let resolving = tokio::net::lookup_host((name, port));
    let found = tokio::time::timeout(RESOLVE_DEADLINE, resolving).await;
    let addresses: Vec<IpAddr> = match found {
        Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    };
    let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let shown = shown.join(", ");
    if addresses.is_empty() {
        return Finding::bad(
            format!("{name} (--public-name) does not resolve"),
            "give it an A or AAAA record with this machine's address, or name an address",
        );
    }
    match addresses.iter().any(|address| is_own(*address)) {
        true => Finding::good(format!("{name} (--public-name) is {shown}: this machine")),
        false => Finding::bad(
            format!("{name} (--public-name) is {shown}: no address of this machine"),
            format!(
                "right if a NAT or a router there passes UDP port {port} on to this machine; else correct the record"
            ),
        ),
    }
}

/// Whether it is an address of this machine: the kernel then uses it as the source, too. Nothing is sent.
fn is_own(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_bad(finding: &Finding) -> bool {
        finding.remedy.is_some()
    }

    #[test]
    fn a_taken_port_and_a_foreign_address_are_told() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let finding = udp(address, "--listen");
        assert!(
            is_bad(&finding) && finding.what.contains("taken"),
            "{finding:?}"
        );
        let foreign = udp("192.0.2.1:4433".parse().unwrap(), "--listen");
        assert!(foreign.what.contains("no address"), "{foreign:?}");
        drop(taken);
        assert!(!is_bad(&udp(address, "--listen")));
    }

    #[test]
    fn own_addresses_are_known() {
        assert!(is_own(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_own("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn a_folder_that_is_not_there_is_in_order_where_it_can_be_made() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_bad(&folder(dir.path())));
        assert!(!is_bad(&folder(&dir.path().join("a/b"))));
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(is_bad(&folder(&file.join("below"))));
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing is left"
        );
    }

    #[test]
    fn few_descriptors_and_a_file_that_is_no_certificate_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("limits");
        for (soft, expected) in [("256", true), ("1024", false), ("unlimited", false)] {
            let text = format!("Max open files            {soft}      524288     files\n");
            fs::write(&path, text).unwrap();
            assert_eq!(is_bad(&files(&path)), expected, "{soft}");
        }
        assert!(is_bad(&certificate_of(
            &path,
            Date::constant(2026, 11, 30),
            "renew"
        )));
    }

    #[tokio::test]
    async fn a_name_that_leads_elsewhere_is_told() {
        assert!(!is_bad(&public_name("127.0.0.1", 4433).await));
        let elsewhere = public_name("192.0.2.1", 4433).await;
        assert!(
            elsewhere.what.contains("no address of this machine"),
            "{elsewhere:?}"
        );
    }
}
