//! Certificates: their names, dates and serial numbers, and the settings of new ones.

use std::collections::BTreeSet;

use confab_protocol::control::CLUSTER_SERVER_NAME;
use jiff::ToSpan as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PublicKeyData as _, SanType,
};
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};

use super::TlsError;
use crate::clock::UnixMillis;
use crate::domain::Peer;

/// Lifetime of the CA in years. An expired CA ends the cluster.
const CA_YEARS: i16 = 30;
/// Lifetime of certificates that the CA signs, in days.
const LEAF_DAYS: i32 = 730;
/// Allowed difference between the clocks of two machines, in days.
const CLOCK_SLACK_DAYS: i32 = 2;
/// Length of the serial number of a client certificate in bytes: the time of issue (8 bytes, milliseconds since 1970) and 8
/// random bytes.
pub(super) const SERIAL_LEN: usize = 16;

/// True if the certificate is of this key pair.
pub(super) fn is_of(certificate: &CertificateDer<'_>, pair: &KeyPair) -> bool {
    let parsed = x509_parser::parse_x509_certificate(certificate);
    parsed.is_ok_and(|(_, parsed)| parsed.public_key().raw == pair.subject_public_key_info())
}

/// The peer that a certificate names. TLS has verified the CA's signature and `clientAuth`.
pub fn peer(certificate: &CertificateDer<'_>) -> Option<Peer> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    sans(&certificate).into_iter().find_map(|name| match name {
        San::Dns(name) => name.parse().ok(),
        San::Address(_) => None,
    })
}

/// Time of issue of a client certificate, from its serial number; the epoch if the serial number does not hold one.
pub fn issued(certificate: &CertificateDer<'_>) -> UnixMillis {
    let parsed = x509_parser::parse_x509_certificate(certificate).ok();
    let millis = parsed.and_then(|(_, certificate)| {
        // DER omits leading zeros.
        let serial = certificate.raw_serial();
        let zeros = SERIAL_LEN.checked_sub(serial.len())?;
        let whole = std::iter::repeat_n(0, zeros).chain(serial.iter().copied());
        Some(
            whole
                .take(8)
                .fold(0, |millis, byte| (millis << 8) | u64::from(byte)),
        )
    });
    UnixMillis(millis.unwrap_or_default())
}

/// Last day of validity of a certificate; `None` if it cannot be parsed.
pub fn ends(certificate: &CertificateDer<'_>) -> Option<jiff::civil::Date> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    end_of(&certificate)
}

pub(super) fn end_of(certificate: &X509Certificate<'_>) -> Option<jiff::civil::Date> {
    let end = certificate.validity().not_after.timestamp();
    let end = jiff::Timestamp::from_second(end).ok()?;
    Some(end.to_zoned(jiff::tz::TimeZone::UTC).date())
}

/// A name in a certificate.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum San {
    Dns(String),
    Address(std::net::IpAddr),
}

impl San {
    pub(super) fn to_rcgen(&self) -> Result<SanType, TlsError> {
        Ok(match self {
            Self::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
            Self::Address(address) => SanType::IpAddress(*address),
        })
    }
}

/// The names that every node's certificate has.
pub(super) fn fixed_names(public_names: &[String]) -> Result<BTreeSet<San>, TlsError> {
    let mut names = BTreeSet::from([
        San::Dns(CLUSTER_SERVER_NAME.to_owned()),
        San::Dns("localhost".to_owned()),
        San::Address(std::net::Ipv4Addr::LOCALHOST.into()),
        San::Address(std::net::Ipv6Addr::LOCALHOST.into()),
    ]);
    for name in public_names {
        names.insert(parse_name(name).ok_or_else(|| TlsError::BadName(name.clone()))?);
    }
    Ok(names)
}

pub(super) fn parse_name(name: &str) -> Option<San> {
    if let Ok(address) = name.parse() {
        return Some(San::Address(address));
    }
    let name = name.to_ascii_lowercase();
    let is_dns = rustls::pki_types::DnsName::try_from(name.as_str()).is_ok();
    is_dns.then_some(San::Dns(name))
}

pub(super) fn sans(certificate: &X509Certificate<'_>) -> BTreeSet<San> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension
        .into_iter()
        .flat_map(|extension| &extension.value.general_names);
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(San::Dns((*name).to_owned())),
            GeneralName::IPAddress(bytes) => match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes)
                    .ok()
                    .map(|v4| San::Address(v4.into())),
                _ => <[u8; 16]>::try_from(*bytes)
                    .ok()
                    .map(|v6| San::Address(v6.into())),
            },
            _ => None,
        })
        .collect()
}

/// Identifier of the key that signed the certificate (RFC 5280 §4.2.1.1).
pub(super) fn issuer_key_id<'a>(certificate: &X509Certificate<'a>) -> Option<&'a [u8]> {
    certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                id.key_identifier.as_ref().map(|id| id.0)
            }
            _ => None,
        })
}

/// Identifier of the certificate's key (RFC 5280 §4.2.1.2).
pub(super) fn key_id<'a>(certificate: &X509Certificate<'a>) -> Option<&'a [u8]> {
    certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
            _ => None,
        })
}

pub(super) fn ca_params(now: UnixMillis) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = named("Confab cluster CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, now, now.day().saturating_add(CA_YEARS.years()));
    Ok(params)
}

pub(super) fn leaf_params(name: &str, now: UnixMillis) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = named(name);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    set_validity(&mut params, now, now.day().saturating_add(LEAF_DAYS.days()));
    Ok(params)
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn set_validity(params: &mut CertificateParams, now: UnixMillis, end: jiff::civil::Date) {
    let date = |day: jiff::civil::Date| {
        rcgen::date_time_ymd(
            day.year().into(),
            day.month().unsigned_abs(),
            day.day().unsigned_abs(),
        )
    };
    params.not_before = date(now.day().saturating_sub(CLOCK_SLACK_DAYS.days()));
    params.not_after = date(end);
}

pub(super) fn pem(certificate: &CertificateDer<'_>) -> String {
    const LINE: usize = 64;
    let base64 = data_encoding::BASE64.encode(certificate);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in base64.as_bytes().chunks(LINE) {
        out.extend(line.iter().map(|byte| char::from(*byte)));
        out.push('\n');
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}
