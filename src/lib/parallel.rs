//! Independent pieces of work on several threads, their results taken in order.
//!
//! INVARIANT: results are taken in the order of the work; at most a fixed number of pieces is begun ahead of the one
//! that is waited for, so that memory has a bound however many there are.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};

/// LIMIT: pieces for each thread that are begun or done, and not taken yet.
pub(crate) const AHEAD_PER_THREAD: usize = 2;

/// Does each piece of `work` with `do_one` on one of `threads` threads, and hands the results to `take` in order. Ends
/// early, without beginning what is not begun, when `take` breaks; `Ok(Some(_))` holds what it broke with. With one thread
/// everything is done by the caller's.
///
/// `do_one` gets a flag that is set once its result will not be taken.
///
/// # Errors
/// When a thread cannot be started; nothing was done then.
pub(crate) fn in_order<W, R, B>(
    threads: usize,
    work: impl Iterator<Item = W> + Send,
    do_one: impl Fn(W, &AtomicBool) -> R + Sync,
    mut take: impl FnMut(R) -> ControlFlow<B>,
) -> std::io::Result<Option<B>>
where
    W: Send,
    R: Send,
{
    let is_over = AtomicBool::new(false);
    if threads <= 1 {
        for piece in work {
            if let ControlFlow::Break(broken) = take(do_one(piece, &is_over)) {
                return Ok(Some(broken));
            }
        }
        return Ok(None);
    }
    std::thread::scope(|scope| {
        // As many as there may be promises: a thread that is done finds its next piece there, whoever else has the CPU.
        let (pieces, queue) = bounded::<(W, Sender<R>)>(threads * AHEAD_PER_THREAD);
        let (promises, results) = bounded::<Receiver<R>>(threads * AHEAD_PER_THREAD);
        for number in 0..threads {
            let (queue, do_one, is_over) = (queue.clone(), &do_one, &is_over);
            let worker = move || {
                for (piece, result) in queue {
                    if is_over.load(Ordering::SeqCst) {
                        return;
                    }
                    let _ = result.send(do_one(piece, is_over)); // nobody takes it when the end came early
                }
            };
            std::thread::Builder::new().name(format!("worker-{number}")).spawn_scoped(scope, worker)?;
        }
        drop(queue);
        let feeder = move || {
            for piece in work {
                let (result, promise) = bounded(1);
                // ORDER: the place in line first, so that results are taken in the order of the work.
                if promises.send(promise).is_err() || pieces.send((piece, result)).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("feeder".to_owned()).spawn_scoped(scope, feeder)?;
        for promise in results {
            // A thread that panicked gives no result; the scope passes its panic on.
            let Ok(result) = promise.recv() else { break };
            if let ControlFlow::Break(broken) = take(result) {
                is_over.store(true, Ordering::SeqCst);
                return Ok(Some(broken));
            }
        }
        Ok(None)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    #[test]
    fn results_come_in_order_whatever_takes_longest() {
        for threads in [0, 1, 3, 8] {
            let mut taken = Vec::new();
            let slow_first = |number: u64, _: &AtomicBool| {
                crate::clock::wait(Duration::from_micros((97 * number) % 1000));
                number
            };
            let end = in_order(threads, 0..100, slow_first, |number| {
                taken.push(number);
                ControlFlow::<()>::Continue(())
            });
            assert!(end.unwrap().is_none());
            assert!(taken.iter().copied().eq(0..100), "{threads} threads: {taken:?}");
        }
    }

    #[test]
    fn an_early_end_leaves_the_rest_undone() {
        let begun = AtomicUsize::new(0);
        let count = |number: usize, _: &AtomicBool| {
            begun.fetch_add(1, Ordering::SeqCst);
            number
        };
        let end = in_order(2, 0..1_000_000, count, |number| {
            if number == 7 { ControlFlow::Break("seven") } else { ControlFlow::Continue(()) }
        });
        assert_eq!(end.unwrap(), Some("seven"));
        assert!(begun.load(Ordering::SeqCst) <= 8 + 2 * AHEAD_PER_THREAD + 3, "{begun:?}");
    }

    #[test]
    fn what_is_not_taken_any_more_is_told() {
        let wait_for_the_end = |number: usize, is_over: &AtomicBool| {
            while number > 0 && !is_over.load(Ordering::SeqCst) {
                crate::clock::wait(Duration::from_millis(1));
            }
        };
        // Ends only when the flag reaches the one that waits.
        assert_eq!(in_order(2, 0..2, wait_for_the_end, |()| ControlFlow::Break(1)).unwrap(), Some(1));
    }
}
