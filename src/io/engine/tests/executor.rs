use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::*;

#[test]
fn a_panicking_task_ends_alone() {
    on_both(|| async {
        let (near, far) = pair().await;
        let done = Rc::new(Cell::new(0));
        for task in 0..10 {
            let done = done.clone();
            spawn(async move {
                pass(task).await;
                assert!(task % 2 == 0, "an odd task");
                done.set(done.get() + 1);
            });
        }
        until(|| done.get() == 5).await;
        near.send(Buf::from(b"unharmed".to_vec())).await.unwrap();
        assert_eq!(receive(&far, 8).await, b"unharmed");
    });
}

#[test]
fn a_panic_in_a_destructor_ends_only_its_task() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "a bomb went off");
        }
    }
    on_both(|| async {
        for _ in 0..3 {
            spawn(async {
                let _bomb = Bomb;
                pass(2).await;
            });
            spawn(async {
                let _bomb = Bomb;
                std::future::pending::<()>().await;
            });
        }
        pass(5).await;
    });
}

#[test]
fn a_panic_in_main_passes_through_run_and_reaps() {
    for choice in [Choice::Uring, Choice::Epoll] {
        let engine = Engine::new(&Options { choice, ..Options::default() }).unwrap();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            engine.run(async {
                let (near, _far) = pair().await;
                spawn(async move {
                    let _ = near.recv().await;
                });
                pass(3).await;
                panic!("main");
            })
        }));
        assert!(result.is_err());
        assert_eq!(engine.core.driver.in_flight(), 0);
        assert_eq!(engine.run(async { 7 }), 7);
    }
}

#[test]
fn timers_fire_in_order_and_not_early() {
    on_both(|| async {
        let order = Rc::new(std::cell::RefCell::new(Vec::new()));
        let start = now();
        for delay in [30, 10, 20, 0, 5] {
            let order = order.clone();
            spawn(async move {
                sleep(Duration::from_millis(delay)).await;
                assert!(now() - start >= Duration::from_millis(delay));
                order.borrow_mut().push(delay);
            });
        }
        until(|| order.borrow().len() == 5).await;
        assert_eq!(*order.borrow(), [0, 5, 10, 20, 30]);
    });
}

#[test]
fn a_timeout_cancels_what_it_was_set_for() {
    on_both(|| async {
        let (near, _far) = pair().await;
        let start = Instant::now();
        let dropped = Rc::new(());
        let held = dropped.clone();
        let waiting = async {
            let _held = held;
            near.recv().await
        };
        assert_eq!(timeout(Duration::from_millis(10), waiting).await.err(), Some(Elapsed));
        assert!(start.elapsed() >= Duration::from_millis(9));
        assert_eq!(Rc::strong_count(&dropped), 1);
        assert_eq!(timeout(Duration::from_secs(3600), async { 7 }).await, Ok(7));
    });
}

#[test]
fn ten_thousand_timers_cost_no_trace_once_dropped() {
    on_both(|| async {
        for _ in 0..10_000 {
            assert!(matches!(race(sleep(Duration::from_secs(60)), std::future::ready(())).await, Either::Right(())));
        }
        // What is left is at most the harness's own deadline.
        assert!(executor_timers() <= 1);
    });
}

fn executor_timers() -> usize {
    crate::io::engine::executor::current().timers.borrow().live()
}

#[test]
fn a_busy_task_does_not_starve_io_or_timers() {
    on_both(|| async {
        let (near, far) = pair().await;
        let busy = Rc::new(Cell::new(true));
        for _ in 0..10 {
            let busy = busy.clone();
            spawn(async move {
                while busy.get() {
                    pass(1).await;
                }
            });
        }
        spawn(async move {
            while let Ok(buf) = far.recv().await {
                if buf.is_empty() || far.send(buf).await.is_err() {
                    break;
                }
            }
        });
        for _ in 0..100 {
            let (reply, _) = near.send_vec_then_recv(vec![1], &near).await;
            assert_eq!(&*reply.unwrap(), [1]);
        }
        sleep(Duration::from_millis(5)).await;
        busy.set(false);
    });
}

