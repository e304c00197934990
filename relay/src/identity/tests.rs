//! Identities that are read, that end, and that are read again.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::CertificateDer;

use super::*;

/// The first and the last year of a certificate.
pub(crate) type Years = (i32, i32);

pub(crate) const GOOD: Years = (2020, 2090);
pub(crate) const OVER: Years = (2001, 2011);
pub(crate) const TO_COME: Years = (2088, 2090);

/// A cluster authority.
pub(crate) struct Authority {
    pub(crate) certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        (params.not_before, params.not_after) =
            (date_time_ymd(2000, 1, 1), date_time_ymd(2100, 1, 1));
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        Self {
            certificate: made.der().clone(),
            pem: made.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn issue(
        &self,
        name: &str,
        years: Years,
        to: ExtendedKeyUsagePurpose,
    ) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![to];
        (params.not_before, params.not_after) =
            (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Writes an identity that trusts `trusted`.
    pub(crate) fn write_identity(&self, folder: &Path, years: Years, trusted: &Self) {
        let name = "berlin.relay.confab.internal";
        let (certificate, key) = self.issue(name, years, ExtendedKeyUsagePurpose::ClientAuth);
        std::fs::write(folder.join("relay.crt"), certificate.pem()).unwrap();
        std::fs::write(folder.join("relay.key"), key.serialize_pem()).unwrap();
        std::fs::write(folder.join("ca.crt"), &trusted.pem).unwrap();
    }
}

pub(crate) fn identity(of: &Authority, years: Years, trusted: &Authority) -> Arc<Identity> {
    let folder = tempfile::tempdir().unwrap();
    of.write_identity(folder.path(), years, trusted);
    Arc::new(Identity::load(folder.path()).unwrap())
}

#[test]
fn an_identity_that_ends_soon_is_reported_30_days_before() {
    let ours = Authority::new();
    let identity = identity(&ours, (2020, 2030), &ours);
    let day = |day: u64| UnixTime::since_unix_epoch(Duration::from_secs(day * 86_400));
    let ends_soon = |now| identity.credentials.load().ends_soon(now);
    // 2030-01-01.
    let end = 21_915;
    assert_eq!(ends_soon(day(end - 31)), None);
    let told = ends_soon(day(end - 29)).map(|end| end.to_string());
    assert_eq!(told.as_deref(), Some("2030-01-01"));
    assert_eq!(identity.validity_error(day(end - 1)), None);
}

#[tokio::test]
async fn an_identity_is_read_again_unless_it_is_expired_or_broken() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    ours.write_identity(folder.path(), OVER, &ours);
    let identity = Identity::load(folder.path()).unwrap();
    let now = UnixTime::now();
    assert!(identity.check_time(now).is_err());

    ours.write_identity(folder.path(), GOOD, &ours);
    identity.reload().await;
    assert!(identity.check_time(now).is_ok());

    theirs.write_identity(folder.path(), OVER, &theirs);
    identity.reload().await;
    assert!(
        identity.check_time(now).is_ok(),
        "an expired one is not taken"
    );

    std::fs::write(folder.path().join("relay.crt"), "").unwrap();
    identity.reload().await;
    assert!(
        identity.check_time(now).is_ok(),
        "a broken one is not taken"
    );
}
