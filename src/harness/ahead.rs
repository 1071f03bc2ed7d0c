//! Batches that are read while the step before them trains.
//!
//! What is read for a step depends on the step alone, so it does not matter when it is read. Reading has threads of its own, as many
//! as training has, and is never more than [`AHEAD`] steps ahead; on one thread each batch is read when it is asked for.

use std::sync::mpsc::sync_channel;
use std::thread;

/// Steps whose batches are held until they are asked for; one more is being read.
const AHEAD: usize = 2;

/// Gives `train` a function to ask for what `read` reads of a step. Steps are asked for one after another, from any on, below `steps`.
pub fn ahead<T: Send, R>(
    steps: u64,
    read: impl Fn(u64) -> T + Sync,
    train: impl FnOnce(&mut dyn FnMut(u64) -> T) -> R,
) -> R {
    let threads = rayon::current_num_threads();
    thread::scope(|scope| {
        let (begin, begun) = sync_channel(1);
        let (send, received) = sync_channel(AHEAD);
        let read = &read;
        let reader = move || {
            let from = begun.recv().unwrap_or(steps);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let Ok(pool) = pool else { return };
            // Nobody waits for it any more where it cannot be sent.
            let _ = (from..steps).map(|step| (step, pool.install(|| read(step)))).all(|read| send.send(read).is_ok());
        };
        // Where no thread is to be had, the channel is closed, and each batch is read when it is asked for.
        if threads > 1 {
            drop(thread::Builder::new().spawn_scoped(scope, reader));
        } else {
            drop(reader);
        }
        train(&mut |step| {
            // Only the first is waited for; of a reader that is gone, each step reads for itself.
            let _ = begin.try_send(step);
            match received.recv() {
                Ok((of, batch)) if of == step => batch,
                _ => read(step),
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn steps_come_in_their_order_from_any_on() {
        for from in [0, 3, 9, 10] {
            let read = AtomicU64::new(0);
            let asked = |step| (read.fetch_add(1, SeqCst), step).1;
            let found: Vec<u64> = ahead(10, asked, |batch| (from..10).map(batch).collect());
            assert_eq!(found, (from..10).collect::<Vec<_>>());
            assert_eq!(read.load(SeqCst), 10 - from);
        }
    }

    #[test]
    fn the_next_steps_are_read_before_they_are_asked_for_and_no_more() {
        for (threads, expected) in [(1, &[0][..]), (2, &[0, 1, 2, 3])] {
            let (told, heard) = channel();
            let read = move |step| told.send(step).unwrap();
            let train = move |batch: &mut dyn FnMut(u64)| {
                batch(0);
                let within = Duration::from_secs(20);
                let read: Vec<u64> = expected.iter().map(|_| heard.recv_timeout(within).unwrap()).collect();
                assert_eq!(read, expected);
                assert!(heard.recv_timeout(Duration::from_millis(50)).is_err());
            };
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| ahead(100, read, train));
        }
    }
}
