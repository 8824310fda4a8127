//! What a certificate says about itself: the hosts it is for, its time, and whom a client's names.

use std::fmt::Write as _;
use std::net::IpAddr;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::der_parser::asn1_rs::ToDer as _;
use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{AttributeTypeAndValue, X509Certificate, X509Name};

/// Which of its names tells upstreams about a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientName {
    /// The distinguished name of the subject, as text (RFC 4514).
    Subject,
    /// The subject alternative names, each with its kind: `DNS:a.example`, `URI:spiffe://b`, `email:c@d`, `IP:192.0.2.1`.
    AlternativeNames,
}

/// What a certificate of a host says.
pub(super) struct Facts {
    /// `a.example`, `*.example`, `192.0.2.1`, `[2001:db8::1]`; lower case.
    pub(super) hosts: Vec<Box<str>>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

/// Reads a host's certificate. The subject's common name is no host (RFC 9525 §2).
pub(super) fn facts(certificate: &CertificateDer<'_>) -> Option<Facts> {
    let certificate = parse(certificate)?;
    let host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into_boxed_str()),
        GeneralName::IPAddress(octets) => ip(octets).map(as_in_a_uri),
        _ => None,
    };
    let time = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp()).ok();
    let validity = certificate.validity();
    Some(Facts {
        hosts: alternative_names(&certificate).filter_map(host).collect(),
        not_before: time(validity.not_before)?,
        not_after: time(validity.not_after)?,
    })
}

/// The names of a client's certificate; none if it cannot be read, empty if it has no such names.
#[must_use]
pub fn client_names(certificate: &CertificateDer<'_>, which: ClientName) -> Option<Vec<Box<str>>> {
    let certificate = parse(certificate)?;
    Some(match which {
        ClientName::Subject => {
            let subject = distinguished_name(certificate.subject());
            if subject.is_empty() { Vec::new() } else { vec![subject.into_boxed_str()] }
        }
        ClientName::AlternativeNames => alternative_names(&certificate).filter_map(with_kind).collect(),
    })
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    x509_parser::parse_x509_certificate(certificate).ok().map(|(_, certificate)| certificate)
}

fn alternative_names<'a>(certificate: &'a X509Certificate<'a>) -> impl Iterator<Item = &'a GeneralName<'a>> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    extension.into_iter().flat_map(|extension| extension.value.general_names.iter())
}

fn with_kind(name: &GeneralName<'_>) -> Option<Box<str>> {
    let text = match name {
        GeneralName::DNSName(name) => format!("DNS:{name}"),
        GeneralName::URI(uri) => format!("URI:{uri}"),
        GeneralName::RFC822Name(address) => format!("email:{address}"),
        GeneralName::IPAddress(octets) => format!("IP:{}", ip(octets)?),
        _ => return None,
    };
    Some(text.into_boxed_str())
}

fn ip(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

fn as_in_a_uri(address: IpAddr) -> Box<str> {
    match address {
        IpAddr::V4(address) => address.to_string().into_boxed_str(),
        IpAddr::V6(address) => format!("[{address}]").into_boxed_str(),
    }
}

/// RFC 4514: the most specific part first, with everything escaped that could pass for another part. Whoever asks an
/// authority for a certificate chooses the text in it.
fn distinguished_name(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for (at, part) in parts.iter().rev().enumerate() {
        for (within, attribute) in part.iter().enumerate() {
            match (at, within) {
                (0, 0) => {}
                (_, 0) => text.push(','),
                (..) => text.push('+'),
            }
            push_attribute(&mut text, attribute);
        }
    }
    text
}

fn push_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let kind = attribute.attr_type();
    match oid2abbrev(kind, oid_registry()) {
        Ok(short) => text.push_str(short),
        Err(_) => text.push_str(&kind.to_id_string()),
    }
    text.push('=');
    let Ok(value) = attribute.as_str() else {
        text.push('#');
        let der = attribute.attr_value().to_der_vec().unwrap_or_default();
        for byte in der {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        }
        return;
    };
    let last = value.chars().count().saturating_sub(1);
    for (at, character) in value.chars().enumerate() {
        match character {
            '\0' => text.push_str("\\00"),
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => text.extend(['\\', character]),
            '#' if at == 0 => text.push_str("\\#"),
            ' ' if at == 0 || at == last => text.push_str("\\ "),
            _ => text.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(subject: &[(DnType, &str)], names: Vec<SanType>) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        subject.iter().for_each(|(kind, value)| params.distinguished_name.push(kind.clone(), *value));
        params.subject_alt_names = names;
        params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate").der().clone()
    }

    fn subject(parts: &[(DnType, &str)]) -> String {
        client_names(&certificate(parts, Vec::new()), ClientName::Subject).expect("readable").concat()
    }

    #[test]
    fn a_subject_is_written_most_specific_part_first() {
        let parts = [(DnType::OrganizationName, "Example"), (DnType::CommonName, "ada")];
        assert_eq!(subject(&parts), "CN=ada,O=Example");
        assert_eq!(subject(&[]), "");
    }

    #[test]
    fn no_text_within_a_name_passes_for_another_part_of_it() {
        let cases = [
            ("ada,O=Admins", "CN=ada\\,O\\=Admins"),
            ("ada+O=Admins", "CN=ada\\+O\\=Admins"),
            (" ada ", "CN=\\ ada\\ "),
            ("#ada", "CN=\\#ada"),
            ("a\\,b", "CN=a\\\\\\,b"),
            ("ädä", "CN=ädä"),
        ];
        for (value, expected) in cases {
            assert_eq!(subject(&[(DnType::CommonName, value)]), expected, "{value}");
        }
    }

    #[test]
    fn alternative_names_are_told_with_their_kinds() {
        let text = |text: &str| Ia5String::try_from(text).expect("ASCII");
        let names = vec![
            SanType::URI(text("spiffe://example/ada")),
            SanType::DnsName(text("ada.example")),
            SanType::Rfc822Name(text("ada@example")),
            SanType::IpAddress("192.0.2.1".parse().expect("an address")),
        ];
        let names = client_names(&certificate(&[(DnType::CommonName, "ada")], names), ClientName::AlternativeNames);
        let expected = ["URI:spiffe://example/ada", "DNS:ada.example", "email:ada@example", "IP:192.0.2.1"];
        assert_eq!(names.expect("readable"), expected.map(Box::from));
    }

    #[test]
    fn what_is_no_certificate_has_no_names() {
        assert!(client_names(&CertificateDer::from(&b"\x30\x03\x02\x01\x01"[..]), ClientName::Subject).is_none());
    }
}
