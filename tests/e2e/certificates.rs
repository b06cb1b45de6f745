//! Identities in the cluster of a run: one authority, and certificates that it signed.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use serde_json::json;

use crate::Result;

/// The authority that every part of the cluster trusts, and the directory of the certificates that
/// it signed.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
}

/// A certificate and its key, as files.
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "calf-e2e");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().map_err(cryptic)?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(cryptic)?;
        let authority = Self { issuer, directory: directory.to_owned() };
        write(&authority.certificate(), &authority.issuer.pem())?;
        Ok(authority)
    }

    /// The authority's own certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    /// A certificate for a server that answers to these names and addresses.
    pub(crate) fn server(&self, name: &str, answers_to: &[&str]) -> Result<Identity> {
        let names: Vec<String> = answers_to.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).map_err(cryptic)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(name, params)
    }

    /// A certificate for a client. Kubernetes takes the user from the common name, and the group
    /// from the organization.
    pub(crate) fn client(&self, name: &str, user: &str, group: Option<&str>) -> Result<Identity> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(name, params)
    }

    /// A kubeconfig for such a client.
    pub(crate) fn kubeconfig(
        &self,
        server: &str,
        name: &str,
        user: &str,
        group: Option<&str>,
    ) -> Result<PathBuf> {
        let identity = self.client(name, user, group)?;
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "e2e",
                "cluster": { "server": server, "certificate-authority": self.certificate() },
            }],
            "users": [{
                "name": name,
                "user": {
                    "client-certificate": identity.certificate,
                    "client-key": identity.key,
                },
            }],
            "contexts": [{ "name": "e2e", "context": { "cluster": "e2e", "user": name } }],
            "current-context": "e2e",
        });
        let path = self.directory.join(format!("{name}.kubeconfig"));
        write(&path, &config.to_string())?;
        Ok(path)
    }

    /// A key pair without a certificate, which signs the tokens of service accounts.
    pub(crate) fn key_pair(&self, name: &str) -> Result<KeyFiles> {
        let key = KeyPair::generate().map_err(cryptic)?;
        let files = KeyFiles {
            private: self.directory.join(format!("{name}.key")),
            public: self.directory.join(format!("{name}.pub")),
        };
        write(&files.private, &key.serialize_pem())?;
        write(&files.public, &key.public_key_pem())?;
        Ok(files)
    }

    fn sign(&self, name: &str, params: CertificateParams) -> Result<Identity> {
        let key = KeyPair::generate().map_err(cryptic)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(cryptic)?;
        let identity = Identity {
            certificate: self.directory.join(format!("{name}.crt")),
            key: self.directory.join(format!("{name}.key")),
        };
        write(&identity.certificate, &certificate.pem())?;
        write(&identity.key, &key.serialize_pem())?;
        Ok(identity)
    }
}

/// A bare key pair, as files.
pub(crate) struct KeyFiles {
    pub(crate) private: PathBuf,
    pub(crate) public: PathBuf,
}

fn cryptic(error: rcgen::Error) -> String {
    format!("cannot make a certificate: {error}")
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
