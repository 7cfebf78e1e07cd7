//! Signatures of images. What they are worth is judged in the domain.

use nightshift_core::signature::{PAYLOAD_LIMIT_BYTES, SIGNATURE_LIMIT, SIGNATURE_LIMIT_BYTES, Signature};

use super::field::{Error, Within as _, list, text};
use crate::pb;

impl From<&Signature> for pb::Signature {
    fn from(one: &Signature) -> Self {
        Self { payload: one.payload.clone(), signature: one.signature.clone() }
    }
}

impl TryFrom<pb::Signature> for Signature {
    type Error = Error;
    fn try_from(one: pb::Signature) -> Result<Self, Error> {
        Ok(Self {
            payload: text("payload", one.payload, PAYLOAD_LIMIT_BYTES)?,
            signature: text("signature", one.signature, SIGNATURE_LIMIT_BYTES)?,
        })
    }
}

pub(super) fn to_wire(signatures: &[Signature]) -> Vec<pb::Signature> {
    signatures.iter().take(SIGNATURE_LIMIT).map(Into::into).collect()
}

pub(super) fn from_wire(signatures: Vec<pb::Signature>) -> Result<Vec<Signature>, Error> {
    let signatures = list("signatures", signatures, SIGNATURE_LIMIT)?;
    signatures.into_iter().map(Signature::try_from).collect::<Result<_, _>>().within("signatures")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature() -> Signature {
        Signature { payload: "{}".into(), signature: "MEUCIQ==".into() }
    }

    #[test]
    fn signatures_survive_the_wire() {
        let both = [signature(), Signature { payload: "x".repeat(PAYLOAD_LIMIT_BYTES), ..signature() }];
        assert_eq!(from_wire(to_wire(&both)), Ok(both.to_vec()));
        assert_eq!(from_wire(Vec::new()), Ok(Vec::new()));
    }

    #[test]
    fn an_incomplete_or_endless_signature_is_refused() {
        type Breaks = fn(&mut Vec<pb::Signature>);
        let cases: [(&str, Breaks); 5] = [
            ("signatures.payload` is missing", |all| all[0].payload.clear()),
            ("signatures.signature` is missing", |all| all[0].signature.clear()),
            ("signatures.payload` is too long", |all| all[0].payload = "x".repeat(PAYLOAD_LIMIT_BYTES + 1)),
            ("signatures.signature` is too long", |all| all[0].signature = "x".repeat(SIGNATURE_LIMIT_BYTES + 1)),
            ("signatures` is too long", |all| *all = vec![all[0].clone(); SIGNATURE_LIMIT + 1]),
        ];
        for (field, breaks) in cases {
            let mut wire = to_wire(&[signature()]);
            breaks(&mut wire);
            let error = from_wire(wire).expect_err(field).to_string();
            assert!(error.starts_with(&format!("field `{field}")), "{error}");
        }
    }
}
