//! How long a call to the engine may take, and why that long.

use std::time::Duration;

/// To open the connection: a local socket answers at once or not at all; a loaded host may need a moment to accept.
pub const CONNECT: Duration = Duration::from_secs(5);

/// To read something. An idle engine needs milliseconds, a loaded one some seconds. `inspect` waits for the container's
/// lock, which other callers hold during a start.
pub const READ: Duration = Duration::from_secs(30);

/// To change something small: rename, tag, restart policy, pause, connect to a network.
pub const CHANGE: Duration = Duration::from_secs(60);

/// To create a container: the engine copies what the image holds under its volumes' paths, which may be large.
pub const CREATE: Duration = Duration::from_secs(300);

/// To start a container: mounting remote volumes is part of it.
pub const START: Duration = Duration::from_secs(120);

/// To remove a container or an image: large layers are deleted before the engine answers.
pub const REMOVE: Duration = Duration::from_secs(300);

/// What a stop may take beyond the container's own grace period: the engine kills after it, then waits for the kernel,
/// then unmounts and tells the network.
pub const STOP_MARGIN: Duration = Duration::from_secs(30);

/// Longest grace period that is believed. Some images ask for hours; a step would hang on them.
pub const STOP_GRACE_LIMIT: Duration = Duration::from_secs(3_600);

/// Silence in a pull before it is given up. The engine reports while it downloads and unpacks, but not while it retries
/// a registry that is down (five tries, up to 25 seconds apart on Engine 20.10).
pub const PULL_SILENCE: Duration = Duration::from_secs(300);

/// A whole pull. Longer than any image needs that a fleet would replace within quiet hours.
pub const PULL: Duration = Duration::from_secs(7_200);

/// Silence in a push before it is given up. The engine reports while it uploads and says when it tries again; a registry that
/// puts a large layer into its storage answers nothing meanwhile.
pub const PUSH_SILENCE: Duration = Duration::from_secs(300);
