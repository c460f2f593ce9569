//! Waiting to the microsecond, which the engine's timers, made for minutes, cannot.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::place::now_ns;
use crate::io::engine;

/// Waits until the monotonic clock says `due`. Others go on meanwhile.
pub(super) async fn until_ns(due: u64) {
    let left = Duration::from_nanos(due.saturating_sub(now_ns()));
    if left > TIMER_GRAIN {
        engine::sleep(left - TIMER_GRAIN).await;
    }
    poll_fn(|cx| {
        if now_ns() >= due {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Keeps the thread until then.
pub(super) fn hold_until_ns(due: u64) {
    while now_ns() < due {
        std::hint::spin_loop();
    }
}

/// What the engine's timers cannot tell apart.
const TIMER_GRAIN: Duration = Duration::from_millis(2);
