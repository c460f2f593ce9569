use std::cell::RefCell;
use std::io::{Read, Write};
use std::rc::Rc;

use super::*;

#[test]
fn a_hundred_thousand_dropped_receives_leave_nothing() {
    on_both(|| async {
        let (near, mut far) = witnessed().await;
        for _ in 0..100_000 {
            assert!(matches!(race(near.recv(), std::future::ready(())).await, Either::Right(())));
            assert!(in_flight() <= 1);
        }
        far.write_all(b"still here").unwrap();
        assert_eq!(receive(&near, 10).await, b"still here");
        drop(near);
        until(|| in_flight() == 0).await;
    });
}

#[test]
fn receives_dropped_on_new_connections_leave_nothing() {
    on_both(|| async {
        let (listener, address) = listener();
        for _ in 0..2_000 {
            let near = Stream::connect(address).await.unwrap();
            let far = listener.accept().await.unwrap();
            assert!(matches!(race(near.recv(), std::future::ready(())).await, Either::Right(())));
            assert!(matches!(race(far.recv(), pass(1)).await, Either::Right(())));
            far.reset();
        }
        drop(listener);
        until(|| in_flight() == 0).await;
    });
}

#[test]
fn a_dropped_receive_loses_no_byte() {
    on_both(|| async {
        let (near, mut far) = witnessed().await;
        let sent = pattern(300_000);
        let expected = sent.clone();
        let writer = std::thread::spawn(move || {
            for piece in sent.chunks(997) {
                far.write_all(piece).unwrap();
            }
        });
        let mut got = Vec::new();
        let mut turns = 0;
        while got.len() < expected.len() {
            turns = (turns + 1) % 4;
            match race(near.recv(), pass(turns)).await {
                Either::Left(buf) => got.extend_from_slice(&buf.unwrap()),
                Either::Right(()) => {}
            }
        }
        assert!(got == expected);
        writer.join().unwrap();
    });
}

#[test]
fn bytes_that_come_while_nobody_receives_are_kept() {
    on_both(|| async {
        let (near, mut far) = witnessed().await;
        assert_eq!(timeout(Duration::from_millis(2), near.recv()).await.err(), Some(Elapsed));
        far.write_all(b"kept").unwrap();
        until(|| !near.is_quiet()).await;
        pass(5).await;
        assert_eq!(&*near.recv().await.unwrap(), b"kept");
    });
}

#[test]
fn a_dropped_send_is_finished_in_order() {
    on_both(|| async {
        let (near, mut far) = witnessed().await;
        tighten(&near, &far);
        let sent = pattern(2 * 1024 * 1024);
        let half = sent.len() / 2;
        // Nobody reads yet, so the first send cannot finish.
        let first = timeout(Duration::from_millis(5), near.send_vec(sent[..half].to_vec())).await;
        assert_eq!(first.err(), Some(Elapsed));
        assert_eq!(in_flight(), 1);
        let length = sent.len();
        let reader = std::thread::spawn(move || {
            let mut got = vec![0; length];
            far.read_exact(&mut got).unwrap();
            got
        });
        near.send_vec(sent[half..].to_vec()).await.0.unwrap();
        drop(near);
        assert!(reader.join().unwrap() == sent);
    });
}

#[test]
fn a_dropped_connect_leaves_nothing() {
    on_both(|| async {
        // A full backlog answers no further SYN, so that these stay under way.
        let listener = socket_with_backlog_zero();
        let address = listener.local_addr().unwrap();
        let kept: Vec<_> = (0..2).map(|_| std::net::TcpStream::connect(address).unwrap()).take(1).collect();
        for _ in 0..4 {
            let _ = timeout(Duration::from_millis(2), Stream::connect(address)).await;
        }
        until(|| in_flight() == 0).await;
        drop(kept);
    });
}

fn socket_with_backlog_zero() -> TcpListener {
    use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, socket};
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    listen(&fd, Backlog::new(0).unwrap()).unwrap();
    TcpListener::from(fd)
}

#[test]
fn the_end_of_run_cancels_what_remains_and_keeps_what_arrived() {
    for choice in [Choice::Uring, Choice::Epoll] {
        let engine = Engine::new(&Options { choice, ..Options::default() }).unwrap();
        let dropped = Rc::new(RefCell::new(Vec::new()));
        let (kept, mut far) = engine.run(async {
            for task in 0..10 {
                let (near, far) = pair().await;
                let dropped = dropped.clone();
                spawn(async move {
                    let guard = OnDrop(dropped, task);
                    let _far = far;
                    let _ = near.recv().await;
                    drop(guard);
                });
            }
            pass(3).await;
            let (kept, mut far) = witnessed().await;
            assert_eq!(timeout(Duration::from_millis(2), kept.recv()).await.err(), Some(Elapsed));
            far.write_all(b"early").unwrap();
            until(|| !kept.is_quiet()).await;
            (kept, far)
        });
        assert_eq!((dropped.borrow().len(), engine.core.driver.in_flight()), (10, 0));
        engine.run(async move {
            far.write_all(b", late").unwrap();
            assert_eq!(receive(&kept, 11).await, b"early, late");
        });
    }
}

struct OnDrop(Rc<RefCell<Vec<usize>>>, usize);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.borrow_mut().push(self.1);
    }
}

#[test]
fn a_stream_and_a_buffer_outlive_their_engine() {
    for choice in [Choice::Uring, Choice::Epoll] {
        let engine = Engine::new(&Options { choice, ..Options::default() }).unwrap();
        let (stream, buf, mut far) = engine.run(async {
            let (near, mut far) = witnessed().await;
            far.write_all(b"kept").unwrap();
            let buf = near.recv().await.unwrap();
            (near, buf, far)
        });
        drop(engine);
        assert_eq!(&*buf, b"kept");
        drop(stream);
        assert_eq!(far.read(&mut [0]).unwrap(), 0);
        assert_eq!(&*buf, b"kept");
    }
}
