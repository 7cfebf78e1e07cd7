//! Conversions between wire and domain; one refusal for each field that must be there.
//!
//! To the wire: `From<&Domain>`, which cannot fail (a text of free length is cut to its limit, so that a report is never
//! refused for it). From the wire: `TryFrom<pb::…>`, which refuses with the full path of the field, as in
//! `order.key.rollout`. Limits are those of a message that means well, with room to spare; they keep a hostile or broken
//! peer from filling memory and logs.

mod field;
mod hooks;
mod image;
mod instance;
mod job;
mod signature;
mod step;
mod survey;
mod time;
mod watch;
mod words;

pub use field::{Error, Within, required};
pub use job::job_ids;
pub use time::{duration, from_duration, from_timestamp, optional_timestamp, timestamp};
