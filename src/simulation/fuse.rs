//! Where a process dies: at one of its durable writes, just before it or just after.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// On which side of a write a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The write is lost.
    Before,
    /// It is on the disk, and nobody knows.
    After,
}

#[derive(Debug, Default)]
struct State {
    writes: AtomicU64,
    armed: Mutex<Option<(u64, Side)>>,
    blown: watch::Sender<bool>,
}

/// The fuse of one process: its storage asks it at each durable write. Clones are the same fuse.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fuse(Arc<State>);

impl Fuse {
    /// Blows at the write with this number, counted from 1.
    pub(crate) fn arm(&self, write: u64, side: Side) {
        *self.0.armed.lock().unwrap_or_else(PoisonError::into_inner) = Some((write, side));
    }

    /// Whether it is this very fuse.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// How many writes there were.
    pub(crate) fn writes(&self) -> u64 {
        self.0.writes.load(Ordering::Relaxed)
    }

    /// Blows now: nothing is written any more.
    pub(crate) fn blow(&self) {
        self.0.blown.send_replace(true);
    }

    /// Waits until it blows.
    pub(crate) async fn blown(&self) {
        let mut blown = self.0.blown.subscribe();
        // The sender lives in this fuse: it cannot be gone.
        let _ = blown.wait_for(|blown| *blown).await;
    }

    /// A write begins. For a process that dies here this never returns.
    pub(crate) async fn before_write(&self) {
        let blown = *self.0.blown.borrow();
        self.die_if(blown).await;
        let number = self.0.writes.fetch_add(1, Ordering::Relaxed) + 1;
        self.die_if(self.is_armed_for(number, Side::Before)).await;
    }

    /// A write is done. For a process that dies here this never returns.
    pub(crate) async fn after_write(&self) {
        self.die_if(self.is_armed_for(self.writes(), Side::After)).await;
    }

    fn is_armed_for(&self, number: u64, side: Side) -> bool {
        *self.0.armed.lock().unwrap_or_else(PoisonError::into_inner) == Some((number, side))
    }

    async fn die_if(&self, dies: bool) {
        if dies {
            self.blow();
            std::future::pending::<()>().await;
        }
    }
}
