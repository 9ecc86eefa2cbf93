//! The pause gate: closed by "Pause", opened by "Resume". Readers and the applier wait at it between batches.

use super::retry::Halt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Cheap to clone; all clones are one gate.
#[derive(Debug, Clone)]
pub struct Gate {
    open: watch::Sender<bool>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { open: watch::Sender::new(true) }
    }
}

impl Gate {
    /// Everything that waits at the gate stays there until it is opened.
    pub fn close(&self) {
        self.open.send_replace(false);
    }

    /// Lets everything go on.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Returns at once while open; otherwise waits for `open` or `cancel`.
    pub async fn pass(&self, cancel: &CancellationToken) -> Result<(), Halt> {
        if *self.open.borrow() && !cancel.is_cancelled() {
            return Ok(());
        }
        let mut open = self.open.subscribe();
        tokio::select! {
            () = cancel.cancelled() => Err(Halt::Cancelled),
            _ = open.wait_for(|open| *open) => Ok(()),
        }
    }
}
