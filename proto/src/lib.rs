//! The wire protocol: generated types in [`pb`], and their conversions to and from the domain in [`convert`].
//!
//! `pb` types live only at the edges: a message is converted where it arrives, and a field that the domain needs but the
//! message lacks is refused there, by name.

pub mod convert;

/// The generated types and services, as the `.proto` files document them.
pub mod pb {
    #![expect(
        missing_docs,
        clippy::allow_attributes,
        clippy::too_many_lines,
        reason = "generated; the .proto files document it"
    )]
    tonic::include_proto!("nightshift.v1");
}
