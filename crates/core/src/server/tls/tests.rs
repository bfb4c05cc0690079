use super::*;
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslMethod as Method};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509Builder, X509Name};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread::{JoinHandle, spawn};

/// A key, and a certificate that it has signed itself.
struct Identity {
    key: PKey<Private>,
    certificate: X509,
}

fn identity(called: &str, alternatives: impl Fn(&mut SubjectAlternativeName)) -> Identity {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", called).unwrap();
    let name = name.build();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    let [from, to] = [0, 1].map(|days| Asn1Time::days_from_now(days).unwrap());
    builder.set_not_before(&from).unwrap();
    builder.set_not_after(&to).unwrap();
    let authority = BasicConstraints::new().critical().ca().build().unwrap();
    builder.append_extension(authority).unwrap();
    let mut names = SubjectAlternativeName::new();
    alternatives(&mut names);
    let names = names.build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    Identity {
        key,
        certificate: builder.build(),
    }
}

/// A server that answers the question for TLS with `answer`, and goes on with TLS where that is `S`. What it
/// reads then.
fn server(answer: &'static [u8], identity: &Identity) -> (u16, JoinHandle<Vec<u8>>) {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(Method::tls_server()).unwrap();
    acceptor.set_private_key(&identity.key).unwrap();
    acceptor.set_certificate(&identity.certificate).unwrap();
    let acceptor = acceptor.build();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serves = spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut asked = [0; 8];
        client.read_exact(&mut asked).unwrap();
        assert_eq!(asked, SSL_REQUEST);
        client.write_all(answer).unwrap();
        let mut heard = Vec::new();
        if answer == b"S" {
            if let Ok(mut encrypted) = acceptor.accept(client) {
                let _ = encrypted.read_to_end(&mut heard);
            }
        } else if !answer.is_empty() {
            let _ = client.read_to_end(&mut heard);
        }
        heard
    });
    (port, serves)
}

/// What becomes of one attempt; a word is sent where it went well.
fn tried(wanted: &Wanted, attempt: Attempt, answer: &'static [u8], of: &Identity) -> String {
    let (port, serves) = server(answer, of);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let went = runtime.block_on(async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        match wanted.go(attempt, stream).await {
            Ok(mut way) => {
                way.write_all(b"hello").await.unwrap();
                way.shutdown().await.unwrap();
                match way {
                    Way::Plain(_) => "plain".to_owned(),
                    Way::Tls(_) => "tls".to_owned(),
                }
            }
            Err(Unreached::Io(error)) => format!("io: {error}"),
            Err(Unreached::NoTls(why)) => why,
        }
    });
    let heard = serves.join().unwrap();
    let well = ["plain", "tls"].contains(&went.as_str());
    assert_eq!(heard == b"hello", well, "{went}");
    went
}

fn wanted(mode: SslMode, root: Option<&std::path::Path>) -> Wanted {
    Wanted {
        root: root.map(Into::into),
        name: Some("node102".to_owned()),
        ..Wanted::mode(mode, "127.0.0.1".parse().unwrap())
    }
}

#[test]
fn a_server_is_asked_for_tls_as_the_mode_has_it() {
    let it = identity("by address", |names| {
        names.ip("127.0.0.1");
    });
    for (mode, answer, expected) in [
        (SslMode::Disable, &b""[..], &["plain"][..]),
        (SslMode::Prefer, b"S", &["tls", "plain"]),
        (SslMode::Prefer, b"N", &["plain", "plain"]),
        (
            SslMode::Prefer,
            b"E",
            &["it does not know TLS (it answers 'E')", "plain"],
        ),
        (SslMode::Prefer, b"", &["the server ended it", "plain"]),
        (SslMode::Require, b"S", &["tls"]),
        (
            SslMode::Require,
            b"N",
            &["it has no TLS, and KB_SSLMODE=require wants it"],
        ),
        (
            SslMode::VerifyCa,
            b"S",
            &["TLS failed: KB_SSLROOTCERT is not set"],
        ),
    ] {
        let wanted = wanted(mode, None);
        for (attempt, expected) in wanted.attempts().iter().zip(expected) {
            if *attempt != Attempt::Plain {
                assert_eq!(
                    tried(&wanted, *attempt, answer, &it),
                    *expected,
                    "{mode} {answer:?}"
                );
            }
        }
        assert_eq!(wanted.attempts().len(), expected.len(), "{mode}");
    }
    assert_eq!(
        wanted(SslMode::Allow, None).attempts(),
        [Attempt::Plain, Attempt::Tls]
    );
}

#[test]
fn a_certificate_is_looked_at_for_what_the_mode_wants() {
    let by_address = identity("by address", |names| {
        names.ip("127.0.0.1");
    });
    let by_name = identity("by name", |names| {
        names.dns("NODE102");
    });
    let strange = identity("strange", |names| {
        names.dns("node103").ip("127.0.0.2");
    });
    let dir = std::env::temp_dir().join(format!("failover-tls-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let root = dir.join("root.crt");
    let believed: Vec<u8> = [&by_address, &by_name, &strange]
        .iter()
        .flat_map(|it| it.certificate.to_pem().unwrap())
        .collect();
    std::fs::write(&root, believed).unwrap();
    let empty = dir.join("empty.crt");
    std::fs::write(&empty, by_name.certificate.to_pem().unwrap()).unwrap();
    use SslMode::{Prefer, Require, VerifyCa, VerifyFull};
    let not_for_it = "TLS failed: its certificate is neither for 127.0.0.1 nor node102";
    let unknown = "TLS failed: its certificate is not good: self-signed certificate";
    for (mode, root, it, expected) in [
        (VerifyFull, &root, &by_address, "tls"),
        (VerifyFull, &root, &by_name, "tls"),
        (VerifyFull, &root, &strange, not_for_it),
        (VerifyCa, &root, &strange, "tls"),
        (VerifyCa, &empty, &strange, unknown),
        (VerifyFull, &empty, &by_address, unknown),
        // As libpq: where there are certificates to believe, they count.
        (Require, &empty, &strange, unknown),
        (Prefer, &empty, &strange, "tls"),
    ] {
        let went = tried(&wanted(mode, Some(root)), Attempt::Tls, b"S", it);
        assert_eq!(went, expected, "{mode}");
    }
    let missing = dir.join("missing.crt");
    let went = tried(
        &wanted(VerifyCa, Some(&missing)),
        Attempt::Tls,
        b"S",
        &strange,
    );
    assert!(
        went.contains("missing.crt cannot be used: no such file"),
        "{went}"
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Whoever sits in between could put words before the first encrypted one.
#[test]
fn what_comes_in_clear_after_the_answer_is_not_believed() {
    let it = identity("by address", |names| {
        names.ip("127.0.0.1");
    });
    let went = tried(
        &wanted(SslMode::Require, None),
        Attempt::Tls,
        b"SR\0\0\0\x08\0\0\0\0",
        &it,
    );
    assert!(went.starts_with("TLS failed: "), "{went}");
}