#[test]
fn a_task_that_always_has_bytes_lets_others_run() {
    on_both(|| async {
        let (near, far) = pair().await;
        spawn(async move { while let (Ok(()), _) = far.send_vec(vec![7; 64 * 1024]).await {} });
        let received = Rc::new(Cell::new(0));
        let count = received.clone();
        spawn(async move {
            while let Ok(buf) = near.recv().await {
                count.set(count.get() + buf.len());
                // Slow enough that the kernel always has more.
                std::hint::black_box((0..2_000).sum::<u64>());
            }
        });
        for _ in 0..20 {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(received.get() > 0);
    });
}

#[test]
fn other_threads_wake_a_parked_engine() {
    on_both(|| async {
        let (sender, mut receiver) = channel(4);
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    for number in 0..500 {
                        let mut message = (thread, number);
                        while let Err(TrySendError::Full(back)) = sender.try_send(message) {
                            message = back;
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        drop(sender);
        let mut next = [0; 4];
        while let Some((thread, number)) = receiver.recv().await {
            let thread: usize = thread;
            assert_eq!(
                number,
                std::mem::replace(&mut next[thread], number + 1),
                "messages of one thread keep their order"
            );
        }
        assert_eq!(next, [500; 4]);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_channel_ends_with_either_half() {
    on_both(|| async {
        let (sender, mut receiver) = channel(1);
        sender.try_send(1).unwrap();
        assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
        assert_eq!(receiver.recv().await, Some(1));
        assert!(matches!(race(receiver.recv(), pass(2)).await, Either::Right(())));
        sender.clone().try_send(3).unwrap();
        drop(sender);
        assert_eq!((receiver.recv().await, receiver.recv().await), (Some(3), None));
        let (sender, receiver) = channel(1);
        drop(receiver);
        assert_eq!(sender.try_send(4), Err(TrySendError::Closed(4)));
    });
}

#[test]
fn a_question_is_answered_from_another_thread_or_not_at_all() {
    on_both(|| async {
        for _ in 0..100 {
            let (reply, answer) = oneshot();
            let thread = std::thread::spawn(move || reply.send(7));
            assert_eq!(answer.await, Some(7));
            thread.join().unwrap();
        }
        let (reply, answer) = oneshot::<u8>();
        let thread = std::thread::spawn(move || drop(reply));
        assert_eq!(answer.await, None);
        thread.join().unwrap();
    });
}

#[test]
fn engines_on_several_threads_do_not_meet() {
    static DONE: AtomicUsize = AtomicUsize::new(0);
    let threads: Vec<_> = [Choice::Uring, Choice::Epoll, Choice::Uring, Choice::Epoll]
        .into_iter()
        .map(|choice| {
            std::thread::spawn(move || {
                Engine::new(&Options { choice, ..Options::default() }).unwrap().run(async {
                    let (near, far) = pair().await;
                    for _ in 0..200 {
                        near.send(Buf::from(b"ping".to_vec())).await.unwrap();
                        assert_eq!(receive(&far, 4).await, b"ping");
                    }
                    DONE.fetch_add(1, Ordering::Relaxed);
                });
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(DONE.load(Ordering::Relaxed), 4);
}

#[test]
fn a_task_may_spawn_while_it_is_dropped() {
    struct Heir(Rc<Cell<u32>>);
    impl Drop for Heir {
        fn drop(&mut self) {
            let count = self.0.clone();
            if count.get() < 3 {
                count.set(count.get() + 1);
                let heir = Heir(count);
                spawn(async move {
                    let _heir = heir;
                    std::future::pending::<()>().await;
                });
            }
        }
    }
    for choice in [Choice::Uring, Choice::Epoll] {
        let count = Rc::new(Cell::new(0));
        let heir = Heir(count.clone());
        Engine::new(&Options { choice, ..Options::default() }).unwrap().run(async move {
            spawn(async move {
                let _heir = heir;
                std::future::pending::<()>().await;
            });
            pass(1).await;
        });
        assert_eq!((count.get(), Rc::strong_count(&count)), (3, 1));
    }
}
