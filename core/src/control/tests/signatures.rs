//! Signed digests: what the gate waits for, what orders carry, and what a change of keys means. The samples are OpenSSL's.

use super::bench::*;
use crate::image::Digest;
use crate::release::GateDenial;
use crate::signature::{PublicKey, Signature, Unverified};
use crate::spec::TestKind;

macro_rules! sample {
    ($name:literal) => {
        include_str!(concat!("../../signature/samples/", $name))
    };
}

/// The digest that the samples are about.
fn signed_digest() -> Digest {
    "sha256:97e9d7a16021e6d07fbe28cce398f5847fc00c574991fbff65d95fd5e032d389".parse().expect("well formed")
}

fn signature(by: &str) -> Signature {
    Signature { payload: sample!("payload.json").into(), signature: by.into() }
}

fn key(pem: &str) -> PublicKey {
    pem.parse().expect("a key")
}

fn asks_for(keys: &[&str]) -> impl Fn(&mut AppSpec) {
    let keys: Vec<PublicKey> = keys.iter().map(|pem| key(pem)).collect();
    move |spec| {
        spec.gate.tests = vec![TestKind::Signature];
        spec.gate.signature_keys.clone_from(&keys);
    }
}

impl Bench {
    fn registry_has(&mut self, signatures: &[Signature]) {
        let (digest, signatures) = (signed_digest(), signatures.to_vec());
        self.ask(Request::Signatures { app: app(), digest, signatures }).expect("never refused");
    }

    fn tag_moves(&mut self) {
        self.ask(Request::Seen { app: app(), image: web().image, digest: signed_digest(), about: Default::default() })
            .expect("never refused");
    }

    /// What the newest release waits for.
    fn denial(&self) -> Option<GateDenial> {
        let known = self.control.catalog().app(&app()).expect("applied");
        known.spec.gate.judge(known.releases.last().expect("seen"), at(self.now)).err()
    }

    fn missed(&self) -> Vec<Digest> {
        let known = self.control.catalog().app(&app()).expect("applied");
        known.unsigned().map(|release| release.digest.clone()).collect()
    }

    fn said(&self) -> Vec<String> {
        let about = |recorded: &&Recorded| matches!(recorded.event.kind(), "signature_missing" | "test_reported");
        self.log.iter().filter(about).map(|recorded| recorded.event.to_string()).collect()
    }
}

#[test]
fn a_digest_waits_for_its_signature_and_orders_carry_it() {
    let mut bench = Bench::with(&["n1"], asks_for(&[sample!("p256.pub")]));
    bench.tag_moves();
    assert_eq!(bench.denial(), Some(GateDenial::NotSigned { reason: None }));
    assert_eq!(bench.missed()[0], signed_digest());
    bench.registry_has(&[]);
    assert_eq!(bench.denial(), Some(GateDenial::NotSigned { reason: Some(Unverified::NotSigned) }));
    let waits: Vec<String> = bench.waits();
    assert!(waits.contains(&format!("{}: not signed", signed_digest().short())), "{waits:?}");
    bench.registry_has(&[signature(sample!("stranger.sig"))]);
    assert_eq!(bench.denial(), Some(GateDenial::NotSigned { reason: Some(Unverified::UnknownKey) }));
    bench.registry_has(&[signature(sample!("stranger.sig"))]);
    assert!(bench.orders.is_empty(), "nothing unsigned is ordered");

    let both = [signature(sample!("stranger.sig")), signature(sample!("p256.sig"))];
    bench.registry_has(&both);
    assert_eq!(bench.denial(), None);
    assert_eq!(bench.orders.len(), 1);
    assert_eq!(bench.orders[0].1.signatures, both, "an agent may know another key than the gate");
    assert!(!bench.missed().contains(&signed_digest()), "it is not looked for any more");
    let short = signed_digest().short().to_owned();
    let name = key(sample!("p256.pub")).id();
    assert_eq!(
        bench.said(),
        [
            format!("{short} of web: not signed"),
            format!("{short} of web: signed by an unknown key"),
            format!("{short} of web: suite {name} (signature) passed"),
        ],
        "said once each"
    );
}

#[test]
fn a_signature_of_a_key_that_is_no_longer_named_does_not_count() {
    let mut bench = Bench::with(&["n1"], asks_for(&[sample!("p256.pub")]));
    bench.now = 1;
    let both = [signature(sample!("p256.sig")), signature(sample!("p384.sig"))];
    let apply = |bench: &mut Bench, keys: &[&str]| {
        let mut spec = bench.control.catalog().app(&app()).expect("applied").spec.clone();
        // Nothing starts by itself: this is about the gate.
        spec.update.mode = RolloutMode::Manual;
        asks_for(keys)(&mut spec);
        bench.ask(Request::Apply(vec![spec])).expect("a good spec");
    };
    apply(&mut bench, &[sample!("p256.pub")]);
    bench.tag_moves();
    bench.registry_has(&both);
    assert_eq!(bench.denial(), None);
    apply(&mut bench, &[sample!("p384.pub")]);
    assert_eq!(bench.denial(), Some(GateDenial::NotSigned { reason: None }));
    assert_eq!(bench.missed()[0], signed_digest(), "it is looked for again");
    bench.registry_has(&both);
    assert_eq!(bench.denial(), None);
    apply(&mut bench, &[sample!("p256.pub")]);
    assert_eq!(bench.denial(), None, "the first report is there still");
    apply(&mut bench, &[sample!("stranger.pub")]);
    assert!(bench.denial().is_some());
}

#[test]
fn a_signature_does_not_grow_old_and_what_was_not_asked_for_is_not_kept() {
    let mut bench = Bench::with(&["n1"], |spec| {
        asks_for(&[sample!("p256.pub")])(spec);
        spec.gate.max_age = Some(Duration::from_secs(60));
        spec.update.mode = RolloutMode::Manual;
    });
    bench.tag_moves();
    bench.registry_has(&[signature(sample!("p256.sig"))]);
    bench.now += 3600;
    assert_eq!(bench.denial(), None);

    let mut trusting = Bench::with(&["n1"], |spec| spec.gate.tests = vec![]);
    trusting.tag_moves();
    trusting.registry_has(&[signature(sample!("p256.sig"))]);
    assert_eq!(trusting.said(), Vec::<String>::new());
    assert_eq!(trusting.missed(), []);
}
