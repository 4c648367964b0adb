//! The address of a database: where it is, and how the way there is protected.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::Verifier;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;
use url::form_urlencoded;

use super::opening::PostgresError;

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long the server may leave sent data unconfirmed before the connection counts as broken.
const UNCONFIRMED_MAX: Duration = Duration::from_secs(5);
/// How long a connection may be idle before the other end is asked whether it is there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(10);

/// A database that can be connected to.
pub(super) struct Address {
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
    /// Where it is, without user and password.
    pub(super) place: Box<str>,
    /// Whether the server has to prove who it is.
    pub(super) is_verified: bool,
}

impl Address {
    /// Reads an address: `postgres://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE?sslmode=…&sslrootcert=…`.
    pub(super) fn parse(text: &str) -> Result<Self, PostgresError> {
        // Several hosts with ports of their own are no URL; the driver reads them.
        let (whither, options) = text.split_once('?').unwrap_or((text, ""));
        if !["postgres://", "postgresql://"].iter().any(|scheme| whither.starts_with(scheme)) {
            return Err(PostgresError::Address("it does not begin with postgres://"));
        }
        let mut mode = None;
        let mut roots = None;
        let mut others = Vec::new();
        for (name, value) in form_urlencoded::parse(options.as_bytes()) {
            match name.as_ref() {
                "sslmode" => mode = Some(value.into_owned()),
                "sslrootcert" if value == "system" => {}
                "sslrootcert" => roots = Some(PathBuf::from(value.into_owned())),
                _ => others.push((name.into_owned(), value.into_owned())),
            }
        }
        let others = form_urlencoded::Serializer::new(String::new()).extend_pairs(others).finish();
        let mut config: Config = format!("{whither}?{others}")
            .parse()
            .map_err(|_private| PostgresError::Address("a part of it is not understood"))?;
        // As psql has it: without a word, TLS where the server offers it, and no proof of who the server is.
        let (mode, is_verified) = match mode.as_deref() {
            None | Some("prefer") => (SslMode::Prefer, roots.is_some()),
            Some("disable") => (SslMode::Disable, false),
            Some("require" | "verify-ca" | "verify-full") => (SslMode::Require, true),
            Some(_) => {
                return Err(PostgresError::Address("sslmode is disable, prefer, require, verify-ca or verify-full"));
            }
        };
        config
            .ssl_mode(mode)
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect_timeout(CONNECT_MAX)
            .tcp_user_timeout(UNCONFIRMED_MAX)
            .keepalives_idle(KEEPALIVE_AFTER);
        if config.get_application_name().is_none() {
            config.application_name("callout");
        }
        let place = place(&config);
        Ok(Self { config, tls: tls(is_verified, roots.as_deref())?, place, is_verified })
    }
}

fn place(config: &Config) -> Box<str> {
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(index, host)| {
        let port = ports.get(index).or_else(|| ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(path) => path.display().to_string(),
        }
    });
    let hosts = hosts.collect::<Vec<_>>().join(",");
    format!("{hosts}/{}", config.get_dbname().unwrap_or_default()).into()
}

fn tls(is_verified: bool, roots: Option<&Path>) -> Result<MakeRustlsConnect, PostgresError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let failed = |source| PostgresError::Tls(source);
    let verifier: Arc<dyn ServerCertVerifier> = if is_verified {
        Arc::new(match roots {
            None => Verifier::new(Arc::clone(&provider)).map_err(failed)?,
            Some(path) => Verifier::new_with_extra_roots(certificates(path)?, Arc::clone(&provider)).map_err(failed)?,
        })
    } else {
        Arc::new(AnyServer(Arc::clone(&provider)))
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PostgresError> {
    let unreadable = |reason: String| PostgresError::Certificates { path: path.to_owned(), reason: reason.into() };
    let text = fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| unreadable(error.to_string()))?;
    if found.is_empty() { Err(unreadable("it holds no certificate in PEM form".to_owned())) } else { Ok(found) }
}

/// Takes any server for the right one: what `sslmode=prefer` means everywhere. It keeps out those who listen,
/// not those who pretend.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_where_and_how_and_shows_no_password() {
        let address = Address::parse("postgres://callout:hush@db:6543/alerts?sslmode=require").unwrap();
        assert_eq!(&*address.place, "db:6543/alerts");
        assert!(address.is_verified);
        assert_eq!(address.config.get_ssl_mode(), SslMode::Require);
        let quiet = Address::parse("postgres://callout@127.0.0.1/alerts").unwrap();
        assert_eq!((quiet.config.get_ssl_mode(), quiet.is_verified), (SslMode::Prefer, false));
        assert_eq!(quiet.config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        let either = Address::parse("postgres://callout@one:6543,two:6544/alerts?sslmode=disable").unwrap();
        assert_eq!(&*either.place, "one:6543,two:6544/alerts");
        for wrong in ["postgres://db/x?sslmode=maybe", "postgres://db/x?colour=red", "nonsense", "host=red"] {
            let error = Address::parse(wrong).err().unwrap().to_string();
            assert!(!error.contains("red"), "{error}");
        }
    }
}
