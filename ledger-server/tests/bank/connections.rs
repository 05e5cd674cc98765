//! Every way in which a connection can fail, and whether the request may have arrived.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use ledger_core::withdrawals::{AttemptClass, InquiryAnswer, Submission};
use ledger_server::withdrawals::{Gateway, HttpBank, HttpBankOptions, Trust};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use crate::scripted::{IMPATIENCE, PATIENCE, Reaction, ScriptedBank, answer, body, payout, read_request, submit};
use crate::tables::table;

/// The outcomes of everything that can be described by a row's words.
async fn outcomes(what: &str) -> Vec<Submission> {
    let payout = payout();
    let whole = answer(200, &body(&payout, "settled"));
    let head = whole.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let mut outcomes = Vec::new();
    match what {
        "the name is not found" => outcomes.push(submit_to("http://bank.invalid", PATIENCE).await),
        "connection refused" => {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            outcomes.push(submit_to(&format!("http://127.0.0.1:{port}"), PATIENCE).await);
        }
        "no connection within half of --bank-timeout (at most 10 s)" => {
            // It takes the connection and never says a word of TLS.
            let silent = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = format!("https://{}", silent.local_addr().unwrap());
            outcomes.push(submit_to(&address, IMPATIENCE).await);
        }
        "TLS is not agreed on, or the certificate is not believed" => {
            let (ours, another) = (certificate("localhost"), certificate("localhost"));
            let (elsewhere, expected) = (certificate("elsewhere.example"), certificate("localhost"));
            outcomes.push(submit_to_tls(&ours, &another).await);
            outcomes.push(submit_to_tls(&elsewhere, &elsewhere).await);
            outcomes.push(submit_to_tls(&expected, &elsewhere).await);
            let plain = ScriptedBank::start(|_| Reaction::Closes(Vec::new())).await;
            outcomes.push(submit_to(&format!("https://localhost:{}", plain.port), IMPATIENCE).await);
        }
        "reset or closed before an answer" => {
            outcomes.push(submit(&payout, Reaction::Resets(Vec::new())).await);
            outcomes.push(submit(&payout, Reaction::Closes(Vec::new())).await);
        }
        "reset or closed in the middle of the head or of the body" => {
            for cut in [1, 12, head - 2, head, head + 1, whole.len() - 1] {
                outcomes.push(submit(&payout, Reaction::Resets(whole[..cut].to_vec())).await);
                outcomes.push(submit(&payout, Reaction::Closes(whole[..cut].to_vec())).await);
            }
        }
        "no whole answer within --bank-timeout" => {
            for cut in [0, 12, head, whole.len() - 1] {
                outcomes.push(submit(&payout, Reaction::Hangs(whole[..cut].to_vec())).await);
            }
        }
        "an answer that is not HTTP/1.1" => {
            for bytes in [&b"SSH-2.0-OpenSSH_9.9\r\n\r\n"[..], b"\0\0\0\0\0", b"HTTP/9.9 200 OK\r\n\r\n", b"{}\r\n\r\n"]
            {
                outcomes.push(submit(&payout, Reaction::Closes(bytes.to_vec())).await);
            }
        }
        _ => panic!("the protocol says what becomes of {what:?}, and no test makes it happen"),
    }
    outcomes
}

async fn submit_to(address: &str, timeout: Duration) -> Submission {
    HttpBank::new(options(address, Trust::public(), timeout)).submit(&payout()).await
}

fn options(address: &str, trust: Trust, timeout: Duration) -> HttpBankOptions {
    HttpBankOptions { timeout, trust, ..HttpBankOptions::new(address.parse().unwrap()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_broken_connection_has_the_class_of_its_row() {
    for row in table("connections") {
        for outcome in outcomes(&row[0]).await {
            assert_eq!(outcome.class.as_str(), row[1], "{}: {}", row[0], outcome.evidence);
            assert!(!outcome.evidence.is_empty());
        }
    }
}

#[tokio::test]
async fn an_inquiry_over_a_broken_connection_is_unanswered() {
    let payout = payout();
    for reaction in
        [Reaction::Resets(Vec::new()), Reaction::Closes(b"HTTP/1.1 200 OK\r\n".to_vec()), Reaction::Hangs(Vec::new())]
    {
        let bank = ScriptedBank::start(move |_| reaction.clone()).await;
        let gateway = HttpBank::new(HttpBankOptions { timeout: IMPATIENCE, ..bank.options() });
        assert_eq!(gateway.inquire(&payout).await.answer, InquiryAnswer::Unanswered);
    }
    let refused = HttpBank::new(options("http://127.0.0.1:1", Trust::public(), PATIENCE));
    assert_eq!(refused.inquire(&payout).await.answer, InquiryAnswer::Unanswered);
}

/// A connection that the bank closes while it is idle costs nothing: no byte of the next request went into it.
#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced() {
    let payout = payout();
    let settled = answer(200, &body(&payout, "settled"));
    let bank = ScriptedBank::start(move |_| Reaction::Closes(settled.clone())).await;
    let gateway = bank.gateway();
    for _ in 0..20 {
        let submission = gateway.submit(&payout).await;
        // The close may cross the next request on its way, which is not idle any more: then nobody can tell.
        let crossed = submission.class == AttemptClass::Ambiguous;
        assert!(submission.class == AttemptClass::Settled || crossed, "{submission:?}");
    }
    assert!(bank.heard().len() <= 20, "nothing was sent twice by itself");
}

#[tokio::test]
async fn a_bank_with_a_certificate_that_is_believed_is_paid_through() {
    let certificate = certificate("localhost");
    let submission = submit_to_tls(&certificate, &certificate).await;
    assert_eq!(submission.class, AttemptClass::Settled, "{}", submission.evidence);
}

#[test]
fn a_file_without_certificates_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for (text, named) in
        [("", "none"), ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificates in")]
    {
        std::fs::write(file.path(), text).unwrap();
        let fault = Trust::from_file(file.path()).unwrap_err();
        assert!(fault.contains(named), "{fault}");
    }
    assert!(Trust::from_file(std::path::Path::new("/nowhere/ca.pem")).is_err());
}

fn certificate(name: &str) -> CertifiedKey<rcgen::KeyPair> {
    generate_simple_self_signed([name.to_owned()]).unwrap()
}

/// A bank that shows one certificate to a gateway that believes another.
async fn submit_to_tls(shown: &CertifiedKey<rcgen::KeyPair>, believed: &CertifiedKey<rcgen::KeyPair>) -> Submission {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), believed.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(shown.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![shown.cert.der().clone()], key)
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let payout = payout();
    let settled = answer(200, &body(&payout, "settled"));
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else { return };
        read_request(&mut stream).await.unwrap();
        stream.write_all(&settled).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let address = format!("https://localhost:{port}");
    HttpBank::new(options(&address, Trust::from_file(file.path()).unwrap(), PATIENCE)).submit(&payout).await
}
