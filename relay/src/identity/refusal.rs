//! The certificate of a control node, checked as rustls does, with the reason of a refusal kept.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};

/// The reason for which a control node's certificate was refused.
#[derive(Debug, Default)]
pub(crate) struct CertificateRefusal(Mutex<Option<CertificateError>>);

impl CertificateRefusal {
    /// The reason; `None` if no certificate was refused, or for another reason than its content.
    pub(crate) fn take(&self) -> Option<CertificateError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, error: &rustls::Error) {
        if let rustls::Error::InvalidCertificate(error) = error {
            let mut refusal = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *refusal = Some(error.clone());
        }
    }
}

/// Checks certificates as rustls does, and records the reason of a refusal.
#[derive(Debug)]
pub(super) struct RecordingVerifier {
    pub(super) servers: Arc<WebPkiServerVerifier>,
    pub(super) refusal: Arc<CertificateRefusal>,
}

impl ServerCertVerifier for RecordingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.servers
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .inspect_err(|error| self.refusal.set(error))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.servers.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.servers.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.servers.supported_verify_schemes()
    }
}
