//! A fault of ours in the midst of a connection: caught, so that it can be put on record before it goes its way.
//!
//! A panic is never an answer: whatever was under way has ended, its streams are reset and its credits have written their outcomes, when
//! the one who waits here hears of it.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

/// What a panic carries.
pub(crate) type Fault = Box<dyn Any + Send>;

/// Runs `work` to its end.
///
/// # Errors
/// If it panicked; everything it held has then been dropped. The caller passes it on with [`std::panic::resume_unwind`], to the engine,
/// which tells of it and ends the task.
pub(crate) async fn caught<F: Future>(mut work: Pin<&mut F>) -> Result<F::Output, Fault> {
    // Not looked into again after a panic, so that no half-changed state is seen.
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
        Err(fault) => Poll::Ready(Err(fault)),
    })
    .await
}
